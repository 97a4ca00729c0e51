//! What experiments on a network of the user's choice have in common: images, network, mini-batches, training by SGD.

use super::augmentation::published_augmentation;
use super::columns::Columns;
use super::experiment::{common_settings, split_settings};
use super::protocol::{at_most, positive};
use super::registry::Images;
use super::subject::Subject;
use super::trainer::{Algorithm, Protocol, Trainer};
use super::training::published_learning_rate;
use crate::data::{Augmentation, Batches, Dataset, Split};
use crate::dtype::DType;
use crate::engine::{Engine, SgdOptions};
use crate::error::Result;
use crate::kink::MaxPoolKink;
use crate::precision::{Precision, ReductionOrder};
use crate::progress::Progress;
use crate::train::Schedule;

/// The rows of `measure` on each of the first `limit` mini-batches, in the order of the images; it is given the number of the
/// mini-batch and the places of its images.
pub(super) fn each_mini_batch(
    data: &Dataset,
    (batch_size, limit): (usize, usize),
    progress: &mut Progress,
    mut measure: impl FnMut(usize, &[usize]) -> Result<Vec<Columns>>,
) -> Result<Vec<Columns>> {
    let batches = Batches::in_order(data.len(), batch_size)?;
    let total = batches.len().min(limit);
    let mut rows = Vec::new();
    for (number, indices) in batches.take(total).enumerate() {
        progress.tell(number as u64, total as u64)?;
        rows.extend(measure(number, &indices)?);
    }
    progress.tell(total as u64, total as u64)?;
    Ok(rows)
}

/// Images in a mini-batch, and mini-batches at most; `None` is no limit.
fn limits(batch_size: usize, mini_batches: Option<usize>) -> Result<(usize, usize)> {
    let mini_batches = mini_batches.map_or(Ok(usize::MAX), |n| positive("mini_batches", n))?;
    Ok((positive("batch_size", batch_size)?, mini_batches))
}

/// A unit for each precision, or format, and seed; seed by seed, so that an interrupted grid is complete for the first.
pub(super) fn by_seed<T: Copy>(of_seed: &[T], seeds: u64) -> Vec<(T, u64)> {
    (0..seeds).flat_map(|seed| of_seed.iter().map(move |&one| (one, seed))).collect()
}

/// A network and the images on which it is measured.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub data: Dataset,
    pub subject: Subject,
    /// Images in a mini-batch, and mini-batches at most.
    pub limits: (usize, usize),
}

impl Probe {
    /// As a protocol chooses them; on drawn digits where there are no images.
    pub fn new(
        (network, weights): (&str, &Option<String>),
        batch_size: usize,
        mini_batches: Option<usize>,
        images: Images,
    ) -> Result<Probe> {
        let data = images.or_drawn_train()?;
        let limits = limits(batch_size, mini_batches)?;
        Ok(Probe { subject: Subject::new(network, weights.as_deref(), &data)?, data, limits })
    }

    pub fn settings(&self, name: &str, engine: &Engine, storage: DType) -> Columns {
        let (batch_size, mini_batches) = self.limits;
        common_settings(name, engine, storage)
            .with("dataset", self.data.name.as_str())
            .with("data", format!("{:08x}", self.data.fingerprint()))
            .and(&self.subject.settings())
            .with("batch_size", batch_size)
            .with("mini_batches", mini_batches.min(self.data.len().div_ceil(batch_size)))
    }
}

/// What a protocol says of training.
pub(super) struct Chosen<'a> {
    pub network: &'a str,
    pub weights: &'a Option<String>,
    pub mini_batches: Option<usize>,
    pub epochs: usize,
    pub limit: Option<usize>,
    pub test_limit: Option<usize>,
    pub batch_size: usize,
    pub learning_rate: Option<f64>,
}

