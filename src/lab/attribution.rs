//! E10: is it the Jacobian, or is it the forward pass?
//!
//! The published program for beta changes three things at once: the forward value, which is no longer the maximum; the
//! arithmetic of the backward pass where no window ties; and the choice at ties. Here they are told apart. Five programs share
//! weights, images and order: `native`; `exact`, whose forward pass is the maximum and which chooses alone; `split`, which
//! computes the backward pass as published; `forward`, which computes the forward pass as published and the backward pass of
//! native; and `coupled`, the published one. At the initial weights their gradients are compared, mini-batch by mini-batch: exact -
//! native is the choice, split - exact is compensation, forward - native the error of the forward pass. Then each of them trains.

use super::columns::Columns;
use super::course::diverged;
use super::experiment::Experiment;
use super::gradients::{distance, norm, under};
use super::journal::Record;
use super::protocol::{at_most, protocol};
use super::registry::Images;
use super::setup::{Run, Setup, chosen, each_mini_batch};
use super::statistics::{Spread, distinct, quantile};
use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::Result;
use crate::kink::{Composition, Kink, MaxPoolKink};
use crate::precision::Precision;
use crate::progress::Progress;
use crate::report::page::{Cell, Figure, Page, Table, Tone};
use crate::report::plot::{Chart, Point, Series, chart};
use crate::report::{power_label, power_of_ten};

protocol! {
    /// What can be chosen of [E10](self).
    pub struct AttributionProtocol {
        /// A network of the zoo, or a file *.json that describes one
        network: String = "lenet5".into();
        /// A safetensors file with the weights to start from; none: drawn from the seed
        weights: Option<String> = None;
        /// Arithmetic: 16, 32, 64, mixed, or a simulated format such as bf16
        precisions: Vec<Precision> = vec![DType::F16.into(), DType::F32.into(), Precision::MIXED];
        /// beta of the Jacobian; 0, native, is what the others are compared with
        betas: Vec<f64> = vec![1.0, 10.0, 100.0, 1000.0, 10000.0];
        /// Initialisations and orders of the images
        seeds: u64 = 3;
        /// Mini-batches on which gradients are compared
        mini_batches: usize = 5, full: 50;
        /// Passes over the training images; 0: gradients alone
        epochs: usize = 2, full: 100;
        /// Training images to use; none: all
        limit: Option<usize> = None;
        /// Test images to use; none: all
        test_limit: Option<usize> = None;
        /// Images in a mini-batch
        batch_size: usize = 128;
        /// Learning rate of SGD (momentum 0.9, weight decay 5e-4) at the start of a cosine to 0; none: the published one
        learning_rate: Option<f64> = None;
    }
}

/// The protocol of [E10](self), its network and its images.
#[derive(Debug, Clone)]
pub struct Attribution {
    setup: Setup,
    protocol: AttributionProtocol,
}

/// The programs, in the order of the tables.
const PROGRAMS: [&str; 5] = ["native", "exact", "split", "forward", "coupled"];

fn kink(program: &str, beta: f64) -> Result<Kink> {
    Ok(Kink::MaxPool(match program {
        "native" => MaxPoolKink::default(),
        name => MaxPoolKink::beta(beta, name.parse::<Composition>()?),
    }))
}

/// What is measured.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributionUnit {
    /// Distances of gradients at the initial weights, for all betas.
    Gradients {
        /// Arithmetic.
        precision: Precision,
        /// Of the weights.
        seed: u64,
    },
    /// A training run.
    Training {
        /// Arithmetic.
        precision: Precision,
        /// One of the five.
        program: &'static str,
        /// 0 for native.
        beta: f64,
        /// Of weights and order.
        seed: u64,
    },
}

impl Attribution {
    /// With its protocol chosen, on drawn digits where there are no images. Errors: [`crate::Error::InvalidArgument`]; those of
    /// a network that is not known, or does not fit the images.
    pub fn create(protocol: AttributionProtocol, images: Images) -> Result<Attribution> {
        at_most("seeds", protocol.seeds)?;
        let setup = Setup::new(chosen!(protocol), images)?;
        let betas = protocol.betas.iter().copied().filter(|b| *b != 0.0).collect();
        let protocol = AttributionProtocol { betas, ..protocol };
        for &beta in &protocol.betas {
            kink("exact", beta)?.validate()?;
        }
        Ok(Attribution { setup, protocol })
    }

