//! E5.

use std::path::PathBuf;
use std::process::ExitCode;

use tiebreak::data::Augmentation;
use tiebreak::lab::drift::Drift;
use tiebreak::{Composition, DType};

use crate::conduct::{Common, Result, conduct, load, published_augmentation};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Folder with CIFAR-10's binary files, or of another data set whose images the network takes
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// A network of the zoo; `_bn` for batch normalisation
    #[arg(long, default_value = "vgg11", value_name = "NAME")]
    network: String,
    /// Widths of the storage type: 16, 32, 64
    #[arg(long, value_delimiter = ',', default_value = "32", value_name = "LIST")]
    precision: Vec<DType>,
    /// beta of each copy; the first is what the others are compared with
    #[arg(long, value_delimiter = ',', default_value = "0,0,1,10,100,1000,10000", value_name = "LIST")]
    beta: Vec<f64>,
    /// How beta is evaluated: coupled, split or exact
    #[arg(long, default_value = "coupled", value_name = "NAME")]
    composition: Composition,
    /// Initialisations
    #[arg(long, default_value_t = 1, value_name = "N")]
    seeds: u64,
    /// Passes over the training images [default: 2; --full: 200]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Measurements in an epoch
    #[arg(long, default_value_t = 1, value_name = "N")]
    measurements: usize,
    /// Training images to use [default: 2560; --full: all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Test images to use [default: 1000; --full: all]
    #[arg(long, value_name = "N")]
    test_limit: Option<usize>,
    /// Images in a mini-batch
    #[arg(long, default_value_t = 128, value_name = "N")]
    batch_size: usize,
    /// Learning rate of SGD without momentum
    #[arg(long, default_value_t = 0.01, value_name = "X")]
    learning_rate: f64,
    /// The images as they are: no random crop and flip
    #[arg(long)]
    no_augmentation: bool,
    /// The published size: 200 epochs of all images; weeks on two cores
    #[arg(long)]
    full: bool,
}

impl Args {
    /// E5.
    pub fn run(self) -> Result<ExitCode> {
        let mut data = load(&self.data)?;
        let or = |given: Option<usize>, small| given.unwrap_or(if self.full { usize::MAX } else { small });
        data.train = data.train.take(or(self.limit, 2560));
        data.test = data.test.take(or(self.test_limit, 1000));
        let experiment = Drift {
            augmentation: if self.no_augmentation {
                Augmentation::default()
            } else {
                published_augmentation(&data.train)
            },
            data,
            network: self.network,
            precisions: self.precision,
            composition: self.composition,
            betas: self.beta,
            seeds: (0..self.seeds).collect(),
            epochs: self.epochs.unwrap_or(if self.full { 200 } else { 2 }),
            measurements: self.measurements,
            batch_size: self.batch_size,
            learning_rate: self.learning_rate,
        };
        conduct(&self.common, &experiment)
    }
}
