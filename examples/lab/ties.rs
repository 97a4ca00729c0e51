//! E2.

use std::path::PathBuf;
use std::process::ExitCode;

use tiebreak::DType;
use tiebreak::data::synthetic;
use tiebreak::lab::ties::TieMaps;

use crate::conduct::{Common, Result, conduct, load};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Folder with MNIST, CIFAR-10 or another data set; without it: drawn digits that need no download
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A network of the zoo, whose first max pooling is drawn [default: lenet5 for grey images, else vgg11]
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// Widths of the storage type: 16, 32, 64
    #[arg(long, value_delimiter = ',', default_value = "16,32", value_name = "LIST")]
    precision: Vec<DType>,
    /// Places of the images in the training part, from 0 on
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "LIST")]
    image: Vec<usize>,
    /// Initialisations of the network
    #[arg(long, default_value_t = 1, value_name = "N")]
    seeds: u64,
}

impl Args {
    /// E2.
    pub fn run(self) -> Result<ExitCode> {
        let last = self.image.iter().copied().max().unwrap_or(0);
        let data = match &self.data {
            Some(folder) => load(folder)?.train,
            None => synthetic::embedded(last + 1, 0).train,
        };
        let network = self.network.unwrap_or(if data.shape[0] == 1 { "lenet5" } else { "vgg11" }.into());
        let experiment = TieMaps {
            data,
            network,
            precisions: self.precision,
            images: self.image,
            seeds: (0..self.seeds).collect(),
        };
        conduct(&self.common, &experiment)
    }
}
