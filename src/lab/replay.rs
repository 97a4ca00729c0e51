//! E12: compensation or bifurcation, without a threshold.
//!
//! On each mini-batch, at the initial weights, the gradients under the native and the minimal Jacobian differ. The run's tie
//! sets, signs and activations are recorded, and both backward passes are repeated on them in f64. A difference that vanishes
//! there was rounding; one that stays is a bifurcation. Beside it the threshold of the published code on the same
//! mini-batches (D > tau), and the causes of ties (E11).

use super::branches::{self, VANISHES};
use super::columns::Columns;
use super::experiment::Experiment;
use super::journal::Record;
use super::protocol::{at_most, protocol};
use super::registry::Images;
use super::setup::{Probe, by_seed, each_mini_batch};
use super::statistics::distinct;
use super::volume::Volume;
use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::Result;
use crate::precision::Precision;
use crate::progress::Progress;
use crate::report::page::{Cell, Figure, Page, Table};
use crate::report::plot::{Chart, Mark, Point, Series, chart};
use crate::report::power_of_ten;

protocol! {
    /// What can be chosen of [E12](self).
    pub struct ReplayProtocol {
        /// A network of the zoo, or a file *.json that describes one
        network: String = "lenet5".into();
        /// A safetensors file with its weights; none: drawn from the seed
        weights: Option<String> = None;
        /// Arithmetic: 16, 32, 64, or a simulated format such as bf16
        precisions: Vec<Precision> = DType::ALL.map(Precision::from).to_vec();
        /// Initialisations
        seeds: u64 = 3;
        /// Images in a mini-batch
        batch_size: usize = 128;
        /// Mini-batches of each, at most; none: an epoch
        mini_batches: Option<usize> = Some(20), full: None;
    }
}

/// The protocol of [E12](self), its network and its images.
#[derive(Debug, Clone)]
pub struct Replay {
    probe: Probe,
    protocol: ReplayProtocol,
}

impl Replay {
    /// With its protocol chosen, on drawn digits where there are no images. Errors: [`crate::Error::InvalidArgument`]; those of
    /// a network that is not known, or does not fit the images.
    pub fn create(protocol: ReplayProtocol, images: Images) -> Result<Replay> {
        at_most("seeds", protocol.seeds)?;
        let network = (&*protocol.network, &protocol.weights);
        let probe = Probe::new(network, protocol.batch_size, protocol.mini_batches, images)?;
        Ok(Replay { probe, protocol })
    }
}

impl Experiment for Replay {
    type Unit = (Precision, u64);

    fn name(&self) -> &'static str {
        "replay"
    }

    fn units(&self) -> Vec<(Precision, u64)> {
        by_seed(&self.protocol.precisions, self.protocol.seeds)
    }

    fn settings(&self, engine: &Engine, (precision, seed): &(Precision, u64)) -> Columns {
        self.probe
            .settings(self.name(), engine, precision.storage)
            .with("precision", precision.to_string())
            .with("seed", *seed)
            .with("tau", Volume::tau(precision.storage))
    }

    fn measure(
        &self,
        engine: &Engine,
        &(precision, seed): &(Precision, u64),
        progress: &mut Progress,
    ) -> Result<Vec<Columns>> {
        let Probe { data, subject, limits } = &self.probe;
        let mut network = subject.network(engine, precision, seed)?;
        let mut exact = subject.network(engine, DType::F64, seed)?;
        each_mini_batch(data, *limits, progress, |number, indices| {
            let (x, labels) = data.batch(indices, precision.storage)?;
            let row = branches::row(&mut network, &mut exact, x.view(), &labels)?;
            let affected = row.number("d_linf") > Volume::tau(precision.storage);
            Ok(vec![Columns::new().with("mini_batch", number).and(&row).with("affected", affected)])
        })
    }

    fn page(records: &[Record]) -> Result<Page> {
        page(records)
    }
}