    fn gradients(
        &self,
        engine: &Engine,
        precision: Precision,
        seed: u64,
        progress: &mut Progress,
    ) -> Result<Vec<Columns>> {
        let data = &self.setup.data.train;
        let mut network = self.setup.subject.network(engine, precision, seed)?;
        if precision.is_mixed() {
            // Small gradients shall not underflow, large ones not overflow.
            network.set_loss_scale(1024.0)?;
        }
        each_mini_batch(data, self.setup.limits, progress, |number, indices| {
            let (x, labels) = data.batch(indices, precision.storage)?;
            let mut gradient =
                |program: &str, beta| under(&mut network, x.view(), &labels, &[kink(program, beta)?]);
            let native = gradient("native", 0.0)?;
            let length = norm(&native);
            let mut rows = Vec::new();
            for &beta in &self.protocol.betas {
                let [exact, split, forward, coupled] =
                    ["exact", "split", "forward", "coupled"].map(|p| gradient(p, beta));
                let [exact, split, forward, coupled] = [exact?, split?, forward?, coupled?];
                let share = |a: &[f64], b: &[f64]| distance(a, b) / length;
                rows.push(
                    Columns::new()
                        .with("mini_batch", number)
                        .with("of_beta", beta)
                        .with("norm", length)
                        .with("choice", share(&exact, &native))
                        .with("compensation", share(&split, &exact))
                        .with("forward", share(&forward, &native))
                        .with("total", share(&coupled, &native)),
                );
            }
            Ok(rows)
        })
    }
}

impl Experiment for Attribution {
    type Unit = AttributionUnit;

    fn name(&self) -> &'static str {
        "attribution"
    }

    fn units(&self) -> Vec<AttributionUnit> {
        let mut units = Vec::new();
        for seed in 0..self.protocol.seeds {
            for &precision in &self.protocol.precisions {
                units.push(AttributionUnit::Gradients { precision, seed });
                if self.protocol.epochs == 0 {
                    continue;
                }
                units.push(AttributionUnit::Training { precision, program: "native", beta: 0.0, seed });
                for &beta in &self.protocol.betas {
                    let unit = |&program| AttributionUnit::Training { precision, program, beta, seed };
                    units.extend(PROGRAMS[1..].iter().map(unit));
                }
            }
        }
        units
    }

    fn settings(&self, engine: &Engine, unit: &AttributionUnit) -> Columns {
        let (AttributionUnit::Gradients { precision, seed }
        | AttributionUnit::Training { precision, seed, .. }) = unit;
        let settings = self
            .setup
            .settings(self.name(), engine, precision.storage)
            .with("precision", precision.to_string())
            .with("seed", *seed);
        match unit {
            AttributionUnit::Gradients { .. } => {
                settings.with("program", "all").with("mini_batches", self.setup.limits.1)
            }
            AttributionUnit::Training { program, beta, .. } => settings
                .with("program", *program)
                .with("beta", *beta)
                .with("learning_rate", self.setup.learning_rate(precision)),
        }
    }

    fn measure(
        &self,
        engine: &Engine,
        unit: &AttributionUnit,
        progress: &mut Progress,
    ) -> Result<Vec<Columns>> {
        let (precision, program, beta, seed) = match *unit {
            AttributionUnit::Gradients { precision, seed } => {
                return self.gradients(engine, precision, seed, progress);
            }
            AttributionUnit::Training { precision, program, beta, seed } => (precision, program, beta, seed),
        };
        let Kink::MaxPool(kink) = kink(program, beta)? else { unreachable!("a choice at max poolings") };
        self.setup.train(engine, Run { kink, ..Run::native(precision, seed) }, progress)
    }

    fn page(records: &[Record]) -> Result<Page> {
        page(records)
    }
}

/// What a program does to training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Harm {
    None,
    /// Mean accuracy is below native's by more than half a point and by more than the seeds differ.
    Loses,
    /// Most runs diverged.
    Diverges,
}

