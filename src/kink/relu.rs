use super::check_scalar;
use crate::error::Result;

/// The derivative of ReLU at 0.
///
/// The backward pass gives `g` where `x > 0` (and where x is NaN, as PyTorch does), `alpha * g` where
/// `x = 0` (both zeros), and 0 below.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReluKink {
    /// ReLU'(0): any number within the range of f32. 0, the default, is what every framework but candle computes.
    pub alpha: f64,
}

impl Default for ReluKink {
    fn default() -> Self {
        ReluKink { alpha: 0.0 }
    }
}

impl ReluKink {
    /// Refuses an alpha that is NaN or beyond the range of f32, in which f16 and f32 kernels hold it.
    pub fn validate(&self) -> Result<()> {
        check_scalar("alpha", self.alpha)
    }
}
