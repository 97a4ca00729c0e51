//! One page over several results.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::conduct::Result;

/// Name of the command.
pub const NAME: &str = "report";

#[derive(Args)]
struct Report {
    /// Folders of results, or files units*.jsonl
    #[arg(required = true, value_name = "PATH")]
    results: Vec<PathBuf>,
    /// Folder for the page and the pictures, created where needed
    #[arg(long, default_value = "lab/report", value_name = "DIR")]
    out: PathBuf,
    /// Heading of the page
    #[arg(long, default_value = "Experiments on the kinks of max pooling", value_name = "TEXT")]
    title: String,
}

/// The command with its options.
pub fn command() -> Command {
    let command = Command::new(NAME);
    Report::augment_args(command)
        .about("One page, with tables that sort and all pictures, over any results of the commands above")
}

/// Writes the page.
pub fn run(arguments: &ArgMatches) -> Result<ExitCode> {
    let Report { results, out, title } = Report::from_arg_matches(arguments)?;
    let report = tiebreak::lab::report(&results, &out, &title)?;
    println!("report: {}", report.display());
    Ok(ExitCode::SUCCESS)
}
