//! E7.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tiebreak::data::image_folder::ImageFolderOptions;
use tiebreak::data::{self, Split, synthetic};
use tiebreak::lab::imagenet::ImageNet;
use tiebreak::train::Exchange;
use tiebreak::{Composition, Precision, Progress};

use crate::conduct::{Common, Result, conduct};
use crate::ranks;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Folder with photos, train/CLASS/*.jpg and val/CLASS/*.jpg; without it: drawn shapes that need no download
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A network of the zoo; `_bn` for batch normalisation
    #[arg(long, default_value = "resnet50_bn", value_name = "NAME")]
    network: String,
    /// Arithmetic: 16, 32, 64, mixed
    #[arg(long, default_value = "mixed", value_name = "NAME")]
    precision: Precision,
    /// How beta is evaluated: coupled (as published), split, exact
    #[arg(long, default_value = "coupled", value_name = "NAME")]
    composition: Composition,
    /// beta of the Jacobian: 0 is native, 1 minimal [default: 0,1000; --full: 0,1,10,100,1000]
    #[arg(long, value_delimiter = ',', value_name = "LIST", allow_negative_numbers = true)]
    beta: Vec<f64>,
    /// Runs of each, with other weights and another order of the images
    #[arg(long, default_value_t = 1, value_name = "N")]
    seeds: u64,
    /// Height and width of the photos [default: 64; --full: 224]
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    /// Passes over the training images [default: 2; --full: 80]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Measurements in an epoch [default: 5; --full: 1]
    #[arg(long, value_name = "N")]
    measurements: Option<usize>,
    /// Images of each class to train on, and to test on [default: 16; --full: all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Images in a mini-batch, all parts together [default: 32; --full: 512]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Parts of a mini-batch, a multiple of the number of processes: these change nothing, the parts the last bits
    #[arg(long, default_value_t = 4, value_name = "N")]
    parts: usize,
    /// Learning rate at the start, which falls by 10 every 30 epochs
    #[arg(long, default_value_t = 0.1, value_name = "X")]
    learning_rate: f64,
    /// The published size: months on two cores, so see docs/cluster.md
    #[arg(long, requires = "data")]
    full: bool,
}

impl Args {
    /// E7.
    pub fn run(self) -> Result<ExitCode> {
        ranks::on_each(|exchange| self.run_on(exchange))
    }

    fn run_on(&self, exchange: &dyn Exchange) -> Result<ExitCode> {
        let or = |given: Option<usize>, small, full| given.unwrap_or(if self.full { full } else { small });
        let betas: &[f64] = if self.full { &[0.0, 1.0, 10.0, 100.0, 1000.0] } else { &[0.0, 1000.0] };
        let data = self.load(or(self.size, 64, 224), or(self.limit, 16, usize::MAX))?;
        let experiment = ImageNet {
            exchange,
            data: Arc::new(data),
            network: self.network.clone(),
            precision: self.precision,
            composition: self.composition,
            betas: if self.beta.is_empty() { betas.to_vec() } else { self.beta.clone() },
            seeds: (0..self.seeds).collect(),
            epochs: or(self.epochs, 2, 80),
            measurements: or(self.measurements, 5, 1),
            batch_size: or(self.batch_size, 32, 512),
            parts: self.parts,
            learning_rate: self.learning_rate,
            step_size: 30,
        };
        if exchange.rank() > 0 {
            experiment.follow(&self.common.engine()?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let code = conduct(&self.common, &experiment);
        experiment.dismiss()?;
        code
    }

    fn load(&self, size: usize, limit: usize) -> Result<Split> {
        let Some(folder) = &self.data else {
            let count = 10 * limit;
            return Ok(synthetic::embedded_colour(count, count));
        };
        let photos = ImageFolderOptions {
            size,
            // The usual 256 for 224.
            resize: Some(size * 8 / 7),
            limit_per_class: Some(limit),
            from_files: true,
        };
        Ok(data::load_with(folder, &photos, &mut Progress::silent())?)
    }
}
