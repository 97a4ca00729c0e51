//! Counts how often a network stands on its kinks: ties of MaxPool windows and zeros before ReLUs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::builder::RangedU64ValueParser;
use indicatif::ProgressBar;
use tiebreak::data::{self, Batches, Split, synthetic};
use tiebreak::net::{CensusEntry, LayerCensus, Network, NetworkOptions, TieCount, zoo};
use tiebreak::{Convention, Device, Engine, EngineOptions, Precision};

const ABOUT: &str = "Counts how often a network stands on its kinks, layer by layer.

A MaxPool window is tied where several of its elements attain the maximum. A tie is alive, so that the choice of a \
Jacobian can matter, where a gradient arrives that is not zero and the ReLU before the pooling passes it on at one of \
the tied elements at least.";

const AFTER: &str = "Examples:
  tie_census                                       LeNet-5 on drawn digits, in 16 and 32 bits
  tie_census --data mnist
  tie_census --network vgg11 --data cifar-10 --precision 16,32,64 --csv census.csv";

#[derive(Parser)]
#[command(version, about = ABOUT, after_help = AFTER)]
struct Args {
    /// A network of the zoo; `_bn` behind its name means batch normalisation
    #[arg(long, default_value = "lenet5", value_name = "NAME")]
    network: String,
    /// Folder with MNIST, Fashion-MNIST, CIFAR-10, SVHN or photos; without it: drawn digits for lenet5, drawn shapes in
    /// colour for the others
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Side of the images of a folder of photos
    #[arg(long, default_value_t = 64, value_name = "N")]
    size: usize,
    /// Weights to take instead of fresh ones: a safetensors file
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Arithmetic: 16, 32, 64, mixed, bf16, e5m2 ...
    #[arg(long, value_delimiter = ',', default_value = "16,32", value_name = "LIST")]
    precision: Vec<Precision>,
    /// What a framework computes at the kinks, which decides where ties are alive: pytorch, jax, tensorflow, candle, mlpack,
    /// theano, cudnn-random
    #[arg(long, default_value = "pytorch", value_name = "NAME")]
    kinks: Convention,
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = positive())]
    batch_size: usize,
    /// Mini-batches to count, in the order of the files
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = positive())]
    batches: usize,
    /// Seed of the initial weights
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Where to compute: auto, cpu or gpu
    #[arg(long, default_value = "auto", value_name = "NAME")]
    device: Device,
    /// File for the table
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
}

fn positive() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..1 << 31)
}

fn main() -> ExitCode {
    match census(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            let usage = matches!(e.downcast_ref(), Some(tiebreak::Error::InvalidArgument { .. }));
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

fn census(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let Split { train, .. } = match &args.data {
        Some(folder) => data::load(folder, args.size)?,
        None if args.network.starts_with("lenet") => synthetic::embedded(args.batches * args.batch_size, 1),
        None => synthetic::embedded_colour(args.batches * args.batch_size, 1),
    };
    let engine = Engine::new(&EngineOptions { device: args.device, ..Default::default() })?;
    let options = zoo::Options { classes: train.classes, input: Some(train.shape), ..Default::default() };
    let graph = zoo::by_name(&args.network, &options)?;
    let mut csv = args.csv.as_ref().map(csv::Writer::from_path).transpose()?;
    if let Some(csv) = &mut csv {
        csv.write_record(["precision", "layer", "kind", "ties", "value", "windows", "alive"])?;
    }
    println!("{} on {}, {} mini-batches of {}", args.network, train.name, args.batches, args.batch_size);
    for &precision in &args.precision {
        let initialization = zoo::published_initialization(&args.network, options.variant)?;
        let network_options = NetworkOptions { precision, seed: args.seed, initialization };
        let mut network = Network::with_options(&engine, &graph, &network_options)?;
        network.set_kinks(args.kinks);
        if let Some(path) = &args.weights {
            network.load(path, true)?;
        }
        let batches = Batches::in_order(train.len(), args.batch_size)?.take(args.batches);
        let bar = ProgressBar::new(batches.len() as u64);
        let mut total: Vec<CensusEntry> = Vec::new();
        for indices in batches {
            let (x, labels) = train.batch(&indices, precision.storage)?;
            let counted = network.census(x.view(), &labels)?;
            if total.is_empty() {
                total = counted;
            } else {
                total.iter_mut().zip(&counted).for_each(|(t, c)| t.add(c));
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        print_table(precision, &total);
        if let Some(csv) = &mut csv {
            write_csv(csv, precision, &total)?;
        }
    }
    if let (Some(mut csv), Some(path)) = (csv, &args.csv) {
        csv.flush()?;
        println!("\ntable: {}", path.display());
    }
    Ok(())
}

fn percent(part: u64, whole: u64) -> String {
    match part {
        0 => "-".into(),
        _ => format!("{:.3} %", 100.0 * part as f64 / whole as f64),
    }
}

fn print_table(precision: Precision, entries: &[CensusEntry]) {
    println!(
        "\n{precision}\n{:<20} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "max pooling", "windows", "no tie", "zero", "2 ties", "3 ties", "4 or more", "alive ties"
    );
    for entry in entries {
        if let LayerCensus::MaxPool2d(counts) = &entry.counts {
            let all: u64 = counts.iter().map(TieCount::windows).sum();
            let tied = || counts.iter().skip(2);
            let nonzero = |k: usize| counts.get(k).map_or(0, |c| c.nonzero.windows);
            let many = counts.iter().skip(4).map(|c| c.nonzero.windows).sum();
            println!(
                "{:<20} {all:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
                entry.layer,
                percent(counts[1].windows(), all),
                percent(tied().map(|c| c.zero.windows).sum(), all),
                percent(nonzero(2), all),
                percent(nonzero(3), all),
                percent(many, all),
                percent(tied().map(TieCount::alive).sum(), all),
            );
        }
    }
    println!("{:<20} {:>10} {:>10}", "ReLU", "inputs", "at zero");
    for entry in entries {
        if let LayerCensus::Relu { zeros, elements } = &entry.counts {
            println!("{:<20} {elements:>10} {:>10}", entry.layer, percent(*zeros, *elements));
        }
    }
}

fn write_csv(
    csv: &mut csv::Writer<std::fs::File>,
    precision: Precision,
    entries: &[CensusEntry],
) -> csv::Result<()> {
    for CensusEntry { layer, counts } in entries {
        let mut row = |kind: &str, ties: usize, value: &str, windows: u64, alive: u64| {
            let numbers = [ties as u64, windows, alive].map(|n| n.to_string());
            let precision = precision.to_string();
            csv.write_record([&precision, layer, kind, &numbers[0], value, &numbers[1], &numbers[2]])
        };
        match counts {
            LayerCensus::MaxPool2d(counts) => {
                for (k, count) in counts.iter().enumerate() {
                    row("maxpool2d", k, "zero", count.zero.windows, count.zero.alive)?;
                    row("maxpool2d", k, "nonzero", count.nonzero.windows, count.nonzero.alive)?;
                }
            }
            LayerCensus::Relu { zeros, elements } => {
                row("relu", 0, "zero", *zeros, 0)?;
                row("relu", 0, "nonzero", elements - zeros, 0)?;
            }
        }
    }
    Ok(())
}
