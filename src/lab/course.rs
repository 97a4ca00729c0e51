//! Whether a training run has diverged, and why.

use super::columns::Columns;
use crate::net::{NonFinite, Pass};

/// What the losses of a run, and the values that were not finite, have done so far.
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
    /// Where the first value that was not finite and lasted arose, and the step, from 1 on.
    cause: Option<(String, u64)>,
    /// The same of a step that was skipped with its loss.
    skipped_cause: Option<(String, u64)>,
}

impl Course {
    pub fn new(classes: usize) -> Course {
        let lowest = libm::log(classes as f64);
        let (cause, skipped_cause) = (None, None);
        Course { classes, lowest, risen: false, ended: false, lost: false, cause, skipped_cause }
    }

    /// Nothing further has to be looked for.
    pub fn has_cause(&self) -> bool {
        self.cause.is_some()
    }

    /// Hears what a step, counted from 1 on, found that is not finite, and whether the loss scaler skipped it.
    pub fn found(&mut self, found: &[NonFinite], step: u64, skipped: bool) {
        let Some(first) = found.first().filter(|_| !self.has_cause()) else { return };
        let cause = || Some((first.to_string(), step));
        // The loss of a skipped step is lost with it.
        let lost = |f: &&NonFinite| skipped && f.pass == Pass::Loss;
        if found.iter().filter(|f| !lost(f)).any(NonFinite::lasts) {
            self.cause = cause();
        } else if found.iter().any(NonFinite::lasts) && self.skipped_cause.is_none() {
            self.skipped_cause = cause();
        }
    }

    /// Hears that all steps of an epoch were skipped with their losses: what they found is the cause.
    pub fn all_skipped(&mut self) {
        self.cause = self.cause.take().or(self.skipped_cause.take());
    }

    /// The columns of a row that say where the first value that was not finite and lasted arose, and the step; empty and 0
    /// where there was none.
    pub fn cause(&self) -> Columns {
        let (cause, step) = self.cause.clone().unwrap_or_default();
        Columns::new().with("non_finite", cause).with("non_finite_step", step)
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

/// Where the first value that was not finite and lasted arose, as the row of a run says it; nothing where there was none.
pub(super) fn first_non_finite(row: &Columns) -> Option<String> {
    let cause = row.text("non_finite");
    (!cause.is_empty()).then(|| format!("step {}: {cause}", row.text("non_finite_step")))
}

/// How many of the runs whose last rows are given diverged, and why the first of these did; empty where none did.
pub(super) fn diverged<'a>(last: impl IntoIterator<Item = &'a Columns>) -> (usize, String) {
    let lost: Vec<&Columns> = last.into_iter().filter(|row| row.number("diverged") == 1.0).collect();
    let reason =
        |row: &&Columns| first_non_finite(row).unwrap_or_else(|| "all values finite: the loss rose".into());
    (lost.len(), lost.first().map(reason).unwrap_or_default())
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
