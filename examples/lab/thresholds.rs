//! E3 and E8.

use std::path::PathBuf;
use std::process::ExitCode;

use tiebreak::DType;
use tiebreak::data::synthetic;
use tiebreak::lab::Order;
use tiebreak::lab::thresholds::{Pooling, Thresholds};

use crate::conduct::{Common, Result, conduct, load};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Folder with MNIST's four files (.gz or not); without it: drawn digits that need no download
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Widths of the storage type: 16, 32, 64
    #[arg(long, value_delimiter = ',', default_value = "16,32,64", value_name = "LIST")]
    precision: Vec<DType>,
    /// Initialisations in 16 and 32 bits [default: 10; --full: 100]
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// Initialisations in 64 bits
    #[arg(long, default_value_t = 1, value_name = "N")]
    seeds_f64: u64,
    /// Order of the sums: fixed, seeded (another one in each gradient, as GPU noise) or both
    #[arg(long, default_value = "both", value_parser = ["fixed", "seeded", "both"])]
    order: String,
    /// Images in a mini-batch
    #[arg(long, default_value_t = 128, value_name = "N")]
    batch_size: usize,
    /// Mini-batches from each initialisation, at most [default: 50; --full: an epoch]
    #[arg(long, value_name = "N")]
    mini_batches: Option<usize>,
    /// The published size: 100 initialisations and a whole epoch each; hours
    #[arg(long)]
    full: bool,
}

impl Args {
    /// E3.
    pub fn max(self) -> Result<ExitCode> {
        self.run(Pooling::Max)
    }

    /// E8.
    pub fn norm(self) -> Result<ExitCode> {
        self.run(Pooling::Norm)
    }

    fn run(self, pooling: Pooling) -> Result<ExitCode> {
        let data = match &self.data {
            Some(folder) => load(folder)?.train,
            None => synthetic::embedded(6400, 0).train,
        };
        let seeds = self.seeds.unwrap_or(if self.full { 100 } else { 10 });
        let seeds_of = |precision: DType| if precision == DType::F64 { self.seeds_f64 } else { seeds };
        let experiment = Thresholds {
            data,
            pooling,
            precisions: self.precision.iter().map(|&precision| (precision, seeds_of(precision))).collect(),
            orders: match self.order.as_str() {
                "fixed" => vec![Order::Fixed],
                "seeded" => vec![Order::Seeded],
                _ => vec![Order::Fixed, Order::Seeded],
            },
            batch_size: self.batch_size,
            mini_batches: self.mini_batches.unwrap_or(if self.full { usize::MAX } else { 50 }),
        };
        conduct(&self.common, &experiment)
    }
}
