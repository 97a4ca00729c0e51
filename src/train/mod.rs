//! Optimizers and the training step.

mod sgd;

pub use sgd::Sgd;
