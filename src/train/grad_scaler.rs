use crate::error::{Error, Result};

/// Dynamic loss scaling with the rules of PyTorch's `torch.amp.GradScaler`: a step with a gradient that is not finite
/// is skipped and the scale multiplied by `backoff_factor`; after `growth_interval` good steps in a row it is
/// multiplied by `growth_factor`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GradScaler {
    /// The present scale.
    pub scale: f64,
    /// Above 1.
    pub growth_factor: f64,
    /// Between 0 and 1.
    pub backoff_factor: f64,
    /// Good steps until the scale grows.
    pub growth_interval: u64,
    /// Good steps since it last changed, below `growth_interval`.
    pub growth_tracker: u64,
}

impl Default for GradScaler {
    fn default() -> Self {
        GradScaler {
            scale: 65536.0,
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 2000,
            growth_tracker: 0,
        }
    }
}

impl GradScaler {
    pub(super) fn validate(&self) -> Result<()> {
        if !(self.scale > 0.0 && self.scale <= f32::MAX as f64) {
            return Err(Error::invalid("scale", "above 0 and within the range of f32", self.scale));
        }
        if !(self.growth_factor > 1.0 && self.growth_factor.is_finite()) {
            return Err(Error::invalid("growth_factor", "a finite number above 1", self.growth_factor));
        }
        if !(self.backoff_factor > 0.0 && self.backoff_factor < 1.0) {
            return Err(Error::invalid("backoff_factor", "between 0 and 1", self.backoff_factor));
        }
        if self.growth_interval == 0 {
            return Err(Error::invalid("growth_interval", "at least 1", 0));
        }
        if self.growth_tracker >= self.growth_interval {
            let expected = format!("below growth_interval, {}", self.growth_interval);
            return Err(Error::invalid("growth_tracker", expected, self.growth_tracker));
        }
        Ok(())
    }

    /// After a step whose gradients were all finite, or not.
    pub(super) fn update(&mut self, finite: bool) {
        if !finite {
            // Never 0 nor subnormal, from where it could not grow again.
            self.scale = (self.scale * self.backoff_factor).max(f32::MIN_POSITIVE as f64);
            self.growth_tracker = 0;
            return;
        }
        self.growth_tracker += 1;
        if self.growth_tracker >= self.growth_interval {
            let grown = self.scale * self.growth_factor;
            self.scale = if grown <= f32::MAX as f64 { grown } else { self.scale };
            self.growth_tracker = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_backs_off_as_pytorch_does() {
        let mut scaler = GradScaler { growth_interval: 3, ..Default::default() };
        let mut seen = Vec::new();
        for finite in [true, true, false, true, true, true, true, true, true, false] {
            scaler.update(finite);
            seen.push(scaler.scale);
        }
        let s = 65536.0;
        assert_eq!(seen, [s, s, s / 2.0, s / 2.0, s / 2.0, s, s, s, 2.0 * s, s]);
        assert!(GradScaler { backoff_factor: 1.0, ..Default::default() }.validate().is_err());
        assert!(GradScaler { growth_tracker: 2000, ..Default::default() }.validate().is_err());
    }
}
