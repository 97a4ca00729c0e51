use super::{Options, Variant, norm, unknown_depth};
use crate::error::{Error, Result};
use crate::net::Graph;
use crate::shape::Window2d;

/// VGG of `depth` 9 (of the published code alone), 11, 13, 16 or 19: five stages of convolutions 3x3 with padding 1 (with bias, also before batch
/// normalisation), each with ReLU, and a max pooling 2x2 at the end of the stage. Their places in `features` shift
/// with batch normalisation, as in PyTorch.
///
/// The published networks end in one linear layer, `classifier`, on 8 * `base_width` features; planes larger than
/// 1x1, which the published code cannot take, are averaged before it. torchvision's end in three linear layers of
/// width 64 * `base_width` with dropout, for images whose sides are 224.
pub fn vgg(depth: usize, options: &Options) -> Result<Graph> {
    let convolutions: [usize; 5] = match depth {
        9 if options.variant != Variant::Torchvision => [1; 5],
        11 => [1, 1, 2, 2, 2],
        13 => [2, 2, 2, 2, 2],
        16 => [2, 2, 3, 3, 3],
        19 => [2, 2, 4, 4, 4],
        _ => return Err(unknown_depth("vgg", depth, "9, 11, 13, 16, 19")),
    };
    let mut g = options.colour_graph()?;
    let mut x = g.input();
    let mut place = 0..;
    let mut at = || format!("features.{}", place.next().expect("endless"));
    for (count, multiple) in convolutions.into_iter().zip([1, 2, 4, 8, 8]) {
        for _ in 0..count {
            x = g.conv2d(&at(), x, multiple * options.base_width, Window2d::new(3, 1, 1), true)?;
            if options.batch_norm {
                x = norm(&mut g, true, &at(), x)?;
            }
            x = g.relu(&at(), x)?;
        }
        x = g.maxpool2d(&at(), x, Window2d::new(2, 2, 0))?;
    }
    let plane = [g.output_shape()[1], g.output_shape()[2]];
    if options.variant == Variant::Torchvision {
        if plane != [7, 7] {
            let expected = "[C, 224, 224] for torchvision's VGG";
            return Err(Error::shape("input", expected, &g.nodes[0].shape));
        }
        x = g.flatten("flatten", x)?;
        for first in [0, 3] {
            let at = |i: usize| format!("classifier.{}", first + i);
            x = g.linear(&at(0), x, 64 * options.base_width, true)?;
            x = g.relu(&at(1), x)?;
            x = g.dropout(&at(2), x, 0.5)?;
        }
        g.linear("classifier.6", x, options.classes, true)?;
        return Ok(g);
    }
    if plane != [1, 1] {
        x = g.adaptive_avgpool2d(&at(), x)?;
    }
    x = g.flatten("flatten", x)?;
    g.linear("classifier", x, options.classes, true)?;
    Ok(g)
}
