//! E15: how often does rounding tie a window, and can it be foreseen?
//!
//! One run in f64 tells by how much each window's maximum leads. If two real numbers lie closer than an ulp of a format, rounding
//! to nearest makes them equal with probability 1 - lead / ulp, wherever the format's numbers happen to lie; summed over the
//! windows, that predicts how many tie by accident in any precision. Beside it the count, in a run of that precision.

use super::columns::Columns;
use super::experiment::Experiment;
use super::journal::Record;
use super::protocol::{at_most, protocol};
use super::registry::Images;
use super::setup::{Probe, each_mini_batch};
use super::statistics::distinct;
use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::Result;
use crate::net::{KinkMargins, TieClass};
use crate::precision::{Format, Precision};
use crate::progress::Progress;
use crate::report::page::{Cell, Figure, Page, Table};
use crate::report::plot::{Chart, Point, Series, chart};

protocol! {
    /// What can be chosen of [E15](self).
    pub struct MarginsProtocol {
        /// A network of the zoo, or a file *.json that describes one
        network: String = "lenet5".into();
        /// A safetensors file with its weights; none: drawn from the seed
        weights: Option<String> = None;
        /// Arithmetic to predict and to count: 16, 32, or a simulated format such as bf16
        precisions: Vec<Precision> = vec![
            Precision::simulated(Format::E5M2, Default::default()),
            Precision::simulated(Format::BF16, Default::default()),
            DType::F16.into(),
            Precision::simulated(Format::TF32, Default::default()),
            DType::F32.into(),
        ];
        /// Initialisations
        seeds: u64 = 3;
        /// Images in a mini-batch
        batch_size: usize = 128;
        /// Mini-batches of each, at most; none: an epoch
        mini_batches: Option<usize> = Some(20), full: None;
    }
}

/// The protocol of [E15](self), its network and its images.
#[derive(Debug, Clone)]
pub struct MarginsExperiment {
    probe: Probe,
    protocol: MarginsProtocol,
}

/// log2 of a distance in ulps of binary16, as a bin of the histogram.
const BINS: std::ops::RangeInclusive<i32> = -20..=12;

impl MarginsExperiment {
    /// With its protocol chosen, on drawn digits where there are no images. Errors: [`crate::Error::InvalidArgument`]; those of
    /// a network that is not known, or does not fit the images.
    pub fn create(protocol: MarginsProtocol, images: Images) -> Result<MarginsExperiment> {
        at_most("seeds", protocol.seeds)?;
        let network = (&*protocol.network, &protocol.weights);
        let probe = Probe::new(network, protocol.batch_size, protocol.mini_batches, images)?;
        Ok(MarginsExperiment { probe, protocol })
    }
}

/// What is found at a layer over the mini-batches.
struct Found {
    layer: String,
    kind: &'static str,
    total: u64,
    /// By precision.
    predicted: Vec<f64>,
    counted: Vec<u64>,
    histogram: Vec<u64>,
}

fn bin(ulps: f64) -> usize {
    let place = if ulps > 0.0 { ulps.log2().floor() as i32 } else { *BINS.start() };
    (place.clamp(*BINS.start(), *BINS.end()) - BINS.start()) as usize
}

impl Experiment for MarginsExperiment {
    type Unit = u64;

    fn name(&self) -> &'static str {
        "margins"
    }

    fn units(&self) -> Vec<u64> {
        (0..self.protocol.seeds).collect()
    }

    fn settings(&self, engine: &Engine, seed: &u64) -> Columns {
        let names: Vec<String> = self.protocol.precisions.iter().map(|p| p.to_string()).collect();
        self.probe
            .settings(self.name(), engine, DType::F64)
            .with("precisions", names.join(" "))
            .with("seed", *seed)
    }

    fn measure(&self, engine: &Engine, &seed: &u64, progress: &mut Progress) -> Result<Vec<Columns>> {
        let precisions = &self.protocol.precisions;
        let Probe { data, subject, limits } = &self.probe;
        let mut exact = subject.network(engine, DType::F64, seed)?;
        let networks = precisions.iter().map(|&precision| subject.network(engine, precision, seed));
        let mut networks = networks.collect::<Result<Vec<_>>>()?;
        let mut found: Vec<Found> = Vec::new();
        each_mini_batch(data, *limits, progress, |_, indices| {
            let (x, labels) = data.batch(indices, DType::F64)?;
            exact.loss_and_gradients(x.view(), &labels)?;
            for (i, layer) in exact.margins()?.into_iter().enumerate() {
                if found.len() <= i {
                    found.push(Found::new(&layer.layer, precisions.len()));
                }
                found[i].add(&layer.margins, precisions);
            }
            for (i, network) in networks.iter_mut().enumerate() {
                let (x, labels) = data.batch(indices, network.dtype())?;
                network.loss_and_gradients(x.view(), &labels)?;
                for classes in network.tie_classes()? {
                    let own = found.iter_mut().find(|f| f.layer == classes.layer);
                    own.expect("the same layers").counted[i] += classes.count(TieClass::Accidental);
                }
            }
            Ok(vec![])
        })?;
        Ok(found.into_iter().flat_map(|found| rows(found, precisions)).collect())
    }

    fn page(records: &[Record]) -> Result<Page> {
        page(records)
    }
}

