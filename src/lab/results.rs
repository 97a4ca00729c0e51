//! `results.csv`: one row per run and epoch, appended when a run has finished.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};
use crate::whole_file;

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
    /// Mean over the mini-batches of the epoch; not finite from the epoch on in which one of them was not.
    pub train_loss: f64,
    /// Mean over the test images.
    pub test_loss: f64,
    /// Share of the test images that are classified right, 0 to 1.
    pub test_accuracy: f64,
    /// Whether the run had diverged by the end of this epoch, as [`run`](crate::lab::reliability::run) defines it.
    #[serde(deserialize_with = "any_case")]
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

/// `true` and `false`, and what spreadsheets make of them.
fn any_case<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<bool, D::Error> {
    let text = String::deserialize(deserializer)?;
    let value = text.to_ascii_lowercase().parse();
    value.map_err(|_| serde::de::Error::custom(format!("{text} is neither true nor false")))
}

/// Classes of the images, for all networks and data sets there are.
pub(super) const CLASSES: usize = 10;

impl Row {
    /// Whether a run that ends with this row has failed: it has diverged, or has not trained, which is a test
    /// accuracy below twice that of guessing (20 % for 10 classes).
    pub fn failed(&self) -> bool {
        self.diverged || self.untrained()
    }

    pub(super) fn untrained(&self) -> bool {
        super::course::untrained(self.test_accuracy, CLASSES)
    }

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
    /// Opens `path`, which need not exist. The rows may stand in any order; of equal runs the first complete one
    /// counts. A cut last line, which a crash may leave, is removed from the file. Where whole lines have to go as
    /// well (runs that miss epochs, repeated runs), the old file stays beside it as `.bak`, `.bak2` and so on.
    ///
    /// Errors: [`Error::Format`] for a file that does not begin with our header; it is left as it is.
    pub fn open(path: PathBuf) -> Result<Results> {
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(Error::io(&path, e)),
        };
        let Parsed { rows: all, cut, mut dropped } = parse(&path, &bytes)?;
        let mut rows = Vec::new();
        for run in by_settings(all) {
            let complete = first_complete(&run);
            dropped |= complete.len() < run.len();
            rows.extend(complete);
        }
        let results = Results { path, rows };
        if dropped {
            results.back_up(&bytes)?;
        }
        if cut || dropped {
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
        let error = |e: std::io::Error| Error::io(&self.path, e);
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

    /// Keeps the old contents under a name that is not taken.
    fn back_up(&self, bytes: &[u8]) -> Result<()> {
        for number in 1.. {
            let backup = self.path.with_extension(match number {
                1 => "csv.bak".to_string(),
                _ => format!("csv.bak{number}"),
            });
            let written = File::create_new(&backup).and_then(|mut file| {
                file.write_all(bytes)?;
                file.sync_all()
            });
            match written {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                other => return other.map_err(|e| Error::io(&backup, e)),
            }
        }
        Ok(())
    }

    fn rewrite(&self) -> Result<()> {
        whole_file::write(&self.path, &self.lines(&self.rows, true)?)
    }
}

/// The rows of each run together, in the order of the file.
fn by_settings(rows: Vec<Row>) -> Vec<Vec<Row>> {
    let mut runs: Vec<(Row, Vec<Row>)> = Vec::new();
    for row in rows {
        let settings = row.settings();
        // Mostly the run of the row before.
        match runs.iter_mut().rev().find(|(of_run, _)| *of_run == settings) {
            Some((_, run)) => run.push(row),
            None => runs.push((settings, vec![row])),
        }
    }
    runs.into_iter().map(|(_, run)| run).collect()
}

/// Of the rows of one or several equal runs those of the first complete run, by epoch; none where epochs miss.
fn first_complete(rows: &[Row]) -> Vec<Row> {
    let epochs = 1..=rows[0].epochs;
    // As they were written, so that rows of a cut run and of its repetition stay apart.
    let written = rows.chunk_by(|a, b| a.epoch < b.epoch);
    if let Some(run) = written.into_iter().find(|part| part.iter().map(|r| r.epoch).eq(epochs.clone())) {
        return run.to_vec();
    }
    let mut sorted = rows.to_vec();
    sorted.sort_by_key(|row| row.epoch);
    sorted.dedup_by_key(|row| row.epoch);
    if sorted.iter().map(|r| r.epoch).eq(epochs) { sorted } else { Vec::new() }
}

/// The line of column names, with its end.
fn header() -> Vec<u8> {
    let row = Row {
        network: String::new(),
        dataset: String::new(),
        precision: 0,
        beta: 0.0,
        composition: String::new(),
        seed: 0,
        epoch: 0,
        train_loss: 0.0,
        test_loss: 0.0,
        test_accuracy: 0.0,
        diverged: false,
        device: String::new(),
        epochs: 0,
        images: 0,
        test_images: 0,
        data: String::new(),
        batch_size: 0,
        learning_rate: 0.0,
        momentum: 0.0,
        weight_decay: 0.0,
        seconds: 0.0,
        version: String::new(),
    };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.serialize(row).expect("writing to memory");
    let mut bytes = writer.into_inner().expect("writing to memory");
    bytes.truncate(bytes.iter().position(|&b| b == b'\n').map_or(bytes.len(), |at| at + 1));
    bytes
}

/// What is in a file of results.
struct Parsed {
    rows: Vec<Row>,
    /// A last line that lacks its end was left out.
    cut: bool,
    /// A last line that is or may be whole was left out.
    dropped: bool,
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Parsed> {
    let foreign = |what: &str| {
        let message =
            format!("not results of this version ({what}); take another folder or move the file away");
        Error::Format { path: path.to_path_buf(), message }
    };
    let header = header();
    let Some(first) = bytes.iter().position(|&b| b == b'\n') else {
        if !header.starts_with(bytes) {
            return Err(foreign("another first line"));
        }
        return Ok(Parsed { rows: Vec::new(), cut: !bytes.is_empty(), dropped: false });
    };
    let (line, body) = bytes.split_at(first + 1);
    let names = line.strip_suffix(b"\r\n").or(line.strip_suffix(b"\n"));
    if names != header.strip_suffix(b"\n") {
        return Err(foreign("another first line"));
    }

    // A line that lacks its end may be cut within a number and still look whole.
    let end = body.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    let (whole, tail) = body.split_at(end);
    let last = whole.split_last().and_then(|(_, rest)| rest.iter().rposition(|&b| b == b'\n'));
    let last = last.map_or(0, |at| at + 1) as u64;
    let reader = |bytes| csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
    let (mut rows, mut dropped) = (Vec::new(), false);
    let mut records = reader(whole).into_deserialize::<Row>();
    loop {
        let start = records.reader().position().byte();
        match records.next() {
            None => break,
            Some(Ok(row)) => rows.push(row),
            Some(Err(_)) if start >= last => dropped = true,
            Some(Err(e)) => return Err(foreign(&e.to_string())),
        }
    }
    dropped |= matches!(reader(tail).into_deserialize::<Row>().next(), Some(Ok(_)));
    Ok(Parsed { rows, cut: !tail.is_empty(), dropped })
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
        let second = good.len() + all[good.len()..].iter().position(|&b| b == b'\n').unwrap() + 1;
        // From here on a line can be read: the last column is the version.
        let parsable = second - "0.1.0\n".len();
        for cut in good.len() + 1..all.len() {
            if cut == parsable {
                assert_eq!(backups(dir.path()), [], "only a cut line was dropped");
            }
            fs::write(&path, &all[..cut]).unwrap();
            let again = Results::open(path.clone()).unwrap();
            assert!(again.find(&row(1.0, 0, 0, 0.0)).is_some());
            assert!(again.find(&row(10.0, 0, 0, 0.0)).is_none(), "cut at {cut}");
            assert_eq!(fs::read(&path).unwrap(), good);
        }
        assert_eq!(backups(dir.path()).len(), all.len() - parsable);
        fs::write(&path, [good.as_slice(), b"\0\0\0,garbage\n"].concat()).unwrap();
        assert!(Results::open(path.clone()).unwrap().find(&row(1.0, 0, 0, 0.0)).is_some());
        assert_eq!(fs::read(&path).unwrap(), good);
    }

