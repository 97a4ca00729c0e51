use super::{Options, norm};
use crate::error::Result;
use crate::net::{Graph, NodeId};
use crate::shape::Window2d;

/// LeNet-5 for images `[1, 28, 28]`, as in the published code: two times (conv 5x5, ReLU, max pooling 2x2), then
/// three fully connected layers with ReLU between them. Batch normalisation comes **after** pooling and ReLU, at the
/// places 3 and 7 of `features` and 2 and 5 of `classifier`; without it those places stay empty.
pub fn lenet5(options: &Options) -> Result<Graph> {
    lenet5_with(options, |g, name, x| g.maxpool2d(name, x, Window2d::new(2, 2, 0)))
}

/// The same with another pooling to half the size: `pool(graph, name, x)`.
pub(crate) fn lenet5_with(
    options: &Options,
    pool: impl Fn(&mut Graph, &str, NodeId) -> Result<NodeId>,
) -> Result<Graph> {
    let mut g = Graph::new(options.input.unwrap_or([1, 28, 28]));
    let mut x = g.input();
    for (first, channels) in [(0, 6), (4, 16)] {
        let at = |i: usize| format!("features.{}", first + i);
        x = g.conv2d(&at(0), x, channels, Window2d::new(5, 1, 0), true)?;
        x = g.relu(&at(1), x)?;
        x = pool(&mut g, &at(2), x)?;
        x = norm(&mut g, options.batch_norm, &at(3), x)?;
    }
    x = g.flatten("flatten", x)?;
    for (first, width) in [(0, options.hidden[0]), (3, options.hidden[1])] {
        let at = |i: usize| format!("classifier.{}", first + i);
        x = g.linear(&at(0), x, width, true)?;
        x = g.relu(&at(1), x)?;
        x = norm(&mut g, options.batch_norm, &at(2), x)?;
    }
    g.linear("classifier.6", x, options.classes, true)?;
    Ok(g)
}
