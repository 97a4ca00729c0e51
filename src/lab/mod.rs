//! Experiments: each trains or measures over a grid of settings and writes a table, plots and a page.

mod columns;
mod course;
mod distance;
pub mod drift;
mod evaluation;
mod experiment;
pub mod imagenet;
mod journal;
pub mod reliability;
mod reliability_page;
pub mod relu;
mod results;
mod statistics;
mod summary;
pub mod thresholds;
pub mod training;
pub mod volume;
pub mod zero_program;

pub use columns::{Columns, Value};
pub use distance::Order;
pub use experiment::{
    Event, Experiment, LINES, Outcome, REPORT, RunOptions, TABLE, common_settings, run, write_page,
    write_tables,
};
pub use journal::{Record, read_records};
pub use results::Row;
pub use summary::Cell;
