//! E5: how do networks drift apart that differ in beta alone?
//!
//! Copies of a network start from the same weights and see the same mini-batches; each trains with another beta (R. Boustany,
//! TMLR 2024). After each interval: the L1 distance of all weights to those of the first copy, which trains with beta 0,
//! and the test accuracy. A second copy with beta 0 shows what chance would do: nothing here, where sums have an order.

use super::augmentation::published_augmentation;
use super::columns::Columns;
use super::course::{Course, first_non_finite};
use super::evaluation::test;
use super::experiment::{Experiment, common_settings, split_settings};
use super::journal::Record;
use super::protocol::{at_most, positive, protocol};
use super::registry::Images;
use super::statistics::{Spread, distinct};
use crate::data::{Augmentation, Split};
use crate::dtype::DType;
use crate::engine::{Engine, SgdOptions};
use crate::error::{Error, Result};
use crate::kink::{Composition, Kink, MaxPoolKink};
use crate::net::{Network, NetworkOptions, zoo};
use crate::progress::Progress;
use crate::report::page::{Cell, Figure, Page, Table};
use crate::report::plot::{Chart, Point, Series, chart};
use crate::report::power_label;
use crate::tensor::{Tensor, View};
use crate::train::Optimizer;

protocol! {
    /// What can be chosen of [E5](self).
    pub struct DriftProtocol {
        /// A network of the zoo; `_bn` for batch normalisation
        network: String = "vgg11".into();
        /// Widths of the storage type: 16, 32, 64
        precisions: Vec<DType> = vec![DType::F32];
        /// beta of each copy; the first is what the others are compared with
        betas: Vec<f64> = vec![0.0, 0.0, 1.0, 10.0, 100.0, 1000.0, 10000.0];
        /// How beta is evaluated: coupled (as published), split, exact, forward
        composition: Composition = Composition::Coupled;
        /// Initialisations
        seeds: u64 = 1;
        /// Passes over the training images
        epochs: usize = 2, full: 200;
        /// Measurements in an epoch
        measurements: usize = 1;
        /// Training images to use; none: all
        limit: Option<usize> = Some(2560), full: None;
        /// Test images to use; none: all
        test_limit: Option<usize> = Some(1000), full: None;
        /// Images in a mini-batch
        batch_size: usize = 128;
        /// Learning rate of SGD without momentum
        learning_rate: f64 = 0.01;
        /// Random crops and flips of colour images
        augmentation: bool = true;
    }
}

/// The protocol of [E5](self), and its images.
#[derive(Debug, Clone)]
pub struct Drift {
    /// Images to train on and to test on.
    pub data: Split,
    /// Changes of the training images.
    pub augmentation: Augmentation,
    /// Its name in the zoo.
    pub network: String,
    /// Storage types.
    pub precisions: Vec<DType>,
    /// How beta is evaluated.
    pub composition: Composition,
    /// beta of each copy; the first one is what the others are compared with.
    pub betas: Vec<f64>,
    /// Initialisations.
    pub seeds: Vec<u64>,
    /// Passes over the training images.
    pub epochs: usize,
    /// Measurements in an epoch.
    pub measurements: usize,
    /// Images in a mini-batch.
    pub batch_size: usize,
    /// Of SGD without momentum.
    pub learning_rate: f64,
}

/// All copies from one seed in one storage type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriftUnit {
    precision: DType,
    seed: u64,
}

/// A copy in training.
struct Copy {
    beta: f64,
    network: Network,
    optimizer: Optimizer,
    loss: f64,
    course: Course,
}

impl Copy {
    /// A training step, counted from 1 on.
    fn step(&mut self, x: View, labels: &[i64], number: u64) -> Result<()> {
        self.optimizer.train_step(&mut self.network, x, labels)?;
        self.loss = self.network.loss()?;
        if !self.course.has_cause() {
            self.course.found(&self.network.non_finite()?, number, false);
        }
        Ok(())
    }

