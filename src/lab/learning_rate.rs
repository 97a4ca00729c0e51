//! The learning rates of E6: a search by trials, of which the hopeless are stopped early.
//!
//! A trial draws its learning rate, uniformly in the logarithm, and trains with it at the native Jacobian, under a cosine
//! to 0; the best test accuracy of its epochs counts (R. Boustany, TMLR 2024, section 5: 10 trials between 1e-5 and 1e-1, 10
//! epochs). A trial stops after an epoch by which its best accuracy is below the median of what the trials before it had by
//! then, once there are [`LearningRate::STARTUP`] of them (the median rule of Golovin et al., Google Vizier, KDD 2017); one
//! whose loss is not finite stops at once.

use rand_philox::philox4x32_10;

use super::augmentation::published_augmentation;
use super::columns::Columns;
use super::experiment::{Experiment, common_settings, split_settings};
use super::journal::Record;
use super::protocol::{at_most, positive, protocol};
use super::registry::Images;
use super::statistics::distinct;
use super::subject::Subject;
use super::trainer::{Algorithm, Protocol, Trainer};
use super::training::{bits, tuned};
use crate::data::{Augmentation, Split};
use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::kink::MaxPoolKink;
use crate::net::zoo;
use crate::precision::{Precision, ReductionOrder};
use crate::progress::Progress;
use crate::report::page::{Cell, Figure, Page, Table};
use crate::report::plot::{Chart, Mark, Point, Series, chart};
use crate::report::power_of_ten;
use crate::train::Schedule;

protocol! {
    /// What can be chosen of the [search](self).
    pub struct LearningRateProtocol {
        /// Networks of the zoo; `_bn` for batch normalisation
        networks: Vec<String> = vec!["lenet5".into()];
        /// Arithmetic: 16, 32, 64, mixed
        precisions: Vec<Precision> = vec![DType::F16.into(), DType::F32.into(), Precision::MIXED];
        /// sgd (momentum 0.9, weight decay 5e-4), adam
        optimizers: Vec<Algorithm> = vec![Algorithm::Sgd];
        /// Searches of each, with other learning rates, weights and another order of the images
        seeds: u64 = 1;
        /// Learning rates of a search
        trials: usize = 10;
        /// Passes over the training images of a trial, at most
        epochs: usize = 3, full: 10;
        /// Training images to use; none: all
        limit: Option<usize> = Some(12_800), full: None;
        /// Test images to use; none: all
        test_limit: Option<usize> = Some(2000), full: None;
        /// Images in a mini-batch
        batch_size: usize = 128;
        /// Least learning rate
        lowest: f64 = 1e-5;
        /// Largest learning rate
        highest: f64 = 1e-1;
    }
}

/// The protocol of the [search](self), and its images.
#[derive(Debug, Clone)]
pub struct LearningRate {
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
    /// Draw learning rates, initial weights and the order of the images.
    pub seeds: Vec<u64>,
    /// Learning rates of a search.
    pub trials: usize,
    /// Passes over the training images of a trial, at most.
    pub epochs: usize,
    /// Images in a mini-batch.
    pub batch_size: usize,
    /// Least and largest learning rate.
    pub range: [f64; 2],
}

/// A search.
#[derive(Debug, Clone, PartialEq)]
pub struct LearningRateUnit {
    network: String,
    precision: Precision,
    optimizer: Algorithm,
    seed: u64,
}

impl LearningRate {
    /// Trials before any is stopped.
    pub const STARTUP: usize = 3;

    /// With its protocol chosen. Errors: [`Error::InvalidArgument`], [`Error::NotFound`] for an unknown network.
    pub fn create(protocol: LearningRateProtocol, images: Images) -> Result<LearningRate> {
        for network in &protocol.networks {
            zoo::by_name(network, &Default::default())?;
        }
        let LearningRateProtocol { lowest, highest, .. } = protocol;
        if !(lowest > 0.0 && highest.is_finite()) {
            return Err(Error::invalid("lowest", "above 0", lowest));
        }
        if highest.is_nan() || highest <= lowest {
            return Err(Error::invalid("highest", format!("above {lowest}"), highest));
        }
        let data = images.split(protocol.limit, protocol.test_limit)?;
        Ok(LearningRate {
            augmentation: published_augmentation(&data.train),
            data,
            networks: protocol.networks,
            precisions: protocol.precisions,
            optimizers: protocol.optimizers,
            seeds: (0..at_most("seeds", protocol.seeds)?).collect(),
            trials: positive("trials", protocol.trials)?,
            epochs: positive("epochs", protocol.epochs)?,
            batch_size: positive("batch_size", protocol.batch_size)?,
            range: [lowest, highest],
        })
    }

    /// The learning rate of a trial: a function of seed and number.
    fn draw(&self, seed: u64, trial: usize) -> f64 {
        let key = [seed as u32, (seed >> 32) as u32];
        // The fourth word keeps these draws apart from those of other users of the same seed.
        let words = philox4x32_10([trial as u32, 0, 0, 0x6c72_6174], key);
        let unit = (f64::from(words[0]) + 0.5) / 2f64.powi(32);
        let [low, high] = self.range.map(libm::log);
        libm::exp(low + unit * (high - low))
    }
}

