//! The processes that share an experiment.

use std::process::ExitCode;

use tiebreak::train::Exchange;

use crate::conduct::Result;

/// Runs `work` on each process of an MPI job. An error ends all of them, with its exit code.
#[cfg(feature = "mpi")]
pub fn on_each(work: impl FnOnce(&dyn Exchange) -> Result<ExitCode>) -> Result<ExitCode> {
    let ranks = tiebreak::train::Mpi::start()?;
    let result = work(&ranks);
    match &result {
        Err(e) if ranks.ranks() > 1 => {
            eprintln!("error: on rank {}: {e}", ranks.rank());
            ranks.abort(crate::exit_code(&**e).into())
        }
        _ => result,
    }
}

/// Runs `work` in this process: the feature `mpi` is off.
#[cfg(not(feature = "mpi"))]
pub fn on_each(work: impl FnOnce(&dyn Exchange) -> Result<ExitCode>) -> Result<ExitCode> {
    work(&tiebreak::train::Alone)
}
