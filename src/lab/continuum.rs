//! E14: is it the range of a format, or its precision?
//!
//! Every stored value is rounded to a simulated format, whose fraction and exponent are varied one by one: 4 to 52 bits of
//! fraction with the exponent of binary64, and 3 to 11 bits of exponent with the fraction of binary16. In each, the share of
//! mini-batches on which the native and the minimal Jacobian bifurcate (E12, without a threshold), of windows that tie
//! by accident, and the accuracy of a short training run.

use super::branches;
use super::columns::Columns;
use super::course::diverged;
use super::experiment::Experiment;
use super::journal::Record;
use super::protocol::{at_most, protocol};
use super::registry::Images;
use super::setup::{Chosen, Run, Setup, by_seed, chosen, each_mini_batch};
use super::statistics::{Spread, distinct};
use super::trainer::Algorithm;
use super::training::published_learning_rate;
use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::Result;
use crate::precision::{Format, Precision, Rounding};
use crate::progress::Progress;
use crate::report::page::{Cell, Figure, Page, Table};
use crate::report::plot::{Chart, Point, Series, chart};

protocol! {
    /// What can be chosen of [E14](self).
    pub struct ContinuumProtocol {
        /// A network of the zoo, or a file *.json that describes one
        network: String = "lenet5".into();
        /// A safetensors file with the weights to start from; none: drawn from the seed
        weights: Option<String> = None;
        /// Bits of the fraction, with 11 bits of exponent
        mantissa_bits: Vec<u32> = vec![4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 23, 28, 34, 40, 46, 52];
        /// Bits of the exponent, with 10 bits of fraction
        exponent_bits: Vec<u32> = vec![3, 4, 5, 6, 8, 11];
        /// Other simulated formats, such as bf16, tf32, e5m2, e4m3, e5m10
        formats: Vec<Precision> = [Format::BF16, Format::TF32, Format::F16, Format::E5M2, Format::E4M3]
            .map(|format| Precision::simulated(format, Rounding::Nearest)).to_vec();
        /// Initialisations and orders of the images
        seeds: u64 = 1, full: 3;
        /// Mini-batches on which gradients are compared
        mini_batches: usize = 20, full: 100;
        /// Passes over the training images, with native max pooling; 0: gradients alone
        epochs: usize = 1, full: 10;
        /// Training images to use; none: all
        limit: Option<usize> = Some(6400), full: None;
        /// Test images to use; none: all
        test_limit: Option<usize> = Some(2000), full: None;
        /// Images in a mini-batch
        batch_size: usize = 128;
        /// Learning rate of SGD (momentum 0.9, weight decay 5e-4) at the start of a cosine to 0; none: the published one
        learning_rate: Option<f64> = None;
    }
}

/// The protocol of [E14](self), its network and its images.
#[derive(Debug, Clone)]
pub struct Continuum {
    setup: Setup,
    protocol: ContinuumProtocol,
    formats: Vec<Format>,
}

/// Fixed while the other one varies.
const EXPONENT: u32 = 11;
const MANTISSA: u32 = 10;

impl Continuum {
    /// With its protocol chosen, on drawn digits where there are no images. Errors: [`crate::Error::InvalidArgument`]; those of
    /// a network that is not known, or does not fit the images.
    pub fn create(protocol: ContinuumProtocol, images: Images) -> Result<Continuum> {
        at_most("seeds", protocol.seeds)?;
        // One for all formats, which shall differ in rounding alone.
        let published = || published_learning_rate(&protocol.network, Algorithm::Sgd, &DType::F32.into());
        let learning_rate = Some(protocol.learning_rate.unwrap_or_else(published));
        let setup = Setup::new(Chosen { learning_rate, ..chosen!(protocol) }, images)?;
        let fractions = protocol.mantissa_bits.iter().map(|&bits| Format::new(EXPONENT, bits));
        let exponents = protocol.exponent_bits.iter().map(|&bits| Format::new(bits, MANTISSA));
        let mut formats = fractions.chain(exponents).collect::<Result<Vec<_>>>()?;
        for precision in &protocol.formats {
            let simulated = precision.simulated.ok_or_else(|| {
                crate::Error::invalid("formats", "simulated formats such as bf16", precision)
            })?;
            formats.push(simulated.format);
        }
        let formats = distinct(formats);
        Ok(Continuum { setup, protocol, formats })
    }
}

impl Experiment for Continuum {
    type Unit = (Format, u64);

