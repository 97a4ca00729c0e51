//! Experiments: each trains or measures over a grid of settings and writes a table, plots and a page.

pub mod reliability;
mod reliability_page;
mod results;
mod summary;

pub use results::Row;
pub use summary::Cell;
