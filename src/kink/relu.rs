use crate::error::{Error, Result};

/// The derivative of ReLU at 0.
///
/// The backward pass gives `g` where `x > 0` (and where x is NaN, as PyTorch does), `alpha * g` where
/// `x = 0` (both zeros), and 0 below.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReluKink {
    /// ReLU'(0): any finite number. 0, the default, is what every framework but candle computes.
    pub alpha: f64,
}

impl Default for ReluKink {
    fn default() -> Self {
        ReluKink { alpha: 0.0 }
    }
}

impl ReluKink {
    /// Refuses an alpha that is not finite.
    pub fn validate(&self) -> Result<()> {
        if self.alpha.is_finite() {
            Ok(())
        } else {
            Err(Error::invalid("alpha", "a finite number", self.alpha))
        }
    }
}
