//! Reproduces the experiments on max pooling, one command each.

mod conduct;
mod protocol;

use std::process::ExitCode;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use tiebreak::lab::{EXPERIMENTS, Entry};

use conduct::{Common, Result, conduct};

const ABOUT: &str = "Reproduces the experiments of the MaxPool study, one command each.

R. Boustany, \"On the numerical reliability of nonsmooth autodiff: a MaxPool case study\" (TMLR 2024). The defaults finish in
minutes on two cores; --full takes the published size.";

const AFTER: &str = "Examples:
  lab zero-program                              E1: a derivative of -1.5 for a program that is 0 everywhere
  lab thresholds --data mnist                   E3: where noise ends, from many initialisations
  lab volume --data cifar10 --precision 32      E4: the volume of the bifurcation zone
  lab volume --data cifar10 --shard 3/8         the third of eight processes that share it, such as a job array's
  lab volume --data cifar10 --merge             tables and page of what all shards have finished
  lab drift --data cifar10 --limit 6400         E5: seven networks that differ in beta alone, on part of the images
  lab training --data mnist --network lenet5,lenet5_bn --optimizer sgd,adam
                                                E6: accuracy for each beta in 16 and 32 bits and mixed
  lab norm-pool --data mnist                    E8: thresholds for a norm pooling
  lab relu --data mnist                         E9: perceptrons whose first layer sees ReLU'(0)

What comes out, in the folder --out:
  results.csv, results.jsonl   one row per measurement, with all settings
  report.html                  the answer, tables and pictures: one file, opens in any browser
  plots/*.svg                  the pictures for a paper
  units*.jsonl                 what has finished: the same command goes on from there, also after a crash

Ctrl-C stops after the present mini-batch and keeps what has finished; twice, at once.";

/// A command for each experiment of the library, with an option for each field of its protocol.
fn command() -> Command {
    let command = Command::new("lab").version(env!("CARGO_PKG_VERSION")).about(ABOUT).after_help(AFTER);
    EXPERIMENTS.iter().map(subcommand).fold(command.subcommand_required(true), Command::subcommand)
}

fn subcommand(entry: &'static Entry) -> Command {
    let command = Common::augment_args(Command::new(protocol::kebab(entry.name)));
    command.about(entry.about).args(protocol::options(entry))
}

fn run(arguments: &ArgMatches) -> Result<ExitCode> {
    let (name, arguments) = arguments.subcommand().expect("one is required");
    let entry = tiebreak::lab::find(&name.replace('-', "_"))?;
    let common = Common::from_arg_matches(arguments)?;
    let experiment = entry.create(&protocol::given(entry, arguments), common.images()?)?;
    conduct(&common, &*experiment)
}

fn main() -> ExitCode {
    match run(&command().get_matches()) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e}");
            let usage = matches!(
                e.downcast_ref(),
                Some(tiebreak::Error::InvalidArgument { .. } | tiebreak::Error::NotFound { .. })
            );
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}
