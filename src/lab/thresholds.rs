//! E3 and E8: how far apart are the gradients of two choices at a kink, and where does noise end?
//!
//! A network is started from many seeds; for each training mini-batch, without a step, D is the sum over the parameters of
//! the L1 norms of the difference of the two gradients (R. Boustany, TMLR 2024). In 32 and 64 bits, where the choices agree
//! but for rounding, the largest D is the threshold tau below which a difference is noise; in 16 bits it is the smallest D
//! above 0. E3 compares the native and the minimal Jacobian of max pooling, E8 the values 0 and 1 at the zero of a norm
//! pooling.

use std::fmt;

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
use crate::error::{Error, Result};
use crate::kink::{Composition, Kink, MaxPoolKink, NormPoolKink, ReluKink};
use crate::net::{Graph, Network, zoo};
use crate::progress::Progress;
use crate::report::page::{Cell, Figure, Page, Table};
use crate::report::plot::{Chart, Mark, Point, Series, chart};
use crate::shape::Window2d;

/// Which choices are compared on LeNet-5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compared {
    /// Native and minimal Jacobian of max pooling: E3.
    #[default]
    MaxPool,
    /// ReLU'(0) = 0 and 1 under the native Jacobian: what the published notebook of E3 compares as it was committed, because
    /// it hands on alpha and beta in the wrong order.
    Relu,
    /// 0 and 1 on a window of zeros of a norm pooling: E8.
    NormPool,
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compared::MaxPool => "maxpool2d",
            Compared::Relu => "relu",
            Compared::NormPool => "norm_pool2d",
        })
    }
}

protocol! {
    /// What can be chosen of [E3 and E8](self).
    pub struct ThresholdsProtocol {
        /// Widths of the storage type: 16, 32, 64
        precisions: Vec<DType> = DType::ALL.to_vec();
        /// Initialisations in 16 and 32 bits
        seeds: u64 = 10, full: 100;
        /// Initialisations in 64 bits
        seeds_f64: u64 = 1;
        /// Order of the sums: fixed, seeded (another one in each gradient, as GPU noise)
        orders: Vec<Order> = vec![Order::Fixed, Order::Seeded];
        /// Images in a mini-batch
        batch_size: usize = 128;
        /// Mini-batches from each initialisation, at most; none: an epoch
        mini_batches: Option<usize> = Some(50), full: None;
    }
}

/// The protocol of [E3 and E8](self) on LeNet-5, and its images.
#[derive(Debug, Clone)]
pub struct Thresholds {
    /// Training images `[1, 28, 28]`.
    pub data: Dataset,
    /// E3 or E8.
    pub compared: Compared,
    /// Storage types, and the initialisations of each.
    pub precisions: Vec<(DType, u64)>,
    /// Orders of the sums.
    pub orders: Vec<Order>,
    /// Images in a mini-batch.
    pub batch_size: usize,
    /// Mini-batches from each initialisation, at most: 469 are an epoch of MNIST.
    pub mini_batches: usize,
}

/// A storage type, an order, a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThresholdsUnit {
    precision: DType,
    order: Order,
    seed: u64,
}

impl Thresholds {
    /// E3 with its protocol chosen; without images on drawn digits. Errors: [`Error::InvalidArgument`].
    pub fn max(protocol: ThresholdsProtocol, images: Images) -> Result<Thresholds> {
        Thresholds::create(Compared::MaxPool, protocol, images)
    }

    /// E3 as the published notebook was committed, likewise.
    pub fn relu(protocol: ThresholdsProtocol, images: Images) -> Result<Thresholds> {
        Thresholds::create(Compared::Relu, protocol, images)
    }

    /// E8, likewise.
    pub fn norm(protocol: ThresholdsProtocol, images: Images) -> Result<Thresholds> {
        Thresholds::create(Compared::NormPool, protocol, images)
    }

    fn create(compared: Compared, protocol: ThresholdsProtocol, images: Images) -> Result<Thresholds> {
        let [seeds, seeds_f64] =
            [at_most("seeds", protocol.seeds)?, at_most("seeds_f64", protocol.seeds_f64)?];
        let seeds = |precision| match precision {
            DType::F64 => seeds_f64,
            _ => seeds,
        };
        Ok(Thresholds {
            data: images.train.unwrap_or_else(|| synthetic::embedded(6400, 0).train),
            compared,
            precisions: protocol.precisions.iter().map(|&precision| (precision, seeds(precision))).collect(),
            orders: protocol.orders,
            batch_size: positive("batch_size", protocol.batch_size)?,
            mini_batches: protocol.mini_batches.map_or(Ok(usize::MAX), |n| positive("mini_batches", n))?,
        })
    }

