//! E1.

use std::process::ExitCode;

use tiebreak::lab::zero_program::ZeroProgram;

use crate::conduct::{Common, Result, conduct};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
}

impl Args {
    /// E1.
    pub fn run(self) -> Result<ExitCode> {
        conduct(&self.common, &ZeroProgram::default())
    }
}
