//! The choices where there is no derivative: pure mathematics, no engine.
//!
//! Definitions follow R. Boustany, "On the numerical reliability of nonsmooth autodiff: a MaxPool case
//! study" (TMLR 2024) and Bertoin, Bolte, Gerchinovitz, Pauwels, "Numerical influence of ReLU'(0) on
//! backpropagation" (NeurIPS 2021).

mod convention;
mod margin;
mod maxpool;
mod norm_pool;
mod relu;

use crate::error::{Error, Result};

pub use convention::Convention;
pub use margin::{Margin, ulp};
pub(crate) use maxpool::BackwardRule;
pub use maxpool::{Composition, MaxPoolJacobian, MaxPoolKink};
pub use norm_pool::NormPoolKink;
pub use relu::ReluKink;

pub(crate) fn check_scalar(name: &str, value: f64) -> Result<()> {
    if value.abs() <= f32::MAX as f64 {
        return Ok(());
    }
    Err(Error::invalid(name, "a number within the range of f32", value))
}

/// The choice made at one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kink {
    /// At ties of a max pooling.
    MaxPool(MaxPoolKink),
    /// At 0 of a ReLU.
    Relu(ReluKink),
    /// On a window of zeros of a norm pooling.
    NormPool(NormPoolKink),
}

impl Kink {
    /// Refuses a choice whose number is NaN or beyond the range of f32.
    pub fn validate(&self) -> Result<()> {
        match self {
            Kink::MaxPool(kink) => kink.validate(),
            Kink::Relu(kink) => kink.validate(),
            Kink::NormPool(kink) => kink.validate(),
        }
    }
}
