//! Gets the public data sets that the other examples train on.

mod download;
mod sets;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use clap::builder::{PossibleValue, PossibleValuesParser};
use indicatif::{ProgressBar, ProgressStyle};

use download::{Downloader, Failure, Outcome};
use sets::SETS;

const AFTER: &str = "Files are verified (MD5, as published), and an interrupted download goes on where it ended: start the \
program again. Proxies are taken from HTTP_PROXY, HTTPS_PROXY and ALL_PROXY. Then: train --data data/mnist";

#[derive(Parser)]
#[command(version, about = "Gets the public data sets that the other examples train on.", after_help = AFTER)]
struct Args {
    /// Data sets
    #[arg(required = true, value_name = "NAME", value_parser = PossibleValuesParser::new(
        SETS.iter().map(|set| PossibleValue::new(set.name).help(set.about))))]
    names: Vec<String>,
    /// Folder that gets a folder for each
    #[arg(long, default_value = "data", value_name = "DIR")]
    dir: PathBuf,
    /// Another server, with the files of each data set in a folder named as the one below --dir
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

/// The exit code of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let args = Args::parse();
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let handler = move || {
        // A server that is silent is not waited for: what came is in the file.
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
    };
    if let Err(e) = ctrlc::set_handler(handler) {
        eprintln!("note: Ctrl-C ends the program at once: {e}");
    }
    match fetch(&args, &stop) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::from(if matches!(e, Failure::Interrupted) { INTERRUPTED } else { 1 })
        }
    }
}

fn fetch(args: &Args, stop: &AtomicBool) -> Result<(), Failure> {
    let downloader = Downloader::new(Duration::from_secs(2));
    let style = "{msg}  {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(style).expect("a constant template");
    for set in SETS.iter().filter(|set| args.names.iter().any(|name| name == set.name)) {
        println!("{} -> {}", set.about, args.dir.join(set.folder).display());
        let bar = ProgressBar::no_length().with_style(style.clone()).with_message(set.name);
        let mut tell = |file: &str, outcome| {
            let what = match outcome {
                Outcome::Downloaded => "downloaded and verified",
                Outcome::WasThere => "was there",
            };
            bar.suspend(|| println!("  {file}: {what}"));
        };
        let mut watch = |done, total: Option<u64>| {
            bar.set_position(done);
            if bar.length() != total {
                // Not the speed of the file before.
                bar.reset_eta();
                total.map_or_else(|| bar.unset_length(), |total| bar.set_length(total));
            }
            if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let result = set.fetch(&downloader, &args.dir, args.mirror.as_deref(), &mut tell, &mut watch);
        bar.finish_and_clear();
        result?;
    }
    Ok(())
}
