//! One page over any files of results.

use std::fs;
use std::path::{Path, PathBuf};

use super::experiment::{REPORT, page_of, write_drawings};
use super::journal::{Record, read_records};
use super::registry::{EXPERIMENTS, find};
use super::statistics::distinct;
use crate::error::{Error, Result};
use crate::report::page::render_all;
use crate::whole_file;

/// Writes `report.html` and the pictures in `plots/` to the folder `out`, which is created, for all units in `paths`: folders
/// of results, or their files `units*.jsonl`. Experiments stand in the order of the paper; those on different data or of
/// another length apart. A unit that occurs twice counts once.
///
/// Errors: [`Error::Io`] and [`Error::Format`] for files; [`Error::NotFound`] for results of an experiment that this version
/// does not know.
pub fn report(paths: &[PathBuf], out: &Path, title: &str) -> Result<PathBuf> {
    let mut records: Vec<Record> = Vec::new();
    for record in paths.iter().map(|path| read_records(path)).collect::<Result<Vec<_>>>()?.concat() {
        if !records.iter().any(|r| r.settings == record.settings) {
            records.push(record);
        }
    }
    for record in &records {
        find(&record.settings.text("experiment"))?;
    }
    let mut pages = Vec::new();
    for entry in EXPERIMENTS.iter() {
        let key =
            |r: &Record| ["dataset", "data", "images", "test_images", "epochs"].map(|c| r.settings.text(c));
        let of_name = || records.iter().filter(|r| r.settings.text("experiment") == entry.name);
        for group in distinct(of_name().map(key)) {
            let group: Vec<Record> = of_name().filter(|r| key(r) == group).cloned().collect();
            pages.push(page_of(entry.page, &group)?);
        }
    }
    fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
    let path = out.join(REPORT);
    whole_file::write(&path, render_all(title, &pages).as_bytes())?;
    write_drawings(out, &pages)?;
    Ok(path)
}
