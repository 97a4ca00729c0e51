//! The networks of the paper.

mod lenet;

use crate::error::{Error, Result};
use crate::net::Graph;

pub use lenet::{LeNet5Options, lenet5};

/// Names that [`by_name`] knows.
pub const NAMES: [&str; 1] = ["lenet5"];

/// A network of the zoo with default options but for the number of classes.
pub fn by_name(name: &str, classes: usize) -> Result<Graph> {
    match name {
        "lenet5" => lenet5(&LeNet5Options { classes, ..Default::default() }),
        _ => Err(Error::NotFound { what: "network", name: name.into(), known: NAMES.join(", ") }),
    }
}
