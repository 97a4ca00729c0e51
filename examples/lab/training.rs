//! E6.

use std::path::PathBuf;
use std::process::ExitCode;

use tiebreak::lab::training::{Algorithm, Training};
use tiebreak::{Composition, Precision};

use crate::conduct::{Common, Result, conduct, load, published_augmentation};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Folder with MNIST, CIFAR-10 or another data set whose images the networks take
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Networks of the zoo; `_bn` for batch normalisation
    #[arg(long, value_delimiter = ',', default_value = "lenet5", value_name = "LIST")]
    network: Vec<String>,
    /// Arithmetic: 16, 32, 64, mixed
    #[arg(long, value_delimiter = ',', default_value = "16,32,mixed", value_name = "LIST")]
    precision: Vec<Precision>,
    /// sgd (momentum 0.9, weight decay 5e-4), adam
    #[arg(long, value_delimiter = ',', default_value = "sgd", value_name = "LIST")]
    optimizer: Vec<Algorithm>,
    /// How beta is evaluated: coupled (as published), split, exact
    #[arg(long, value_delimiter = ',', default_value = "coupled", value_name = "LIST")]
    composition: Vec<Composition>,
    /// beta of the Jacobian: 0 is native, 1 minimal
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0,1,10,100,1000,10000",
        value_name = "LIST",
        allow_negative_numbers = true
    )]
    beta: Vec<f64>,
    /// Runs of each, with other weights and another order of the images
    #[arg(long, default_value_t = 2, value_name = "N")]
    seeds: u64,
    /// Passes over the training images [default: 2; --full: 100 for LeNet-5, else 200]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Training images to use [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Test images to use [default: all]
    #[arg(long, value_name = "N")]
    test_limit: Option<usize>,
    /// Images in a mini-batch
    #[arg(long, default_value_t = 128, value_name = "N")]
    batch_size: usize,
    /// Learning rate at the start [default: the published one of the network, precision and optimizer]
    #[arg(long, value_name = "X")]
    learning_rate: Option<f64>,
    /// The published number of epochs: days on two cores
    #[arg(long)]
    full: bool,
}

impl Args {
    /// E6.
    pub fn run(self) -> Result<ExitCode> {
        let mut data = load(&self.data)?;
        data.train = data.train.take(self.limit.unwrap_or(usize::MAX));
        data.test = data.test.take(self.test_limit.unwrap_or(usize::MAX));
        let grey = data.train.shape[0] == 1;
        let experiment = Training {
            augmentation: published_augmentation(&data.train),
            data,
            networks: self.network,
            precisions: self.precision,
            optimizers: self.optimizer,
            compositions: self.composition,
            betas: self.beta,
            seeds: (0..self.seeds).collect(),
            epochs: self.epochs.unwrap_or(match (self.full, grey) {
                (false, _) => 2,
                (true, true) => 100,
                (true, false) => 200,
            }),
            batch_size: self.batch_size,
            learning_rate: self.learning_rate,
        };
        conduct(&self.common, &experiment)
    }
}
