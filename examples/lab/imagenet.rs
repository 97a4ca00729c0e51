//! E7, whose photos stay in their files, and which the processes of an MPI job share.

use std::process::ExitCode;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use serde_json::{Map, Value};
use tiebreak::Progress;
use tiebreak::data::image_folder::ImageFolderOptions;
use tiebreak::data::{self, Split, synthetic};
use tiebreak::lab::imagenet::{ImageNet, ImageNetProtocol};
use tiebreak::lab::{FULL, read_protocol};

use crate::conduct::{Common, Result, conduct};
use crate::ranks;

/// Name of the command.
pub const NAME: &str = "imagenet";

/// How photos are read.
#[derive(Args)]
struct Photos {
    /// Height and width of the photos [default: 64; --full: 224]
    #[arg(long, value_name = "N")]
    size: Option<usize>,
    /// Images of each class to train on, and to test on [default: 16; --full: all]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

/// The command with the options of photos.
pub fn options(command: Command) -> Command {
    Photos::augment_args(command)
}

/// E7 on each process of a job.
pub fn run(common: &Common, given: &Map<String, Value>, arguments: &ArgMatches) -> Result<ExitCode> {
    ranks::on_each(|exchange| {
        let full = given.contains_key(FULL);
        let photos = Photos::from_arg_matches(arguments)?;
        let images = photos.load(common, full)?.into();
        let protocol: ImageNetProtocol = read_protocol(given)?;
        let experiment = ImageNet::create_on(exchange, protocol, images)?;
        if exchange.rank() > 0 {
            experiment.follow(&common.engine()?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let code = conduct(common, &experiment);
        experiment.dismiss()?;
        code
    })
}

impl Photos {
    fn load(&self, common: &Common, full: bool) -> Result<Split> {
        let limit = self.limit.unwrap_or(if full { usize::MAX } else { 16 });
        let size = self.size.unwrap_or(if full { 224 } else { 64 });
        let Some(folder) = common.folder() else {
            if full {
                let (expected, got) = ("a folder with photos for --full".into(), "none".into());
                return Err(
                    tiebreak::Error::InvalidArgument { argument: "data".into(), expected, got }.into()
                );
            }
            return Ok(synthetic::embedded_colour(10 * limit, 10 * limit));
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
