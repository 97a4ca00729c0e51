//! What all experiments do on the command line: an engine, a bar, Ctrl-C, and the answer at the end.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tiebreak::data;
use tiebreak::lab::{AnyExperiment, Columns, Event, Images, LINES, Outcome, RunOptions, TABLE, Value};
use tiebreak::{Device, Engine, EngineOptions};

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The exit code of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// What every experiment takes.
#[derive(clap::Args)]
pub struct Common {
    /// Where to compute: auto, cpu or gpu (64 bits always run on the CPU)
    #[arg(long, default_value = "cpu", value_name = "NAME")]
    device: Device,
    /// Threads of the CPU engine; 0 takes all cores (the results are the same)
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: usize,
    /// Folder with MNIST, CIFAR-10 or another data set whose images the network takes; without it, where LeNet-5 or a
    /// perceptron is measured: drawn digits that need no download
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder for results and report, created where needed [default: lab/NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Take part i of n of the units, as one of n processes: 1/n to n/n
    #[arg(long, value_name = "I/N", value_parser = shard)]
    shard: Option<(usize, usize)>,
    /// Measure nothing: write tables and page of what has finished, and fail where units are missing
    #[arg(long, conflicts_with = "shard")]
    merge: bool,
}

impl Common {
    /// The engine that was asked for.
    pub fn engine(&self) -> Result<Engine> {
        let (device, threads) = (self.device, self.threads);
        Ok(Engine::new(&EngineOptions { device, threads, ..Default::default() })?)
    }
}

fn shard(text: &str) -> std::result::Result<(usize, usize), String> {
    let parse = |(i, n): (&str, &str)| Some((i.parse().ok()?, n.parse().ok()?));
    match text.split_once('/').and_then(parse) {
        Some((i, n)) if (1..=n).contains(&i) => Ok((i, n)),
        _ => Err(format!("expected I/N with I from 1 to N, such as 2/8, got {text}")),
    }
}

impl Common {
    /// The folder with the data set.
    pub fn folder(&self) -> Option<&PathBuf> {
        self.data.as_ref()
    }

    /// The data set of the folder, its photos 224 x 224 pixels large.
    pub fn images(&self) -> Result<Images> {
        Ok(match &self.data {
            Some(folder) => data::load(folder, 224)?.into(),
            None => Images::default(),
        })
    }
}

/// Runs the experiment and prints its answer.
pub fn conduct(common: &Common, experiment: &dyn AnyExperiment) -> Result<ExitCode> {
    let engine = common.engine()?;
    let out = common.out.clone().unwrap_or_else(|| PathBuf::from("lab").join(experiment.name()));
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let options = RunOptions { out, shard: common.shard, merge: common.merge, command };
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
        eprintln!("\nstopping; Ctrl-C again stops at once");
    })?;
    let mut display = Display::new();
    let outcome = experiment.run(&engine, &options, &mut |event| {
        display.show(&event);
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    display.bar.finish_and_clear();
    conclude(&outcome, &options);
    Ok(match (outcome.cancelled, common.merge && outcome.missing() > 0) {
        (true, _) => INTERRUPTED.into(),
        (_, true) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

fn conclude(outcome: &Outcome, options: &RunOptions) {
    for sentence in &outcome.verdict {
        println!("{sentence}");
    }
    let Outcome { units, skipped, finished, .. } = outcome;
    println!(
        "\n{units} units, {skipped} of them finished before, {finished} now, {} missing",
        outcome.missing()
    );
    if outcome.missing() > 0 {
        println!("The same command goes on from there.");
    }
    if let Some(report) = &outcome.report {
        let table = options.out.join(TABLE);
        println!("table:  {} (and {LINES})\nreport: {}", table.display(), report.display());
    }
}

/// A bar on a terminal; elsewhere a line for each finished unit.
struct Display {
    bar: ProgressBar,
    start: Instant,
}

const RESOLUTION: u64 = 1000;

impl Display {
    fn new() -> Display {
        let bar = ProgressBar::new(0);
        let style = "{wide_bar} {percent:>3} %  {eta} left  {msg}";
        bar.set_style(ProgressStyle::with_template(style).expect("a constant template"));
        if std::io::stderr().is_terminal() {
            bar.enable_steady_tick(Duration::from_millis(500));
        }
        Display { bar, start: Instant::now() }
    }

    fn show(&mut self, event: &Event) {
        self.bar.set_length(event.units as u64 * RESOLUTION);
        self.bar.set_message(name(event.settings));
        self.bar.set_position(event.index as u64 * RESOLUTION + (event.done * RESOLUTION as f64) as u64);
        if self.bar.is_hidden() && event.done == 1.0 {
            let seconds = self.start.elapsed().as_secs_f64();
            println!("{:>4}/{} {} ({seconds:.0} s)", event.index + 1, event.units, name(event.settings));
        }
    }
}

/// What tells units apart, in short.
fn name(settings: &Columns) -> String {
    const SHOWN: [&str; 11] = [
        "network",
        "batch_size",
        "precision",
        "order",
        "program",
        "composition",
        "beta",
        "optimizer",
        "seed",
        "slice",
        "t",
    ];
    let shown = settings.iter().filter(|(name, _)| SHOWN.contains(name));
    let parts: Vec<String> = shown
        .map(|(name, value)| match name {
            "network" | "order" | "program" | "composition" | "optimizer" | "slice" => value.to_string(),
            "precision" => match value {
                Value::Text(name) => name.clone(),
                bits => format!("{bits} bits"),
            },
            "batch_size" => format!("batch {value}"),
            name => format!("{name} {value}"),
        })
        .collect();
    parts.join(", ")
}