fn page(records: &[Record]) -> Result<Page> {
    let (mut verdict, mut table, mut drawings) = (Vec::new(), Vec::new(), Vec::new());
    let key = |r: &Record| (r.settings.text("network"), r.settings.text("precision"));
    for (network, precision) in distinct(records.iter().map(key)) {
        let rows: Vec<&Columns> = records
            .iter()
            .filter(|r| key(r) == (network.clone(), precision.clone()))
            .flat_map(|r| &r.rows)
            .collect();
        let is = |row: &&&Columns, name: &str| row.number(name) > 0.0;
        let count = |what: &dyn Fn(&&&Columns) -> bool| rows.iter().filter(what).count();
        let bifurcated = count(&|row| is(row, "bifurcated"));
        let accidental = count(&|row| is(row, "accidental"));
        let affected = count(&|row| is(row, "affected"));
        let agree_ties = count(&|row| is(row, "bifurcated") == is(row, "accidental"));
        let without_tie = count(&|row| is(row, "bifurcated") && !is(row, "accidental"));
        let agree_tau = count(&|row| is(row, "bifurcated") == is(row, "affected"));
        let shares = |stays: bool| {
            rows.iter().map(|row| row.number("bifurcation")).filter(move |v| (*v > VANISHES) == stays)
        };
        let vanished = shares(false).fold(0.0, f64::max);
        let stays = shares(true).fold(f64::INFINITY, f64::min);
        let n = rows.len();
        let percent = |part: usize| format!("{:.1}", 100.0 * part as f64 / n as f64);
        let median = |name: &str| {
            super::statistics::quantile(&rows.iter().map(|r| r.number(name)).collect::<Vec<_>>(), 0.5)
        };
        let gap = match stays.is_finite() {
            true => format!("{vanished:.1e} to {stays:.1e}"),
            false => format!("all below {vanished:.1e}"),
        };
        table.push(
            [
                network.clone(),
                precision.clone(),
                n.to_string(),
                percent(bifurcated),
                percent(accidental),
                percent(agree_ties),
                percent(affected),
                percent(agree_tau),
                format!("{:.1e}", median("working")),
                format!("{:.1e}", median("bifurcation")),
                format!("{:.1e}", median("compensation")),
                gap.clone(),
            ]
            .map(Cell::from)
            .to_vec(),
        );
        verdict.push(format!(
            "{network}, {precision}: {} % of {n} mini-batches bifurcate ({} % by D > tau); {} % have a tie by accident, and the two say the same of \
             {} %{}. Replayed differences lie apart: {gap} of the gradient.",
            percent(bifurcated),
            percent(affected),
            percent(accidental),
            percent(agree_ties),
            if without_tie > 0 { format!("; {without_tie} bifurcate without one") } else { String::new() },
        ));
        drawings.push(histogram(&format!("{network}, {precision}"), &rows)?);
    }
    let head = [
        "network",
        "precision",
        "mini-batches",
        "bifurcated, %",
        "with an accidental tie, %",
        "these two agree, %",
        "D > tau, %",
        "agrees with bifurcated, %",
        "difference",
        "bifurcation",
        "compensation",
        "replayed: vanished up to, stays from",
    ];
    Ok(Page {
        title: "Compensation or bifurcation, by replay".into(),
        question: "When two Jacobians of max pooling give different gradients, is it rounding, or is the derivative not unique?".into(),
        verdict,
        tables: vec![Table {
            caption: "Mini-batches, and medians of Euclidean norms as shares of the gradient's".into(),
            head: head.map(String::from).to_vec(),
            rows: table,
        }],
        figures: vec![Figure {
            drawings,
            caption: "How much of the gradient differs, in the working precision and replayed in f64 on the recorded branches; differences of \
                      exactly 0 stand at the left end."
                .into(),
        }],
        definitions: vec![
            ("difference".into(), "gradient with the minimal Jacobian minus that with the native one, in the working precision".into()),
            ("bifurcation".into(), "the same in f64, on the tie sets, signs, activations and weights that the working precision had".into()),
            ("compensation".into(), "difference minus bifurcation: what f64 does not find".into()),
            ("bifurcated".into(), format!("the replayed difference is above {} of the gradient, which lies in the gap of the last column", power_of_ten(VANISHES.log10() as i32))),
            ("D > tau".into(), "sum over the parameters of Linf norms above the published threshold: 1e-3 in 16 bits, 1e-7 in 32, 1e-15 in 64".into()),
        ],
        ..Page::default()
    })
}

/// Shares below this stand at the left end.
const LOWEST: i32 = -18;

fn histogram(title: &str, rows: &[&Columns]) -> Result<String> {
    let bin = |v: f64| if v == 0.0 { LOWEST } else { (v.log10().floor() as i32).clamp(LOWEST + 1, 1) };
    let series = ["working", "bifurcation"].map(|name| Series {
        name: if name == "working" { "in the working precision".into() } else { "replayed in f64".into() },
        points: (LOWEST..=1)
            .map(|place| {
                let count = rows.iter().filter(|row| bin(row.number(name)) == place).count();
                let y = 100.0 * count as f64 / rows.len() as f64;
                Point { x: f64::from(place), y, low: y, high: y, failed: false }
            })
            .collect(),
    });
    let label = |place: i32| if place == LOWEST { "0".into() } else { power_of_ten(place) };
    chart(&Chart {
        mark: Mark::Bars,
        title: title.into(),
        x_label: "share of the gradient that differs".into(),
        y_label: "mini-batches, %".into(),
        x_ticks: (LOWEST..=1).step_by(3).map(|place| (f64::from(place), label(place))).collect(),
        y_range: (0.0, 105.0),
        series: series.to_vec(),
        ..Chart::default()
    })
}
