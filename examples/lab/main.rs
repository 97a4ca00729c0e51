//! Reproduces the experiments on max pooling, one command each.

mod conduct;
mod drift;
mod imagenet;
mod ranks;
mod relu;
mod thresholds;
mod training;
mod volume;
mod zero_program;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
  lab imagenet --data imagenette                E7: ResNet50 on photos, a few steps; --full: 80 epochs
  mpirun -n 4 lab imagenet --data imagenette    the same table from four processes, in a build with the feature mpi
  lab norm-pool --data mnist                    E8: thresholds for a norm pooling
  lab relu --data mnist                         E9: perceptrons whose first layer sees ReLU'(0)

What comes out, in the folder --out:
  results.csv, results.jsonl   one row per measurement, with all settings
  report.html                  the answer, tables and pictures: one file, opens in any browser
  plots/*.svg                  the pictures for a paper
  units*.jsonl                 what has finished: the same command goes on from there, also after a crash

Ctrl-C stops after the present mini-batch and keeps what has finished; twice, at once.";

#[derive(Parser)]
#[command(version, about = ABOUT, after_help = AFTER)]
struct Args {
    #[command(subcommand)]
    experiment: Experiment,
}

#[derive(Subcommand)]
enum Experiment {
    /// E1: programs for zero, and the derivatives that reverse mode computes for them
    ZeroProgram(zero_program::Args),
    /// E3: gradients with the native and the minimal Jacobian of max pooling on LeNet-5, and the thresholds tau
    Thresholds(thresholds::Args),
    /// E8: the same for the values 0 and 1 at the zero of a norm pooling
    NormPool(thresholds::Args),
    /// E4: share of the mini-batches on which two Jacobians of max pooling differ by more than noise
    Volume(volume::Args),
    /// E5: distance of the weights, and accuracy, of networks that differ in beta alone
    Drift(drift::Args),
    /// E6: accuracy and divergence of training for each beta, precision, optimizer and network
    Training(training::Args),
    /// E7: accuracy of ResNet50 on photos for each beta, trained by one process or several
    Imagenet(imagenet::Args),
    /// E9: share of the initialisations whose first layer sees ReLU'(0)
    Relu(relu::Args),
}

fn main() -> ExitCode {
    let result = match Args::parse().experiment {
        Experiment::ZeroProgram(args) => args.run(),
        Experiment::Thresholds(args) => args.max(),
        Experiment::NormPool(args) => args.norm(),
        Experiment::Volume(args) => args.run(),
        Experiment::Drift(args) => args.run(),
        Experiment::Training(args) => args.run(),
        Experiment::Imagenet(args) => args.run(),
        Experiment::Relu(args) => args.run(),
    };
    match result {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(exit_code(&*e))
        }
    }
}

/// 2 for a mistake in the call, else 1.
fn exit_code(e: &(dyn std::error::Error + 'static)) -> u8 {
    if matches!(e.downcast_ref(), Some(tiebreak::Error::InvalidArgument { .. })) { 2 } else { 1 }
}
