//! Does training depend on what max pooling's backward pass computes at ties, and through which arithmetic?
//!
//! A network is trained once for each storage type, composition, beta and seed; runs of one seed start from the same weights
//! and see the same mini-batches. The protocol is that of R. Boustany (TMLR 2024) in small: SGD with momentum 0.9 and weight
//! decay 5e-4, a learning rate that follows a cosine to 0 over the epochs, one learning rate for all betas.
//!
//! A run has **diverged** when the loss of a mini-batch or the mean loss of the test images was not finite in any epoch, or when
//! its test accuracy is below twice that of guessing after its training loss has risen: in this or an earlier epoch the mean over
//! the mini-batches was more than 5 % above the lowest of the epochs before it, where the loss of guessing counts as that of the
//! start. A run that ends below that accuracy otherwise **did not train**: it needs more steps, or is stuck. Both have **failed**.

mod page;
mod verdict;

use super::columns::Columns;
use super::course::untrained;
use super::experiment::Experiment;
use super::journal::Record;
use super::protocol::{at_most, positive, protocol};
use super::registry::Images;
use super::setup::{Chosen, Run, Setup};
use super::statistics::distinct;
use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::kink::{Composition, Kink, MaxPoolKink};
use crate::precision::Precision;
use crate::progress::Progress;
use crate::report::page::Page;

protocol! {
    /// What can be chosen of the [reliability experiment](self).
    pub struct ReliabilityProtocol {
        /// A network of the zoo, or a file *.json that describes one
        network: String = "lenet5".into();
        /// A safetensors file with the weights to start from; none: drawn from the seed
        weights: Option<String> = None;
        /// Arithmetic: 16, 32, 64
        precisions: Vec<DType> = vec![DType::F16, DType::F32];
        /// How beta is evaluated: coupled (as published), split (its backward pass), exact (the choice alone), forward
        compositions: Vec<Composition> = vec![Composition::Coupled, Composition::Exact];
        /// beta of the Jacobian: 0 is native, 1 minimal
        betas: Vec<f64> = vec![0.0, 1.0, 10.0, 100.0, 1000.0, 10000.0];
        /// Runs of each, with other weights and another order of the images
        seeds: u64 = 3;
        /// Passes over the training images
        epochs: usize = 5, full: 20;
        /// Training images to use; none: all
        limit: Option<usize> = None;
        /// Test images to use; none: all
        test_limit: Option<usize> = None;
        /// Images in a mini-batch
        batch_size: usize = 128;
        /// Learning rate at the start of a cosine to 0; none: the published one
        learning_rate: Option<f64> = Some(0.05);
    }
}

/// The protocol of the [reliability experiment](self), its network and its images.
#[derive(Debug, Clone)]
pub struct Reliability {
    setup: Setup,
    protocol: ReliabilityProtocol,
}

/// A training run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReliabilityUnit {
    precision: DType,
    composition: Composition,
    beta: f64,
    seed: u64,
}

impl ReliabilityUnit {
    fn kink(&self) -> MaxPoolKink {
        MaxPoolKink::beta(self.beta, self.composition)
    }
}

impl Reliability {
    /// With its protocol chosen, on drawn digits where there are no images. Errors: [`Error::InvalidArgument`]; those of a
    /// network that is not known, or does not fit the images.
    pub fn create(protocol: ReliabilityProtocol, images: Images) -> Result<Reliability> {
        at_most("seeds", protocol.seeds)?;
        positive("epochs", protocol.epochs)?;
        let ReliabilityProtocol { precisions, compositions, betas, .. } = &protocol;
        let lists =
            [("precisions", precisions.len()), ("compositions", compositions.len()), ("betas", betas.len())];
        if let Some((name, _)) = lists.into_iter().find(|(_, len)| *len == 0) {
            return Err(Error::invalid(name, "at least one", "none"));
        }
        let chosen = Chosen {
            network: &protocol.network,
            weights: &protocol.weights,
            mini_batches: None,
            epochs: protocol.epochs,
            limit: protocol.limit,
            test_limit: protocol.test_limit,
            batch_size: protocol.batch_size,
            learning_rate: protocol.learning_rate,
        };
        let reliability = Reliability { setup: Setup::new(chosen, images)?, protocol };
        for unit in reliability.units() {
            Kink::MaxPool(unit.kink()).validate()?;
        }
        Ok(reliability)
    }
}

impl Experiment for Reliability {
    type Unit = ReliabilityUnit;

    fn name(&self) -> &'static str {
        "reliability"
    }

    /// Seed by seed, so that an interrupted grid is complete for the first seeds.
    fn units(&self) -> Vec<ReliabilityUnit> {
        let ReliabilityProtocol { precisions, compositions, betas, seeds, .. } = &self.protocol;
        let mut units = Vec::new();
        for seed in 0..*seeds {
            for precision in distinct(precisions.iter().copied()) {
                for composition in distinct(compositions.iter().copied()) {
                    let unit = |beta| ReliabilityUnit { precision, composition, beta, seed };
                    units.extend(distinct(betas.iter().copied()).into_iter().map(unit));
                }
            }
        }
        units
    }

    fn settings(&self, engine: &Engine, unit: &ReliabilityUnit) -> Columns {
        self.setup
            .settings(self.name(), engine, unit.precision)
            .with("classes", self.setup.data.train.classes)
            .with("precision", u64::from(unit.precision.bits()))
            .with("composition", unit.composition.to_string())
            .with("beta", unit.beta)
            .with("seed", unit.seed)
            .with("learning_rate", self.setup.learning_rate(&unit.precision.into()))
    }

    fn measure(
        &self,
        engine: &Engine,
        unit: &ReliabilityUnit,
        progress: &mut Progress,
    ) -> Result<Vec<Columns>> {
        let run = Run { kink: unit.kink(), ..Run::native(Precision::from(unit.precision), unit.seed) };
        let classes = self.setup.data.train.classes;
        let with_failed = |row: Columns| {
            let failed = row.number("diverged") == 1.0 || untrained(row.number("test_accuracy"), classes);
            row.with("failed", failed)
        };
        Ok(self.setup.train(engine, run, progress)?.into_iter().map(with_failed).collect())
    }

    fn page(records: &[Record]) -> Result<Page> {
        page::page(records)
    }
}
