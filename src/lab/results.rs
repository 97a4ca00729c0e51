//! `results.csv`: one row per run and epoch, appended when a run has finished.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// One epoch of one run: a line of `results.csv`, its columns in this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the network.
    pub network: String,
    /// Name of the data set.
    pub dataset: String,
    /// Width of the storage type in bits: 16, 32 or 64.
    pub precision: u32,
    /// beta of the MaxPool Jacobian.
    pub beta: f64,
    /// `exact`, `split` or `coupled`.
    pub composition: String,
    /// Draws initial weights and the order of the images.
    pub seed: u64,
    /// From 1 on.
    pub epoch: usize,
    /// Mean over the mini-batches of the epoch; not finite once the run has diverged.
    pub train_loss: f64,
    /// Mean over the test images.
    pub test_loss: f64,
    /// Share of the test images that are classified right, 0 to 1.
    pub test_accuracy: f64,
    /// Whether the run had diverged by the end of this epoch.
    pub diverged: bool,
    /// `cpu`, or the name of the GPU.
    pub device: String,
    /// Number of epochs of the run.
    pub epochs: usize,
    /// Number of training images.
    pub images: usize,
    /// Number of test images.
    pub test_images: usize,
    /// CRC-32 of the images and labels, training part then test part.
    pub data: String,
    /// Images in a mini-batch.
    pub batch_size: usize,
    /// Step length at the start; it follows a cosine to 0.
    pub learning_rate: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// L2 penalty.
    pub weight_decay: f64,
    /// Wall time of the epoch, testing included.
    pub seconds: f64,
    /// Version of this library.
    pub version: String,
}

impl Row {
    /// The row without what was measured: equal for rows of one run, and for equal runs.
    pub(super) fn settings(&self) -> Row {
        Row {
            epoch: 0,
            train_loss: 0.0,
            test_loss: 0.0,
            test_accuracy: 0.0,
            diverged: false,
            seconds: 0.0,
            ..self.clone()
        }
    }
}

/// The results in a folder, of whatever settings.
pub(super) struct Results {
    path: PathBuf,
    rows: Vec<Row>,
}

impl Results {
    /// Opens `path`, which need not exist. A damaged last line and runs that miss epochs, which a crash may
    /// leave, are removed from the file.
    pub fn open(path: PathBuf) -> Result<Results> {
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(io_error(&path, &e)),
        };
        let (mut rows, mut damaged) = parse(&path, &bytes)?;
        let all = std::mem::take(&mut rows);
        // Runs are written as a whole, so that their rows stand together.
        for run in all.chunk_by(|a, b| a.settings() == b.settings()) {
            for part in run.chunk_by(|a, b| a.epoch < b.epoch) {
                match part.iter().map(|r| r.epoch).eq(1..=part[0].epochs) {
                    true => rows.extend_from_slice(part),
                    false => damaged = true,
                }
            }
        }
        let results = Results { path, rows };
        if damaged {
            results.rewrite()?;
        }
        Ok(results)
    }

    /// The rows of a finished run with the settings of `template`, if there is one.
    pub fn find(&self, template: &Row) -> Option<&[Row]> {
        let wanted = template.settings();
        let start = self.rows.iter().position(|row| row.settings() == wanted)?;
        Some(&self.rows[start..start + wanted.epochs])
    }

    /// Adds the rows of a finished run in one write.
    pub fn append(&mut self, rows: &[Row]) -> Result<()> {
        let error = |e| io_error(&self.path, &e);
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path).map_err(error)?;
        let empty = file.metadata().map_err(error)?.len() == 0;
        file.write_all(&self.lines(rows, empty)?).map_err(error)?;
        file.sync_data().map_err(error)?;
        self.rows.extend_from_slice(rows);
        Ok(())
    }

    fn lines(&self, rows: &[Row], header: bool) -> Result<Vec<u8>> {
        let error = |e: String| Error::Io { path: self.path.clone(), message: e };
        let mut writer = csv::WriterBuilder::new().has_headers(header).from_writer(Vec::new());
        for row in rows {
            writer.serialize(row).map_err(|e| error(e.to_string()))?;
        }
        writer.into_inner().map_err(|e| error(e.to_string()))
    }

    fn rewrite(&self) -> Result<()> {
        let temporary = self.path.with_extension("csv.new");
        let lines = self.lines(&self.rows, true)?;
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(&lines)?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)
        };
        write().map_err(|e| io_error(&self.path, &e))
    }
}

