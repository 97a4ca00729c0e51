//! Whether a training run has diverged.

/// What the losses of a run have done so far.
pub(super) struct Course {
    classes: usize,
    /// The lowest mean training loss of an epoch; at the start the loss of guessing.
    lowest: f64,
    /// It has been left by more than 5 % upwards.
    risen: bool,
    /// A training loss was not finite.
    pub ended: bool,
    /// A loss was not finite.
    lost: bool,
}

impl Course {
    pub fn new(classes: usize) -> Course {
        Course { classes, lowest: libm::log(classes as f64), risen: false, ended: false, lost: false }
    }

    /// Whether the run has diverged by the end of an epoch, which follows those given before.
    pub fn diverged(&mut self, train_loss: f64, test_loss: f64, test_accuracy: f64) -> bool {
        self.ended |= !train_loss.is_finite();
        self.lost |= self.ended || !test_loss.is_finite();
        self.risen |= train_loss > 1.05 * self.lowest;
        self.lowest = self.lowest.min(train_loss);
        self.lost || self.risen && untrained(test_accuracy, self.classes)
    }
}

/// Below twice the accuracy of guessing.
pub(super) fn untrained(test_accuracy: f64, classes: usize) -> bool {
    test_accuracy < 2.0 / classes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `diverged` by epoch, and whether the run failed, from training loss, test loss and accuracy in percent.
    fn course(epochs: &[(f64, f64, f64)]) -> (Vec<bool>, bool) {
        let mut course = Course::new(10);
        let diverged: Vec<bool> = epochs
            .iter()
            .map(|&(train, test, percent)| course.diverged(train, test, percent / 100.0))
            .collect();
        let (_, _, percent) = epochs[epochs.len() - 1];
        let failed = diverged[epochs.len() - 1] || untrained(percent / 100.0, 10);
        (diverged, failed)
    }

    #[test]
    fn divergence_is_told_from_too_few_steps() {
        let nan = f64::NAN;
        let (no, yes) = (false, true);
        // Too few steps: the loss leaves that of guessing downwards, or hardly.
        assert_eq!(
            course(&[(2.310, 2.304, 9.8), (2.303, 2.301, 11.0), (2.301, 2.300, 13.0)]),
            (vec![no; 3], yes)
        );
        assert_eq!(course(&[(2.29, 2.27, 19.9)]), (vec![no], yes));
        assert_eq!(course(&[(2.29, 2.27, 20.0)]), (vec![no], no));
        // What 16 bits did with MNIST: weights blown up, then stuck at a finite loss.
        assert_eq!(course(&[(2.9734, 2.3011, 11.35), (2.3015, 2.3011, 11.35)]), (vec![yes; 2], yes));
        assert_eq!(course(&[(5.4784, 2.3043, 9.8), (2.3021, 2.303, 10.8)]), (vec![yes; 2], yes));
        // The loss had fallen, and rose.
        assert_eq!(
            course(&[(0.7162, 1.2305, 82.48), (2.2722, 2.2153, 16.3), (2.1403, 2.1148, 18.09)]),
            (vec![no, yes, yes], yes)
        );
        assert_eq!(course(&[(2.1388, 2.3017, 11.35), (2.3016, 2.3014, 11.35)]), (vec![no, yes], yes));
        // Stuck where it started, by a rise of less than 5 %.
        assert_eq!(course(&[(2.3355, 2.3015, 11.35), (2.3014, 2.3014, 11.35)]), (vec![no; 2], yes));
        // It recovered.
        assert_eq!(course(&[(2.9, 2.4, 15.0), (0.5, 0.3, 92.0)]), (vec![yes, no], no));
        // Not finite, at any time.
        assert_eq!(course(&[(nan, nan, 0.0), (nan, nan, 0.0)]), (vec![yes; 2], yes));
        assert_eq!(course(&[(f64::INFINITY, 0.3, 92.0)]), (vec![yes], yes));
        assert_eq!(course(&[(0.5, nan, 90.0), (0.4, 0.3, 92.0)]), (vec![yes; 2], yes));
    }
}
