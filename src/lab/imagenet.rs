//! E7: does training on ImageNet depend on beta?
//!
//! ResNet50 with batch normalisation and a stem that pools 2x2, in mixed precision, for each beta: SGD with momentum 0.9
//! and weight decay 1e-4, mini-batches of 512, a learning rate of 0.1 that falls by 10 every 30 of 80 epochs (R. Boustany,
//! TMLR 2024). Every mini-batch is cut into parts ([`DataParallel`]) that several processes can share; the table is the
//! same to the byte on any number of them, and its fingerprints of the weights show it.

use std::iter;
use std::sync::Arc;

use super::columns::Columns;
use super::course::{Course, diverged};
use super::experiment::{Experiment, common_settings, split_settings};
use super::journal::Record;
use super::protocol::{at_most, positive, protocol};
use super::registry::Images;
use super::statistics::{Spread, distinct};
use super::training::published;
use crate::data::image_folder::AUGMENTATION;
use crate::data::{Batches, Split};
use crate::engine::{Engine, SgdOptions};
use crate::error::{Error, Result};
use crate::kink::{Composition, Kink, MaxPoolKink};
use crate::net::{Network, NetworkOptions, zoo};
use crate::precision::Precision;
use crate::prefetch::Prefetch;
use crate::progress::Progress;
use crate::report::page::{Cell, Figure, Page, Table, Tone};
use crate::report::plot::{Chart, Point, Series, chart};
use crate::report::power_label;
use crate::tensor::Tensor;
use crate::train::{
    Alone, DataParallel, Exchange, GradScaler, Optimizer, OptimizerOptions, Schedule, agree, sum_in_order,
};

protocol! {
    /// What can be chosen of [E7](self).
    pub struct ImageNetProtocol {
        /// A network of the zoo; `_bn` for batch normalisation
        network: String = "resnet50_bn".into();
        /// Arithmetic: 16, 32, 64, mixed
        precision: Precision = Precision::MIXED;
        /// How beta is evaluated: coupled (as published), split, exact, forward
        composition: Composition = Composition::Coupled;
        /// beta of the Jacobian: 0 is native, 1 minimal
        betas: Vec<f64> = vec![0.0, 1000.0], full: vec![0.0, 1.0, 10.0, 100.0, 1000.0];
        /// Runs of each, with other weights and another order of the images
        seeds: u64 = 1;
        /// Passes over the training images
        epochs: usize = 2, full: 80;
        /// Measurements in an epoch
        measurements: usize = 5, full: 1;
        /// Images in a mini-batch, all parts together
        batch_size: usize = 32, full: 512;
        /// Parts of a mini-batch, a multiple of the number of processes: these change nothing, the parts the last bits
        parts: usize = 4;
        /// Learning rate at the start, which falls by 10 every 30 epochs
        learning_rate: f64 = 0.001, full: 0.1;
    }
}

/// The protocol of [E7](self), its images, and who shares the work.
pub struct ImageNet<X = Alone> {
    /// The ranks that share the work; no setting, since nothing depends on it.
    pub exchange: X,
    /// Images to train on and to test on.
    pub data: Arc<Split>,
    /// Its name in the zoo.
    pub network: String,
    /// Its arithmetic.
    pub precision: Precision,
    /// How beta is evaluated.
    pub composition: Composition,
    /// beta of the Jacobian of max pooling.
    pub betas: Vec<f64>,
    /// Draw initial weights, the order of the images and their changes.
    pub seeds: Vec<u64>,
    /// Passes over the training images.
    pub epochs: usize,
    /// Rows in an epoch.
    pub measurements: usize,
    /// Images in a mini-batch.
    pub batch_size: usize,
    /// Parts of a mini-batch, a multiple of the number of ranks.
    pub parts: usize,
    /// At the start.
    pub learning_rate: f64,
    /// Epochs until the learning rate falls by 10.
    pub step_size: usize,
}

/// A training run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageNetUnit {
    beta: f64,
    seed: u64,
}

/// What says that there is no further unit.
const NONE: u64 = u64::MAX;