/// Which of its parts does what the published program does; `None` where nothing does harm. `parts` are exact, split, forward.
fn source(parts: [Harm; 3], whole: Harm) -> Option<String> {
    let names = ["the choice", "its backward pass", "its forward pass"];
    let of = |wanted: &dyn Fn(Harm) -> bool| -> String {
        let own: Vec<&str> =
            names.into_iter().zip(parts).filter(|(_, harm)| wanted(*harm)).map(|p| p.0).collect();
        match &own[..] {
            [before @ .., one, last] => {
                let before: String = before.iter().map(|name| format!("{name}, ")).collect();
                format!("{before}{one} and {last}")
            }
            own => own.concat(),
        }
    };
    let (alike, lesser, none) =
        (of(&|h| h >= whole), of(&|h| h > Harm::None && h < whole), of(&|h| h == Harm::None));
    let verb = match whole {
        Harm::None if parts == [Harm::None; 3] => return None,
        Harm::None => return Some(format!("it does no harm, but alone {} would", of(&|h| h > Harm::None))),
        Harm::Loses => "loses accuracy",
        Harm::Diverges => "diverges",
    };
    let mut text = match alike.is_empty() {
        true => format!("it {verb}, as none of its parts does alone"),
        false => format!("it {verb}, and so, alone: {alike}"),
    };
    if !lesser.is_empty() {
        text.push_str(&format!("; accuracy is lost by {lesser}"));
    }
    if !none.is_empty() {
        text.push_str(&format!("; no harm is done by {none}"));
    }
    Some(text)
}

/// How a program ended, over the seeds.
struct Ended {
    accuracy: Spread,
    diverged: usize,
    cause: String,
}

impl Ended {
    fn of(records: &[&Record]) -> Option<Ended> {
        let last: Vec<&Columns> = records.iter().filter_map(|r| r.rows.last()).collect();
        if last.is_empty() {
            return None;
        }
        let accuracy: Vec<f64> = last.iter().map(|row| 100.0 * row.number("test_accuracy")).collect();
        let (diverged, cause) = diverged(last);
        Some(Ended { accuracy: Spread::of(&accuracy), diverged, cause })
    }

    fn harm(&self, native: &Ended) -> Harm {
        let noise = [&self.accuracy, &native.accuracy].map(|s| s.high - s.low);
        let lost = native.accuracy.mean - self.accuracy.mean;
        match 2 * self.diverged > self.accuracy.count {
            true => Harm::Diverges,
            false if lost > noise[0].max(noise[1]).max(0.5) => Harm::Loses,
            false => Harm::None,
        }
    }

    fn words(&self) -> String {
        match self.diverged {
            0 => format!("{:.2} %", self.accuracy.mean),
            n => format!("{:.2} %, {n} of {} diverged", self.accuracy.mean, self.accuracy.count),
        }
    }

    fn cell(&self) -> Cell {
        let Spread { mean, low, high, count } = self.accuracy;
        let detail = match self.diverged {
            0 => format!("{low:.2} to {high:.2}"),
            n => format!("{n} of {count} diverged"),
        };
        let tone = if self.diverged > 0 { Tone::Bad } else { Tone::Plain };
        Cell { text: format!("{mean:.2}"), detail, tone }
    }
}