impl Experiment for LearningRate {
    type Unit = LearningRateUnit;

    fn name(&self) -> &'static str {
        "learning_rate"
    }

    fn units(&self) -> Vec<LearningRateUnit> {
        let mut units = Vec::new();
        for &seed in &self.seeds {
            for network in &self.networks {
                for &optimizer in &self.optimizers {
                    let unit = |&precision| LearningRateUnit {
                        network: network.clone(),
                        precision,
                        optimizer,
                        seed,
                    };
                    units.extend(self.precisions.iter().map(unit));
                }
            }
        }
        units
    }

    fn settings(&self, engine: &Engine, unit: &LearningRateUnit) -> Columns {
        common_settings(self.name(), engine, unit.precision.storage)
            .and(&split_settings(&self.data))
            .with("augmentation", format!("{:?}", self.augmentation))
            .with("network", unit.network.as_str())
            .with("precision", unit.precision.to_string())
            .with("bits", u64::from(bits(&unit.precision)))
            .with("optimizer", unit.optimizer.to_string())
            .with("seed", unit.seed)
            .with("trials", self.trials)
            .with("epochs", self.epochs)
            .with("batch_size", self.batch_size)
            .with("lowest", self.range[0])
            .with("highest", self.range[1])
    }

    fn measure(
        &self,
        engine: &Engine,
        unit: &LearningRateUnit,
        progress: &mut Progress,
    ) -> Result<Vec<Columns>> {
        let subject = Subject::of_zoo(&unit.network, &self.data.train)?;
        let protocol = Protocol {
            data: &self.data,
            augmentation: &self.augmentation,
            subject: &subject,
            precision: unit.precision,
            optimizer: unit.optimizer,
            kink: MaxPoolKink::default(),
            seed: unit.seed,
            data_seed: unit.seed,
            order: ReductionOrder::Fixed,
            batch_size: self.batch_size,
        };
        let schedule = Schedule::Cosine { t_max: self.epochs as u64, eta_min: 0.0 };
        let (mut rows, mut history): (Vec<Columns>, Vec<Vec<f64>>) = (Vec::new(), Vec::new());
        for trial in 0..self.trials {
            let mut trainer = Trainer::new(engine, protocol)?;
            let steps = trainer.steps();
            let total = (self.trials * self.epochs) as u64 * steps;
            let learning_rate = self.draw(unit.seed, trial);
            let mut best: Vec<f64> = Vec::new();
            for epoch in 1..=self.epochs as u64 {
                let mut done = (trial * self.epochs) as u64 * steps + (epoch - 1) * steps;
                let row =
                    trainer.epoch(epoch, schedule.learning_rate(learning_rate, epoch - 1), &mut || {
                        done += 1;
                        progress.tell(done, total)
                    })?;
                let accuracy = row.number("test_accuracy");
                best.push(best.last().map_or(accuracy, |b| b.max(accuracy)));
                let stopped = trainer.ended() || hopeless(&best, &history);
                rows.push(
                    Columns::new()
                        .with("trial", trial)
                        .with("learning_rate", learning_rate)
                        .with("best_accuracy", best[best.len() - 1])
                        .with("stopped", stopped)
                        .and(&row),
                );
                if stopped {
                    break;
                }
            }
            history.push(best);
        }
        Ok(rows)
    }

    fn page(records: &[Record]) -> Result<Page> {
        page(records)
    }
}

/// Whether a trial's best accuracy by its last epoch is below the median of what the trials before it had by then.
fn hopeless(best: &[f64], before: &[Vec<f64>]) -> bool {
    let epoch = best.len() - 1;
    let mut others: Vec<f64> = before.iter().filter_map(|b| b.get(epoch)).copied().collect();
    if before.len() < LearningRate::STARTUP || others.is_empty() {
        return false;
    }
    others.sort_by(f64::total_cmp);
    let middle = others.len() / 2;
    let median = match others.len() % 2 {
        0 => (others[middle - 1] + others[middle]) / 2.0,
        _ => others[middle],
    };
    best[epoch] < median
}

/// A trial's learning rate and what it came to.
struct Trial {
    learning_rate: f64,
    /// In percent.
    best: f64,
    stopped: bool,
}

fn trials(record: &Record) -> Vec<Trial> {
    let of = |number: f64| {
        let rows = || record.rows.iter().filter(move |row| row.number("trial") == number);
        let last = rows().next_back().expect("a row for each trial");
        Trial {
            learning_rate: last.number("learning_rate"),
            best: 100.0 * last.number("best_accuracy"),
            stopped: last.number("stopped") == 1.0,
        }
    };
    distinct(record.rows.iter().map(|row| row.number("trial"))).into_iter().map(of).collect()
}

