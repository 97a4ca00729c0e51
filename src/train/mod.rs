//! Optimizers, schedules, loss scaling and the training step.

mod file;
mod grad_scaler;
mod optimizer;
mod schedule;

pub use grad_scaler::GradScaler;
pub use optimizer::{Algorithm, Optimizer, OptimizerOptions, ParameterGroup, Selection, StepReport};
pub use schedule::Schedule;
