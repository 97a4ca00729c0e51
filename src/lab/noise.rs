//! E13: is the effect of a Jacobian larger than noise?
//!
//! The floor: two gradients with the native Jacobian on the same mini-batch, whose sums are formed in two seeded orders, differ by
//! noise alone. Its quantiles are thresholds tau, with bootstrap intervals. The variance: short training runs over a full
//! grid of initialisations, orders of the images, orders of sums and Jacobians; how much of the variance of what comes out is
//! due to each, and is the effect of beta, paired run by run, larger than 0?

use super::columns::Columns;
use super::distance::{self, Order, Pair};
use super::experiment::Experiment;
use super::journal::Record;
use super::protocol::{at_most, protocol};
use super::registry::Images;
use super::setup::{Run, Setup, chosen};
use super::statistics::{bootstrap, distinct, mean, quantile};
use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::Result;
use crate::kink::{Composition, Kink, MaxPoolJacobian, MaxPoolKink};
use crate::precision::{Precision, ReductionOrder};
use crate::progress::Progress;
use crate::report::page::{Cell, Figure, Page, Table};
use crate::report::plot::{Chart, Mark, Point, Series, chart};
use crate::report::power_label;

protocol! {
    /// What can be chosen of [E13](self).
    pub struct NoiseProtocol {
        /// A network of the zoo, or a file *.json that describes one
        network: String = "lenet5".into();
        /// A safetensors file with the weights to start from; none: drawn from the seed
        weights: Option<String> = None;
        /// Arithmetic: 16, 32, 64
        precisions: Vec<Precision> = vec![DType::F16.into(), DType::F32.into()];
        /// Initialisations
        seeds: u64 = 3;
        /// Orders of the images
        data_seeds: u64 = 3;
        /// Orders of the sums
        order_seeds: u64 = 2;
        /// beta of the Jacobian
        betas: Vec<f64> = vec![0.0, 1.0, 10.0, 100.0];
        /// How beta is evaluated: coupled (as published), split, exact, forward
        composition: Composition = Composition::Coupled;
        /// Mini-batches of the floor, from each initialisation
        mini_batches: usize = 20, full: 100;
        /// Passes over the training images; 0: the floor alone
        epochs: usize = 1, full: 10;
        /// Training images to use; none: all
        limit: Option<usize> = Some(12800), full: None;
        /// Test images to use; none: all
        test_limit: Option<usize> = None;
        /// Images in a mini-batch
        batch_size: usize = 128;
        /// Learning rate of SGD (momentum 0.9, weight decay 5e-4) at the start of a cosine to 0; none: the published one
        learning_rate: Option<f64> = None;
    }
}

/// The protocol of [E13](self), its network and its images.
#[derive(Debug, Clone)]
pub struct Noise {
    setup: Setup,
    protocol: NoiseProtocol,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq)]
pub enum NoiseUnit {
    /// Distances of gradients in seeded orders.
    Floor {
        /// Arithmetic.
        precision: Precision,
        /// Of the weights.
        seed: u64,
    },
    /// A training run: a cell of the grid.
    Run {
        /// Arithmetic.
        precision: Precision,
        /// Of the weights.
        seed: u64,
        /// Of the order of the images.
        data_seed: u64,
        /// Of the order of the sums.
        order_seed: u64,
        /// Of the Jacobian.
        beta: f64,
    },
}

impl Noise {
    /// With its protocol chosen, on drawn digits where there are no images. Errors: [`crate::Error::InvalidArgument`]; those of
    /// a network that is not known, or does not fit the images.
    pub fn create(protocol: NoiseProtocol, images: Images) -> Result<Noise> {
        for (name, seeds) in [
            ("seeds", protocol.seeds),
            ("data_seeds", protocol.data_seeds),
            ("order_seeds", protocol.order_seeds),
        ] {
            at_most(name, seeds)?;
        }
        for &beta in &protocol.betas {
            MaxPoolKink::beta(beta, protocol.composition).validate()?;
        }
        let setup = Setup::new(chosen!(protocol), images)?;
        Ok(Noise { setup, protocol })
    }

    /// Native against native in two orders, and native against minimal in the same two.
    fn floor(
        &self,
        engine: &Engine,
        precision: Precision,
        seed: u64,
        progress: &mut Progress,
    ) -> Result<Vec<Columns>> {
        let mut network = self.setup.subject.network(engine, precision, seed)?;
        let native = Kink::MaxPool(MaxPoolKink::default());
        let minimal = Kink::MaxPool(MaxPoolKink { jacobian: MaxPoolJacobian::Minimal, ..Default::default() });
        let mut measure = |part, second| {
            let pair = Pair { seed, order: Order::Seeded, kinks: [native, second] };
            let data = &self.setup.data.train;
            progress.part([part, 2], |progress| {
                distance::measure(&mut network, &pair, data, self.setup.limits, progress)
            })
        };
        let (noise, choice) = (measure(0, native)?, measure(1, minimal)?);
        let row = |(noise, choice): (Columns, Columns)| {
            Columns::new()
                .with("mini_batch", noise.number("mini_batch") as u64)
                .with("noise_l1", noise.number("d_l1"))
                .with("noise_linf", noise.number("d_linf"))
                .with("choice_l1", choice.number("d_l1"))
                .with("choice_linf", choice.number("d_linf"))
        };
        Ok(noise.into_iter().zip(choice).map(row).collect())
    }
}