impl ImageNet {
    /// With its protocol chosen, in this process alone. Errors: [`Error::InvalidArgument`], [`Error::NotFound`] for an
    /// unknown network.
    pub fn create(protocol: ImageNetProtocol, images: Images) -> Result<ImageNet> {
        ImageNet::create_on(Alone, protocol, images)
    }
}

impl<X: Exchange> ImageNet<X> {
    /// As [`ImageNet::create`], shared by the ranks of an exchange.
    pub fn create_on(exchange: X, protocol: ImageNetProtocol, images: Images) -> Result<ImageNet<X>> {
        let variant = zoo::Variant::ImageNet;
        zoo::by_name(&protocol.network, &zoo::Options { variant, ..Default::default() })?;
        Ok(ImageNet {
            exchange,
            data: Arc::new(images.split(None, None)?),
            network: protocol.network,
            precision: protocol.precision,
            composition: protocol.composition,
            betas: protocol.betas,
            seeds: (0..at_most("seeds", protocol.seeds)?).collect(),
            epochs: positive("epochs", protocol.epochs)?,
            measurements: positive("measurements", protocol.measurements)?,
            batch_size: positive("batch_size", protocol.batch_size)?,
            parts: positive("parts", protocol.parts)?,
            learning_rate: protocol.learning_rate,
            step_size: 30,
        })
    }

