//! E16: how far apart are the gradients of frameworks that differ at the kinks alone?
//!
//! Each named convention is a set of choices at max pooling and ReLU. On the same weights and mini-batches, whose forward
//! pass is the same for all, the gradients of each are compared with those of each other.

use super::columns::Columns;
use super::experiment::Experiment;
use super::gradients::{distance, norm, under};
use super::journal::Record;
use super::protocol::{at_most, positive, protocol};
use super::registry::Images;
use super::setup::{Probe, by_seed, each_mini_batch};
use super::statistics::{distinct, mean};
use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::Result;
use crate::kink::Convention;
use crate::precision::Precision;
use crate::progress::Progress;
use crate::report::heat_map::{HeatMap, heat_map};
use crate::report::page::{Cell, Figure, Page, Table};

protocol! {
    /// What can be chosen of [E16](self).
    pub struct ConventionsProtocol {
        /// A network of the zoo, or a file *.json that describes one
        network: String = "lenet5".into();
        /// A safetensors file with its weights; none: drawn from the seed
        weights: Option<String> = None;
        /// Arithmetic: 16, 32, 64, or a simulated format such as bf16
        precisions: Vec<Precision> = DType::ALL.map(Precision::from).to_vec();
        /// Conventions: pytorch, jax, tensorflow, candle, mlpack, theano, cudnn-random
        kinks: Vec<Convention> = Convention::ALL.to_vec();
        /// Initialisations
        seeds: u64 = 3;
        /// Images in a mini-batch
        batch_size: usize = 128;
        /// Mini-batches of each
        mini_batches: usize = 10, full: 100;
    }
}

/// The protocol of [E16](self), its network and its images.
#[derive(Debug, Clone)]
pub struct Conventions {
    probe: Probe,
    protocol: ConventionsProtocol,
}

impl Conventions {
    /// With its protocol chosen, on drawn digits where there are no images. Errors: [`crate::Error::InvalidArgument`]; those of
    /// a network that is not known, or does not fit the images.
    pub fn create(protocol: ConventionsProtocol, images: Images) -> Result<Conventions> {
        positive("kinks", protocol.kinks.len())?;
        at_most("seeds", protocol.seeds)?;
        let network = (&*protocol.network, &protocol.weights);
        let probe = Probe::new(network, protocol.batch_size, Some(protocol.mini_batches), images)?;
        Ok(Conventions { probe, protocol })
    }
}

impl Experiment for Conventions {
    type Unit = (Precision, u64);