    fn graph(&self) -> Result<Graph> {
        let options = zoo::Options { classes: self.data.classes, ..Default::default() };
        zoo::lenet5_with(&options, |g, name, x| {
            let window = Window2d::new(2, 2, 0);
            match self.compared {
                Compared::MaxPool | Compared::Relu => g.maxpool2d(name, x, window),
                Compared::NormPool => g.norm_pool2d(name, x, window),
            }
        })
    }

    fn kinks(&self) -> [(Kink, &'static str); 2] {
        match self.compared {
            Compared::Relu => {
                [(Kink::Relu(ReluKink { alpha: 0.0 }), "0"), (Kink::Relu(ReluKink { alpha: 1.0 }), "1")]
            }
            Compared::MaxPool => [
                (Kink::MaxPool(MaxPoolKink::default()), "native"),
                (Kink::MaxPool(MaxPoolKink::beta(1.0, Composition::Exact)), "minimal"),
            ],
            Compared::NormPool => [
                (Kink::NormPool(NormPoolKink { at_zero: 0.0 }), "0"),
                (Kink::NormPool(NormPoolKink { at_zero: 1.0 }), "1"),
            ],
        }
    }
}

impl Experiment for Thresholds {
    type Unit = ThresholdsUnit;

    fn name(&self) -> &'static str {
        match self.compared {
            Compared::MaxPool => "thresholds",
            Compared::Relu => "relu_thresholds",
            Compared::NormPool => "norm_pool",
        }
    }

    fn units(&self) -> Vec<ThresholdsUnit> {
        let mut units = Vec::new();
        for &order in &self.orders {
            for &(precision, seeds) in &self.precisions {
                units.extend((0..seeds).map(|seed| ThresholdsUnit { precision, order, seed }));
            }
        }
        units
    }

    fn settings(&self, engine: &Engine, unit: &ThresholdsUnit) -> Columns {
        let [first, second] = self.kinks().map(|(_, name)| name);
        common_settings(self.name(), engine, unit.precision)
            .with("dataset", self.data.name.as_str())
            .with("data", format!("{:08x}", self.data.fingerprint()))
            .with("network", "lenet5")
            .with("compared", self.compared.to_string())
            .with("batch_size", self.batch_size)
            .with("precision", u64::from(unit.precision.bits()))
            .with("order", unit.order.to_string())
            .with("seed", unit.seed)
            .with("mini_batches", self.mini_batches.min(self.data.len().div_ceil(self.batch_size)))
            .with("first", first)
            .with("second", second)
    }

    fn measure(
        &self,
        engine: &Engine,
        unit: &ThresholdsUnit,
        progress: &mut Progress,
    ) -> Result<Vec<Columns>> {
        if self.data.shape != [1, 28, 28] {
            return Err(Error::shape("data", "images [1, 28, 28]", &self.data.shape));
        }
        let pair = Pair { seed: unit.seed, order: unit.order, kinks: self.kinks().map(|(kink, _)| kink) };
        let mut network = Network::new(engine, &self.graph()?, unit.precision, unit.seed)?;
        distance::measure(&mut network, &pair, &self.data, (self.batch_size, self.mini_batches), progress)
    }

    fn page(records: &[Record]) -> Result<Page> {
        page(records)
    }
}

/// All D of a storage type and an order.
struct Sample {
    precision: u32,
    order: String,
    initialisations: usize,
    distances: Vec<f64>,
}

impl Sample {
    fn zeros(&self) -> usize {
        self.distances.iter().filter(|&&d| d == 0.0).count()
    }

    fn largest(&self) -> f64 {
        self.distances.iter().copied().fold(0.0, f64::max)
    }

    fn smallest_positive(&self) -> Option<f64> {
        self.distances.iter().copied().filter(|&d| d > 0.0).min_by(f64::total_cmp)
    }

    /// As the published code chooses it.
    fn tau(&self) -> f64 {
        if self.precision == 16 { self.smallest_positive().unwrap_or(0.0) } else { self.largest() }
    }

