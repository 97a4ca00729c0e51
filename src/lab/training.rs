//! E6: does training depend on beta?
//!
//! A network is trained for each precision, optimizer, beta and seed; the learning rate follows a cosine to 0 over the epochs
//! (R. Boustany, TMLR 2024, section 5). SGD has momentum 0.9 and weight decay 5e-4. As in the published code, all betas have
//! the learning rate that was tuned for beta 0. The published accuracies stand beside ours wherever there are some.

use serde::Deserialize;

use super::augmentation::published_augmentation;
use super::columns::Columns;
use super::course::diverged;
use super::experiment::{Experiment, common_settings, split_settings};
use super::journal::Record;
use super::protocol::{at_most, positive, protocol};
use super::registry::Images;
use super::statistics::{Spread, distinct};
use super::subject::Subject;
use super::trainer::{Protocol, Trainer};
use crate::data::{Augmentation, Split};
use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::Result;
use crate::kink::{Composition, MaxPoolKink};
use crate::net::zoo;
use crate::precision::{Precision, ReductionOrder};
use crate::progress::Progress;
use crate::report::page::{Cell, Figure, Page, Table, Tone};
use crate::report::plot::{Chart, Point, Series, chart};
use crate::report::power_label;
use crate::train::Schedule;

pub use super::trainer::Algorithm;

protocol! {
    /// What can be chosen of [E6](self).
    pub struct TrainingProtocol {
        /// Networks of the zoo; `_bn` for batch normalisation
        networks: Vec<String> = vec!["lenet5".into()];
        /// Arithmetic: 16, 32, 64, mixed
        precisions: Vec<Precision> = vec![DType::F16.into(), DType::F32.into(), Precision::MIXED];
        /// sgd (momentum 0.9, weight decay 5e-4), adam
        optimizers: Vec<Algorithm> = vec![Algorithm::Sgd];
        /// How beta is evaluated: coupled (as published), split, exact, forward
        compositions: Vec<Composition> = vec![Composition::Coupled];
        /// beta of the Jacobian: 0 is native, 1 minimal
        betas: Vec<f64> = vec![0.0, 1.0, 10.0, 100.0, 1000.0, 10000.0];
        /// Runs of each, with other weights and another order of the images
        seeds: u64 = 2;
        /// Passes over the training images; none: as published, 100 of grey images, 200 of colour ones
        epochs: Option<usize> = Some(2), full: None;
        /// Training images to use; none: all
        limit: Option<usize> = None;
        /// Test images to use; none: all
        test_limit: Option<usize> = None;
        /// Images in a mini-batch
        batch_size: usize = 128;
        /// Learning rate at the start; none: the published one of the network, precision and optimizer
        learning_rate: Option<f64> = None;
    }
}

/// The protocol of [E6](self), and its images.
#[derive(Debug, Clone)]
pub struct Training {
    /// Images to train on and to test on.
    pub data: Split,
    /// Changes of the training images.
    pub augmentation: Augmentation,
    /// Names in the zoo, `_bn` for batch normalisation.
    pub networks: Vec<String>,
    /// f16, f32, f64, or mixed.
    pub precisions: Vec<Precision>,
    /// What updates the weights.
    pub optimizers: Vec<Algorithm>,
    /// How beta is evaluated.
    pub compositions: Vec<Composition>,
    /// beta of the Jacobian of max pooling.
    pub betas: Vec<f64>,
    /// Draw initial weights and the order of the images.
    pub seeds: Vec<u64>,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images in a mini-batch.
    pub batch_size: usize,
    /// Learning rate at the start; `None` takes the published one of the network, precision and optimizer.
    pub learning_rate: Option<f64>,
}

/// A training run.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingUnit {
    network: String,
    precision: Precision,
    optimizer: Algorithm,
    composition: Composition,
    beta: f64,
    seed: u64,
}

/// 24 is what the published tables call mixed precision.
pub(super) fn bits(precision: &Precision) -> u32 {
    if precision.is_mixed() { 24 } else { precision.storage.bits() }
}

/// A line of the published results.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Published {
    /// mnist, cifar10, svhn or imagenet.
    pub dataset: String,
    /// As in the zoo.
    pub network: String,
    /// sgd or adam.
    pub optimizer: String,
    /// 16, 32, or 24 for mixed precision.
    pub bits: u32,
    /// beta of the Jacobian.
    pub beta: f64,
    /// Tuned for beta 0.
    pub learning_rate: f64,
    /// Passes over the training images.
    pub epochs: u64,
    /// Seeds.
    pub runs: u64,
    /// Mean over the runs at the end, 0 to 1.
    pub test_accuracy: f64,
    /// Share of the runs that diverged, 0 to 1.
    pub diverged: f64,
}

