//! A network in training by the published protocol, epoch by epoch: what the experiments that train have in common.

use std::fmt;
use std::str::FromStr;

use super::columns::Columns;
use super::course::Course;
use super::evaluation::test;
use super::subject::Subject;
use crate::data::{Augmentation, Split};
use crate::engine::{AdamOptions, Engine, SgdOptions};
use crate::error::{Error, Result};
use crate::kink::{Kink, MaxPoolKink};
use crate::net::Network;
use crate::precision::{Precision, ReductionOrder};
use crate::progress::Progress;
use crate::train::{GradScaler, Optimizer, OptimizerOptions};

/// What updates the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Momentum 0.9, weight decay 5e-4.
    Sgd,
    /// PyTorch's defaults.
    Adam,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Sgd => "sgd",
            Algorithm::Adam => "adam",
        })
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Algorithm> {
        [Algorithm::Sgd, Algorithm::Adam]
            .into_iter()
            .find(|a| a.to_string() == text)
            .ok_or_else(|| Error::invalid("optimizer", "sgd or adam", text))
    }
}

/// What tells a training run from others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Protocol<'a> {
    pub data: &'a Split,
    pub augmentation: &'a Augmentation,
    pub subject: &'a Subject,
    pub precision: Precision,
    pub optimizer: Algorithm,
    pub kink: MaxPoolKink,
    /// Draws the initial weights.
    pub seed: u64,
    /// Draws the order of the images and their changes.
    pub data_seed: u64,
    pub order: ReductionOrder,
    pub batch_size: usize,
}

/// A run.
pub(super) struct Trainer<'a> {
    protocol: Protocol<'a>,
    network: Network,
    optimizer: Optimizer,
    course: Course,
}

impl<'a> Trainer<'a> {
    pub fn new(engine: &Engine, protocol: Protocol<'a>) -> Result<Trainer<'a>> {
        let Protocol { precision, seed, .. } = protocol;
        let data = &protocol.data.train;
        let mut network = protocol.subject.network(engine, precision, seed)?;
        network.set_reduction_order(protocol.order);
        network.set_kink(None, Kink::MaxPool(protocol.kink))?;
        network.watch_non_finite()?;
        let options: OptimizerOptions = match protocol.optimizer {
            Algorithm::Sgd => SgdOptions { momentum: 0.9, weight_decay: 5e-4, ..Default::default() }.into(),
            Algorithm::Adam => AdamOptions::default().into(),
        };
        let grad_scaler = precision.is_mixed().then(GradScaler::default);
        let optimizer = Optimizer::new(&mut network, OptimizerOptions { grad_scaler, ..options })?;
        let course = Course::new(data.classes);
        Ok(Trainer { protocol, network, optimizer, course })
    }

    /// The network as it is now.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// Mini-batches of an epoch.
    pub fn steps(&self) -> u64 {
        self.protocol.data.train.len().div_ceil(self.protocol.batch_size) as u64
    }

    /// A training loss was not finite; nothing comes back from there.
    pub fn ended(&self) -> bool {
        self.course.ended
    }

    /// Trains for `epochs`, or to the first loss that is not finite: a row for each. `learning_rate` is asked with the number of
    /// the epoch, from 0 on.
    pub fn run(
        &mut self,
        epochs: u64,
        learning_rate: impl Fn(u64) -> f64,
        progress: &mut Progress,
    ) -> Result<Vec<Columns>> {
        let (total, mut done) = (epochs * self.steps(), 0);
        let mut rows = Vec::new();
        for epoch in 1..=epochs {
            rows.push(self.epoch(epoch, learning_rate(epoch - 1), &mut || {
                done += 1;
                progress.tell(done, total)
            })?);
            if self.ended() {
                break;
            }
        }
        Ok(rows)
    }

    /// Trains over all images once, or to the first loss that is not finite, and tests: a row. A loss that is not finite
    /// does not count where the loss scaler skips the step; an epoch of these alone ends the run. `tell` hears of each step.
    pub fn epoch(
        &mut self,
        epoch: u64,
        learning_rate: f64,
        tell: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Columns> {
        let Protocol { data, augmentation, precision, data_seed: seed, batch_size, .. } = self.protocol;
        self.optimizer.set_learning_rate(learning_rate)?;
        let (mut sum, mut batches, mut skipped) = (0.0, 0u32, 0u64);
        for (step, indices) in (1..).zip(data.train.batches(batch_size, seed, epoch)?) {
            let (x, labels) =
                data.train.augmented_batch(&indices, precision.storage, augmentation, seed, epoch)?;
            let report = self.optimizer.train_step(&mut self.network, x.view(), &labels)?;
            let loss = self.network.loss()?;
            if !self.course.has_cause() {
                let step = (epoch - 1) * self.steps() + step;
                self.course.found(&self.network.non_finite()?, step, report.skipped);
            }
            tell()?;
            skipped += u64::from(report.skipped);
            if loss.is_finite() || !report.skipped {
                (sum, batches) = (sum + loss, batches + 1);
            }
            if !loss.is_finite() && !report.skipped {
                break;
            }
        }
        if batches == 0 {
            self.course.all_skipped();
        }
        let train_loss = sum / f64::from(batches);
        let (test_loss, accuracy) = test(&mut self.network, &data.test, batch_size)?;
        let diverged = self.course.diverged(train_loss, test_loss, accuracy);
        Ok(Columns::new()
            .with("epoch", epoch)
            .with("train_loss", train_loss)
            .with("test_loss", test_loss)
            .with("test_accuracy", accuracy)
            .with("skipped_steps", skipped)
            .with("diverged", diverged)
            .and(&self.course.cause()))
    }
}