/// [`Chosen`] of a protocol that has all its fields.
macro_rules! chosen {
    ($protocol:expr) => {
        $crate::lab::setup::Chosen {
            network: &$protocol.network,
            weights: &$protocol.weights,
            mini_batches: Some($protocol.mini_batches),
            epochs: $protocol.epochs,
            limit: $protocol.limit,
            test_limit: $protocol.test_limit,
            batch_size: $protocol.batch_size,
            learning_rate: $protocol.learning_rate,
        }
    };
}
pub(super) use chosen;

/// A network, the images on which it is measured and trained, and how: SGD with momentum 0.9 and weight decay 5e-4, the
/// learning rate along a cosine to 0.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub data: Split,
    augmentation: Augmentation,
    pub subject: Subject,
    /// Images in a mini-batch, and mini-batches on which it is measured.
    pub limits: (usize, usize),
    pub epochs: u64,
    learning_rate: Option<f64>,
}

/// What tells a training run of a [`Setup`] from others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub precision: Precision,
    pub kink: MaxPoolKink,
    /// Draws the initial weights.
    pub seed: u64,
    /// Draws the order of the images.
    pub data_seed: u64,
    pub order: ReductionOrder,
}

impl Run {
    /// With native max pooling, one seed for all, and a fixed order of sums.
    pub fn native(precision: Precision, seed: u64) -> Run {
        let (kink, order) = (MaxPoolKink::default(), ReductionOrder::Fixed);
        Run { precision, kink, seed, data_seed: seed, order }
    }
}

impl Setup {
    /// On drawn digits where there are no images.
    pub fn new(chosen: Chosen, images: Images) -> Result<Setup> {
        if let Some(learning_rate) = chosen.learning_rate {
            SgdOptions { learning_rate, ..Default::default() }.validate()?;
        }
        let data = images.or_drawn(chosen.limit, chosen.test_limit)?;
        Ok(Setup {
            augmentation: published_augmentation(&data.train),
            subject: Subject::new(chosen.network, chosen.weights.as_deref(), &data.train)?,
            data,
            limits: limits(chosen.batch_size, chosen.mini_batches)?,
            epochs: at_most("epochs", chosen.epochs as u64)?,
            learning_rate: chosen.learning_rate,
        })
    }

    pub fn settings(&self, name: &str, engine: &Engine, storage: DType) -> Columns {
        common_settings(name, engine, storage)
            .and(&split_settings(&self.data))
            .and(&self.subject.settings())
            .with("batch_size", self.limits.0)
            .with("epochs", self.epochs)
    }

    /// Learning rate at the start: the protocol's, or the published one.
    pub fn learning_rate(&self, precision: &Precision) -> f64 {
        let published = || published_learning_rate(self.subject.name(), Algorithm::Sgd, precision);
        self.learning_rate.unwrap_or_else(published)
    }

    /// Learning rate of an epoch, from 0 on.
    pub fn learning_rate_at(&self, precision: &Precision, epoch: u64) -> f64 {
        let schedule = Schedule::Cosine { t_max: self.epochs, eta_min: 0.0 };
        schedule.learning_rate(self.learning_rate(precision), epoch)
    }

    pub fn trainer(&self, engine: &Engine, run: Run) -> Result<Trainer<'_>> {
        let Run { precision, kink, seed, data_seed, order } = run;
        let protocol = Protocol {
            data: &self.data,
            augmentation: &self.augmentation,
            subject: &self.subject,
            precision,
            optimizer: Algorithm::Sgd,
            kink,
            seed,
            data_seed,
            order,
            batch_size: self.limits.0,
        };
        Trainer::new(engine, protocol)
    }

    /// A row for each epoch.
    pub fn train(&self, engine: &Engine, run: Run, progress: &mut Progress) -> Result<Vec<Columns>> {
        let rate = |epoch| self.learning_rate_at(&run.precision, epoch);
        self.trainer(engine, run)?.run(self.epochs, rate, progress)
    }
}