    /// Every backup of `results.csv` in the folder, by name.
    fn backups(dir: &Path) -> Vec<(String, String)> {
        let named = |entry: std::io::Result<fs::DirEntry>| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            name.contains(".bak").then(|| (name, fs::read_to_string(entry.path()).unwrap()))
        };
        let mut found: Vec<_> = fs::read_dir(dir).unwrap().filter_map(named).collect();
        found.sort();
        found
    }

    /// Our header and the given rows, as [`Results::append`] writes them.
    fn file(rows: &[&Row]) -> Vec<u8> {
        let results = Results { path: PathBuf::new(), rows: Vec::new() };
        results.lines(&rows.iter().map(|&r| r.clone()).collect::<Vec<_>>(), true).unwrap()
    }

    #[test]
    fn a_foreign_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.csv");
        let header = String::from_utf8(super::header()).unwrap();
        let ours = String::from_utf8(file(&[&row(1.0, 0, 1, 0.5)])).unwrap();
        let foreign = [
            "a,b\n1,2\n3,4\n",
            "a,b\n1,2\n",
            "a,b\n",
            "a,b",
            "notes about results",
            "notes about results\n",
            "network,data sets of our group\n1,2\n",
            "\n",
            "{\"a\": 1}\n{\"a\": 2}\n",
            "{\"a\": 1}",
            "\0\0\0\0",
            // Ours, of another version: a column more, one less, another order.
            &ours.replacen("version", "version,more", 1),
            &ours.replacen(",version", "", 1),
            &ours.replacen("network,dataset", "dataset,network", 1),
            // Our header, and something else below it.
            &format!("{header}1,2\n{header}1,2\n"),
        ];
        for text in foreign {
            fs::write(&path, text).unwrap();
            let error = Results::open(path.clone()).err();
            assert!(matches!(error, Some(Error::Format { .. })), "{text:?}: {error:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing beside it");
    }

