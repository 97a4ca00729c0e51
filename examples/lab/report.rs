//! One page over several results.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::conduct::Result;

#[derive(clap::Args)]
pub struct Args {
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

impl Args {
    /// Writes the page.
    pub fn run(self) -> Result<ExitCode> {
        let report = tiebreak::lab::report(&self.results, &self.out, &self.title)?;
        println!("report: {}", report.display());
        Ok(ExitCode::SUCCESS)
    }
}
