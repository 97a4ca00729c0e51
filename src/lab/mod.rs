//! Experiments: each trains or measures over a grid of settings and writes a table, plots and a page.

mod augmentation;
mod columns;
mod course;
mod distance;
pub mod drift;
mod evaluation;
mod experiment;
pub mod imagenet;
mod journal;
pub mod learning_rate;
mod protocol;
mod registry;
pub mod reliability;
mod reliability_page;
pub mod relu;
mod report;
mod results;
mod statistics;
mod summary;
mod table;
pub mod thresholds;
pub mod ties;
mod trainer;
pub mod training;
pub mod volume;
pub mod zero_program;

pub use augmentation::published_augmentation;
pub use columns::{Columns, Value};
pub use distance::Order;
pub use experiment::{
    Event, Experiment, LINES, Outcome, REPORT, RunOptions, Shard, TABLE, common_settings, run, run_in_memory,
    write_page, write_tables,
};
pub use journal::{Record, read_records};
pub use protocol::{FULL, Field, Protocol, read as read_protocol};
pub use registry::{AnyExperiment, EXPERIMENTS, Entry, Images, find};
pub use report::report;
pub use results::Row;
pub use summary::Cell;
pub use table::{Column, Table};