pub(super) fn io_error(path: &Path, e: &std::io::Error) -> Error {
    Error::Io { path: path.to_path_buf(), message: e.to_string() }
}

/// The rows, and whether a damaged last line was left out.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<Row>, bool)> {
    // A line that lacks its end may be cut within a number and still look whole.
    let end = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    let whole = &bytes[..end];
    let mut damaged = end < bytes.len();
    let mut rows = Vec::new();
    let mut reader = csv::Reader::from_reader(whole);
    let mut records = reader.deserialize::<Row>();
    while let Some(record) = records.next() {
        match record {
            Ok(row) => rows.push(row),
            Err(_) if records.reader().is_done() || records.reader().position().byte() == end as u64 => {
                damaged = true;
            }
            Err(e) => {
                let message = format!("not results of this version ({e}); take another folder or remove it");
                return Err(Error::Format { path: path.to_path_buf(), message });
            }
        }
    }
    Ok((rows, damaged))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn row(beta: f64, seed: u64, epoch: usize, accuracy: f64) -> Row {
        Row {
            network: "lenet5".into(),
            dataset: "digits".into(),
            precision: 16,
            beta,
            composition: "exact".into(),
            seed,
            epoch,
            train_loss: 0.125,
            test_loss: 0.25,
            test_accuracy: accuracy,
            diverged: accuracy < 0.2,
            device: "cpu".into(),
            epochs: 2,
            images: 10,
            test_images: 10,
            data: "0123abcd".into(),
            batch_size: 5,
            learning_rate: 0.1,
            momentum: 0.9,
            weight_decay: 5e-4,
            seconds: 1.5,
            version: "0.1.0".into(),
        }
    }

    fn run(beta: f64, seed: u64) -> [Row; 2] {
        [row(beta, seed, 1, 0.5), Row { train_loss: f64::NAN, ..row(beta, seed, 2, 0.1 + 0.2) }]
    }

    #[test]
    fn runs_are_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.csv");
        let mut results = Results::open(path.clone()).unwrap();
        assert!(results.find(&row(1.0, 0, 0, 0.0)).is_none());
        results.append(&run(1.0, 0)).unwrap();
        results.append(&run(10.0, 0)).unwrap();
        let again = Results::open(path).unwrap();
        let found = again.find(&row(10.0, 0, 0, 0.0)).unwrap();
        assert_eq!((found[0].epoch, found[1].test_accuracy), (1, 0.1 + 0.2));
        assert!(found[1].train_loss.is_nan());
        assert!(again.find(&row(10.0, 1, 0, 0.0)).is_none());
        assert!(again.find(&Row { epochs: 3, ..row(10.0, 0, 0, 0.0) }).is_none());
        assert!(again.find(&Row { data: "other".into(), ..row(10.0, 0, 0, 0.0) }).is_none());
    }

    #[test]
    fn what_a_crash_leaves_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.csv");
        let mut results = Results::open(path.clone()).unwrap();
        results.append(&run(1.0, 0)).unwrap();
        let good = fs::read(&path).unwrap();
        results.append(&run(10.0, 0)).unwrap();
        let all = fs::read(&path).unwrap();
        for cut in good.len() + 1..all.len() {
            fs::write(&path, &all[..cut]).unwrap();
            let again = Results::open(path.clone()).unwrap();
            assert!(again.find(&row(1.0, 0, 0, 0.0)).is_some());
            assert!(again.find(&row(10.0, 0, 0, 0.0)).is_none(), "cut at {cut}");
            assert_eq!(fs::read(&path).unwrap(), good);
        }
        fs::write(&path, [good.as_slice(), b"\0\0\0,garbage\n"].concat()).unwrap();
        assert!(Results::open(path.clone()).unwrap().find(&row(1.0, 0, 0, 0.0)).is_some());
        assert_eq!(fs::read(&path).unwrap(), good);
    }

    #[test]
    fn a_foreign_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.csv");
        fs::write(&path, "a,b\n1,2\n3,4\n").unwrap();
        assert!(matches!(Results::open(path.clone()), Err(Error::Format { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"a,b\n1,2\n3,4\n");
    }
}
