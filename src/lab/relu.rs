//! E9: in how many networks does ReLU'(0) reach the first layer?
//!
//! Perceptrons of several depths are started from many seeds; an initialisation counts where the gradient of the first
//! weight on any mini-batch is not the same, bit for bit, for ReLU'(0) = 0 and ReLU'(0) = 1 (Bertoin et al., NeurIPS 2021;
//! R. Boustany, TMLR 2024).

use super::columns::Columns;
use super::distance::{self, Order, Pair};
use super::experiment::{Experiment, common_settings};
use super::journal::Record;
use super::protocol::{at_most, positive, protocol};
use super::registry::Images;
use super::statistics::distinct;
use crate::data::{Dataset, synthetic};
use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::Result;
use crate::kink::{Kink, ReluKink};
use crate::net::{Graph, Network};
use crate::progress::Progress;
use crate::report::page::{Cell, Figure, Page, Table};
use crate::report::plot::{Chart, Point, Series, chart};

protocol! {
    /// What can be chosen of [E9](self).
    pub struct ReluProtocol {
        /// Widths of the storage type: 16, 32, 64
        precisions: Vec<DType> = vec![DType::F32, DType::F64];
        /// Numbers of hidden layers
        layers: Vec<usize> = vec![1, 2, 3, 5, 6];
        /// Neurons of a hidden layer
        width: usize = 256;
        /// Initialisations of each depth
        seeds: u64 = 200, full: 1000;
        /// Images in a mini-batch
        batch_size: usize = 128;
        /// Mini-batches on which each is tried, at most; none: an epoch
        mini_batches: Option<usize> = Some(20), full: None;
    }
}

/// The protocol of [E9](self), and its images.
#[derive(Debug, Clone)]
pub struct Relu {
    /// Training images.
    pub data: Dataset,
    /// Storage types.
    pub precisions: Vec<DType>,
    /// Numbers of hidden layers.
    pub layers: Vec<usize>,
    /// Neurons of each.
    pub width: usize,
    /// Initialisations of each depth in each storage type.
    pub seeds: u64,
    /// Images in a mini-batch.
    pub batch_size: usize,
    /// Mini-batches on which each is tried, at most.
    pub mini_batches: usize,
}

/// Drawn where no images are given, at most: a large mini-batch takes long to draw.
const MOST_DIGITS: usize = 6400;

/// Initialisations that are measured together.
const TOGETHER: u64 = 50;

/// Some initialisations of a depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReluUnit {
    precision: DType,
    layers: usize,
    first_seed: u64,
}

impl Relu {
    /// With its protocol chosen; without images on drawn digits. Errors: [`Error::InvalidArgument`](crate::Error).
    pub fn create(protocol: ReluProtocol, images: Images) -> Result<Relu> {
        for &layers in &protocol.layers {
            positive("layers", layers)?;
        }
        let batch_size = positive("batch_size", protocol.batch_size)?;
        let mini_batches = protocol.mini_batches.map_or(Ok(usize::MAX), |n| positive("mini_batches", n))?;
        let digits = batch_size.saturating_mul(mini_batches).min(MOST_DIGITS);
        Ok(Relu {
            data: images.train.unwrap_or_else(|| synthetic::embedded(digits, 0).train),
            precisions: protocol.precisions,
            layers: protocol.layers,
            width: positive("width", protocol.width)?,
            seeds: at_most("seeds", protocol.seeds)?,
            batch_size,
            mini_batches,
        })
    }

    fn graph(&self, layers: usize) -> Result<Graph> {
        let mut g = Graph::new(self.data.shape);
        let mut x = g.flatten("flatten", g.input())?;
        for i in 0..layers {
            x = g.linear(&format!("{}", 2 * i), x, self.width, true)?;
            x = g.relu(&format!("{}", 2 * i + 1), x)?;
        }
        g.linear(&format!("{}", 2 * layers), x, self.data.classes, true)?;
        Ok(g)
    }

    /// Published share in percent, of 1000 initialisations in 32 bits.
    pub fn published(layers: usize, precision: u32) -> Option<f64> {
        match (layers, precision) {
            (_, 64) => Some(0.0),
            (1, 32) => Some(5.4),
            (2, 32) => Some(25.8),
            (3, 32) => Some(46.3),
            (5, 32) => Some(64.7),
            (6, 32) => Some(69.7),
            _ => None,
        }
    }
}

