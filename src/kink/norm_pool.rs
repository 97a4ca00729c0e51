use super::check_scalar;
use crate::error::Result;

/// The gradient of norm pooling `y = sqrt(sum x_i^2)` on a window of zeros, where the norm has no derivative.
///
/// The backward pass gives `g x_i / y` where `y` is not 0 and `g * at_zero` to each element where it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormPoolKink {
    /// Any number within the range of f32; 0, the default, and 1 are the two choices of the published code.
    pub at_zero: f64,
}

impl Default for NormPoolKink {
    fn default() -> Self {
        NormPoolKink { at_zero: 0.0 }
    }
}

impl NormPoolKink {
    /// Refuses a number that is NaN or beyond the range of f32, in which f16 and f32 kernels hold it.
    pub fn validate(&self) -> Result<()> {
        check_scalar("at_zero", self.at_zero)
    }
}