impl Experiment for Noise {
    type Unit = NoiseUnit;

    fn name(&self) -> &'static str {
        "noise"
    }

    fn units(&self) -> Vec<NoiseUnit> {
        let p = &self.protocol;
        let mut units = Vec::new();
        for &precision in &p.precisions {
            units.extend((0..p.seeds).map(|seed| NoiseUnit::Floor { precision, seed }));
            if p.epochs == 0 {
                continue;
            }
            for seed in 0..p.seeds {
                for data_seed in 0..p.data_seeds {
                    for order_seed in 0..p.order_seeds {
                        let unit =
                            |&beta: &f64| NoiseUnit::Run { precision, seed, data_seed, order_seed, beta };
                        units.extend(p.betas.iter().map(unit));
                    }
                }
            }
        }
        units
    }

    fn settings(&self, engine: &Engine, unit: &NoiseUnit) -> Columns {
        let (NoiseUnit::Floor { precision, seed } | NoiseUnit::Run { precision, seed, .. }) = unit;
        let settings = self
            .setup
            .settings(self.name(), engine, precision.storage)
            .with("precision", precision.to_string())
            .with("seed", *seed);
        match unit {
            NoiseUnit::Floor { .. } => {
                settings.with("part", "floor").with("mini_batches", self.setup.limits.1)
            }
            NoiseUnit::Run { data_seed, order_seed, beta, .. } => settings
                .with("part", "run")
                .with("data_seed", *data_seed)
                .with("order_seed", *order_seed)
                .with("beta", *beta)
                .with("composition", self.protocol.composition.to_string())
                .with("learning_rate", self.setup.learning_rate(precision)),
        }
    }

    fn measure(&self, engine: &Engine, unit: &NoiseUnit, progress: &mut Progress) -> Result<Vec<Columns>> {
        let run = match *unit {
            NoiseUnit::Floor { precision, seed } => return self.floor(engine, precision, seed, progress),
            NoiseUnit::Run { precision, seed, data_seed, order_seed, beta } => Run {
                precision,
                kink: MaxPoolKink::beta(beta, self.protocol.composition),
                seed,
                data_seed,
                order: ReductionOrder::Seeded(order_seed),
            },
        };
        self.setup.train(engine, run, progress)
    }

    fn page(records: &[Record]) -> Result<Page> {
        page(records)
    }
}

/// Factors of the grid, as their columns are called, and in words.
const FACTORS: [(&str, &str); 4] = [
    ("seed", "initialisation"),
    ("data_seed", "order of the images"),
    ("order_seed", "order of the sums"),
    ("beta", "Jacobian"),
];

/// A run of the grid.
struct Measured {
    /// Level of each factor.
    levels: [u64; 4],
    accuracy: f64,
}

/// Shares of the variance, in percent, of each factor's main effect, and of what is left: interactions.
fn decompose(runs: &[([u64; 4], f64)]) -> [f64; 5] {
    let all = mean(&runs.iter().map(|r| r.1).collect::<Vec<_>>());
    let total: f64 = runs.iter().map(|r| (r.1 - all) * (r.1 - all)).sum();
    let mut shares = [0.0; 5];
    for (factor, share) in shares[..4].iter_mut().enumerate() {
        for level in distinct(runs.iter().map(|r| r.0[factor])) {
            let own: Vec<f64> = runs.iter().filter(|r| r.0[factor] == level).map(|r| r.1).collect();
            *share += own.len() as f64 * (mean(&own) - all) * (mean(&own) - all) / total * 100.0;
        }
    }
    shares[4] = 100.0 - shares[..4].iter().sum::<f64>();
    shares
}

