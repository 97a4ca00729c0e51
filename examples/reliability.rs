//! Trains LeNet-5 under different MaxPool Jacobians and shows where training breaks, and why.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use tiebreak::data::{Split, mnist, synthetic};
use tiebreak::lab::Row;
use tiebreak::lab::reliability::{Outcome, Progress, ReliabilityOptions, Unit, run};
use tiebreak::{Composition, DType, Device, Engine, EngineOptions};

const ABOUT: &str =
    "Trains LeNet-5 under different MaxPool Jacobians and shows where training breaks, and why.

MaxPool has no derivative where a window has several maxima. This program trains the same network again and \
again with beta * minimal + (1 - beta) * native as its backward pass there, for each precision, composition, \
beta and seed, and compares the test accuracies.";

const AFTER: &str = "Examples:
  reliability                                 72 short runs on embedded digits: one to three minutes on two cores
  reliability --beta 0,1000 --seeds 1         a first look: 8 runs, some ten seconds
  reliability --data mnist --epochs 20        real MNIST (its four .gz files are in ./mnist): an hour on two cores
  reliability --data mnist --limit 6400       the size of the default, with real digits
  reliability --composition coupled,split,exact --precision 16 --beta 0,1000,10000

What comes out, in the folder --out:
  results.csv   one row per run and epoch, for your own plots
  report.html   the answer in words, tables, plots and settings: one file, opens in any browser
  plots/*.svg   the plots for a paper

Compositions:
  coupled  the published program, operation by operation in the storage type
  split    its backward pass, with a forward pass that is exactly the maximum
  exact    the forward pass is the maximum, the gradient is multiplied once: the choice, and one rounding

How runs are counted:
  diverged       a loss was not finite; or the final test accuracy is below 20 % (twice guessing) after the
                 mean training loss of an epoch rose more than 5 % above its lowest before (ln 10 at the start)
  did not train  the final test accuracy is below 20 % without that: too few steps, or stuck
  failed         either of them

A second call with the same --out goes on where the first stopped and skips finished runs; Ctrl-C keeps them.";

#[derive(Parser)]
#[command(version, about = ABOUT, after_help = AFTER)]
struct Args {
    /// Folder with MNIST's four files (.gz or not); without it: drawn digits that need no download
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to compute: auto, cpu or gpu (64 bits always run on the CPU)
    #[arg(long, default_value = "auto", value_name = "NAME")]
    device: Device,
    /// Widths of the storage type: 16, 32, 64
    #[arg(long, value_delimiter = ',', default_value = "16,32", value_name = "LIST")]
    precision: Vec<DType>,
    /// Values of beta: 0 is PyTorch's Jacobian, 1 the one of least norm
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0,1,10,100,1000,10000",
        value_name = "LIST",
        allow_negative_numbers = true
    )]
    beta: Vec<f64>,
    /// How beta is evaluated: coupled, split, exact
    #[arg(long, value_delimiter = ',', default_value = "coupled,exact", value_name = "LIST")]
    composition: Vec<Composition>,
    /// Runs of each setting, with other initial weights and another order of the images
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Passes over the training images
    #[arg(long, default_value_t = 5, value_name = "N")]
    epochs: usize,
    /// Training images to use [default: all of --data, else 6400]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Images in a mini-batch
    #[arg(long, default_value_t = 128, value_name = "N")]
    batch_size: usize,
    /// Learning rate at the start; it follows a cosine to 0
    #[arg(long, default_value_t = 0.05, value_name = "X")]
    learning_rate: f64,
    /// Folder for results and report, created where needed
    #[arg(long, default_value = "reliability", value_name = "DIR")]
    out: PathBuf,
    /// Threads of the CPU engine; 0 takes all cores (the results are the same)
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
}

fn main() -> ExitCode {
    match reliability(Args::parse()) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e}");
            let usage = matches!(e.downcast_ref(), Some(tiebreak::Error::InvalidArgument { .. }));
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

/// The exit code of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn reliability(args: Args) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let data = load(&args)?;
    let engine =
        Engine::new(&EngineOptions { device: args.device, threads: args.threads, ..Default::default() })?;
    let options = ReliabilityOptions {
        data,
        precisions: args.precision,
        compositions: args.composition,
        betas: args.beta,
        seeds: (0..args.seeds).collect(),
        epochs: args.epochs,
        batch_size: args.batch_size,
        learning_rate: args.learning_rate,
        command: std::env::args().collect::<Vec<_>>().join(" "),
        ..Default::default()
    };
    options.validate()?;
    let info = engine.info();
    println!(
        "data: {}, {} training and {} test images; engine: {}, {} threads",
        options.data.train.name,
        options.data.train.len(),
        options.data.test.len(),
        info.name,
        info.threads
    );
    for &precision in &options.precisions {
        if let Some(reason) = engine.placement(precision).reason {
            println!("note: {reason}");
        }
    }

    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
        eprintln!("\nstopping after this step; Ctrl-C again stops at once");
    })?;
    let mut display = Display::new();
    let outcome = run(&engine, &options, &args.out, &mut |progress| {
        display.show(progress);
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    display.bar.finish_and_clear();
    conclude(&outcome);
    Ok(if outcome.cancelled { INTERRUPTED.into() } else { ExitCode::SUCCESS })
}

/// Test images beside the embedded training digits.
const TEST_IMAGES: usize = 2000;

fn load(args: &Args) -> tiebreak::Result<Split> {
    let limit = args.limit;
    match &args.data {
        None => Ok(synthetic::embedded(limit.unwrap_or(6400), TEST_IMAGES)),
        Some(dir) => {
            let Split { train, test } = mnist::load(dir)?;
            Ok(Split { train: train.take(limit.unwrap_or(usize::MAX)), test })
        }
    }
}

fn conclude(outcome: &Outcome) {
    println!("\n{}", outcome.table());
    for sentence in &outcome.verdict {
        println!("{sentence}");
    }
    if outcome.cancelled {
        let done = outcome.skipped + outcome.finished;
        println!(
            "Stopped: {done} of {} runs are finished. The same command goes on from there.",
            outcome.units
        );
    }
    if let Some(report) = &outcome.report {
        println!("\nresults: {}\nreport:  {}", outcome.results.display(), report.display());
    }
}

/// A bar on a terminal; elsewhere a line for each finished run.
struct Display {
    bar: ProgressBar,
    steps: usize,
    units: usize,
    start: Instant,
}

impl Display {
    fn new() -> Display {
        let bar = ProgressBar::new(0);
        let style = "{wide_bar} {percent:>3} %  {eta} left  {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("a constant template"));
        Display { bar, steps: 0, units: 0, start: Instant::now() }
    }

    fn show(&mut self, progress: Progress) {
        match progress {
            Progress::Start { units, skipped, steps } => {
                (self.steps, self.units) = (steps, units - skipped);
                let skips = if skipped > 0 {
                    format!("; {skipped} are already in results.csv and are skipped")
                } else {
                    String::new()
                };
                println!("{units} runs of {steps} steps{skips}");
                self.bar.set_length((self.units * steps) as u64);
            }
            Progress::Step { unit, index, step } => {
                self.bar.set_message(name(unit));
                self.bar.set_position((index * self.steps + step) as u64);
            }
            Progress::Finished { unit, index, rows } => {
                self.bar.set_position(((index + 1) * self.steps) as u64);
                if self.bar.is_hidden() {
                    let seconds = self.start.elapsed().as_secs_f64();
                    println!(
                        "{:>4}/{} {}: {} ({seconds:.0} s)",
                        index + 1,
                        self.units,
                        name(unit),
                        result(rows)
                    );
                }
            }
        }
    }
}

fn name(unit: &Unit) -> String {
    let Unit { precision, composition, beta, seed } = unit;
    format!("{} bits, {composition}, beta {beta}, seed {seed}", precision.bits())
}

fn result(rows: &[Row]) -> String {
    let last = rows.last().expect("a row per epoch");
    let accuracy = 100.0 * last.test_accuracy;
    let epoch = rows.iter().rfind(|row| !row.diverged).map_or(1, |row| row.epoch + 1);
    match (last.diverged, last.failed()) {
        (true, _) => format!("diverged in epoch {epoch}, {accuracy:.2} %"),
        (_, true) => format!("did not train, {accuracy:.2} %"),
        _ => format!("{accuracy:.2} %"),
    }
}
