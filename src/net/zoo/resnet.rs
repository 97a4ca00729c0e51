use super::{Options, Variant, channels, norm, unknown_depth};
use crate::error::Result;
use crate::net::{Graph, NodeId};
use crate::shape::Window2d;

/// ResNet of `depth` 18, 34 (basic blocks) or 50 (bottlenecks, stride in the convolution 3x3). Convolutions have no
/// bias, with or without batch normalisation. Where PyTorch runs one module `relu` several times in a block, the
/// layers here are `relu1`, `relu2`, `relu3`.
///
/// The only max pooling, `maxpool`, stands behind the stem. In the published code it is 2x2 of stride 2, also behind
/// the convolution 7x7 for ImageNet; in torchvision 3x3 of stride 2 and padding 1.
pub fn resnet(depth: usize, options: &Options) -> Result<Graph> {
    let (blocks, bottleneck) = match depth {
        18 => ([2, 2, 2, 2], false),
        34 => ([3, 4, 6, 3], false),
        50 => ([3, 4, 6, 3], true),
        _ => return Err(unknown_depth("resnet", depth, "18, 34, 50")),
    };
    let (conv, pool) = match options.variant {
        Variant::Cifar => (Window2d::new(3, 1, 1), Window2d::new(2, 2, 0)),
        Variant::ImageNet => (Window2d::new(7, 2, 3), Window2d::new(2, 2, 0)),
        Variant::Torchvision => (Window2d::new(7, 2, 3), Window2d::new(3, 2, 1)),
    };
    let mut g = options.colour_graph()?;
    let x = g.conv2d("conv1", g.input(), options.base_width, conv, false)?;
    let x = norm(&mut g, options.batch_norm, "bn1", x)?;
    let x = g.relu("relu", x)?;
    let mut x = g.maxpool2d("maxpool", x, pool)?;
    for (stage, count) in blocks.into_iter().enumerate() {
        let width = options.base_width << stage;
        for index in 0..count {
            let name = format!("layer{}.{index}", stage + 1);
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let block = Block { name, width, stride, bottleneck, batch_norm: options.batch_norm };
            x = block.add_to(&mut g, x)?;
        }
    }
    let x = g.adaptive_avgpool2d("avgpool", x)?;
    let x = g.flatten("flatten", x)?;
    g.linear("fc", x, options.classes, true)?;
    Ok(g)
}

struct Block {
    name: String,
    width: usize,
    stride: usize,
    bottleneck: bool,
    batch_norm: bool,
}

impl Block {
    /// relu(f(x) + x), with x through a convolution 1x1, `downsample`, where its shape is another than f(x)'s.
    fn add_to(&self, g: &mut Graph, x: NodeId) -> Result<NodeId> {
        let at = |layer: &str| format!("{}.{layer}", self.name);
        let [narrow, wide] = [self.width, self.width * if self.bottleneck { 4 } else { 1 }];
        let one = Window2d::new(1, 1, 0);
        let convolutions = if self.bottleneck {
            vec![(narrow, one), (narrow, Window2d::new(3, self.stride, 1)), (wide, one)]
        } else {
            vec![(narrow, Window2d::new(3, self.stride, 1)), (narrow, Window2d::new(3, 1, 1))]
        };
        let last = convolutions.len();
        let mut y = x;
        for (number, (channels, window)) in (1..).zip(convolutions) {
            y = g.conv2d(&at(&format!("conv{number}")), y, channels, window, false)?;
            y = norm(g, self.batch_norm, &at(&format!("bn{number}")), y)?;
            if number < last {
                y = g.relu(&at(&format!("relu{number}")), y)?;
            }
        }
        let mut identity = x;
        if self.stride != 1 || channels(g, x) != wide {
            let window = Window2d::new(1, self.stride, 0);
            identity = g.conv2d(&at("downsample.0"), x, wide, window, false)?;
            identity = norm(g, self.batch_norm, &at("downsample.1"), identity)?;
        }
        let sum = g.add(&at("add"), y, identity)?;
        g.relu(&at(&format!("relu{last}")), sum)
    }
}