/// Intervals of the shares: runs are drawn again as the sum of main effects and a drawn residual.
fn intervals(runs: &[([u64; 4], f64)]) -> [[f64; 2]; 5] {
    let all = mean(&runs.iter().map(|r| r.1).collect::<Vec<_>>());
    let fitted = |levels: &[u64; 4]| {
        let effect = |factor: usize| {
            let own: Vec<f64> = runs.iter().filter(|r| r.0[factor] == levels[factor]).map(|r| r.1).collect();
            mean(&own) - all
        };
        all + (0..4).map(effect).sum::<f64>()
    };
    let fit: Vec<f64> = runs.iter().map(|r| fitted(&r.0)).collect();
    let residuals: Vec<f64> = runs.iter().zip(&fit).map(|(r, f)| r.1 - f).collect();
    [0, 1, 2, 3, 4].map(|share| {
        bootstrap(&residuals, 13, |drawn| {
            let again: Vec<_> = runs.iter().zip(&fit).zip(drawn).map(|((r, f), e)| (r.0, f + e)).collect();
            decompose(&again)[share]
        })
    })
}

fn page(records: &[Record]) -> Result<Page> {
    let (mut verdict, mut drawings) = (Vec::new(), Vec::new());
    let (mut floors, mut shares, mut effects) = (Vec::new(), Vec::new(), Vec::new());
    let key = |r: &Record| (r.settings.text("network"), r.settings.text("precision"));
    for (network, precision) in distinct(records.iter().map(key)) {
        let of = |part: &str| -> Vec<&Record> {
            let own = (network.clone(), precision.clone());
            records.iter().filter(|r| key(r) == own && r.settings.text("part") == part).collect()
        };
        let floor: Vec<&Columns> = of("floor").into_iter().flat_map(|r| &r.rows).collect();
        if !floor.is_empty() {
            for norm in ["l1", "linf"] {
                let values = |name: &str| {
                    floor.iter().map(|row| row.number(&format!("{name}_{norm}"))).collect::<Vec<f64>>()
                };
                let (noise, choice) = (values("noise"), values("choice"));
                let mut cells =
                    vec![network.clone(), precision.clone(), norm.into(), noise.len().to_string()];
                for q in [0.5, 0.95, 0.99] {
                    let [low, high] = bootstrap(&noise, 13, |drawn| quantile(drawn, q));
                    cells.push(format!("{:.1e} ({low:.1e} to {high:.1e})", quantile(&noise, q)));
                }
                let tau = quantile(&noise, 0.95);
                let above = choice.iter().filter(|d| **d > tau).count();
                let percent = 100.0 * above as f64 / choice.len() as f64;
                cells.push(format!("{:.1e}", quantile(&choice, 0.5)));
                cells.push(format!("{percent:.1}"));
                floors.push(cells.into_iter().map(Cell::from).collect());
                if norm == "linf" {
                    let [low, high] = bootstrap(&noise, 13, |drawn| quantile(drawn, 0.95));
                    verdict.push(format!(
                        "{network}, {precision}: noise of the order of sums stays below tau = {tau:.1e} ({low:.1e} to {high:.1e}) on 95 % of the \
                         mini-batches; the choice of the Jacobian exceeds it on {percent:.0} %."
                    ));
                }
            }
        }
        let runs: Vec<Measured> = of("run")
            .into_iter()
            .filter_map(|r| {
                let levels = FACTORS.map(|(name, _)| match name {
                    "beta" => r.settings.number(name).to_bits(),
                    name => r.settings.number(name) as u64,
                });
                Some(Measured { levels, accuracy: 100.0 * r.rows.last()?.number("test_accuracy") })
            })
            .collect();
        if runs.len() > 1 {
            variance(&runs, &network, &precision, &mut shares, &mut effects, &mut verdict, &mut drawings)?;
        }
    }
    let head = |names: &[&str]| names.iter().map(|n| n.to_string()).collect();
    Ok(Page {
        title: "Noise, and what exceeds it".into(),
        question: "Where does noise end, and is the effect of a Jacobian on what training gives larger than that of chance?".into(),
        verdict,
        tables: vec![
            Table {
                caption: "Noise of the order of sums: quantiles of D between two native gradients, with 95 % bootstrap intervals".into(),
                head: head(&[
                    "network", "precision", "norm", "mini-batches", "median", "95 %", "99 %", "native - minimal, median", "of these above the 95 % of noise, %",
                ]),
                rows: floors,
            },
            Table {
                caption: "Share of the variance of the test accuracy, in percent, with 95 % bootstrap intervals".into(),
                head: head(&["network", "precision", "runs", "standard deviation, points", "initialisation", "order of the images", "order of the sums", "Jacobian", "interactions"]),
                rows: shares,
            },
            Table {
                caption: "Effect of beta: test accuracy minus that of the first beta, paired by all else, in points".into(),
                head: head(&["network", "precision", "beta", "pairs", "mean", "95 % interval", "larger than noise"]),
                rows: effects,
            },
        ],
        figures: vec![Figure {
            drawings,
            caption: "Share of the variance of the test accuracy by its source; whiskers are 95 % bootstrap intervals.".into(),
        }],
        definitions: vec![
            ("D".into(), "sum over the parameters of the L1, or Linf, norm of the difference of two gradients".into()),
            ("share of the variance".into(), "sum of squares of a factor's main effect over the total, in a full grid of runs; interactions are the rest".into()),
            ("larger than noise".into(), "the interval of the paired difference does not hold 0".into()),
        ],
        ..Page::default()
    })
}