    fn name(&self) -> &'static str {
        "continuum"
    }

    fn units(&self) -> Vec<(Format, u64)> {
        by_seed(&self.formats, self.protocol.seeds)
    }

    fn settings(&self, engine: &Engine, (format, seed): &(Format, u64)) -> Columns {
        self.setup
            .settings(self.name(), engine, format.carrier())
            .with("precision", format.to_string())
            .with("exponent_bits", u64::from(format.exponent_bits()))
            .with("mantissa_bits", u64::from(format.mantissa_bits()))
            .with("seed", *seed)
            .with("mini_batches", self.setup.limits.1)
            .with("learning_rate", self.setup.learning_rate(&DType::F32.into()))
    }

    fn measure(
        &self,
        engine: &Engine,
        &(format, seed): &(Format, u64),
        progress: &mut Progress,
    ) -> Result<Vec<Columns>> {
        let precision = Precision::simulated(format, Rounding::Nearest);
        let Setup { data, subject, limits, .. } = &self.setup;
        let data = &data.train;
        let mut network = subject.network(engine, precision, seed)?;
        let mut exact = subject.network(engine, DType::F64, seed)?;
        let mut rows = progress.part([0, 2], |progress| {
            each_mini_batch(data, *limits, progress, |number, indices| {
                let (x, labels) = data.batch(indices, precision.storage)?;
                let row = branches::row(&mut network, &mut exact, x.view(), &labels)?;
                Ok(vec![Columns::new().with("row", "mini_batch").with("number", number).and(&row)])
            })
        })?;
        let run = Run::native(precision, seed);
        let trained = progress.part([1, 2], |progress| self.setup.train(engine, run, progress))?;
        rows.extend(trained.iter().map(|row| Columns::new().with("row", "epoch").and(row)));
        Ok(rows)
    }

    fn page(records: &[Record]) -> Result<Page> {
        page(records)
    }
}

/// What is known of a format, over the seeds.
struct Measured {
    name: String,
    exponent_bits: u32,
    mantissa_bits: u32,
    bifurcated: Spread,
    accidental: Spread,
    accuracy: Spread,
    diverged: usize,
    cause: String,
}

fn measured(name: &str, records: &[&Record]) -> Measured {
    let of = |kind: &str, r: &Record| -> Vec<Columns> {
        r.rows.iter().filter(|row| row.text("row") == kind).cloned().collect()
    };
    let share = |top: &str, r: &&Record| {
        let rows = of("mini_batch", r);
        let sum = |name: &str| rows.iter().map(|row| row.number(name)).sum::<f64>();
        let whole = match top {
            "bifurcated" => rows.len() as f64,
            _ => ["nan", "untied", "masked", "structural", "accidental"].map(sum).iter().sum(),
        };
        100.0 * sum(top) / whole
    };
    let spread = |top: &str| Spread::of(&records.iter().map(|r| share(top, r)).collect::<Vec<_>>());
    let last: Vec<Columns> = records.iter().filter_map(|r| of("epoch", r).last().cloned()).collect();
    let accuracy: Vec<f64> = last.iter().map(|row| 100.0 * row.number("test_accuracy")).collect();
    let (diverged, cause) = diverged(&last);
    let number = |name: &str| records[0].settings.number(name) as u32;
    Measured {
        name: name.into(),
        exponent_bits: number("exponent_bits"),
        mantissa_bits: number("mantissa_bits"),
        bifurcated: spread("bifurcated"),
        accidental: spread("accidental"),
        accuracy: Spread::of(&accuracy),
        diverged,
        cause,
    }
}

fn page(records: &[Record]) -> Result<Page> {
    let (mut verdict, mut table, mut drawings) = (Vec::new(), Vec::new(), Vec::new());
    for network in distinct(records.iter().map(|r| r.settings.text("network"))) {
        let of = |r: &&Record| r.settings.text("network") == network;
        let names = distinct(records.iter().filter(of).map(|r| r.settings.text("precision")));
        let all: Vec<Measured> = names
            .iter()
            .map(|name| {
                let own: Vec<&Record> =
                    records.iter().filter(of).filter(|r| r.settings.text("precision") == *name).collect();
                measured(name, &own)
            })
            .collect();
        for m in &all {
            let texts = [
                network.clone(),
                m.name.clone(),
                m.exponent_bits.to_string(),
                m.mantissa_bits.to_string(),
                format!("{:.1}", m.bifurcated.mean),
                format!("{:.2e}", m.accidental.mean),
                if m.accuracy.count == 0 { "-".into() } else { format!("{:.2}", m.accuracy.mean) },
                format!("{} of {}", m.diverged, m.accuracy.count),
                m.cause.clone(),
            ];
            table.push(texts.map(Cell::from).to_vec());
        }
        let sweep = |place: fn(&Measured) -> Option<u32>| {
            let mut own: Vec<(u32, &Measured)> = all.iter().filter_map(|m| Some((place(m)?, m))).collect();
            own.sort_by_key(|(bits, _)| *bits);
            own
        };
        let fractions = sweep(|m| (m.exponent_bits == EXPONENT).then_some(m.mantissa_bits));
        let exponents = sweep(|m| (m.mantissa_bits == MANTISSA).then_some(m.exponent_bits));
        for (title, x_label, own) in [
            ("precision", "bits of the fraction, exponent of 11", &fractions),
            ("range", "bits of the exponent, fraction of 10", &exponents),
        ] {
            if own.len() > 1 {
                drawings.push(curves(&format!("{network}: {title}"), x_label, own)?);
            }
        }
        verdict.extend(switches(&network, &fractions, &exponents));
        for m in all.iter().filter(|m| ["bf16", "tf32", "e5m10", "e5m2", "e4m3"].contains(&m.name.as_str())) {
            let trained = match (m.accuracy.count, m.diverged) {
                (0, _) => String::new(),
                (_, 0) => format!(", {:.2} % accuracy", m.accuracy.mean),
                (n, lost) => format!(", {:.2} % accuracy, {lost} of {n} diverged", m.accuracy.mean),
            };
            let share = m.bifurcated.mean;
            verdict
                .push(format!("{network}, {}: {share:.0} % of the mini-batches bifurcate{trained}.", m.name));
        }
    }
    let head = [
        "network",
        "format",
        "exponent bits",
        "fraction bits",
        "bifurcated mini-batches, %",
        "windows tied by accident, %",
        "test accuracy, %",
        "diverged",
        "why the first of these did",
    ];
    Ok(Page {
        title: "Range or precision".into(),
        question: "As a format loses bits of its fraction, or of its exponent, where do the bifurcation zone and the accuracy of training switch?".into(),
        verdict,
        tables: vec![Table {
            caption: "Simulated formats: every stored value rounded to nearest".into(),
            head: head.map(String::from).to_vec(),
            rows: table,
        }],
        figures: vec![Figure {
            drawings,
            caption: "Means over seeds, whiskers from the lowest to the highest. On the axis bf16 has a fraction of 7 bits, fp16 and tf32 of 10, \
                      fp8 E4M3 of 3 and E5M2 of 2, fp32 of 23, fp64 of 52; exponents: E4M3 4, fp16 and E5M2 5, bf16, tf32 and fp32 8, fp64 11."
                .into(),
        }],
        definitions: vec![
            ("bifurcated".into(), "the gradients with the native and the minimal Jacobian, replayed in f64 on the branches that the format took, differ (E12)".into()),
            ("eXmY".into(), "a format with X bits of exponent and Y of fraction, subnormal numbers and infinities; e4m3 has no infinities".into()),
        ],
        ..Page::default()
    })
}