impl Found {
    fn new(layer: &str, precisions: usize) -> Found {
        let (predicted, counted) = (vec![0.0; precisions], vec![0; precisions]);
        let histogram = vec![0; BINS.count()];
        Found { layer: layer.into(), kind: "", total: 0, predicted, counted, histogram }
    }

    /// Adds the margins of a mini-batch.
    fn add(&mut self, margins: &KinkMargins, precisions: &[Precision]) {
        match margins {
            KinkMargins::MaxPool2d { windows, margins } => {
                self.kind = "maxpool2d";
                self.total += windows;
                for margin in margins {
                    // A window of one value has no lead to draw.
                    if margin.lead.is_finite() {
                        self.histogram[bin(margin.in_ulps(Format::F16))] += 1;
                    }
                    for (sum, precision) in self.predicted.iter_mut().zip(precisions) {
                        *sum += margin.tie_probability(precision.format());
                    }
                }
            }
            KinkMargins::Relu { distances } => {
                self.kind = "relu";
                self.total += distances.len() as u64;
                // Near 0 the numbers are dense; what sums round to is as coarse as their terms.
                let square = distances.iter().map(|d| d * d).sum::<f64>() / distances.len() as f64;
                let ulp = crate::net::ulp(Format::F16, square.sqrt());
                distances.iter().for_each(|d| self.histogram[bin(d / ulp)] += 1);
            }
        }
    }
}

/// Of a layer: for each precision what was predicted and counted, then the histogram.
fn rows(found: Found, precisions: &[Precision]) -> Vec<Columns> {
    let head = |what: &str| {
        Columns::new()
            .with("layer", found.layer.as_str())
            .with("kind", found.kind)
            .with("row", what)
            .with("total", found.total)
    };
    let mut rows = Vec::new();
    if found.kind == "maxpool2d" {
        for (i, precision) in precisions.iter().enumerate() {
            rows.push(
                head("ties")
                    .with("precision", precision.to_string())
                    .with("predicted", found.predicted[i])
                    .with("counted", found.counted[i])
                    .with("log2_ulps", 0.0)
                    .with("count", 0u64),
            );
        }
    }
    for (place, count) in BINS.zip(&found.histogram) {
        rows.push(
            head("margin")
                .with("precision", "f64")
                .with("predicted", 0.0)
                .with("counted", 0u64)
                .with("log2_ulps", f64::from(place))
                .with("count", *count),
        );
    }
    rows
}