impl Experiment for Relu {
    type Unit = ReluUnit;

    fn name(&self) -> &'static str {
        "relu"
    }

    fn units(&self) -> Vec<ReluUnit> {
        let mut units = Vec::new();
        for &precision in &self.precisions {
            for &layers in &self.layers {
                let firsts = (0..self.seeds).step_by(TOGETHER as usize);
                units.extend(firsts.map(|first_seed| ReluUnit { precision, layers, first_seed }));
            }
        }
        units
    }

    fn settings(&self, engine: &Engine, unit: &ReluUnit) -> Columns {
        common_settings(self.name(), engine, unit.precision)
            .with("dataset", self.data.name.as_str())
            .with("data", format!("{:08x}", self.data.fingerprint()))
            .with("network", "perceptron")
            .with("layers", unit.layers)
            .with("width", self.width)
            .with("batch_size", self.batch_size)
            .with("mini_batches", self.mini_batches.min(self.data.len().div_ceil(self.batch_size)))
            .with("precision", u64::from(unit.precision.bits()))
            .with("first", "0")
            .with("second", "1")
            .with("first_seed", unit.first_seed)
            .with("seeds", TOGETHER.min(self.seeds - unit.first_seed))
    }

    fn measure(&self, engine: &Engine, unit: &ReluUnit, progress: &mut Progress) -> Result<Vec<Columns>> {
        let graph = self.graph(unit.layers)?;
        let count = TOGETHER.min(self.seeds - unit.first_seed);
        let mut rows = Vec::new();
        for i in 0..count {
            progress.tell(i, count)?;
            let pair = Pair {
                seed: unit.first_seed + i,
                order: Order::Fixed,
                kinks: [0.0, 1.0].map(|alpha| Kink::Relu(ReluKink { alpha })),
            };
            let limits = (self.batch_size, self.mini_batches);
            let mut network = Network::new(engine, &graph, unit.precision, pair.seed)?;
            let measured =
                distance::measure(&mut network, &pair, &self.data, limits, &mut Progress::silent())?;
            let affected = measured.iter().filter(|row| row.number("differing_first") > 0.0).count();
            let loss = measured.first().map_or(f64::NAN, |row| row.number("loss"));
            rows.push(
                Columns::new()
                    .with("seed", pair.seed)
                    .with("loss", loss)
                    .with("affected_mini_batches", affected)
                    .with("affected", affected > 0),
            );
        }
        Ok(rows)
    }

    fn page(records: &[Record]) -> Result<Page> {
        page(records)
    }
}

/// Initialisations of a depth, and those that count.
struct Measured {
    precision: u32,
    layers: usize,
    initialisations: usize,
    affected: usize,
    /// On which each was tried.
    mini_batches: usize,
    /// Of all initialisations, those that differ.
    affected_mini_batches: f64,
}

impl Measured {
    fn percent(&self) -> f64 {
        100.0 * self.affected as f64 / self.initialisations as f64
    }

    /// 95 % interval of Wilson (1927), in percent.
    fn interval(&self) -> [f64; 2] {
        const Z: f64 = 1.959964;
        let (n, p) = (self.initialisations as f64, self.percent() / 100.0);
        let middle = p + Z * Z / (2.0 * n);
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        [middle - half, middle + half].map(|v| (100.0 * v / (1.0 + Z * Z / n)).clamp(0.0, 100.0))
    }
}

fn measured(records: &[Record]) -> Vec<Measured> {
    let key = |r: &Record| (r.settings.number("precision") as u32, r.settings.number("layers") as usize);
    let of = |cell: (u32, usize)| {
        let rows = || records.iter().filter(|r| key(r) == cell).flat_map(|r| &r.rows);
        let affected = rows().filter(|row| row.number("affected") == 1.0).count();
        let tried =
            records.iter().find(|r| key(r) == cell).map_or(0.0, |r| r.settings.number("mini_batches"));
        Measured {
            precision: cell.0,
            layers: cell.1,
            initialisations: rows().count(),
            affected,
            mini_batches: tried as usize,
            affected_mini_batches: rows().map(|row| row.number("affected_mini_batches")).sum(),
        }
    };
    distinct(records.iter().map(key)).into_iter().map(of).collect()
}

