use crate::error::Result;
use crate::net::Graph;
use crate::shape::Window2d;

/// What may be varied in [`lenet5`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeNet5Options {
    /// Number of classes.
    pub classes: usize,
    /// Widths of the two hidden fully connected layers.
    pub hidden: [usize; 2],
}

impl Default for LeNet5Options {
    fn default() -> Self {
        LeNet5Options { classes: 10, hidden: [120, 84] }
    }
}

/// LeNet-5 for images `[1, 28, 28]`, as in the paper's published code: two times (conv 5x5, ReLU, max pooling
/// 2x2), then three fully connected layers. The names are those of that code, in which places 3 and 7 of
/// `features` and 2 and 5 of `classifier` belong to batch normalisation.
pub fn lenet5(options: &LeNet5Options) -> Result<Graph> {
    let mut g = Graph::new([1, 28, 28]);
    let conv = Window2d::new(5, 1, 0);
    let pool = Window2d::new(2, 2, 0);
    let x = g.conv2d("features.0", g.input(), 6, conv, true)?;
    let x = g.relu("features.1", x)?;
    let x = g.maxpool2d("features.2", x, pool)?;
    let x = g.conv2d("features.4", x, 16, conv, true)?;
    let x = g.relu("features.5", x)?;
    let x = g.maxpool2d("features.6", x, pool)?;
    let x = g.flatten("flatten", x)?;
    let x = g.linear("classifier.0", x, options.hidden[0], true)?;
    let x = g.relu("classifier.1", x)?;
    let x = g.linear("classifier.3", x, options.hidden[1], true)?;
    let x = g.relu("classifier.4", x)?;
    g.linear("classifier.6", x, options.classes, true)?;
    Ok(g)
}