    #[test]
    fn an_empty_file_and_a_cut_header_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.csv");
        let mut results = Results::open(path.clone()).unwrap();
        results.append(&run(1.0, 0)).unwrap();
        let good = fs::read(&path).unwrap();
        let header = good.iter().position(|&b| b == b'\n').unwrap();
        for end in 0..=header + 1 {
            fs::write(&path, &good[..end]).unwrap();
            let mut again = Results::open(path.clone()).unwrap();
            assert!(again.find(&row(1.0, 0, 0, 0.0)).is_none());
            again.append(&run(1.0, 0)).unwrap();
            assert_eq!(fs::read(&path).unwrap(), good, "cut at {end}");
        }
        assert_eq!(backups(dir.path()), []);
    }

    #[test]
    fn rows_in_another_order_keep_their_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.csv");
        let (a, b) = (run(1.0, 0), run(10.0, 0));
        let orders: [[&Row; 4]; 3] =
            [[&a[0], &b[0], &a[1], &b[1]], [&b[1], &a[1], &b[0], &a[0]], [&a[1], &a[0], &b[1], &b[0]]];
        for order in orders {
            // What a spreadsheet makes of it: other line ends, other spellings.
            let text = String::from_utf8(file(&order)).unwrap();
            let spread = text.replace('\n', "\r\n").replace(",false,", ",FALSE,").replace(",true,", ",TRUE,");
            for text in [text, spread] {
                fs::write(&path, &text).unwrap();
                let results = Results::open(path.clone()).unwrap();
                for run in [&a, &b] {
                    let found = results.find(&run[0]).unwrap();
                    assert_eq!(found.iter().map(|r| r.epoch).collect::<Vec<_>>(), [1, 2]);
                    assert_eq!((found[0].beta, found[0].diverged), (run[0].beta, false));
                }
                assert_eq!(fs::read_to_string(&path).unwrap(), text, "nothing to repair");
            }
        }
        assert_eq!(backups(dir.path()), []);
    }

    #[test]
    fn of_equal_runs_the_first_complete_one_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.csv");
        let timed = |seconds: f64| run(1.0, 0).map(|r| Row { seconds, ..r });
        let (part, first, second) = (timed(1.0), timed(2.0), timed(3.0));
        let other = run(10.0, 0);
        let rows = [&part[0], &other[0], &first[0], &first[1], &second[0], &second[1], &other[1]];
        let text = file(&rows);
        fs::write(&path, &text).unwrap();
        let results = Results::open(path.clone()).unwrap();
        let seconds = |results: &Results| {
            results.find(&first[0]).unwrap().iter().map(|r| r.seconds).collect::<Vec<_>>()
        };
        assert_eq!(seconds(&results), [2.0, 2.0]);
        assert!(results.find(&other[0]).is_some());
        let [(name, old)] = backups(dir.path()).try_into().unwrap();
        assert_eq!((name.as_str(), old.as_bytes()), ("results.csv.bak", text.as_slice()));
        let repaired = fs::read(&path).unwrap();
        assert_eq!(seconds(&Results::open(path.clone()).unwrap()), [2.0, 2.0]);
        assert_eq!(fs::read(&path).unwrap(), repaired);
        assert_eq!(backups(dir.path()).len(), 1);
    }

    #[test]
    fn what_is_dropped_is_kept_in_a_numbered_backup() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results.csv");
        let whole = run(1.0, 0);
        let texts: Vec<Vec<u8>> =
            (2..5).map(|seed| file(&[&whole[0], &whole[1], &run(1.0, seed)[0]])).collect();
        for text in &texts {
            fs::write(&path, text).unwrap();
            assert!(Results::open(path.clone()).unwrap().find(&whole[0]).is_some());
            assert_eq!(fs::read(&path).unwrap(), file(&[&whole[0], &whole[1]]));
        }
        let found = backups(dir.path());
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["results.csv.bak", "results.csv.bak2", "results.csv.bak3"]);
        for ((_, old), text) in found.iter().zip(&texts) {
            assert_eq!(old.as_bytes(), text);
        }
    }
}