    /// What all ranks but the first do while that one runs the experiment: the parts of theirs, unit by unit, until
    /// [`ImageNet::dismiss`].
    ///
    /// Errors: what stopped a unit on all ranks.
    pub fn follow(&self, engine: &Engine) -> Result<()> {
        let units = self.units();
        loop {
            let unit = match self.announce(NONE)? {
                NONE => return Ok(()),
                index => units.get(index as usize),
            };
            // Other settings than those of rank 0 are found out before the first step.
            let unit = unit.unwrap_or(&units[0]);
            match self.train(engine, unit, &mut Progress::silent()) {
                // The first rank goes on, or dismisses the others.
                Ok(_) | Err(Error::Cancelled) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Lets the other ranks go: what the first one does at the end, whatever that was.
    pub fn dismiss(&self) -> Result<()> {
        self.announce(NONE).map(|_| ())
    }

    /// The index of a unit as rank 0 says it, on all ranks.
    fn announce(&self, index: u64) -> Result<u64> {
        let mut bytes = index.to_le_bytes();
        if self.exchange.ranks() > 1 {
            self.exchange.broadcast(0, &mut bytes)?;
        }
        Ok(u64::from_le_bytes(bytes))
    }

    fn build(&self, engine: &Engine, unit: &ImageNetUnit) -> Result<(Network, Optimizer)> {
        let data = &self.data.train;
        let variant = zoo::Variant::ImageNet;
        let options =
            zoo::Options { classes: data.classes, input: Some(data.shape), variant, ..Default::default() };
        let graph = zoo::by_name(&self.network, &options)?;
        let initialization = zoo::published_initialization(&self.network, variant)?;
        let options = NetworkOptions { precision: self.precision, seed: unit.seed, initialization };
        let mut network = Network::with_options(engine, &graph, &options)?;
        network.set_kink(None, Kink::MaxPool(MaxPoolKink::beta(unit.beta, self.composition)))?;
        network.watch_non_finite()?;
        let sgd = SgdOptions {
            learning_rate: self.learning_rate,
            momentum: 0.9,
            weight_decay: 1e-4,
            ..Default::default()
        };
        let grad_scaler = self.precision.is_mixed().then(GradScaler::default);
        let optimizer = Optimizer::new(&mut network, OptimizerOptions { grad_scaler, ..sgd.into() })?;
        Ok((network, optimizer))
    }

    /// The parts of this rank in one epoch, prepared ahead of the steps.
    fn parts_of_epoch(
        &self,
        parallel: &DataParallel,
        batches: Batches,
        seed: u64,
        epoch: u64,
    ) -> Result<Prefetch<(Tensor, Vec<i64>)>> {
        let parts: Vec<Vec<usize>> = batches
            .flat_map(|batch| parallel.own(batch.len()).into_iter().map(move |part| batch[part].to_vec()))
            .collect();
        let (data, dtype) = (self.data.clone(), self.precision.storage);
        let part =
            move |part: Vec<usize>| data.train.augmented_batch(&part, dtype, &AUGMENTATION, seed, epoch);
        Prefetch::new(parts.into_iter().map(part))
    }

    /// Mean loss on the test images and share of hits, each rank testing its share of the mini-batches.
    fn test(&self, network: &mut Network) -> Result<(f64, f64)> {
        let data = &self.data.test;
        let size = self.batch_size.div_ceil(self.parts);
        let batches: Vec<Vec<usize>> = Batches::in_order(data.len(), size)?.collect();
        let (rank, each) = (self.exchange.rank(), batches.len().div_ceil(self.exchange.ranks()).max(1));
        let mut run = || -> Result<Vec<Vec<f64>>> {
            let mut rows = Vec::new();
            for batch in batches.chunks(each).nth(rank).unwrap_or_default() {
                let (x, labels) = data.batch(batch, network.dtype())?;
                let evaluation = network.evaluate(x.view(), &labels)?;
                rows.push(vec![evaluation.loss * labels.len() as f64, evaluation.correct as f64]);
            }
            Ok(rows)
        };
        let (outcome, rows) = match run() {
            Ok(rows) => (Ok(vec![]), rows),
            Err(e) => (Err(e), vec![]),
        };
        agree(&self.exchange, outcome)?;
        let sums = sum_in_order(&self.exchange, &rows, 2)?;
        Ok((sums[0] / data.len() as f64, sums[1] / data.len() as f64))
    }

    /// The training run that all ranks make together.
    fn train(&self, engine: &Engine, unit: &ImageNetUnit, progress: &mut Progress) -> Result<Vec<Columns>> {
        let named = |(name, value): (&str, _)| (name.to_string(), format!("{value}"));
        let settings = self.settings(engine, unit);
        let (outcome, built) = match self.build(engine, unit) {
            Ok(built) => (Ok(settings.iter().map(named).collect()), Some(built)),
            Err(e) => (Err(e), None),
        };
        agree(&self.exchange, outcome)?;
        let (mut network, mut optimizer) = built.expect("all have agreed that they have one");
        let parallel = DataParallel::new(&self.exchange, self.parts, &mut network, &optimizer)?;
        let schedule = Schedule::Step { step_size: self.step_size as u64, gamma: 0.1 };
        let data = &self.data.train;
        let steps = data.len().div_ceil(self.batch_size);
        let interval = steps.div_ceil(self.measurements.max(1));
        let mut course = Course::new(data.classes);
        let (mut rows, mut done) = (Vec::new(), 0);
        for epoch in 1..=self.epochs as u64 {
            optimizer.set_learning_rate(schedule.learning_rate(self.learning_rate, epoch - 1))?;
            let batches = data.batches(self.batch_size, unit.seed, epoch)?;
            let mut parts = self.parts_of_epoch(&parallel, batches.clone(), unit.seed, epoch)?;
            let (mut sum, mut count, mut skipped) = (0.0, 0, 0u64);
            for (step, batch) in batches.enumerate() {
                // Whoever asks to stop, asks here, where all ranks hear of it.
                let told = progress.tell(done, (self.epochs * steps) as u64).err();
                let own = told.into_iter().map(Err).chain(parts.by_ref());
                let report = parallel.step(&mut network, &mut optimizer, batch.len(), own)?;
                skipped += u64::from(report.step.skipped);
                done += 1;
                course.found(&report.non_finite, done, report.step.skipped);
                // As in E6: what is not finite does not count where the loss scaler skips the step.
                let finite = report.loss.is_finite();
                if finite || !report.step.skipped {
                    (sum, count) = (sum + report.loss, count + 1);
                }
                let ended = !finite && !report.step.skipped;
                if !ended && (step + 1) % interval != 0 && step + 1 != steps {
                    continue;
                }
                if count == 0 {
                    course.all_skipped();
                }
                let train_loss = sum / f64::from(count);
                let (test_loss, accuracy) = self.test(&mut network)?;
                let diverged = course.diverged(train_loss, test_loss, accuracy);
                rows.push(
                    Columns::new()
                        .with("epoch", epoch as f64 - 1.0 + (step + 1) as f64 / steps as f64)
                        .with("step", done)
                        .with("train_loss", train_loss)
                        .with("test_loss", test_loss)
                        .with("test_accuracy", accuracy)
                        .with("skipped_steps", skipped)
                        .with("diverged", diverged)
                        .and(&course.cause())
                        .with("weights", format!("{:016x}", network.fingerprint()?)),
                );
                (sum, count, skipped) = (0.0, 0, 0);
                // Nothing comes back from there.
                if ended {
                    return Ok(rows);
                }
            }
        }
        Ok(rows)
    }
}

impl<X: Exchange> Experiment for ImageNet<X> {
    type Unit = ImageNetUnit;

    fn name(&self) -> &'static str {
        "imagenet"
    }

    fn units(&self) -> Vec<ImageNetUnit> {
        let of_seed = |&seed: &u64| self.betas.iter().map(move |&beta| ImageNetUnit { beta, seed });
        self.seeds.iter().flat_map(of_seed).collect()
    }

    fn settings(&self, engine: &Engine, unit: &ImageNetUnit) -> Columns {
        common_settings(self.name(), engine, self.precision.storage)
            .and(&split_settings(&self.data))
            .with("size", self.data.train.shape[1])
            .with("network", self.network.as_str())
            .with("precision", self.precision.to_string())
            .with("composition", self.composition.to_string())
            .with("beta", unit.beta)
            .with("seed", unit.seed)
            .with("epochs", self.epochs)
            .with("measurements", self.measurements)
            .with("batch_size", self.batch_size)
            .with("parts", self.parts)
            .with("learning_rate", self.learning_rate)
            .with("step_size", self.step_size)
    }

    /// On rank 0; all others [follow](ImageNet::follow).
    fn measure(&self, engine: &Engine, unit: &ImageNetUnit, progress: &mut Progress) -> Result<Vec<Columns>> {
        let index = self.units().iter().position(|u| u == unit).expect("one of them");
        self.announce(index as u64)?;
        self.train(engine, unit, progress)
    }

    fn page(records: &[Record]) -> Result<Page> {
        page(records)
    }
}

/// Test accuracies in percent at the end of the runs with one beta.
fn accuracy(records: &[&Record]) -> Spread {
    let last = records.iter().filter_map(|r| r.rows.last());
    Spread::of(&last.map(|row| 100.0 * row.number("test_accuracy")).collect::<Vec<_>>())
}

fn page(records: &[Record]) -> Result<Page> {
    let mut betas = distinct(records.iter().map(|r| r.settings.number("beta")));
    betas.sort_by(f64::total_cmp);
    let first = &records[0].settings;
    let theirs = published();
    let (mut rows, mut series) = (Vec::new(), [Vec::new(), Vec::new()]);
    let mut highest: f64 = 0.0;
    for &beta in &betas {
        let here: Vec<&Record> = records.iter().filter(|r| r.settings.number("beta") == beta).collect();
        let spread = accuracy(&here);
        let total = |name| here.iter().flat_map(|r| &r.rows).map(|row| row.number(name)).sum::<f64>();
        let last = || here.iter().filter_map(|r| r.rows.last());
        let (diverged, cause) = diverged(last());
        let published = theirs.iter().find(|p| p.dataset == "imagenet" && p.beta == beta);
        let weights: Vec<String> = last().map(|row| row.text("weights")).collect();
        rows.push(vec![
            Cell::from(power_label(beta)),
            Cell {
                text: format!("{:.2}", spread.mean),
                detail: if diverged > 0 {
                    format!("{diverged} of {} diverged", spread.count)
                } else {
                    String::new()
                },
                tone: if diverged > 0 { Tone::Bad } else { Tone::Plain },
            },
            Cell::from(format!("{:.2} to {:.2}", spread.low, spread.high)),
            Cell::from(spread.count.to_string()),
            Cell::from(format!("{}", total("skipped_steps"))),
            Cell::from(published.map_or("-".into(), |p| format!("{:.2}", 100.0 * p.test_accuracy))),
            Cell::from(cause),
            Cell::from(weights.join(" ")),
        ]);
        let epochs = distinct(here.iter().flat_map(|r| &r.rows).map(|row| row.number("epoch")));
        for (series, (name, factor)) in series.iter_mut().zip([("test_accuracy", 100.0), ("train_loss", 1.0)])
        {
            let point = |&x: &f64| {
                let at = here.iter().flat_map(|r| &r.rows).filter(|row| row.number("epoch") == x);
                let Spread { mean: y, low, high, .. } =
                    Spread::of(&at.map(|row| factor * row.number(name)).collect::<Vec<_>>());
                Point { x, y, low, high, failed: !y.is_finite() }
            };
            let points: Vec<Point> = epochs.iter().map(point).collect();
            if name == "train_loss" {
                let finite = points.iter().map(|p| p.high).filter(|y| y.is_finite());
                highest = finite.fold(highest, f64::max);
            }
            series.push(Series { name: format!("beta {}", power_label(beta)), points });
        }
    }
    let end = first.number("epochs");
    let draw = |title: &str, y_label: &str, y_range, series| {
        chart(&Chart {
            mark: Default::default(),
            title: title.into(),
            x_label: "epochs".into(),
            y_label: y_label.into(),
            x_ticks: (0..=4).map(|i| end * f64::from(i) / 4.0).map(|x| (x, format!("{x}"))).collect(),
            y_range,
            reference: None,
            failure: "lost".into(),
            series,
        })
    };
    let [accuracies, losses] = series;
    let drawings = vec![
        draw("Accuracy", "test accuracy, %", (0.0, 100.0), accuracies)?,
        draw("Loss", "training loss", (0.0, highest.max(1.0).ceil()), losses)?,
    ];
    let head = [
        "beta",
        "test accuracy, %",
        "lowest to highest",
        "seeds",
        "steps skipped",
        "published on ImageNet, %",
        "why the first of the diverged runs did",
        "weights",
    ];
    let text = |name| first.text(name);
    let verdict = iter::once(format!(
        "{} of {} runs diverged.",
        records.iter().filter_map(|r| r.rows.last()).filter(|row| row.number("diverged") == 1.0).count(),
        records.len()
    ));
    Ok(Page {
        title: format!("{} on {} under different Jacobians of max pooling", text("network"), text("dataset")),
        question: "Does the accuracy of a large network on photos depend on what the backward pass computes where windows \
                   tie?"
            .into(),
        verdict: verdict.collect(),
        tables: vec![Table {
            caption: format!(
                "After {} epochs of {} images of {}x{} in mini-batches of {}",
                text("epochs"),
                text("images"),
                text("size"),
                text("size"),
                text("batch_size")
            ),
            head: head.map(String::from).to_vec(),
            rows,
        }],
        figures: vec![Figure {
            drawings,
            caption: "Mean over the seeds; whiskers from the lowest to the highest.".into(),
        }],
        definitions: vec![
            ("skipped".into(), "a gradient was not finite, so the step was left out and the loss scale halved".into()),
            ("weights".into(), format!(
                "a fingerprint of the bits of all parameters and running statistics at the end, for each seed; mini-batches are \
                 cut into {} parts, and on any number of processes that share these the fingerprint is the same",
                text("parts")
            )),
            ("published".into(), "the stored results of the official code, at 80 epochs of ImageNet".into()),
        ],
        ..Page::default()
    })
}

#[cfg(test)]
mod tests {
    use crate::net::{Network, zoo};
    use crate::{Engine, Precision};

    /// What docs/cluster.md computes with.
    #[test]
    fn the_network_of_the_cluster_page() {
        let options = zoo::Options { classes: 1000, variant: zoo::Variant::ImageNet, ..Default::default() };
        let graph = zoo::by_name("resnet50_bn", &options).unwrap();
        let network = Network::new(&Engine::cpu(), &graph, Precision::MIXED, 0).unwrap();
        let operations = |training| network.work(64, training).unwrap().operations;
        assert_eq!([operations(true), operations(false)], [64 * 24_299_077_632, 64 * 8_178_368_512]);
        assert_eq!(network.part_len(), 25_557_032 + 53_120 + 1);
        let memory = network.memory_plan(64, true).unwrap();
        assert_eq!([memory.parameters, memory.gradients], [153_448_432, 51_220_304]);
        // The CPU engine's; a change of the plan may change it, and the page.
        assert_eq!(memory.activations, 4_133_627_652);
    }
}