fn page(records: &[Record]) -> Result<Page> {
    let (mut rows, mut verdict, mut drawings) = (Vec::new(), Vec::new(), Vec::new());
    for record in records {
        let s = &record.settings;
        let mut trials = trials(record);
        let Some(best) = trials.iter().max_by(|a, b| a.best.total_cmp(&b.best)) else { continue };
        let [network, precision, optimizer] = ["network", "precision", "optimizer"].map(|name| s.text(name));
        let rates = tuned(&network, &optimizer);
        let published = rates.iter().find(|p| f64::from(p.bits) == s.number("bits"));
        let name = format!("{network}, {precision}, {optimizer}, seed {}", s.text("seed"));
        let stopped = trials.iter().filter(|t| t.stopped).count();
        verdict.push(format!("{name}: {:.3e} gives {:.2} %.", best.learning_rate, best.best));
        rows.push(
            [
                name.clone(),
                format!("{:.3e}", best.learning_rate),
                format!("{:.2}", best.best),
                published.map_or("-".into(), |p| format!("{:.3e}", p.learning_rate)),
                format!("{stopped} of {}", trials.len()),
                format!("{} of {}", record.rows.len(), trials.len() * s.number("epochs") as usize),
            ]
            .map(Cell::from)
            .to_vec(),
        );
        trials.sort_by(|a, b| a.learning_rate.total_cmp(&b.learning_rate));
        let point = |t: &Trial| Point {
            x: t.learning_rate.log10(),
            y: t.best,
            low: t.best,
            high: t.best,
            failed: t.stopped,
        };
        let [low, high] = ["lowest", "highest"].map(|name| s.number(name).log10());
        let ticks = (low.ceil() as i32..=high.floor() as i32).map(|i| (f64::from(i), power_of_ten(i)));
        drawings.push(chart(&Chart {
            mark: Mark::Lines,
            title: name,
            x_label: "learning rate at the start".into(),
            y_label: "best test accuracy, %".into(),
            x_ticks: ticks.collect(),
            y_range: (0.0, 100.0),
            reference: None,
            failure: "stopped early".into(),
            series: vec![Series { name: "a trial".into(), points: trials.iter().map(point).collect() }],
        })?);
    }
    let head = [
        "search",
        "best learning rate",
        "test accuracy, %",
        "published rate",
        "trials stopped early",
        "epochs trained",
    ];
    Ok(Page {
        title: "Learning rates".into(),
        question: "With which learning rate does a network train best, at the native Jacobian?".into(),
        verdict,
        tables: vec![Table {
            caption: "The best trial of each search".into(),
            head: head.map(String::from).to_vec(),
            rows,
        }],
        figures: vec![Figure { drawings, caption: "One marker for each trial.".into() }],
        definitions: vec![
            (
                "test accuracy".into(),
                "the best of the trial's epochs, on the test images, as in the published search: it is \
                an optimistic estimate"
                    .into(),
            ),
            (
                "stopped early".into(),
                "a loss was not finite, or the best accuracy so far was below the median of the trials \
                before"
                    .into(),
            ),
        ],
        ..Page::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::synthetic;

    fn search() -> LearningRate {
        LearningRate {
            data: synthetic::embedded(256, 100),
            augmentation: Augmentation::default(),
            networks: vec!["lenet5".into()],
            precisions: vec!["32".parse().unwrap()],
            optimizers: vec![Algorithm::Sgd],
            seeds: vec![0],
            trials: 6,
            epochs: 2,
            batch_size: 32,
            range: [1e-5, 10.0],
        }
    }

    #[test]
    fn rates_are_spread_over_the_range_and_drawn_from_the_seed() {
        let search = search();
        let rates: Vec<f64> = (0..1000).map(|trial| search.draw(3, trial)).collect();
        assert!(rates.iter().all(|r| (1e-5..=10.0).contains(r)));
        let below = rates.iter().filter(|r| **r < 1e-2).count();
        assert!((450..550).contains(&below), "half of them below the middle of the logarithms: {below}");
        assert_eq!(rates[7], search.draw(3, 7));
        assert_ne!(rates[7], search.draw(4, 7));
    }

    #[test]
    fn the_hopeless_are_below_the_median() {
        let before = [vec![0.1, 0.2], vec![0.3], vec![0.5, 0.9], vec![0.7, 0.8]];
        assert!(hopeless(&[0.39], &before) && !hopeless(&[0.4], &before));
        assert!(hopeless(&[0.4, 0.79], &before) && !hopeless(&[0.4, 0.8], &before));
        assert!(!hopeless(&[0.0], &before[..2]), "too few to compare with");
        assert!(!hopeless(&[0.0, 0.0, 0.0], &before), "none came so far");
    }

    #[test]
    fn a_search_stops_what_diverges_and_tells_the_best() {
        let (engine, search) = (Engine::cpu(), search());
        let rows = search.measure(&engine, &search.units()[0], &mut Progress::silent()).unwrap();
        let record = Record { settings: search.settings(&engine, &search.units()[0]), rows, seconds: 0.0 };
        let trials = trials(&record);
        assert_eq!(trials.len(), 6);
        assert!(trials.iter().any(|t| t.stopped) && record.rows.len() < 12, "a rate near 10 ends it");
        let best = trials.iter().map(|t| t.best).fold(0.0, f64::max);
        let page = page(&[record]).unwrap();
        assert!(page.verdict[0].contains(&format!("{best:.2} %")), "{:?}", page.verdict);
    }
}