/// All published results of training: the stored ones of the official code.
pub fn published() -> Vec<Published> {
    let text = include_str!("published.csv");
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(|row| row.expect("a row of ours")).collect()
}

/// Those of beta 0, for which the learning rates were tuned, by precision.
pub(super) fn tuned(network: &str, optimizer: &str) -> Vec<Published> {
    let same = |p: &Published| p.network == network && p.optimizer == optimizer && p.beta == 0.0;
    published().into_iter().filter(same).collect()
}

/// The published learning rate, else one that trains: 0.01 for SGD, 0.001 for Adam.
pub(super) fn published_learning_rate(network: &str, optimizer: Algorithm, precision: &Precision) -> f64 {
    let rows = tuned(network, &optimizer.to_string());
    let exact = rows.iter().find(|p| p.bits == bits(precision));
    exact.or(rows.first()).map_or(
        match optimizer {
            Algorithm::Sgd => 0.01,
            Algorithm::Adam => 0.001,
        },
        |p| p.learning_rate,
    )
}

impl Training {
    /// With its protocol chosen. Errors: [`crate::Error::InvalidArgument`], [`crate::Error::NotFound`] for an unknown network.
    pub fn create(protocol: TrainingProtocol, images: Images) -> Result<Training> {
        for network in &protocol.networks {
            zoo::by_name(network, &Default::default())?;
        }
        let data = images.split(protocol.limit, protocol.test_limit)?;
        let published = if data.train.shape[0] == 1 { 100 } else { 200 };
        Ok(Training {
            augmentation: published_augmentation(&data.train),
            data,
            networks: protocol.networks,
            precisions: protocol.precisions,
            optimizers: protocol.optimizers,
            compositions: protocol.compositions,
            betas: protocol.betas,
            seeds: (0..at_most("seeds", protocol.seeds)?).collect(),
            epochs: positive("epochs", protocol.epochs.unwrap_or(published))?,
            batch_size: positive("batch_size", protocol.batch_size)?,
            learning_rate: protocol.learning_rate,
        })
    }

    fn learning_rate_of(&self, unit: &TrainingUnit) -> f64 {
        let published = || published_learning_rate(&unit.network, unit.optimizer, &unit.precision);
        self.learning_rate.unwrap_or_else(published)
    }
}

impl Experiment for Training {
    type Unit = TrainingUnit;

    fn name(&self) -> &'static str {
        "training"
    }

    /// Seed by seed, so that an interrupted grid is complete for the first seeds.
    fn units(&self) -> Vec<TrainingUnit> {
        let mut units = Vec::new();
        for &seed in &self.seeds {
            for network in &self.networks {
                for &optimizer in &self.optimizers {
                    for &precision in &self.precisions {
                        for &composition in &self.compositions {
                            let unit = |&beta: &f64| TrainingUnit {
                                network: network.clone(),
                                precision,
                                optimizer,
                                composition,
                                beta,
                                seed,
                            };
                            units.extend(self.betas.iter().map(unit));
                        }
                    }
                }
            }
        }
        units
    }

    fn settings(&self, engine: &Engine, unit: &TrainingUnit) -> Columns {
        common_settings(self.name(), engine, unit.precision.storage)
            .and(&split_settings(&self.data))
            .with("augmentation", format!("{:?}", self.augmentation))
            .with("network", unit.network.as_str())
            .with("precision", unit.precision.to_string())
            .with("bits", u64::from(bits(&unit.precision)))
            .with("optimizer", unit.optimizer.to_string())
            .with("composition", unit.composition.to_string())
            .with("beta", unit.beta)
            .with("seed", unit.seed)
            .with("epochs", self.epochs)
            .with("batch_size", self.batch_size)
            .with("learning_rate", self.learning_rate_of(unit))
    }

    fn measure(&self, engine: &Engine, unit: &TrainingUnit, progress: &mut Progress) -> Result<Vec<Columns>> {
        let subject = Subject::of_zoo(&unit.network, &self.data.train)?;
        let protocol = Protocol {
            data: &self.data,
            augmentation: &self.augmentation,
            subject: &subject,
            precision: unit.precision,
            optimizer: unit.optimizer,
            kink: MaxPoolKink::beta(unit.beta, unit.composition),
            seed: unit.seed,
            data_seed: unit.seed,
            order: ReductionOrder::Fixed,
            batch_size: self.batch_size,
        };
        let schedule = Schedule::Cosine { t_max: self.epochs as u64, eta_min: 0.0 };
        let rate = |epoch| schedule.learning_rate(self.learning_rate_of(unit), epoch);
        Trainer::new(engine, protocol)?.run(self.epochs as u64, rate, progress)
    }

    fn page(records: &[Record]) -> Result<Page> {
        page(records)
    }
}

