//! Optimizers, schedules, loss scaling and the training step, also of several ranks together.

mod exchange;
mod file;
mod grad_scaler;
#[cfg(feature = "mpi")]
mod mpi;
mod optimizer;
mod parallel;
mod schedule;

pub use exchange::{Alone, Exchange, agree, sum_in_order};
pub use grad_scaler::GradScaler;
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use optimizer::{Algorithm, Optimizer, OptimizerOptions, ParameterGroup, Selection, StepReport};
pub use parallel::{DataParallel, ParallelReport};
pub use schedule::Schedule;