    fn weights(&mut self) -> Result<Vec<Tensor>> {
        let names: Vec<String> = self.network.parameters().map(|p| p.name.clone()).collect();
        names.iter().map(|name| self.network.parameter(name)).collect()
    }
}

fn l1_distance(a: &[Tensor], b: &[Tensor]) -> f64 {
    let apart = |(a, b): (&Tensor, &Tensor)| -> f64 {
        a.to_f64().iter().zip(b.to_f64()).map(|(a, b)| (a - b).abs()).sum()
    };
    a.iter().zip(b).map(apart).sum()
}

impl Drift {
    /// With its protocol chosen. Errors: [`Error::InvalidArgument`], [`Error::NotFound`] for an unknown network.
    pub fn create(protocol: DriftProtocol, images: Images) -> Result<Drift> {
        zoo::by_name(&protocol.network, &Default::default())?;
        if protocol.betas.is_empty() {
            return Err(Error::invalid("betas", "at least one", "none"));
        }
        let data = images.split(protocol.limit, protocol.test_limit)?;
        Ok(Drift {
            augmentation: match protocol.augmentation {
                true => published_augmentation(&data.train),
                false => Augmentation::default(),
            },
            data,
            network: protocol.network,
            precisions: protocol.precisions,
            composition: protocol.composition,
            betas: protocol.betas,
            seeds: (0..at_most("seeds", protocol.seeds)?).collect(),
            epochs: positive("epochs", protocol.epochs)?,
            measurements: positive("measurements", protocol.measurements)?,
            batch_size: positive("batch_size", protocol.batch_size)?,
            learning_rate: protocol.learning_rate,
        })
    }

    fn steps(&self) -> usize {
        self.data.train.len().div_ceil(self.batch_size)
    }

    fn copies(&self, engine: &Engine, unit: &DriftUnit) -> Result<Vec<Copy>> {
        let train = &self.data.train;
        let options = zoo::Options { classes: train.classes, input: Some(train.shape), ..Default::default() };
        let graph = zoo::by_name(&self.network, &options)?;
        let copy = |&beta: &f64| {
            let options =
                NetworkOptions { precision: unit.precision.into(), seed: unit.seed, ..Default::default() };
            let mut network = Network::with_options(engine, &graph, &options)?;
            network.set_kink(None, Kink::MaxPool(MaxPoolKink::beta(beta, self.composition)))?;
            network.watch_non_finite()?;
            let sgd = SgdOptions { learning_rate: self.learning_rate, ..Default::default() };
            let optimizer = Optimizer::new(&mut network, sgd)?;
            Ok(Copy { beta, network, optimizer, loss: f64::NAN, course: Course::new(train.classes) })
        };
        self.betas.iter().map(copy).collect()
    }
}

impl Experiment for Drift {
    type Unit = DriftUnit;