/// The runs of all seeds with the same other settings.
struct Group {
    network: String,
    optimizer: String,
    bits: u32,
    composition: String,
    beta: f64,
    accuracy: Spread,
    diverged: usize,
    /// Why the first of those that diverged did; empty where none did.
    cause: String,
    published: Option<Published>,
}

impl Group {
    fn of(records: &[&Record]) -> Group {
        let s = &records[0].settings;
        let last = || records.iter().filter_map(|r| r.rows.last());
        let accuracies: Vec<f64> = last().map(|row| 100.0 * row.number("test_accuracy")).collect();
        let (diverged, cause) = diverged(last());
        let (network, optimizer, beta) = (s.text("network"), s.text("optimizer"), s.number("beta"));
        let (bits, composition) = (s.number("bits") as u32, s.text("composition"));
        // "svhn (extra)" is what was trained on.
        let dataset = s.text("dataset").replace(" (extra)", "").to_lowercase().replace('-', "");
        let same = |p: &Published| {
            p.network == network
                && p.optimizer == optimizer
                && p.bits == bits
                && p.beta == beta
                && dataset == p.dataset
        };
        Group {
            published: published().into_iter().find(same).filter(|_| composition == "coupled"),
            network,
            optimizer,
            bits,
            composition,
            beta,
            accuracy: Spread::of(&accuracies),
            diverged,
            cause,
        }
    }

    /// The published runs diverged, or did not, as more than half of ours.
    fn agrees(&self) -> Option<bool> {
        let published = self.published.as_ref()?;
        Some((published.diverged > 0.5) == (2 * self.diverged > self.accuracy.count))
    }

    fn precision(&self) -> String {
        if self.bits == 24 { "mixed".into() } else { self.bits.to_string() }
    }
}

