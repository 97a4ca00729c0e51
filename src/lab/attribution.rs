//! E10: is it the Jacobian, or is it the forward pass?
//!
//! The published program for beta changes three things at once: the forward value, which is no longer the maximum; the
//! arithmetic of the backward pass where no window ties; and the choice at ties. Here they are told apart. Five programs share
//! weights, images and order: `native`; `exact`, whose forward pass is the maximum and which chooses alone; `split`, which
//! computes the backward pass as published; `forward`, which computes the forward pass as published and the backward pass of
//! native; and `coupled`, the published one. At the initial weights their gradients are compared, mini-batch by mini-batch: exact -
//! native is the choice, split - exact is compensation, forward - native the error of the forward pass. Then each of them trains.

use super::augmentation::published_augmentation;
use super::columns::Columns;
use super::experiment::{Experiment, common_settings, split_settings};
use super::gradients::{distance, norm, under};
use super::journal::Record;
use super::protocol::{at_most, positive, protocol};
use super::registry::Images;
use super::statistics::{Spread, distinct, quantile};
use super::subject::Subject;
use super::trainer::{Algorithm, Protocol, Trainer};
use super::training::published_learning_rate;
use crate::data::{Augmentation, Batches, Split};
use crate::dtype::DType;
use crate::engine::Engine;
use crate::error::Result;
use crate::kink::{Composition, Kink, MaxPoolKink};
use crate::precision::{Precision, ReductionOrder};
use crate::progress::Progress;
use crate::report::page::{Cell, Figure, Page, Table, Tone};
use crate::report::plot::{Chart, Point, Series, chart};
use crate::report::{power_label, power_of_ten};
use crate::train::Schedule;

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
    data: Split,
    augmentation: Augmentation,
    subject: Subject,
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
        let data = images.or_drawn(protocol.limit, protocol.test_limit)?;
        positive("batch_size", protocol.batch_size)?;
        positive("mini_batches", protocol.mini_batches)?;
        at_most("seeds", protocol.seeds)?;
        at_most("epochs", protocol.epochs as u64)?;
        let subject = Subject::new(&protocol.network, protocol.weights.as_deref(), &data.train)?;
        let betas = protocol.betas.iter().copied().filter(|b| *b != 0.0).collect();
        let protocol = AttributionProtocol { betas, ..protocol };
        for &beta in &protocol.betas {
            kink("exact", beta)?.validate()?;
        }
        Ok(Attribution { augmentation: published_augmentation(&data.train), data, subject, protocol })
    }

    fn learning_rate(&self, precision: &Precision) -> f64 {
        let published = || published_learning_rate(self.subject.name(), Algorithm::Sgd, precision);
        self.protocol.learning_rate.unwrap_or_else(published)
    }

    fn gradients(
        &self,
        engine: &Engine,
        precision: Precision,
        seed: u64,
        progress: &mut Progress,
    ) -> Result<Vec<Columns>> {
        let data = &self.data.train;
        let mut network = self.subject.network(engine, precision, seed)?;
        if precision.is_mixed() {
            // Small gradients shall not underflow, large ones not overflow.
            network.set_loss_scale(1024.0)?;
        }
        let batches = Batches::in_order(data.len(), self.protocol.batch_size)?;
        let total = batches.len().min(self.protocol.mini_batches) as u64;
        let mut rows = Vec::new();
        for (number, indices) in (0..total).zip(batches) {
            let (x, labels) = data.batch(&indices, precision.storage)?;
            let mut gradient =
                |program: &str, beta| under(&mut network, x.view(), &labels, &[kink(program, beta)?]);
            let native = gradient("native", 0.0)?;
            let length = norm(&native);
            for (i, &beta) in self.protocol.betas.iter().enumerate() {
                progress.tell(
                    number * self.protocol.betas.len() as u64 + i as u64,
                    total * self.protocol.betas.len() as u64,
                )?;
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
        }
        Ok(rows)
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
        let settings = common_settings(self.name(), engine, precision.storage)
            .and(&split_settings(&self.data))
            .with("network", self.subject.name())
            .with("weights", self.subject.weights())
            .with("precision", precision.to_string())
            .with("seed", *seed)
            .with("batch_size", self.protocol.batch_size)
            .with("epochs", self.protocol.epochs);
        match unit {
            AttributionUnit::Gradients { .. } => {
                settings.with("program", "all").with("mini_batches", self.protocol.mini_batches)
            }
            AttributionUnit::Training { program, beta, .. } => settings
                .with("program", *program)
                .with("beta", *beta)
                .with("learning_rate", self.learning_rate(precision)),
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
        let protocol = Protocol {
            data: &self.data,
            augmentation: &self.augmentation,
            subject: &self.subject,
            precision,
            optimizer: Algorithm::Sgd,
            kink,
            seed,
            data_seed: seed,
            order: ReductionOrder::Fixed,
            batch_size: self.protocol.batch_size,
        };
        let epochs = self.protocol.epochs as u64;
        let schedule = Schedule::Cosine { t_max: epochs, eta_min: 0.0 };
        Trainer::new(engine, protocol)?.run(
            epochs,
            |epoch| schedule.learning_rate(self.learning_rate(&precision), epoch),
            progress,
        )
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
        let diverged: Vec<_> = last.iter().filter(|row| row.number("diverged") == 1.0).collect();
        let cause = diverged.first().map_or(String::new(), |row| match row.text("non_finite") {
            cause if cause.is_empty() => "all values finite: the loss rose".into(),
            cause => format!("step {}: {cause}", row.text("non_finite_step")),
        });
        Some(Ended { accuracy: Spread::of(&accuracy), diverged: diverged.len(), cause })
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
    let mut verdict = Vec::new();
    let (mut gradient_rows, mut training_rows, mut drawings) = (Vec::new(), Vec::new(), Vec::new());
    let text = |r: &Record, name: &str| r.settings.text(name);
    let networks = distinct(records.iter().map(|r| (text(r, "network"), text(r, "precision"))));
    for (network, precision) in networks {
        let of: Vec<&Record> = records
            .iter()
            .filter(|r| text(r, "network") == network && text(r, "precision") == precision)
            .collect();
        let rows: Vec<&Columns> =
            of.iter().filter(|r| text(r, "program") == "all").flat_map(|r| &r.rows).collect();
        let trained =
            of.iter().map(|r| r.settings.number("beta")).filter(|beta| *beta != 0.0 && beta.is_finite());
        let compared = rows.iter().map(|row| row.number("of_beta"));
        let mut betas = distinct(compared.chain(trained).map(f64::to_bits));
        betas.sort_by(|a, b| f64::from_bits(*a).total_cmp(&f64::from_bits(*b)));
        const PARTS: [&str; 4] = ["choice", "compensation", "forward", "total"];
        let mut lines: Vec<Series> =
            PARTS.map(|name| Series { name: name.into(), points: Vec::new() }).into_iter().collect();
        for (i, &beta) in betas.iter().enumerate() {
            let of_beta = rows.iter().filter(|row| row.number("of_beta").to_bits() == beta);
            let values = |name: &str| of_beta.clone().map(|row| row.number(name)).collect::<Vec<f64>>();
            let mut cells = vec![network.clone(), precision.clone(), power_label(f64::from_bits(beta))];
            for (part, line) in PARTS.iter().zip(&mut lines) {
                let values = values(part);
                let median = quantile(&values, 0.5);
                cells.push(scientific(median));
                let log = |v: f64| if v == 0.0 { FLOOR } else { v.log10().max(FLOOR) };
                let [low, high] = [0.0, 1.0].map(|q| log(quantile(&values, q)));
                line.points.push(Point {
                    x: i as f64,
                    y: log(median),
                    low,
                    high,
                    failed: !median.is_finite(),
                });
            }
            gradient_rows.push(cells.into_iter().map(Cell::from).collect());
        }
        let ticks: Vec<(f64, String)> =
            (0..).zip(&betas).map(|(i, b)| (f64::from(i), power_label(f64::from_bits(*b)))).collect();
        if !rows.is_empty() {
            let heights = lines.iter().flat_map(|l| &l.points).map(|p| p.high).filter(|v| v.is_finite());
            let top = heights.fold(0.0, f64::max).ceil();
            drawings.push(chart(&Chart {
                title: format!("gradients of {network}, {precision}"),
                x_label: "beta".into(),
                y_label: "log10 of the share of the gradient".into(),
                x_ticks: ticks.clone(),
                y_range: (FLOOR, top.max(1.0)),
                failure: "not finite".into(),
                series: lines,
                ..Chart::default()
            })?);
        }
        training(&of, &network, &precision, &ticks, &betas, &mut training_rows, &mut drawings, &mut verdict)?;
    }
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

/// Table rows, picture and sentences of the training runs of one network and precision.
#[allow(clippy::too_many_arguments)]
fn training(
    of: &[&Record],
    network: &str,
    precision: &str,
    ticks: &[(f64, String)],
    betas: &[u64],
    table: &mut Vec<Vec<Cell>>,
    drawings: &mut Vec<String>,
    verdict: &mut Vec<String>,
) -> Result<()> {
    let ended = |program: &str, beta: f64| {
        let runs: Vec<&Record> = of
            .iter()
            .copied()
            .filter(|r| r.settings.text("program") == program && r.settings.number("beta") == beta)
            .collect();
        Ended::of(&runs)
    };
    let Some(native) = ended("native", 0.0).filter(|_| !betas.is_empty()) else { return Ok(()) };
    let mut lines: Vec<Series> =
        PROGRAMS.map(|name| Series { name: name.into(), points: Vec::new() }).into_iter().collect();
    for (i, beta) in betas.iter().map(|b| f64::from_bits(*b)).enumerate() {
        let mut cells = vec![network.to_string(), precision.to_string(), power_label(beta)]
            .into_iter()
            .map(Cell::from)
            .collect::<Vec<_>>();
        let mut cause = String::new();
        let mut harms = Vec::new();
        for (program, line) in PROGRAMS.iter().zip(&mut lines) {
            let own = if *program == "native" { ended("native", 0.0) } else { ended(program, beta) };
            let Some(own) = own else {
                cells.push(Cell::default());
                continue;
            };
            let Spread { mean, low, high, .. } = own.accuracy;
            line.points.push(Point { x: i as f64, y: mean, low, high, failed: own.diverged > 0 });
            cells.push(own.cell());
            if *program != "native" {
                harms.push((*program, own.harm(&native), own.words()));
            }
            if cause.is_empty() && !own.cause.is_empty() {
                cause = format!("{program}: {}", own.cause);
            }
        }
        cells.push(Cell::from(cause));
        table.push(cells);
        let &[(_, exact, _), (_, split, _), (_, forward, _), (_, coupled, _)] = &harms[..] else { continue };
        if let Some(source) = source([exact, split, forward], coupled) {
            let all =
                harms.iter().map(|(name, _, words)| format!("{name} {words}")).collect::<Vec<_>>().join("; ");
            verdict.push(format!(
                "{network}, {precision}, the published program at beta {}: {source} (native {}; {all}).",
                power_label(beta),
                native.words()
            ));
        }
    }
    drawings.push(chart(&Chart {
        title: format!("training of {network}, {precision}"),
        x_label: "beta".into(),
        y_label: "test accuracy, %".into(),
        x_ticks: ticks.to_vec(),
        y_range: (0.0, 100.0),
        failure: "at least one run diverged".into(),
        series: lines,
        ..Chart::default()
    })?);
    if !verdict.iter().any(|line| line.starts_with(&format!("{network}, {precision},"))) {
        verdict.push(format!(
            "{network}, {precision}: no program harms training at any beta (native {}).",
            native.words()
        ));
    }
    Ok(())
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