    fn name(&self) -> &'static str {
        "drift"
    }

    fn units(&self) -> Vec<DriftUnit> {
        let of_seed =
            |&seed: &u64| self.precisions.iter().map(move |&precision| DriftUnit { precision, seed });
        self.seeds.iter().flat_map(of_seed).collect()
    }

    fn settings(&self, engine: &Engine, unit: &DriftUnit) -> Columns {
        let betas: Vec<String> = self.betas.iter().map(f64::to_string).collect();
        common_settings(self.name(), engine, unit.precision)
            .and(&split_settings(&self.data))
            .with("augmentation", format!("{:?}", self.augmentation))
            .with("network", self.network.as_str())
            .with("precision", u64::from(unit.precision.bits()))
            .with("composition", self.composition.to_string())
            .with("betas", betas.join(" "))
            .with("seed", unit.seed)
            .with("epochs", self.epochs)
            .with("batch_size", self.batch_size)
            .with("learning_rate", self.learning_rate)
    }

    fn measure(&self, engine: &Engine, unit: &DriftUnit, progress: &mut Progress) -> Result<Vec<Columns>> {
        let mut copies = self.copies(engine, unit)?;
        let total = (self.epochs * self.steps()) as u64;
        let interval = self.steps().div_ceil(self.measurements.max(1));
        let (mut rows, mut done) = (Vec::new(), 0);
        for epoch in 1..=self.epochs as u64 {
            let batches = self.data.train.batches(self.batch_size, unit.seed, epoch)?;
            for (step, indices) in batches.enumerate() {
                let (x, labels) = self.data.train.augmented_batch(
                    &indices,
                    unit.precision,
                    &self.augmentation,
                    unit.seed,
                    epoch,
                )?;
                done += 1;
                for copy in &mut copies {
                    copy.step(x.view(), &labels, done)?;
                }
                progress.tell(done, total)?;
                if (step + 1) % interval == 0 || step + 1 == self.steps() {
                    let at = epoch as f64 - 1.0 + (step + 1) as f64 / self.steps() as f64;
                    self.compare(&mut copies, at, &mut rows)?;
                }
            }
        }
        Ok(rows)
    }

    fn page(records: &[Record]) -> Result<Page> {
        page(records)
    }
}

impl Drift {
    /// A row for each copy.
    fn compare(&self, copies: &mut [Copy], epoch: f64, rows: &mut Vec<Columns>) -> Result<()> {
        let reference = copies[0].weights()?;
        for (i, copy) in copies.iter_mut().enumerate() {
            let distance = l1_distance(&copy.weights()?, &reference);
            let (test_loss, accuracy) = test(&mut copy.network, &self.data.test, self.batch_size)?;
            rows.push(
                Columns::new()
                    .with("epoch", epoch)
                    .with("copy", i)
                    .with("beta", copy.beta)
                    .with("l1_distance", distance)
                    .with("train_loss", copy.loss)
                    .with("test_loss", test_loss)
                    .with("test_accuracy", accuracy)
                    .and(&copy.course.cause()),
            );
        }
        Ok(())
    }
}

/// What `name` is over the seeds, for a copy in a storage type at a time.
fn spread(records: &[Record], bits: u32, copy: usize, epoch: f64, name: &str) -> Spread {
    let rows =
        records.iter().filter(|r| r.settings.number("precision") == f64::from(bits)).flat_map(|r| &r.rows);
    let wanted = rows.filter(|row| row.number("copy") == copy as f64 && row.number("epoch") == epoch);
    Spread::of(&wanted.map(|row| row.number(name)).collect::<Vec<_>>())
}

/// Where the first value that was not finite arose in the first seed that has one.
fn cause(records: &[Record], bits: u32, copy: usize) -> String {
    let of_bits = records.iter().filter(|r| r.settings.number("precision") == f64::from(bits));
    let mut rows = of_bits.flat_map(|r| &r.rows).filter(|row| row.number("copy") == copy as f64);
    rows.find_map(first_non_finite).unwrap_or_default()
}