fn page(records: &[Record]) -> Result<Page> {
    let key = |r: &Record| {
        let s = &r.settings;
        (["network", "optimizer", "bits", "composition"].map(|name| s.text(name)), s.number("beta").to_bits())
    };
    let group =
        |of: ([String; 4], u64)| Group::of(&records.iter().filter(|r| key(r) == of).collect::<Vec<_>>());
    // The records of shards do not come in the order of the experiment.
    let names = distinct(records.iter().map(|r| key(r).0));
    let place = |name: &[String; 4]| names.iter().position(|n| n == name);
    let mut keys = distinct(records.iter().map(key));
    keys.sort_by(|a, b| {
        let beta = |bits: u64| f64::from_bits(bits);
        place(&a.0).cmp(&place(&b.0)).then(beta(a.1).total_cmp(&beta(b.1)))
    });
    let groups: Vec<Group> = keys.into_iter().map(group).collect();
    let row = |g: &Group| {
        let percent = |p: &Published| format!("{:.2}", 100.0 * p.test_accuracy);
        let Spread { low, high, count, .. } = g.accuracy;
        let detail = match (g.diverged, count) {
            (0, 1) => "1 seed".into(),
            (0, _) => format!("{low:.2} to {high:.2}, {count} seeds"),
            (n, _) => format!("{n} of {count} diverged"),
        };
        let accuracy = Cell {
            text: format!("{:.2}", g.accuracy.mean),
            detail,
            tone: if g.diverged > 0 { Tone::Bad } else { Tone::Plain },
        };
        let theirs = g.published.as_ref().map_or(Cell::default(), |p| Cell {
            text: percent(p),
            detail: if p.diverged > 0.0 {
                format!("{:.0} % diverged", 100.0 * p.diverged)
            } else {
                String::new()
            },
            tone: Tone::Plain,
        });
        let agrees = g.agrees().map_or("", |agrees| if agrees { "yes" } else { "no" });
        vec![
            Cell::from(g.network.clone()),
            Cell::from(g.precision()),
            Cell::from(g.optimizer.clone()),
            Cell::from(g.composition.clone()),
            Cell::from(power_label(g.beta)),
            accuracy,
            theirs,
            Cell::from(agrees.to_string()),
            Cell::from(g.cause.clone()),
        ]
    };
    let head = [
        "network",
        "bits",
        "optimizer",
        "composition",
        "beta",
        "test accuracy, %",
        "published, %",
        "both diverge, or neither",
        "why the first of the diverged runs did",
    ];
    let compared = groups.iter().filter_map(Group::agrees).count();
    let agreeing = groups.iter().filter(|g| g.agrees() == Some(true)).count();
    let mut verdict = Vec::new();
    if compared > 0 {
        verdict.push(format!(
            "In {agreeing} of {compared} cells that were published, ours diverge where those did."
        ));
    }
    let both: Vec<(&Group, f64)> = groups
        .iter()
        .filter(|g| g.agrees() == Some(true) && g.diverged == 0)
        .filter_map(|g| Some((g, 100.0 * g.published.as_ref()?.test_accuracy)))
        .collect();
    if !both.is_empty() {
        let near = both.iter().filter(|(g, published)| (g.accuracy.mean - published).abs() <= 0.5).count();
        verdict.push(format!(
            "In {near} of the {} cells in which neither diverged the accuracies are within 0.5 points.",
            both.len()
        ));
    }
    let lines = |g: &Group| [g.network.clone(), g.optimizer.clone(), g.composition.clone()];
    let mut betas = distinct(groups.iter().map(|g| g.beta));
    betas.sort_by(f64::total_cmp);
    let mut drawings = Vec::new();
    for line in distinct(groups.iter().map(lines)) {
        let here: Vec<&Group> = groups.iter().filter(|g| lines(g) == line).collect();
        let series = distinct(here.iter().map(|g| g.precision())).into_iter().map(|precision| {
            let points = here.iter().filter(|g| g.precision() == precision).map(|g| Point {
                x: betas.iter().position(|b| *b == g.beta).expect("one of them") as f64,
                y: g.accuracy.mean,
                low: g.accuracy.low,
                high: g.accuracy.high,
                failed: g.diverged > 0,
            });
            let name = if precision == "mixed" { precision.clone() } else { format!("{precision} bits") };
            Series { name, points: points.collect() }
        });
        drawings.push(chart(&Chart {
            mark: Default::default(),
            title: line.join(", "),
            x_label: "beta".into(),
            y_label: "test accuracy, %".into(),
            x_ticks: betas.iter().enumerate().map(|(i, b)| (i as f64, power_label(*b))).collect(),
            y_range: (0.0, 100.0),
            reference: None,
            failure: "a run diverged".into(),
            series: series.collect(),
        })?);
    }
    let first = &records[0].settings;
    Ok(Page {
        title: format!("Training under different Jacobians of max pooling, {}", first.text("dataset")),
        question: "Does the accuracy of a trained network depend on what the backward pass computes where windows tie?".into(),
        verdict,
        tables: vec![Table {
            caption: format!("After {} epochs of {} images", first.text("epochs"), first.text("images")),
            head: head.map(String::from).to_vec(),
            rows: groups.iter().map(row).collect(),
        }],
        figures: vec![Figure {
            drawings,
            caption: "Mean over the seeds; whiskers from the lowest to the highest.".into(),
        }],
        definitions: vec![
            ("diverged".into(), "a loss was not finite; or at the end the accuracy is below twice that of guessing, after the \
                training loss had risen by more than 5 % above its lowest. A loss does not count where the loss scaler skips its step".into()),
            ("accuracy of the diverged".into(), "an image with a NaN among its logits counts as wrong; in the published code it \
                counts as class 0, hence 9.80 %".into()),
            ("published".into(), "the stored results of the official code, at its number of epochs".into()),
        ],
        ..Page::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_table_is_whole() {
        let rows = published();
        assert_eq!(rows.len(), 144);
        let lenet = rows.iter().find(|p| p.network == "lenet5" && p.bits == 16 && p.beta == 1e3).unwrap();
        assert_eq!((lenet.learning_rate, lenet.diverged, lenet.test_accuracy), (0.0232649, 1.0, 0.098));
        assert!(rows.iter().all(|p| (0.0..=1.0).contains(&p.test_accuracy) && p.runs > 0));
        // Every network but that of ImageNet is in the zoo under its name.
        assert!(rows.iter().all(|p| zoo::by_name(&p.network, &Default::default()).is_ok()));
    }
}