    fn name(&self) -> &'static str {
        "conventions"
    }

    fn units(&self) -> Vec<(Precision, u64)> {
        by_seed(&self.protocol.precisions, self.protocol.seeds)
    }

    fn settings(&self, engine: &Engine, (precision, seed): &(Precision, u64)) -> Columns {
        let names: Vec<String> = self.protocol.kinks.iter().map(|c| c.to_string()).collect();
        self.probe
            .settings(self.name(), engine, precision.storage)
            .with("precision", precision.to_string())
            .with("kinks", names.join(" "))
            .with("seed", *seed)
    }

    fn measure(
        &self,
        engine: &Engine,
        &(precision, seed): &(Precision, u64),
        progress: &mut Progress,
    ) -> Result<Vec<Columns>> {
        let Probe { data, subject, limits } = &self.probe;
        let mut network = subject.network(engine, precision, seed)?;
        each_mini_batch(data, *limits, progress, |number, indices| {
            let (x, labels) = data.batch(indices, precision.storage)?;
            let mut rows = Vec::new();
            let gradients = self.protocol.kinks.iter().map(|convention| {
                let gradient = under(&mut network, x.view(), &labels, &convention.kinks())?;
                Ok((convention, gradient))
            });
            let gradients = gradients.collect::<Result<Vec<_>>>()?;
            for (i, (first, a)) in gradients.iter().enumerate() {
                for (second, b) in &gradients[i + 1..] {
                    let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                    let lengths = [norm(a), norm(b)];
                    let differing = a.iter().zip(b).filter(|(a, b)| a != b).count();
                    rows.push(
                        Columns::new()
                            .with("mini_batch", number)
                            .with("first", first.to_string())
                            .with("second", second.to_string())
                            .with("distance", distance(a, b) / lengths[0].max(lengths[1]))
                            .with("cosine", dot / (lengths[0] * lengths[1]))
                            .with("norm_ratio", lengths[1] / lengths[0])
                            .with("differing", differing),
                    );
                }
            }
            Ok(rows)
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
        let names = distinct(rows.iter().flat_map(|r| [r.text("first"), r.text("second")]));
        let of = |a: &str, b: &str, name: &str| -> Vec<f64> {
            let pair = |r: &&&Columns| (r.text("first"), r.text("second")) == (a.into(), b.into());
            rows.iter().filter(pair).map(|row| row.number(name)).collect()
        };
        let mut values = vec![f64::NAN; names.len() * names.len()];
        let mut texts = vec![String::new(); values.len()];
        for (i, a) in names.iter().enumerate() {
            for (j, b) in names.iter().enumerate().skip(i + 1) {
                let away = mean(&of(a, b, "distance"));
                let log = if away > 0.0 { away.log10().max(FLOOR) } else { FLOOR };
                for place in [i * names.len() + j, j * names.len() + i] {
                    values[place] = log;
                    texts[place] = if away == 0.0 { "0".into() } else { format!("{away:.0e}") };
                }
                let cells = [
                    network.clone(),
                    precision.clone(),
                    a.clone(),
                    b.clone(),
                    format!("{away:.2e}"),
                    format!("{:.6}", mean(&of(a, b, "cosine"))),
                    format!("{:.4}", mean(&of(a, b, "norm_ratio"))),
                ];
                table.push(cells.map(Cell::from).to_vec());
            }
        }
        if let Some(first) = names.first() {
            let others = names[1..].iter().map(|b| format!("{b} {:.1e}", mean(&of(first, b, "distance"))));
            verdict.push(format!(
                "{network}, {precision}: distance from {first}, as a share of the gradient: {}.",
                others.collect::<Vec<_>>().join(", ")
            ));
        }
        if !names.is_empty() {
            let ticks: Vec<(usize, String)> = names.iter().cloned().enumerate().collect();
            drawings.push(heat_map(&HeatMap {
                title: format!("{network}, {precision}"),
                x_label: String::new(),
                y_label: String::new(),
                value_label: "log10 of the distance".into(),
                x_ticks: ticks.clone(),
                y_ticks: ticks,
                columns: names.len(),
                values,
                range: (FLOOR, 0.0),
                texts,
            })?);
        }
    }
    let head = ["network", "precision", "first", "second", "distance", "cosine", "norm of second / first"];
    Ok(Page {
        title: "Conventions at the kinks".into(),
        question: "How far apart are the gradients that frameworks would compute on the same weights, forward pass and mini-batch?".into(),
        verdict,
        tables: vec![Table {
            caption: "Gradients of two conventions: means over mini-batches and seeds".into(),
            head: head.map(String::from).to_vec(),
            rows: table,
        }],
        figures: vec![Figure {
            drawings,
            caption: "Euclidean distance of the gradients over the larger of their norms; 0 where all bits are equal.".into(),
        }],
        definitions: Convention::ALL.map(|c| (c.to_string(), about(c).to_string())).to_vec(),
        ..Page::default()
    })
}

/// Smaller distances have the colour of this one.
const FLOOR: f64 = -8.0;

fn about(convention: Convention) -> &'static str {
    match convention {
        Convention::Pytorch => "the first of the tied elements takes the gradient; ReLU'(0) = 0",
        Convention::Jax => "as pytorch at these two kinks",
        Convention::Tensorflow => {
            "windows pooled by reduce_max: an equal share to each of the tied elements; max_pool2d itself takes the first"
        }
        Convention::Candle => {
            "g k / n to each of the k tied elements of a window of n, so g / n without a tie; ReLU'(0) = 1"
        }
        Convention::Mlpack => "the first of the tied elements in column-major order",
        Convention::Theano => "the whole gradient to each of the tied elements; ReLU'(0) = 1/2",
        Convention::CudnnRandom => "one of the tied elements, drawn from a seed",
    }
}