fn page(records: &[Record]) -> Result<Page> {
    let cells = measured(records);
    let row = |m: &Measured| {
        let [low, high] = m.interval();
        let texts = [
            m.layers.to_string(),
            m.precision.to_string(),
            m.initialisations.to_string(),
            m.affected.to_string(),
            format!("{:.1}", m.percent()),
            format!("{low:.1} to {high:.1}"),
            m.mini_batches.to_string(),
            format!("{:.3}", 100.0 * m.affected_mini_batches / (m.initialisations * m.mini_batches) as f64),
            Relu::published(m.layers, m.precision).map_or("-".into(), |p| format!("{p:.1}")),
        ];
        texts.map(Cell::from).to_vec()
    };
    let head = [
        "hidden layers",
        "bits",
        "initialisations",
        "they differ",
        "share, %",
        "95 % interval",
        "mini-batches each",
        "of all mini-batches, %",
        "published, %",
    ];
    let table = Table {
        caption: "Initialisations in which the gradient of the first weight depends on ReLU'(0)".into(),
        head: head.map(String::from).to_vec(),
        rows: cells.iter().map(row).collect(),
    };
    let layers = distinct(cells.iter().map(|m| m.layers));
    let x = |m: &Measured| layers.iter().position(|&l| l == m.layers).expect("one of them") as f64;
    let mut series: Vec<Series> = Vec::new();
    for bits in distinct(cells.iter().map(|m| m.precision)) {
        let points = cells.iter().filter(|m| m.precision == bits).map(|m| {
            let [low, high] = m.interval();
            Point { x: x(m), y: m.percent(), low, high, failed: false }
        });
        series.push(Series { name: format!("{bits} bits"), points: points.collect() });
    }
    let published = cells.iter().filter(|m| m.precision == 32).filter_map(|m| {
        let y = Relu::published(m.layers, 32)?;
        Some(Point { x: x(m), y, low: y, high: y, failed: false })
    });
    series.push(Series { name: "32 bits, published".into(), points: published.collect() });
    let drawing = chart(&Chart {
        mark: Default::default(),
        title: "ReLU'(0) in the first layer".into(),
        x_label: "hidden layers".into(),
        y_label: "initialisations that differ, %".into(),
        x_ticks: layers.iter().enumerate().map(|(i, l)| (i as f64, l.to_string())).collect(),
        y_range: (0.0, 100.0),
        reference: None,
        failure: String::new(),
        series,
    })?;
    let width = records[0].settings.text("width");
    let verdict = distinct(cells.iter().map(|m| m.precision)).into_iter().map(|bits| {
        let shares: Vec<String> = cells
            .iter()
            .filter(|m| m.precision == bits)
            .map(|m| format!("{:.1} % with {}", m.percent(), m.layers))
            .collect();
        format!("{bits} bits: {} hidden layers.", shares.join(", "))
    });
    Ok(Page {
        title: "ReLU'(0) at the first layer".into(),
        question: format!(
            "In how many of the networks (perceptrons with {width} neurons a layer) does the choice of ReLU'(0) change the \
             first layer's gradient on any of the mini-batches?"
        ),
        verdict: verdict.collect(),
        tables: vec![table],
        figures: vec![Figure {
            drawings: vec![drawing],
            caption: "Whiskers: 95 % interval. The width of the published networks, and on how many mini-batches they were \
                      tried, are not known to us."
                .into(),
        }],
        ..Page::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_wilson() {
        let cell = |affected, initialisations| Measured {
            precision: 32,
            layers: 1,
            initialisations,
            affected,
            mini_batches: 1,
            affected_mini_batches: affected as f64,
        };
        // 54 of 1000, by hand: centre (0.054 + 0.00192) / 1.00384, half width 0.01415.
        let [low, high] = cell(54, 1000).interval();
        assert!((low - 4.16).abs() < 0.02 && (high - 6.98).abs() < 0.02, "{low} {high}");
        assert_eq!(cell(0, 10).interval()[0], 0.0);
    }
}