fn page(records: &[Record]) -> Result<Page> {
    let mut draft = Draft::default();
    let key = |r: &Record| (r.settings.text("network"), r.settings.text("precision"));
    for (network, precision) in distinct(records.iter().map(key)) {
        let own = (network.clone(), precision.clone());
        let records: Vec<&Record> = records.iter().filter(|r| key(r) == own).collect();
        let trained = records.iter().map(|r| r.settings.number("beta")).filter(|beta| *beta != 0.0);
        let compared = records.iter().flat_map(|r| &r.rows).map(|row| row.number("of_beta"));
        let mut betas = distinct(trained.chain(compared).filter(|beta| beta.is_finite()));
        betas.sort_by(f64::total_cmp);
        let case = Case { network, precision, records, betas };
        draft.gradients(&case)?;
        draft.training(&case)?;
    }
    let Draft { verdict, gradient_rows, training_rows, drawings } = draft;
    let head = |names: &[&str]| names.iter().map(|n| n.to_string()).collect();
    Ok(Page {
        title: "Is it the Jacobian, or is it the forward pass?".into(),
        question: "Of what the published program for beta does to gradients and to training, how much is the choice at ties, how \
                   much is the rounding of its backward pass, and how much the error of its forward pass?"
            .into(),
        verdict,
        tables: vec![
            Table {
                caption: "Test accuracy at the end, in percent".into(),
                head: head(&[
                    "network", "precision", "beta", "native", "exact: choice", "split: + compensation",
                    "forward: forward error alone", "coupled: published", "why the first of the diverged runs did",
                ]),
                rows: training_rows,
            },
            Table {
                caption: "Distance of gradients at the initial weights, as a share of the gradient's norm: medians".into(),
                head: head(&["network", "precision", "beta", "choice", "compensation", "forward error", "published - native"]),
                rows: gradient_rows,
            },
        ],
        figures: vec![Figure {
            drawings,
            caption: format!(
                "Gradients: medians over mini-batches and seeds, whiskers from the smallest to the largest, {} and below at the \
                 foot. Accuracy: means, whiskers from the lowest to the highest seed.",
                power_of_ten(FLOOR as i32)
            ),
        }],
        definitions: vec![
            ("choice".into(), "gradient of exact minus that of native: the maximum in the forward pass, one rounding in the backward pass".into()),
            ("compensation".into(), "gradient of split minus that of exact: the two rounded branches of the published backward pass".into()),
            ("forward error".into(), "gradient of forward minus that of native: the published forward pass, fl(fl(beta m) + fl((1 - beta) m)), with the \
                native backward pass".into()),
            ("share".into(), "Euclidean norm of the difference of all gradients over that of the native gradient".into()),
            ("loses accuracy".into(), "the mean is below native's by more than half a point and by more than the seeds differ".into()),
        ],
        ..Page::default()
    })
}

/// Smaller shares are drawn at the foot.
const FLOOR: f64 = -9.0;

fn scientific(v: f64) -> String {
    if v == 0.0 { "0".into() } else { format!("{v:.1e}") }
}

/// All units of one network and precision.
struct Case<'a> {
    network: String,
    precision: String,
    records: Vec<&'a Record>,
    /// All but 0, upwards.
    betas: Vec<f64>,
}

impl Case<'_> {
    /// The first cells of a row.
    fn cells(&self, beta: f64) -> Vec<Cell> {
        [self.network.clone(), self.precision.clone(), power_label(beta)].map(Cell::from).to_vec()
    }

    fn ended(&self, program: &str, beta: f64) -> Option<Ended> {
        let beta = if program == "native" { 0.0 } else { beta };
        let same = |r: &&Record| r.settings.text("program") == program && r.settings.number("beta") == beta;
        Ended::of(&self.records.iter().copied().filter(same).collect::<Vec<_>>())
    }

    /// Lines against beta.
    fn chart(&self, what: &str, y_label: &str, y_range: (f64, f64), series: Vec<Series>) -> Result<String> {
        chart(&Chart {
            title: format!("{what} of {}, {}", self.network, self.precision),
            x_label: "beta".into(),
            y_label: y_label.into(),
            x_ticks: (0..).zip(&self.betas).map(|(i, b)| (f64::from(i), power_label(*b))).collect(),
            y_range,
            failure: "diverged, or not finite".into(),
            series,
            ..Chart::default()
        })
    }
}

/// What the page will say.
#[derive(Default)]
struct Draft {
    verdict: Vec<String>,
    gradient_rows: Vec<Vec<Cell>>,
    training_rows: Vec<Vec<Cell>>,
    drawings: Vec<String>,
}

