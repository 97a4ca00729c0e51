//! Does training depend on what MaxPool's backward pass computes at ties, and through which arithmetic?
//!
//! LeNet-5 is trained once for each storage type, composition, beta and seed; runs of one seed start from the
//! same weights and see the same mini-batches. The protocol is that of Boustany (TMLR 2024) in small: SGD with
//! momentum and weight decay, a learning rate that follows a cosine to 0, one learning rate for all betas.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::data::{Split, synthetic};
use crate::dtype::DType;
use crate::engine::{Engine, SgdOptions};
use crate::error::{Error, Result};
use crate::kink::{Composition, Kink, MaxPoolKink};
use crate::lab::course::Course;
use crate::lab::evaluation::test;
use crate::lab::reliability_page;
use crate::lab::results::{CLASSES, Results, Row};
use crate::lab::statistics::distinct;
use crate::lab::summary::{self, Cell};
use crate::net::{Graph, Network, zoo};
use crate::train::Optimizer;

/// Name of the results file in the folder that [`run`] is given.
pub const RESULTS: &str = "results.csv";
/// Name of the page in the folder that [`run`] is given.
pub const REPORT: &str = "report.html";

/// The grid and the training protocol.
#[derive(Debug, Clone, PartialEq)]
pub struct ReliabilityOptions {
    /// Images `[1, 28, 28]` to train on and to test on.
    pub data: Split,
    /// Storage types.
    pub precisions: Vec<DType>,
    /// How beta is evaluated.
    pub compositions: Vec<Composition>,
    /// beta of the MaxPool Jacobian: 0 is native, 1 the minimal norm.
    pub betas: Vec<f64>,
    /// One run each; a seed draws the initial weights and the order of the images.
    pub seeds: Vec<u64>,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images in a mini-batch.
    pub batch_size: usize,
    /// Learning rate at the start.
    pub learning_rate: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// L2 penalty.
    pub weight_decay: f64,
    /// How the program was called, for the page; may be empty.
    pub command: String,
}

impl Default for ReliabilityOptions {
    /// 72 runs on the embedded digits.
    fn default() -> Self {
        ReliabilityOptions {
            data: synthetic::embedded(6400, 2000),
            precisions: vec![DType::F16, DType::F32],
            compositions: vec![Composition::Coupled, Composition::Exact],
            betas: vec![0.0, 1.0, 10.0, 100.0, 1e3, 1e4],
            seeds: vec![0, 1, 2],
            epochs: 5,
            batch_size: 128,
            learning_rate: 0.05,
            momentum: 0.9,
            weight_decay: 5e-4,
            command: String::new(),
        }
    }
}

impl ReliabilityOptions {
    /// Refuses an empty list, a value outside its domain, and images of another shape than `[1, 28, 28]`.
    pub fn validate(&self) -> Result<()> {
        let lists = [
            ("precisions", self.precisions.len()),
            ("compositions", self.compositions.len()),
            ("betas", self.betas.len()),
            ("seeds", self.seeds.len()),
            ("epochs", self.epochs),
            ("batch_size", self.batch_size),
            ("training images", self.data.train.len()),
            ("test images", self.data.test.len()),
        ];
        if let Some((name, _)) = lists.into_iter().find(|(_, len)| *len == 0) {
            return Err(Error::invalid(name, "at least 1", 0));
        }
        if let Some(beta) = self.betas.iter().find(|b| !b.is_finite()) {
            return Err(Error::invalid("betas", "finite numbers", beta));
        }
        for part in [&self.data.train, &self.data.test] {
            if part.shape != [1, 28, 28] || part.classes != CLASSES {
                return Err(Error::shape("data", "images [1, 28, 28] of 10 classes", &part.shape));
            }
        }
        self.sgd().validate()
    }

    fn sgd(&self) -> SgdOptions {
        SgdOptions {
            learning_rate: self.learning_rate,
            momentum: self.momentum,
            weight_decay: self.weight_decay,
            ..Default::default()
        }
    }

    /// Every run of the grid, seed by seed, so that an interrupted grid is complete for the first seeds.
    fn units(&self) -> Vec<Unit> {
        let (precisions, seeds) = (distinct(self.precisions.clone()), distinct(self.seeds.clone()));
        let (compositions, betas) = (distinct(self.compositions.clone()), distinct(self.betas.clone()));
        let mut units = Vec::new();
        for &seed in &seeds {
            for &precision in &precisions {
                for &composition in &compositions {
                    units.extend(betas.iter().map(|&beta| Unit { precision, composition, beta, seed }));
                }
            }
        }
        units
    }
}

/// One run of the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unit {
    /// Storage type.
    pub precision: DType,
    /// How beta is evaluated.
    pub composition: Composition,
    /// beta of the MaxPool Jacobian.
    pub beta: f64,
    /// Draws initial weights and the order of the images.
    pub seed: u64,
}