fn page(records: &[Record]) -> Result<Page> {
    let (mut verdict, mut table, mut drawings) = (Vec::new(), Vec::new(), Vec::new());
    for network in distinct(records.iter().map(|r| r.settings.text("network"))) {
        let of: Vec<&Columns> =
            records.iter().filter(|r| r.settings.text("network") == network).flat_map(|r| &r.rows).collect();
        let ties: Vec<&Columns> = of.iter().copied().filter(|row| row.text("row") == "ties").collect();
        let layers = distinct(ties.iter().map(|row| row.text("layer")));
        let precisions = distinct(ties.iter().map(|row| row.text("precision")));
        for precision in &precisions {
            for layer in &layers {
                let own: Vec<&Columns> = ties
                    .iter()
                    .copied()
                    .filter(|r| r.text("precision") == *precision && r.text("layer") == *layer)
                    .collect();
                let sum = |name: &str| own.iter().map(|row| row.number(name)).sum::<f64>();
                let [total, predicted, counted] = ["total", "predicted", "counted"].map(sum);
                let percent = |v: f64| format!("{:.2e}", 100.0 * v / total);
                // Ties of a Poisson count.
                let off = if predicted + counted > 0.0 {
                    (counted - predicted) / predicted.max(1.0).sqrt()
                } else {
                    0.0
                };
                let texts = [
                    network.clone(),
                    precision.clone(),
                    layer.clone(),
                    format!("{total:.0}"),
                    format!("{predicted:.1}"),
                    format!("{counted:.0}"),
                    percent(predicted),
                    percent(counted),
                    if predicted > 0.0 { format!("{:.2}", counted / predicted) } else { "-".into() },
                    format!("{off:.1}"),
                ];
                table.push(texts.map(Cell::from).to_vec());
            }
            let sum = |name: &str| {
                let own = ties.iter().filter(|row| row.text("precision") == *precision);
                own.map(|row| row.number(name)).sum::<f64>()
            };
            let [predicted, counted] = ["predicted", "counted"].map(sum);
            verdict.push(format!(
                "{network}, {precision}: {counted:.0} windows tie by accident, {predicted:.1} were predicted from one run in f64."
            ));
        }
        let series = ["predicted from f64", "counted"].into_iter().zip(["predicted", "counted"]).map(
            |(label, name)| Series {
                name: label.into(),
                points: (0..)
                    .zip(&precisions)
                    .map(|(i, precision)| {
                        let own = ties.iter().filter(|row| row.text("precision") == *precision);
                        let (sum, total) = own
                            .fold((0.0, 0.0), |(a, b), row| (a + row.number(name), b + row.number("total")));
                        let y = (sum / total).log10().max(FLOOR);
                        Point { x: f64::from(i), y, low: y, high: y, failed: false }
                    })
                    .collect(),
            },
        );
        if !precisions.is_empty() {
            drawings.push(chart(&Chart {
                title: format!("{network}: ties by accident"),
                x_label: "precision".into(),
                y_label: "log10 of the share of windows".into(),
                x_ticks: (0..).zip(&precisions).map(|(i, p)| (f64::from(i), p.clone())).collect(),
                y_range: (FLOOR, 0.0),
                series: series.collect(),
                ..Chart::default()
            })?);
        }
        for kind in ["maxpool2d", "relu"] {
            drawings.extend(histogram(&network, kind, &of)?);
        }
    }
    let head = [
        "network",
        "precision",
        "layer",
        "windows",
        "ties predicted",
        "ties counted",
        "predicted, %",
        "counted, %",
        "counted / predicted",
        "difference in standard errors",
    ];
    Ok(Page {
        title: "Margins at the kinks".into(),
        question: "By how much does the maximum of a window lead, and does that foretell how often rounding ties it?".into(),
        verdict,
        tables: vec![Table {
            caption: "Windows that tie by accident: predicted from one run in f64, and counted".into(),
            head: head.map(String::from).to_vec(),
            rows: table,
        }],
        figures: vec![Figure {
            drawings,
            caption: "Shares of all windows over seeds and mini-batches; margins in f64, in ulps of binary16: of the maximum at max poolings, \
                      of the layer's root mean square before ReLUs."
                .into(),
        }],
        definitions: vec![
            ("lead".into(), "maximum of a window minus its largest element below the maximum, in f64".into()),
            ("predicted".into(), "sum over the windows that pass a gradient on of max(0, 1 - lead / ulp), ulp that of the format at the maximum".into()),
            ("standard errors".into(), "square roots of the predicted number, as for independent rare events".into()),
        ],
        ..Page::default()
    })
}

/// Smaller shares are drawn at the foot.
const FLOOR: f64 = -9.0;

fn histogram(network: &str, kind: &str, rows: &[&Columns]) -> Result<Option<String>> {
    let own: Vec<&Columns> =
        rows.iter().copied().filter(|r| r.text("row") == "margin" && r.text("kind") == kind).collect();
    let layers = distinct(own.iter().map(|row| row.text("layer")));
    if layers.is_empty() {
        return Ok(None);
    }
    let mut top: f64 = 0.0;
    let series = layers.iter().take(7).map(|layer| {
        let of_layer = || own.iter().filter(move |row| row.text("layer") == *layer);
        let total: f64 = of_layer().map(|row| row.number("count")).sum();
        let point = |place: i32| {
            let at = of_layer().filter(|row| row.number("log2_ulps") == f64::from(place));
            let y = 100.0 * at.map(|row| row.number("count")).sum::<f64>() / total;
            top = top.max(y);
            Point { x: f64::from(place), y, low: y, high: y, failed: false }
        };
        Series { name: layer.clone(), points: BINS.map(point).collect() }
    });
    let series: Vec<Series> = series.collect();
    let what = if kind == "relu" { "|x| before ReLUs" } else { "lead of the maximum" };
    Ok(Some(chart(&Chart {
        title: format!("{network}: {what}"),
        x_label: "log2 of ulps of binary16".into(),
        y_label: "share of the layer, %".into(),
        x_ticks: BINS.step_by(8).map(|place| (f64::from(place), place.to_string())).collect(),
        y_range: (0.0, 1.1 * top.max(1.0)),
        series,
        ..Chart::default()
    })?))
}
