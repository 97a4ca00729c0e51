//! The learning rates of E6.

use std::path::PathBuf;
use std::process::ExitCode;

use tiebreak::Precision;
use tiebreak::lab::learning_rate::LearningRate;
use tiebreak::lab::training::Algorithm;

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
    /// Searches of each, with other learning rates, weights and another order of the images
    #[arg(long, default_value_t = 1, value_name = "N")]
    seeds: u64,
    /// Learning rates of a search
    #[arg(long, default_value_t = 10, value_name = "N")]
    trials: usize,
    /// Passes over the training images of a trial, at most [default: 3; --full: 10]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Training images to use [default: 12800; --full: all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Test images to use [default: 2000; --full: all]
    #[arg(long, value_name = "N")]
    test_limit: Option<usize>,
    /// Images in a mini-batch
    #[arg(long, default_value_t = 128, value_name = "N")]
    batch_size: usize,
    /// Least learning rate
    #[arg(long, default_value_t = 1e-5, value_name = "X")]
    lowest: f64,
    /// Largest learning rate
    #[arg(long, default_value_t = 1e-1, value_name = "X")]
    highest: f64,
    /// The published size: 10 epochs of all images
    #[arg(long)]
    full: bool,
}

impl Args {
    /// The search.
    pub fn run(self) -> Result<ExitCode> {
        let mut data = load(&self.data)?;
        let or = |given: Option<usize>, small| given.unwrap_or(if self.full { usize::MAX } else { small });
        data.train = data.train.take(or(self.limit, 12_800));
        data.test = data.test.take(or(self.test_limit, 2000));
        let experiment = LearningRate {
            augmentation: published_augmentation(&data.train),
            data,
            networks: self.network,
            precisions: self.precision,
            optimizers: self.optimizer,
            seeds: (0..self.seeds).collect(),
            trials: self.trials,
            epochs: self.epochs.unwrap_or(if self.full { 10 } else { 3 }),
            batch_size: self.batch_size,
            range: [self.lowest, self.highest],
        };
        conduct(&self.common, &experiment)
    }
}
