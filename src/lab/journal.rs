//! The finished units of an experiment, one line of JSON each, appended when the unit has finished: a program that is
//! killed loses the unit that it was at. The files `units*.jsonl` of a folder belong together: a shard writes its own.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::columns::Columns;
use crate::error::{Error, Result};

/// A finished unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was asked for: tells the units of all experiments apart.
    pub settings: Columns,
    /// What was measured.
    pub rows: Vec<Columns>,
    /// How long it took.
    pub seconds: f64,
}

impl Record {
    /// Each row behind the settings.
    pub fn tidy_rows(&self) -> impl Iterator<Item = Columns> {
        self.rows.iter().map(|row| self.settings.clone().and(row))
    }
}

/// The units of a folder, and the file that takes more, where there is one.
pub(super) struct Journal {
    file: Option<(PathBuf, File)>,
    records: Vec<Record>,
}

impl Journal {
    /// Reads the folder, which is created, and opens the file for shard (i, n), for this process alone.
    pub fn open(folder: &Path, shard: Option<(usize, usize)>) -> Result<Journal> {
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let path = folder.join(match shard {
            None => "units.jsonl".to_string(),
            Some((i, n)) => format!("units.{i}-of-{n}.jsonl"),
        });
        let open = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let mut file = open.map_err(|e| Error::io(&path, e))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(Error::io(
                    &path,
                    "another process writes these results; take another folder or wait",
                ));
            }
            // A file system without locks.
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        let whole = drop_cut_line(&mut file).map_err(|e| Error::io(&path, e))?;
        let mut records = parse(&path, &whole)?;
        for other in files(folder)?.into_iter().filter(|other| *other != path) {
            records.extend(read(&other)?);
        }
        Ok(Journal { file: Some((path, file)), records })
    }

    /// One that keeps nothing beyond the process.
    pub fn in_memory() -> Journal {
        Journal { file: None, records: Vec::new() }
    }

    /// The unit with these settings, if it has finished.
    pub fn find(&self, settings: &Columns) -> Option<&Record> {
        self.records.iter().find(|record| record.settings == *settings)
    }

    /// Adds a unit; it is on the disk when this returns.
    pub fn append(&mut self, record: Record) -> Result<()> {
        if let Some((path, file)) = &mut self.file {
            append_line(file, &record).map_err(|e| Error::io(path, e))?;
        }
        self.records.push(record);
        Ok(())
    }
}

fn append_line(file: &mut File, record: &Record) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(record).expect("numbers and texts");
    line.push(b'\n');
    let end = file.seek(SeekFrom::End(0))?;
    let written = file.write_all(&line).and_then(|()| file.sync_data());
    if written.is_err() {
        // A full disk: what was written of the line would stand in the way of the next.
        let _ = file.set_len(end);
    }
    written
}

/// Cuts what follows the last whole line, and gives the others.
fn drop_cut_line(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let end = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    if end < bytes.len() {
        file.set_len(end as u64)?;
        bytes.truncate(end);
    }
    Ok(bytes)
}

/// The files of a folder by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let is_journal = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        name.starts_with("units") && name.ends_with(".jsonl")
    };
    let mut files: Vec<PathBuf> =
        entries.filter_map(|e| e.ok()).map(|e| e.path()).filter(is_journal).collect();
    files.sort();
    Ok(files)
}

/// The units in a file; a last line that lacks its end, as a crash leaves it, is left out.
fn read(path: &Path) -> Result<Vec<Record>> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
    let end = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    parse(path, &bytes[..end])
}

/// The units of a folder of results, or of one such file.
pub fn read_records(path: &Path) -> Result<Vec<Record>> {
    if path.is_file() {
        return read(path);
    }
    let files = files(path)?;
    if files.is_empty() {
        return Err(Error::io(path, "no results here: no file units*.jsonl"));
    }
    let records: Result<Vec<Vec<Record>>> = files.iter().map(|file| read(file)).collect();
    Ok(records?.concat())
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for (i, line) in bytes.split(|&b| b == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let record = serde_json::from_slice(line).map_err(|e| Error::Format {
            path: path.to_path_buf(),
            message: format!("line {}: not a finished unit: {e}", i + 1),
        })?;
        records.push(record);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seed: u64) -> Record {
        Record {
            settings: Columns::new().with("experiment", "test").with("seed", seed),
            rows: vec![Columns::new().with("l1", 0.1 * seed as f64), Columns::new().with("l1", f64::NAN)],
            seconds: 0.5,
        }
    }

    #[test]
    fn whatever_a_crash_leaves_the_whole_units_stay() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), None).unwrap();
        journal.append(record(1)).unwrap();
        let path = dir.path().join("units.jsonl");
        let first = fs::metadata(&path).unwrap().len() as usize;
        journal.append(record(2)).unwrap();
        drop(journal);
        let bytes = fs::read(&path).unwrap();
        for cut in first..bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            let mut again = Journal::open(dir.path(), None).unwrap();
            assert!(again.find(&record(1).settings).is_some() && again.find(&record(2).settings).is_none());
            again.append(record(2)).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes, "cut at {cut}");
        }
    }

    #[test]
    fn shards_see_each_other_and_do_not_share_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = Journal::open(dir.path(), Some((1, 2))).unwrap();
        assert!(Journal::open(dir.path(), Some((1, 2))).is_err(), "it is being written");
        one.append(record(1)).unwrap();
        let two = Journal::open(dir.path(), Some((2, 2))).unwrap();
        assert_eq!(two.find(&record(1).settings).unwrap().rows[0], record(1).rows[0]);
        assert_eq!(read_records(dir.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_foreign_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("units.jsonl"), "{\"settings\":{},\"rows\":[],\"seconds\":1.0}\nnotes\n")
            .unwrap();
        let error = Journal::open(dir.path(), None).err().unwrap().to_string();
        assert!(error.contains("line 2"), "{error}");
        assert!(read_records(&dir.path().join("missing")).is_err());
    }
}
