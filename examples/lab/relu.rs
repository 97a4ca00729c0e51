//! E9.

use std::path::PathBuf;
use std::process::ExitCode;

use tiebreak::DType;
use tiebreak::data::synthetic;
use tiebreak::lab::relu::Relu;

use crate::conduct::{Common, Result, conduct, load};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Folder with MNIST's four files (.gz or not); without it: drawn digits that need no download
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Widths of the storage type: 16, 32, 64
    #[arg(long, value_delimiter = ',', default_value = "32,64", value_name = "LIST")]
    precision: Vec<DType>,
    /// Numbers of hidden layers
    #[arg(long, value_delimiter = ',', default_value = "1,2,3,5,6", value_name = "LIST")]
    layers: Vec<usize>,
    /// Neurons of a hidden layer
    #[arg(long, default_value_t = 256, value_name = "N")]
    width: usize,
    /// Initialisations of each depth [default: 200; --full: 1000]
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// Images in the mini-batch
    #[arg(long, default_value_t = 128, value_name = "N")]
    batch_size: usize,
    /// The published size: 1000 initialisations
    #[arg(long)]
    full: bool,
}

impl Args {
    /// E9.
    pub fn run(self) -> Result<ExitCode> {
        let data = match &self.data {
            Some(folder) => load(folder)?.train,
            None => synthetic::embedded(self.batch_size, 0).train,
        };
        let experiment = Relu {
            data,
            precisions: self.precision,
            layers: self.layers,
            width: self.width,
            seeds: self.seeds.unwrap_or(if self.full { 1000 } else { 200 }),
            batch_size: self.batch_size,
        };
        conduct(&self.common, &experiment)
    }
}