/// What [`run`] tells its caller while it works.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// Before the first run.
    Start {
        /// Runs of the grid.
        units: usize,
        /// How many of them the results file already holds.
        skipped: usize,
        /// Training steps of one run.
        steps: usize,
    },
    /// After each training step.
    Step {
        /// The present run.
        unit: &'a Unit,
        /// Its place among the runs that are not skipped, from 0 on.
        index: usize,
        /// Steps of it that are done.
        step: usize,
    },
    /// When a run has finished and is in the results file.
    Finished {
        /// The run.
        unit: &'a Unit,
        /// Its place among the runs that are not skipped, from 0 on.
        index: usize,
        /// One row per epoch.
        rows: &'a [Row],
    },
}

/// What [`run`] leaves behind.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Runs of the grid.
    pub units: usize,
    /// Runs that the results file already held.
    pub skipped: usize,
    /// Runs that this call finished.
    pub finished: usize,
    /// The callback asked to stop before the grid was complete.
    pub cancelled: bool,
    /// The table: one cell per precision, composition and beta that has a run.
    pub cells: Vec<Cell>,
    /// What the table says, in sentences.
    pub verdict: Vec<String>,
    /// The results file.
    pub results: PathBuf,
    /// The page; `None` where there was no finished run to write about.
    pub report: Option<PathBuf>,
}

impl Outcome {
    /// The table in plain text, accuracies in percent.
    pub fn table(&self) -> String {
        summary::text_table(&self.cells)
    }
}