fn curves(title: &str, x_label: &str, own: &[(u32, &Measured)]) -> Result<String> {
    let line = |name: &str, value: &dyn Fn(&Measured) -> Spread, failed: bool| Series {
        name: name.into(),
        points: own
            .iter()
            .filter(|(_, m)| value(m).count > 0)
            .map(|(bits, m)| {
                let Spread { mean, low, high, .. } = value(m);
                Point { x: f64::from(*bits), y: mean, low, high, failed: failed && m.diverged > 0 }
            })
            .collect(),
    };
    let named = |bits: u32| match (title.ends_with("precision"), bits) {
        (true, 10) => "10 fp16".into(),
        (true, 23) => "23 fp32".into(),
        (true, 4 | 16 | 34 | 52) => bits.to_string(),
        (true, _) => String::new(),
        (false, 5) => "5 fp16".into(),
        (false, 8) => "8 tf32".into(),
        (false, _) => bits.to_string(),
    };
    chart(&Chart {
        title: title.into(),
        x_label: x_label.into(),
        y_label: "%".into(),
        x_ticks: own.iter().map(|(bits, _)| (f64::from(*bits), named(*bits))).collect(),
        y_range: (0.0, 105.0),
        failure: "diverged".into(),
        series: [
            line("bifurcated mini-batches", &|m| m.bifurcated, false),
            line("test accuracy", &|m| m.accuracy, true),
        ]
        .into_iter()
        .filter(|line| !line.points.is_empty())
        .collect(),
        ..Chart::default()
    })
}

/// Between which widths half is passed.
fn switches(network: &str, fractions: &[(u32, &Measured)], exponents: &[(u32, &Measured)]) -> Vec<String> {
    let mut sentences = Vec::new();
    for (what, own) in [("fraction", fractions), ("exponent", exponents)] {
        let Some((_, best)) = own.last() else { continue };
        let half = |m: &Measured| m.bifurcated.mean >= 50.0;
        let zone = own.windows(2).find(|pair| half(pair[0].1) != half(pair[1].1));
        sentences.push(match zone {
            Some(pair) => format!(
                "{network}: as the {what} grows from {} to {} bits, bifurcations go from {:.0} to {:.0} % of the mini-batches.",
                pair[0].0, pair[1].0, pair[0].1.bifurcated.mean, pair[1].1.bifurcated.mean
            ),
            None => {
                let all = own.iter().map(|(_, m)| m.bifurcated.mean);
                let (low, high) = all.fold((f64::INFINITY, 0.0f64), |(l, h), v| (l.min(v), h.max(v)));
                format!("{network}: whatever the width of the {what}, {low:.0} to {high:.0} % of the mini-batches bifurcate.")
            }
        });
        let trained = own.iter().find(|(_, m)| m.diverged == 0 && m.accuracy.mean > best.accuracy.mean - 1.0);
        if let Some((bits, m)) = trained {
            sentences.push(format!(
                "{network}: from {bits} bits of {what} on training is within a point of the widest ({:.2} of {:.2} %).",
                m.accuracy.mean, best.accuracy.mean
            ));
        }
    }
    sentences
}