    fn median(&self) -> f64 {
        let mut sorted = self.distances.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

fn samples(records: &[Record]) -> Vec<Sample> {
    let key = |r: &Record| (r.settings.text("order"), r.settings.number("precision") as u32);
    let of = |(order, precision): (String, u32)| {
        let records: Vec<&Record> = records.iter().filter(|r| key(r) == (order.clone(), precision)).collect();
        let distances = records.iter().flat_map(|r| &r.rows).map(|row| row.number("d_l1")).collect();
        Sample { precision, order, initialisations: records.len(), distances }
    };
    distinct(records.iter().map(key)).into_iter().map(of).collect()
}

fn page(records: &[Record]) -> Result<Page> {
    let samples = samples(records);
    let compared = records[0].settings.text("compared");
    let number = |v: f64| if v == 0.0 { "0".into() } else { format!("{v:.2e}") };
    let row = |s: &Sample| {
        let texts = [
            s.precision.to_string(),
            s.order.clone(),
            s.initialisations.to_string(),
            s.distances.len().to_string(),
            format!("{:.1}", 100.0 * s.zeros() as f64 / s.distances.len() as f64),
            s.smallest_positive().map_or("-".into(), number),
            number(s.median()),
            number(s.largest()),
            number(s.tau()),
        ];
        texts.map(Cell::from).to_vec()
    };
    let head = [
        "bits",
        "order",
        "initialisations",
        "mini-batches",
        "D = 0, %",
        "smallest D > 0",
        "median",
        "largest",
        "tau",
    ];
    let table = Table {
        caption: "D, sum over the parameters of the L1 norms of the difference of two gradients".into(),
        head: head.map(String::from).to_vec(),
        rows: samples.iter().map(row).collect(),
    };
    let verdict = samples.iter().map(|s| {
        let zero = 100.0 * s.zeros() as f64 / s.distances.len() as f64;
        let Sample { precision, order, .. } = s;
        let tau = number(s.tau());
        format!("{precision} bits, {order} order of sums: tau = {tau}; {zero:.1} % of the mini-batches have D = 0.")
    });
    let mut verdict: Vec<String> = verdict.collect();
    if compared == "norm_pool2d" {
        verdict.push("Published for the norm pooling in 16 bits: tau = 1.19e-7.".into());
    }
    let mut drawings = Vec::new();
    for order in distinct(samples.iter().map(|s| s.order.clone())) {
        let of_order: Vec<&Sample> = samples.iter().filter(|s| s.order == order).collect();
        drawings.push(histogram(&of_order, &format!("{order} order of sums"))?);
    }
    let (title, question) = match compared.as_str() {
        "norm_pool2d" => (
            "Thresholds for norm pooling",
            "On a window of zeros a norm pooling has no derivative. How far do the gradients for 0 and for 1 lie apart?",
        ),
        "relu" => (
            "Thresholds for ReLU'(0)",
            "At 0 a ReLU has no derivative. How far do the gradients for 0 and for 1 lie apart?",
        ),
        _ => (
            "Thresholds for max pooling",
            "Where a window ties, max pooling has no derivative. How far do the gradients with the native and with the \
             minimal Jacobian lie apart, and how much of that is noise?",
        ),
    };
    Ok(Page {
        title: title.into(),
        question: question.into(),
        verdict,
        tables: vec![table],
        figures: vec![Figure {
            drawings,
            caption: "Histogram of log10 D over mini-batches and initialisations, two bars a decade; on the left those \
                      with D exactly 0."
                .into(),
        }],
        definitions: vec![
            ("tau".into(), "in 16 bits the smallest D above 0, else the largest D".into()),
            ("order of sums".into(), "fixed: the same in both gradients; seeded: another one in each, drawn from the seed".into()),
        ],
        ..Page::default()
    })
}

/// Bars of half a decade.
fn histogram(samples: &[&Sample], title: &str) -> Result<String> {
    const A_DECADE: f64 = 2.0;
    let bin = |d: f64| (d.log10() * A_DECADE).floor() as i64;
    let positive =
        || samples.iter().flat_map(|s| &s.distances).copied().filter(|d| *d > 0.0 && d.is_finite());
    let (low, high) = (positive().map(bin).min().unwrap_or(0), positive().map(bin).max().unwrap_or(0));
    // Place 0 is for D = 0; a gap; then the bins.
    let place = |bin: i64| (bin - low + 2) as f64;
    let series = samples.iter().map(|s| {
        let share = |count: usize| 100.0 * count as f64 / s.distances.len() as f64;
        let bar = |x: f64, count: usize| Point {
            x,
            y: share(count),
            low: share(count),
            high: share(count),
            failed: false,
        };
        let bins = (low..=high).map(|b| {
            let count = s.distances.iter().filter(|&&d| d > 0.0 && d.is_finite() && bin(d) == b).count();
            bar(place(b), count)
        });
        let points = std::iter::once(bar(0.0, s.zeros())).chain(bins).collect();
        Series { name: format!("{} bits", s.precision), points }
    });
    let series: Vec<Series> = series.collect();
    let highest = series.iter().flat_map(|s| &s.points).fold(1.0f64, |m, p| m.max(p.y));
    // Marks at the beginning of a decade, not more than eight of them.
    let decades = (high - low) as f64 / A_DECADE;
    let step = (decades / 8.0).ceil().max(1.0) as i64 * A_DECADE as i64;
    let marks = (low..=high + 1).filter(|b| b.rem_euclid(step) == 0);
    let mut x_ticks = vec![(0.0, "0".to_string()), (1.0, String::new())];
    x_ticks.extend(marks.map(|b| (place(b) - 0.5, (b / A_DECADE as i64).to_string())));
    chart(&Chart {
        mark: Mark::Bars,
        title: title.into(),
        x_label: "D = 0; log10 D".into(),
        y_label: "mini-batches, %".into(),
        x_ticks,
        y_range: (0.0, 1.05 * highest),
        reference: None,
        failure: String::new(),
        series,
    })
}
