//! Ranks that are the processes of an MPI job.

use std::panic;

use ::mpi::Threading;
use ::mpi::environment::Universe;
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Communicator, Destination, Root, Source};

use super::exchange::Exchange;
use crate::error::{Error, Result};

/// The rank that this process has among those that `mpirun` or a batch system started; without them, the only one.
///
/// It leaves the job when dropped, which waits for all others to do so: where this rank has failed alone, call
/// [`Mpi::abort`]. A panic, on whichever thread, ends all processes of the job.
pub struct Mpi {
    world: SimpleCommunicator,
    _universe: Universe,
}

/// The exit code of a Rust program that panicked.
const PANICKED: i32 = 101;

/// Bytes of a message: MPI counts them in an int.
const MESSAGE: usize = 1 << 30;

impl Mpi {
    /// Joins the job; once in a process. All calls come from this thread.
    ///
    /// Errors: [`Error::Unsupported`] where that has been done before, or the MPI library allows no threads beside this one.
    pub fn start() -> Result<Mpi> {
        let started = ::mpi::initialize_with_threading(Threading::Funneled);
        let Some((universe, threading)) = started else {
            return Err(Error::Unsupported("MPI has been started before in this process".into()));
        };
        if threading < Threading::Funneled {
            return Err(Error::Unsupported("the MPI library allows one thread in a process".into()));
        }
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            report(info);
            SimpleCommunicator::world().abort(PANICKED)
        }));
        Ok(Mpi { world: universe.world(), _universe: universe })
    }

    /// Ends all processes of the job with this exit code.
    pub fn abort(&self, code: i32) -> ! {
        self.world.abort(code)
    }
}

/// Errors: none; the MPI library ends the job where the network fails or a process has gone.
impl Exchange for Mpi {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn ranks(&self) -> usize {
        self.world.size() as usize
    }

    fn send(&self, to: usize, bytes: &[u8]) -> Result<()> {
        let to = self.world.process_at_rank(to as i32);
        bytes.chunks(MESSAGE).for_each(|message| to.send(message));
        Ok(())
    }

    fn receive(&self, from: usize, bytes: &mut [u8]) -> Result<()> {
        let from = self.world.process_at_rank(from as i32);
        bytes.chunks_mut(MESSAGE).for_each(|message| {
            from.receive_into(message);
        });
        Ok(())
    }

    fn broadcast(&self, from: usize, bytes: &mut [u8]) -> Result<()> {
        let from = self.world.process_at_rank(from as i32);
        bytes.chunks_mut(MESSAGE).for_each(|message| from.broadcast_into(message));
        Ok(())
    }
}
