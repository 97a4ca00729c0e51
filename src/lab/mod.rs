//! Experiments: each trains or measures over a grid of settings and writes a table, plots and a page.

pub mod attribution;
mod augmentation;
mod branches;
mod columns;
pub mod continuum;
pub mod conventions;
mod course;
mod distance;
pub mod drift;
mod evaluation;
mod experiment;
mod gradients;
pub mod imagenet;
mod journal;
pub mod learning_rate;
pub mod margins;
pub mod noise;
mod protocol;
mod registry;
pub mod reliability;
pub mod relu;
pub mod replay;
mod report;
mod setup;
pub mod slices;
mod statistics;
mod subject;
mod table;
pub mod taxonomy;
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
pub use table::{Column, Table};