impl Draft {
    /// The distances of the gradients.
    fn gradients(&mut self, case: &Case) -> Result<()> {
        const PARTS: [&str; 4] = ["choice", "compensation", "forward", "total"];
        let of_all = case.records.iter().filter(|r| r.settings.text("program") == "all");
        let rows: Vec<&Columns> = of_all.flat_map(|r| &r.rows).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let mut lines = PARTS.map(|name| Series { name: name.into(), points: Vec::new() });
        for (i, &beta) in case.betas.iter().enumerate() {
            let mut cells = case.cells(beta);
            for (part, line) in PARTS.iter().zip(&mut lines) {
                let of_beta = rows.iter().filter(|row| row.number("of_beta") == beta);
                let values: Vec<f64> = of_beta.map(|row| row.number(part)).collect();
                let median = quantile(&values, 0.5);
                cells.push(Cell::from(scientific(median)));
                let log = |v: f64| if v == 0.0 { FLOOR } else { v.log10().max(FLOOR) };
                let [low, high] = [0.0, 1.0].map(|q| log(quantile(&values, q)));
                let (y, failed) = (log(median), !median.is_finite());
                line.points.push(Point { x: i as f64, y, low, high, failed });
            }
            self.gradient_rows.push(cells);
        }
        let heights = lines.iter().flat_map(|l| &l.points).map(|p| p.high).filter(|v| v.is_finite());
        let top = heights.fold(1.0, f64::max).ceil();
        let y_label = "log10 of the share of the gradient";
        self.drawings.push(case.chart("gradients", y_label, (FLOOR, top), lines.to_vec())?);
        Ok(())
    }

    /// What became of the training runs.
    fn training(&mut self, case: &Case) -> Result<()> {
        let Some(native) = case.ended("native", 0.0).filter(|_| !case.betas.is_empty()) else {
            return Ok(());
        };
        let mut lines = PROGRAMS.map(|name| Series { name: name.into(), points: Vec::new() });
        let Case { network, precision, .. } = case;
        // No sentence on what has not been run.
        let (mut complete, mut harmless) = (true, true);
        for (i, &beta) in case.betas.iter().enumerate() {
            let all = PROGRAMS.map(|program| case.ended(program, beta));
            let mut cells = case.cells(beta);
            for (ended, line) in all.iter().zip(&mut lines) {
                cells.push(ended.as_ref().map_or(Cell::default(), Ended::cell));
                line.points.extend(ended.as_ref().map(|e| {
                    let Spread { mean, low, high, .. } = e.accuracy;
                    Point { x: i as f64, y: mean, low, high, failed: e.diverged > 0 }
                }));
            }
            let named = PROGRAMS.iter().zip(&all).filter_map(|(program, e)| Some((program, e.as_ref()?)));
            let mut causes = named.clone().filter(|(_, e)| !e.cause.is_empty());
            cells.push(
                causes.next().map_or(Cell::default(), |(p, e)| Cell::from(format!("{p}: {}", e.cause))),
            );
            self.training_rows.push(cells);
            let [Some(_), Some(exact), Some(split), Some(forward), Some(coupled)] = &all else {
                complete = false;
                continue;
            };
            let parts = [exact, split, forward].map(|program| program.harm(&native));
            if let Some(source) = source(parts, coupled.harm(&native)) {
                harmless = false;
                let all: Vec<String> = named.map(|(program, e)| format!("{program} {}", e.words())).collect();
                self.verdict.push(format!(
                    "{network}, {precision}, the published program at beta {}: {source} ({}).",
                    power_label(beta),
                    all.join("; ")
                ));
            }
        }
        if complete && harmless {
            let words = native.words();
            self.verdict.push(format!(
                "{network}, {precision}: no program harms training at any beta (native {words})."
            ));
        }
        self.drawings.push(case.chart("training", "test accuracy, %", (0.0, 100.0), lines.to_vec())?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        use Harm::*;
        let text = |parts, whole| source(parts, whole).unwrap_or_default();
        assert_eq!(text([None; 3], None), "");
        assert_eq!(
            text([Loses, Loses, None], Diverges),
            "it diverges, as none of its parts does alone; accuracy is lost by the choice and its backward pass; no harm is done by \
             its forward pass"
        );
        assert_eq!(
            text([Diverges; 3], Diverges),
            "it diverges, and so, alone: the choice, its backward pass and its forward pass"
        );
        assert_eq!(
            text([None, None, Diverges], Loses),
            "it loses accuracy, and so, alone: its forward pass; no harm is done by the choice and its backward pass"
        );
        assert_eq!(text([None, Loses, None], None), "it does no harm, but alone its backward pass would");
    }
}
