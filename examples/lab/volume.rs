//! E4.

use std::path::PathBuf;
use std::process::ExitCode;

use tiebreak::DType;
use tiebreak::lab::volume::{Volume, VolumeCell};
use tiebreak::net::Initialization;

use crate::conduct::{Common, Result, conduct, load};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Folder with CIFAR-10's binary files
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Widths of the storage type: 16, 32, 64
    #[arg(long, value_delimiter = ',', default_value = "16,32,64", value_name = "LIST")]
    precision: Vec<DType>,
    /// Networks of the zoo, `_bn` with batch normalisation, such as vgg11,vgg11_bn [default: VGG11; --full: all of the paper]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    network: Vec<String>,
    /// Images in a mini-batch, for each network [default: 128; --full: also 64 to 1024 for VGG11]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    batch_size: Vec<usize>,
    /// Initialisations of each
    #[arg(long, default_value_t = 3, value_name = "N")]
    seeds: u64,
    /// Mini-batches of each, at most [default: 40; --full: an epoch]
    #[arg(long, value_name = "N")]
    mini_batches: Option<usize>,
    /// The published networks, batch sizes and a whole epoch each: a day on two cores
    #[arg(long)]
    full: bool,
}

impl Args {
    /// E4.
    pub fn run(self) -> Result<ExitCode> {
        let cells = match self.full && self.network.is_empty() && self.batch_size.is_empty() {
            true => Volume::published_cells(&self.precision),
            false => self.cells(),
        };
        let experiment = Volume {
            data: load(&self.data)?.train,
            cells,
            seeds: (0..self.seeds).collect(),
            mini_batches: self.mini_batches.unwrap_or(if self.full { usize::MAX } else { 40 }),
            initialization: Initialization::Volume,
        };
        conduct(&self.common, &experiment)
    }

    fn cells(&self) -> Vec<VolumeCell> {
        let networks = if self.network.is_empty() { vec!["vgg11".to_string()] } else { self.network.clone() };
        let sizes = if self.batch_size.is_empty() { vec![128] } else { self.batch_size.clone() };
        let mut cells = Vec::new();
        for network in &networks {
            for &batch_size in &sizes {
                let cell = |&precision| VolumeCell { network: network.clone(), batch_size, precision };
                cells.extend(self.precision.iter().map(cell));
            }
        }
        cells
    }
}
