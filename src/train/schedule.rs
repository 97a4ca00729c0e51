use std::f64::consts::PI;

use crate::error::{Error, Result};

/// A learning rate that depends on the epoch, with the values of PyTorch's `torch.optim.lr_scheduler`.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Schedule {
    /// The same throughout.
    #[default]
    Constant,
    /// `StepLR`: times `gamma` every `step_size` epochs.
    Step {
        /// Epochs between two changes.
        step_size: u64,
        /// Factor of each change.
        gamma: f64,
    },
    /// `MultiStepLR`: times `gamma` at each milestone.
    MultiStep {
        /// Epochs at which it changes.
        milestones: Vec<u64>,
        /// Factor of each change.
        gamma: f64,
    },
    /// `ExponentialLR`: times `gamma` every epoch.
    Exponential {
        /// Factor of each change.
        gamma: f64,
    },
    /// `CosineAnnealingLR`: `eta_min + (base - eta_min) (1 + cos(pi epoch / t_max)) / 2`.
    Cosine {
        /// Epochs from the base rate down to `eta_min`; it rises again after that.
        t_max: u64,
        /// The lowest rate.
        eta_min: f64,
    },
}

impl Schedule {
    /// Refuses a period of 0 and factors that are negative or not finite.
    pub fn validate(&self) -> Result<()> {
        let number = |name: &str, value: f64| match value.is_finite() && value >= 0.0 {
            true => Ok(()),
            false => Err(Error::invalid(name, "a finite number of at least 0", value)),
        };
        match self {
            Schedule::Constant => Ok(()),
            Schedule::Step { step_size: 0, .. } => Err(Error::invalid("step_size", "at least 1", 0)),
            Schedule::Cosine { t_max: 0, .. } => Err(Error::invalid("t_max", "at least 1", 0)),
            Schedule::Step { gamma, .. }
            | Schedule::MultiStep { gamma, .. }
            | Schedule::Exponential { gamma } => number("gamma", *gamma),
            Schedule::Cosine { eta_min, .. } => number("eta_min", *eta_min),
        }
    }

    /// The rate in epoch `epoch`, from 0, where `base` is that of epoch 0. A period of 0, which
    /// [`Schedule::validate`] refuses, counts as 1.
    pub fn learning_rate(&self, base: f64, epoch: u64) -> f64 {
        // libm's power has the same bits everywhere.
        let power = |gamma: f64, exponent: u64| libm::pow(gamma, exponent as f64);
        match self {
            Schedule::Constant => base,
            Schedule::Step { step_size, gamma } => base * power(*gamma, epoch / step_size.max(&1)),
            Schedule::MultiStep { milestones, gamma } => {
                base * power(*gamma, milestones.iter().filter(|&&m| m <= epoch).count() as u64)
            }
            Schedule::Exponential { gamma } => base * power(*gamma, epoch),
            Schedule::Cosine { t_max, eta_min } => {
                let t_max = (*t_max).max(1);
                // Reduced to one period, so that pi times a large number loses nothing.
                let phase = (epoch % t_max.saturating_mul(2)) as f64 / t_max as f64;
                eta_min + (base - eta_min) * (1.0 + libm::cos(PI * phase)) / 2.0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_schedules_are_refused() {
        for schedule in [
            Schedule::Step { step_size: 0, gamma: 0.1 },
            Schedule::Cosine { t_max: 0, eta_min: 0.0 },
            Schedule::Exponential { gamma: f64::NAN },
            Schedule::MultiStep { milestones: vec![1], gamma: -1.0 },
        ] {
            assert!(schedule.validate().is_err(), "{schedule:?}");
            schedule.learning_rate(0.1, 3);
        }
    }

    #[test]
    fn cosine_ends_at_its_minimum() {
        let cosine = Schedule::Cosine { t_max: 200, eta_min: 0.001 };
        assert_eq!(cosine.learning_rate(0.1, 0), 0.1);
        assert_eq!(cosine.learning_rate(0.1, 200), 0.001);
        assert!((cosine.learning_rate(0.1, 100) - 0.0505).abs() < 1e-15);
    }
}