/// Trains the grid, writes `results.csv`, `report.html` and the plots in `plots/` to the folder `out`, which is
/// created.
///
/// A run is one line of `results.csv` per epoch, written when the run has finished. Runs that the file already
/// holds, with the same settings, data, device and version, are not repeated.
///
/// A run has **diverged** when the loss of a mini-batch or the mean loss of the test images was not finite in any
/// epoch, or when its test accuracy is below twice that of guessing (20 % for 10 classes) after its training loss
/// has risen: in this or an earlier epoch the mean over the mini-batches was more than 5 % above the lowest of the
/// epochs before it, where the loss of guessing, ln 10 = 2.30, counts as that of the start. A run that ends below
/// that accuracy otherwise **did not train**: it needs more steps, or is stuck. Both have **failed**
/// ([`Row::failed`]).
///
/// A run ends at a mini-batch whose loss is not finite; its remaining epochs are written with that loss and the
/// accuracy that the network then has, in which an image with a NaN among its logits counts as wrong.
///
/// A results file in `out` may be sorted by hand. Where lines of it have to be dropped (runs that miss epochs,
/// repeated runs), the old file is kept as `results.csv.bak`, `results.csv.bak2` and so on; only a cut last line, as
/// a crash leaves it, goes without. A `results.csv` with another first line is refused and left as it is.
///
/// `progress` is called after each training step; [`ControlFlow::Break`] stops there, drops the present run,
/// and still writes the report of what is finished.
///
/// Errors: those of [`ReliabilityOptions::validate`]; [`Error::Io`] and [`Error::Format`] for files in `out`;
/// whatever the engine reports.
pub fn run(
    engine: &Engine,
    options: &ReliabilityOptions,
    out: impl AsRef<Path>,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Outcome> {
    options.validate()?;
    let out = out.as_ref();
    fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
    let mut results = Results::open(out.join(RESULTS))?;
    let graph = zoo::lenet5(&zoo::Options::default())?;
    let data = fingerprint(&options.data);
    let units = options.units();
    let template = |unit: &Unit| template(engine, options, unit, &data);
    let todo: Vec<Unit> = units.iter().filter(|u| results.find(&template(u)).is_none()).copied().collect();
    let skipped = units.len() - todo.len();
    let steps = options.epochs * options.data.train.len().div_ceil(options.batch_size);

    let mut finished = 0;
    let mut stop = progress(Progress::Start { units: units.len(), skipped, steps }).is_break();
    for (index, unit) in todo.iter().enumerate() {
        if stop {
            break;
        }
        let mut report_step = |step| progress(Progress::Step { unit, index, step });
        match train(engine, &graph, options, &template(unit), unit, &mut report_step) {
            Ok(rows) => {
                results.append(&rows)?;
                finished += 1;
                stop = progress(Progress::Finished { unit, index, rows: &rows }).is_break();
            }
            Err(Error::Cancelled) => stop = true,
            Err(e) => return Err(e),
        }
    }

    let rows: Vec<Vec<Row>> =
        units.iter().filter_map(|u| results.find(&template(u))).map(|rows| rows.to_vec()).collect();
    let cells = cells(options, &rows);
    let verdict = summary::verdict(&cells);
    let mut outcome = Outcome {
        units: units.len(),
        skipped,
        finished,
        cancelled: skipped + finished < units.len(),
        cells,
        verdict,
        results: out.join(RESULTS),
        report: None,
    };
    if !rows.is_empty() {
        reliability_page::write(engine, &graph, options, &outcome, &rows, out)?;
        outcome.report = Some(out.join(REPORT));
    }
    Ok(outcome)
}

fn fingerprint(data: &Split) -> String {
    format!("{:08x}-{:08x}", data.train.fingerprint(), data.test.fingerprint())
}

/// Where `precision` runs, as it stands in the results.
pub(super) fn device(engine: &Engine, precision: DType) -> String {
    if engine.placement(precision).gpu { engine.info().name } else { "cpu".into() }
}

/// A row with the settings of a run.
fn template(engine: &Engine, options: &ReliabilityOptions, unit: &Unit, data: &str) -> Row {
    Row {
        network: "lenet5".into(),
        dataset: options.data.train.name.clone(),
        precision: unit.precision.bits(),
        beta: unit.beta,
        composition: unit.composition.to_string(),
        seed: unit.seed,
        epoch: 0,
        train_loss: 0.0,
        test_loss: 0.0,
        test_accuracy: 0.0,
        diverged: false,
        device: device(engine, unit.precision),
        epochs: options.epochs,
        images: options.data.train.len(),
        test_images: options.data.test.len(),
        data: data.into(),
        batch_size: options.batch_size,
        learning_rate: options.learning_rate,
        momentum: options.momentum,
        weight_decay: options.weight_decay,
        seconds: 0.0,
        version: env!("CARGO_PKG_VERSION").into(),
    }
}

/// One run: a row for each epoch. `Error::Cancelled` where `progress` breaks.
fn train(
    engine: &Engine,
    graph: &Graph,
    options: &ReliabilityOptions,
    template: &Row,
    unit: &Unit,
    progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Vec<Row>> {
    let mut network = Network::new(engine, graph, unit.precision, unit.seed)?;
    network.set_kink(None, Kink::MaxPool(MaxPoolKink::beta(unit.beta, unit.composition)))?;
    let mut sgd = Optimizer::new(&mut network, options.sgd())?;
    let data = &options.data.train;
    let steps = options.epochs * data.len().div_ceil(options.batch_size);
    let (mut step, mut course) = (0, Course::new(CLASSES));
    let mut rows: Vec<Row> = Vec::new();
    for epoch in 1..=options.epochs {
        if course.ended {
            let last = rows.last().expect("a row of the epoch in which it was lost").clone();
            rows.push(Row { epoch, seconds: 0.0, ..last });
            continue;
        }
        let start = Instant::now();
        let (mut sum, mut batches) = (0.0, 0);
        for indices in data.batches(options.batch_size, unit.seed, epoch as u64)? {
            let (x, labels) = data.batch(&indices, unit.precision)?;
            let turn = std::f64::consts::PI * step as f64 / steps as f64;
            sgd.set_learning_rate(options.learning_rate * 0.5 * (1.0 + libm::cos(turn)))?;
            sgd.train_step(&mut network, x.view(), &labels)?;
            let loss = network.loss()?;
            (sum, batches, step) = (sum + loss, batches + 1, step + 1);
            if progress(step).is_break() {
                return Err(Error::Cancelled);
            }
            if !loss.is_finite() {
                break;
            }
        }
        let train_loss = sum / batches as f64;
        let (test_loss, test_accuracy) = test(&mut network, &options.data.test, options.batch_size)?;
        let seconds = start.elapsed().as_secs_f64();
        let mut row = Row { epoch, train_loss, test_loss, test_accuracy, seconds, ..template.clone() };
        row.diverged = course.diverged(row.train_loss, row.test_loss, row.test_accuracy);
        rows.push(row);
    }
    Ok(rows)
}

/// One cell for each precision, composition and beta that has a run, in the order of the options.
fn cells(options: &ReliabilityOptions, rows: &[Vec<Row>]) -> Vec<Cell> {
    let groups = distinct(options.units().into_iter().map(|u| (u.precision, u.composition, u.beta)));
    let cell = |(precision, composition, beta): (DType, Composition, f64)| {
        let last = rows.iter().filter_map(|run| run.last());
        let last: Vec<&Row> = last.filter(|r| belongs(r, precision, composition, beta)).collect();
        Cell::new(precision, composition, beta, &last)
    };
    groups.into_iter().filter_map(cell).collect()
}

/// Whether a row is of this group.
pub(super) fn belongs(row: &Row, precision: DType, composition: Composition, beta: f64) -> bool {
    row.precision == precision.bits() && row.composition == composition.to_string() && row.beta == beta
}