fn page(records: &[Record]) -> Result<Page> {
    let rows = || records.iter().flat_map(|r| &r.rows);
    let epochs = distinct(rows().map(|row| row.number("epoch")));
    let copies = distinct(rows().map(|row| (row.number("copy") as usize, row.number("beta"))));
    let all_bits = distinct(records.iter().map(|r| r.settings.number("precision") as u32));
    let end = epochs.last().copied().unwrap_or(0.0);
    let label = |copy: usize, beta: f64| match (copy, beta) {
        (0, _) => format!("beta {beta}"),
        (_, 0.0) => "beta 0 again".into(),
        _ => format!("beta {}", power_label(beta)),
    };
    let (mut table, mut verdict, mut figures) = (Vec::new(), Vec::new(), Vec::new());
    for &bits in &all_bits {
        for &(copy, beta) in &copies {
            let distance = spread(records, bits, copy, end, "l1_distance");
            let accuracy = spread(records, bits, copy, end, "test_accuracy");
            let cause = cause(records, bits, copy);
            if !cause.is_empty() {
                verdict.push(format!("{bits} bits, {}: not finite from {cause}.", label(copy, beta)));
            }
            let texts = [
                label(copy, beta),
                bits.to_string(),
                format!("{:.4e}", distance.mean),
                format!("{:.3e} to {:.3e}", distance.low, distance.high),
                format!("{:.2}", 100.0 * accuracy.mean),
                accuracy.count.to_string(),
                cause,
            ];
            table.push(texts.map(Cell::from).to_vec());
        }
        let again = copies.iter().filter(|(copy, beta)| *copy > 0 && *beta == 0.0);
        for &(copy, _) in again {
            let distance = spread(records, bits, copy, end, "l1_distance").high;
            verdict.push(format!("{bits} bits: two copies with beta 0 end at a distance of {distance}."));
        }
        let log = |v: f64| if v > 0.0 { v.log10() } else { f64::NAN };
        let series = |name: &str, map: &dyn Fn(f64) -> f64, skip_first: bool| -> Vec<Series> {
            let shown = copies.iter().filter(|(copy, beta)| !skip_first || (*copy > 0 && *beta != 0.0));
            let of = |&(copy, beta): &(usize, f64)| {
                let point = |&x: &f64| {
                    let Spread { mean, low, high, .. } = spread(records, bits, copy, x, name);
                    Point { x, y: map(mean), low: map(low), high: map(high), failed: !map(mean).is_finite() }
                };
                Series { name: label(copy, beta), points: epochs.iter().map(point).collect() }
            };
            shown.map(of).collect()
        };
        let distances = series("l1_distance", &log, true);
        let accuracies = series("test_accuracy", &|v| 100.0 * v, false);
        let finite = || distances.iter().flat_map(|s| &s.points).map(|p| p.y).filter(|y| y.is_finite());
        let (low, high) =
            (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        let (low, high) = if low <= high { (low.floor(), high.ceil() + 0.1) } else { (0.0, 1.0) };
        let draw = |title: String, y_label: &str, y_range, failure: &str, series| {
            chart(&Chart {
                mark: Default::default(),
                title,
                x_label: "epochs".into(),
                y_label: y_label.into(),
                x_ticks: ticks(&epochs),
                y_range,
                reference: None,
                failure: failure.into(),
                series,
            })
        };
        figures.push(Figure {
            drawings: vec![
                draw(
                    format!("{bits} bits: weights"),
                    "log10 of the L1 distance",
                    (low, high),
                    "no distance",
                    distances,
                )?,
                draw(format!("{bits} bits: accuracy"), "test accuracy, %", (0.0, 100.0), "lost", accuracies)?,
            ],
            caption: "Mean over the seeds; whiskers from the lowest to the highest.".into(),
        });
    }
    let head = [
        "copy",
        "bits",
        "L1 distance at the end",
        "lowest to highest",
        "test accuracy, %",
        "seeds",
        "first value that is not finite",
    ];
    Ok(Page {
        title: "Drift of networks that differ in beta alone".into(),
        question: "Networks start from the same weights and see the same mini-batches. How far do their weights drift from \
                   those of the network with beta 0, and does it matter?"
            .into(),
        verdict,
        tables: vec![Table {
            caption: format!("After {end} epochs"),
            head: head.map(String::from).to_vec(),
            rows: table,
        }],
        figures,
        ..Page::default()
    })
}

/// At most ten marks, the last one among them.
fn ticks(epochs: &[f64]) -> Vec<(f64, String)> {
    let step = epochs.len().div_ceil(10).max(1);
    let chosen = epochs.iter().rev().step_by(step).rev();
    chosen.map(|e| (*e, format!("{}", (100.0 * e).round() / 100.0))).collect()
}