fn variance(
    runs: &[Measured],
    network: &str,
    precision: &str,
    shares: &mut Vec<Vec<Cell>>,
    effects: &mut Vec<Vec<Cell>>,
    verdict: &mut Vec<String>,
    drawings: &mut Vec<String>,
) -> Result<()> {
    let grid: Vec<([u64; 4], f64)> = runs.iter().map(|r| (r.levels, r.accuracy)).collect();
    let accuracies: Vec<f64> = runs.iter().map(|r| r.accuracy).collect();
    let middle = mean(&accuracies);
    let square = accuracies.iter().map(|a| (a - middle) * (a - middle)).sum::<f64>();
    let deviation = (square / (runs.len() - 1) as f64).sqrt();
    let (parts, bounds) = (decompose(&grid), intervals(&grid));
    let names = FACTORS.map(|f| f.1).into_iter().chain(["interactions"]);
    let mut cells =
        vec![network.to_string(), precision.to_string(), runs.len().to_string(), format!("{deviation:.2}")];
    cells.extend(parts.iter().zip(bounds).map(|(s, [low, high])| format!("{s:.1} ({low:.1} to {high:.1})")));
    shares.push(cells.into_iter().map(Cell::from).collect());
    let point = |(i, (share, [low, high])): (usize, (&f64, [f64; 2]))| Point {
        x: i as f64,
        y: *share,
        low,
        high,
        failed: false,
    };
    drawings.push(chart(&Chart {
        mark: Mark::Bars,
        title: format!("{network}, {precision}"),
        x_label: String::new(),
        y_label: "share of the variance, %".into(),
        x_ticks: ["weights", "images", "sums", "Jacobian", "rest"]
            .map(String::from)
            .into_iter()
            .enumerate()
            .map(|(i, n)| (i as f64, n))
            .collect(),
        y_range: (0.0, 105.0),
        series: vec![Series {
            name: "test accuracy".into(),
            points: parts.iter().zip(bounds).enumerate().map(point).collect(),
        }],
        ..Chart::default()
    })?);
    let largest = names.zip(parts).max_by(|a, b| a.1.total_cmp(&b.1)).map_or("", |n| n.0);
    verdict.push(format!(
        "{network}, {precision}: of the variance of the test accuracy over {} runs (standard deviation {deviation:.2} points) {:.1} % is due to the \
         Jacobian; most is due to {largest}.",
        runs.len(),
        parts[3]
    ));
    let betas = distinct(runs.iter().map(|r| r.levels[3]));
    for &beta in &betas[1..] {
        let pairs = runs.iter().filter(|r| r.levels[3] == beta).filter_map(|run| {
            let same =
                |other: &&Measured| other.levels[3] == betas[0] && other.levels[..3] == run.levels[..3];
            Some(run.accuracy - runs.iter().find(same)?.accuracy)
        });
        let pairs: Vec<f64> = pairs.collect();
        let [low, high] = bootstrap(&pairs, 13, mean);
        let larger = low > 0.0 || high < 0.0;
        let name = power_label(f64::from_bits(beta));
        let texts = [
            network.to_string(),
            precision.to_string(),
            name.clone(),
            pairs.len().to_string(),
            format!("{:+.3}", mean(&pairs)),
            format!("{low:+.3} to {high:+.3}"),
            if larger { "yes" } else { "no" }.into(),
        ];
        effects.push(texts.map(Cell::from).to_vec());
        verdict.push(format!(
            "{network}, {precision}, beta {name}: {:+.2} points ({low:+.2} to {high:+.2}), {} than noise.",
            mean(&pairs),
            if larger { "larger" } else { "no larger" }
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_effects_take_their_shares() {
        let mut runs = Vec::new();
        for i in 0..16u64 {
            let levels = [i & 1, i >> 1 & 1, i >> 2 & 1, i >> 3];
            // Two factors, the first with twice the effect, hence four times the variance.
            runs.push((levels, 2.0 * levels[0] as f64 + levels[3] as f64));
        }
        let shares = decompose(&runs);
        for (share, expected) in shares.iter().zip([80.0, 0.0, 0.0, 20.0, 0.0]) {
            assert!((share - expected).abs() < 1e-9, "{shares:?}");
        }
        for ([low, high], expected) in intervals(&runs).into_iter().zip([80.0, 0.0, 0.0, 20.0, 0.0]) {
            assert!((low - expected).abs() < 1e-6 && (high - expected).abs() < 1e-6);
        }
    }
}
