use super::{Options, Variant, channels, norm, unknown_depth};
use crate::error::Result;
use crate::net::Graph;
use crate::shape::Window2d;

/// DenseNet of `depth` 121 or 201: a stem (conv 7x7 of stride 2, ReLU, max pooling), four dense blocks with
/// transitions (ReLU, conv 1x1, average pooling 2x2) between them, then ReLU and the mean of each plane. Growth rate
/// `base_width` / 2, bottlenecks of four times that; no convolution has a bias.
///
/// The published code does not hand its `norm_layer` on to dense layers and transitions, whose default is none: with
/// batch normalisation it has `features.norm0` and `features.norm5` alone, and its pooling is 2x2. torchvision's has
/// batch normalisation before each ReLU, and a pooling 3x3 of stride 2 and padding 1.
pub fn densenet(depth: usize, options: &Options) -> Result<Graph> {
    let blocks: [usize; 4] = match depth {
        121 => [6, 12, 24, 16],
        201 => [6, 12, 48, 32],
        _ => return Err(unknown_depth("densenet", depth, "121, 201")),
    };
    let (inner_norm, pool) = match options.variant {
        Variant::Cifar | Variant::ImageNet => (false, Window2d::new(2, 2, 0)),
        Variant::Torchvision => (options.batch_norm, Window2d::new(3, 2, 1)),
    };
    let growth = options.base_width / 2;
    let one = Window2d::new(1, 1, 0);
    let mut g = options.colour_graph()?;
    let x = g.conv2d("features.conv0", g.input(), options.base_width, Window2d::new(7, 2, 3), false)?;
    let x = norm(&mut g, options.batch_norm, "features.norm0", x)?;
    let x = g.relu("features.relu0", x)?;
    let mut x = g.maxpool2d("features.pool0", x, pool)?;
    for (block, layers) in (1..).zip(blocks) {
        for layer in 1..=layers {
            let at = |part: &str| format!("features.denseblock{block}.denselayer{layer}.{part}");
            let y = norm(&mut g, inner_norm, &at("norm1"), x)?;
            let y = g.relu(&at("relu1"), y)?;
            let y = g.conv2d(&at("conv1"), y, 4 * growth, one, false)?;
            let y = norm(&mut g, inner_norm, &at("norm2"), y)?;
            let y = g.relu(&at("relu2"), y)?;
            let y = g.conv2d(&at("conv2"), y, growth, Window2d::new(3, 1, 1), false)?;
            // Appending to what is there, instead of joining all layers' outputs anew, gives the same values, and
            // gradients that are the same sums in the same order.
            x = g.concat(&at("concat"), &[x, y])?;
        }
        if block < blocks.len() {
            let at = |part: &str| format!("features.transition{block}.{part}");
            x = norm(&mut g, inner_norm, &at("norm"), x)?;
            x = g.relu(&at("relu"), x)?;
            let half = channels(&g, x) / 2;
            x = g.conv2d(&at("conv"), x, half, one, false)?;
            x = g.avgpool2d(&at("pool"), x, Window2d::new(2, 2, 0))?;
        }
    }
    x = norm(&mut g, options.batch_norm, "features.norm5", x)?;
    x = g.relu("relu", x)?;
    x = g.adaptive_avgpool2d("avgpool", x)?;
    x = g.flatten("flatten", x)?;
    g.linear("classifier", x, options.classes, true)?;
    Ok(g)
}
