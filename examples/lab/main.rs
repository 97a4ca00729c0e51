//! Reproduces the experiments on max pooling, one command each.

mod conduct;
mod imagenet;
mod protocol;
mod ranks;
mod report;

use std::process::ExitCode;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use tiebreak::lab::{EXPERIMENTS, Entry};

use conduct::{Common, Result, conduct};

const ABOUT: &str = "Experiments on what automatic differentiation computes at kinks, one command each.

E1 to E9 reproduce R. Boustany, \"On the numerical reliability of nonsmooth autodiff: a MaxPool case study\" (TMLR 2024); E10 to
E17 go beyond it; reliability is the place to begin. The defaults finish in minutes on two cores; --full takes the published size.";

const AFTER: &str = "Examples:
  lab reliability                               72 short runs on drawn digits: where training breaks, and why
  lab reliability --beta 0,1000 --seeds 1       a first look: 8 runs, some ten seconds
  lab reliability --data mnist --epochs 3 --learning-rate 0.0233 --precision 16 --composition coupled,split,exact
                                                the README's table
  lab zero-program                              E1: a derivative of -1.5 for a program that is 0 everywhere
  lab ties --data mnist --image 0,7             E2: the windows that tie, drawn over two digits
  lab thresholds --data mnist                   E3: where noise ends, from many initialisations
  lab volume --data cifar10 --precision 32      E4: the volume of the bifurcation zone
  lab volume --data cifar10 --shard 3/8         the third of eight processes that share it, such as a job array's
  lab volume --data cifar10 --merge             tables and page of what all shards have finished
  lab drift --data cifar10 --limit 6400         E5: seven networks that differ in beta alone, on part of the images
  lab training --data mnist --network lenet5,lenet5_bn --optimizer sgd,adam
                                                E6: accuracy for each beta in 16 and 32 bits and mixed
  lab learning-rate --data mnist --network lenet5 --optimizer sgd,adam
                                                the search behind E6's learning rates
  lab imagenet --data imagenette                E7: ResNet50 on photos, a few steps; --full: 80 epochs
  mpirun -n 4 lab imagenet --data imagenette    the same table from four processes, in a build with the feature mpi
  lab norm-pool --data mnist                    E8: thresholds for a norm pooling
  lab relu --data mnist                         E9: perceptrons whose first layer sees ReLU'(0)
  lab attribution --data mnist                  E10: is it the Jacobian, or is it the forward pass?
  lab taxonomy --data mnist                     E11: ties that are masked, structural, accidental
  lab replay --data mnist                       E12: compensation or bifurcation, without a threshold
  lab noise --data mnist                        E13: where noise ends, and what exceeds it
  lab continuum --data mnist                    E14: range or precision, in simulated formats
  lab margins --data mnist                      E15: ties foretold from one run in 64 bits
  lab conventions --data mnist                  E16: how far apart frameworks are at the kinks
  lab slices --data mnist                       E17: the bifurcation set around the weights, as a picture
  lab replay --data photos --network mine.json --weights mine.safetensors
                                                a network of your own: E10 to E17 take one
  lab report lab/volume lab/training            one page over several results

What comes out, in the folder --out:
  results.csv, results.jsonl   one row per measurement, with all settings
  report.html                  the answer, tables and pictures: one file, opens in any browser
  plots/*.svg                  the pictures for a paper; *.png too where built with --features png
  units*.jsonl                 what has finished: the same command goes on from there, also after a crash

A network of your own is a file such as
  {\"input\": [1, 28, 28], \"layers\": [
    {\"name\": \"conv\", \"type\": \"conv2d\", \"out_channels\": 6, \"kernel\": 5},
    {\"name\": \"relu\", \"type\": \"relu\"},
    {\"name\": \"pool\", \"type\": \"maxpool2d\", \"kernel\": 2},
    {\"name\": \"flatten\", \"type\": \"flatten\"},
    {\"name\": \"head\", \"type\": \"linear\", \"out_features\": 10}]}
with PyTorch's names and defaults; weights are named as in PyTorch: conv.weight, conv.bias, ...

Ctrl-C stops after the present mini-batch and keeps what has finished; twice, at once.";

/// A command for each experiment of the library, with an option for each field of its protocol.
fn command() -> Command {
    let command = Command::new("lab").version(env!("CARGO_PKG_VERSION")).about(ABOUT).after_help(AFTER);
    let all = EXPERIMENTS.iter().map(subcommand).chain([report::command()]);
    all.fold(command.subcommand_required(true), Command::subcommand)
}

fn subcommand(entry: &'static Entry) -> Command {
    let command = Command::new(protocol::kebab(entry.name));
    let command = Common::augment_args(command).args(protocol::options(entry));
    let command = if entry.name == imagenet::NAME { imagenet::options(command) } else { command };
    // At the end: each group of options brings a text of its own.
    command.about(entry.about)
}

fn run(arguments: &ArgMatches) -> Result<ExitCode> {
    let (name, arguments) = arguments.subcommand().expect("one is required");
    if name == report::NAME {
        return report::run(arguments);
    }
    let entry = tiebreak::lab::find(&name.replace('-', "_"))?;
    let common = Common::from_arg_matches(arguments)?;
    let given = protocol::given(entry, arguments);
    if name == imagenet::NAME {
        return imagenet::run(&common, &given, arguments);
    }
    let experiment = entry.create(&given, common.images()?)?;
    conduct(&common, &*experiment)
}

fn main() -> ExitCode {
    match run(&command().get_matches()) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e}");
            if let Some(tiebreak::Error::InvalidArgument { argument, .. }) = e.downcast_ref()
                && ["train", "test"].contains(&argument.as_str())
            {
                eprintln!("--data DIR names the folder of a data set");
            }
            ExitCode::from(exit_code(&*e))
        }
    }
}

/// 2 for a mistake in the call, else 1.
fn exit_code(e: &(dyn std::error::Error + 'static)) -> u8 {
    use tiebreak::Error::{InvalidArgument, NotFound};
    if matches!(e.downcast_ref(), Some(InvalidArgument { .. } | NotFound { .. })) { 2 } else { 1 }
}
