//! What all experiments share: units that are measured one by one, kept when they have finished, and shared among
//! processes; tables; a page.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use super::columns::Columns;
use super::journal::{Journal, Record};
use super::statistics::distinct;
use super::table::column_names;
use crate::data::Split;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::report::page::{Page, render};
use crate::report::utc;
use crate::whole_file;

/// An experiment with its protocol chosen: a list of units, each of which is measured by itself.
pub trait Experiment {
    /// One measurement, such as a network from one seed in one precision.
    type Unit;

    /// What tables call it.
    fn name(&self) -> &'static str;

    /// All of them, in the order of the tables.
    fn units(&self) -> Vec<Self::Unit>;

    /// All that tells a unit from others, and that a reader of the table wants to know.
    fn settings(&self, engine: &Engine, unit: &Self::Unit) -> Columns;

    /// Measures a unit on `engine`; tells `progress` how far it is. The same unit gives the same rows.
    fn measure(&self, engine: &Engine, unit: &Self::Unit, progress: &mut Progress) -> Result<Vec<Columns>>;

    /// What the finished units say: answer, tables and pictures.
    fn page(records: &[Record]) -> Result<Page>;
}

/// (i, n): every n-th unit from number i on, 1 to n.
pub type Shard = (usize, usize);

/// Where an experiment runs and what it leaves there.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Folder of the results, created where needed.
    pub out: PathBuf,
    /// The units that this process takes; all of them where there is none.
    pub shard: Option<Shard>,
    /// Measure nothing: only write what has finished.
    pub merge: bool,
    /// How the program was called, for the page; may be empty.
    pub command: String,
}

/// How far an experiment has come.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Settings of the present unit.
    pub settings: &'a Columns,
    /// Its place among the units to do here, from 0 on.
    pub index: usize,
    /// The units to do here.
    pub units: usize,
    /// How much of the present unit is done, 0 to 1; 1 when it is on the disk.
    pub done: f64,
}

/// What [`run`] leaves behind.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Units of the experiment, all shards together.
    pub units: usize,
    /// Units that had finished before.
    pub skipped: usize,
    /// Units that this call finished.
    pub finished: usize,
    /// The callback asked to stop.
    pub cancelled: bool,
    /// All finished units, in the order of the experiment.
    pub records: Vec<Record>,
    /// What they say, a sentence each; empty where nothing has finished.
    pub verdict: Vec<String>,
    /// The page; `None` where nothing has finished, or in memory.
    pub report: Option<PathBuf>,
}

impl Outcome {
    /// Units that have not finished anywhere yet.
    pub fn missing(&self) -> usize {
        self.units - self.records.len()
    }
}

/// Name of the table in the folder of the results.
pub const TABLE: &str = "results.csv";
/// Name of the table as JSON lines.
pub const LINES: &str = "results.jsonl";
/// Name of the page.
pub const REPORT: &str = "report.html";

/// Columns that the settings of every experiment begin with.
pub fn common_settings(name: &str, engine: &Engine, dtype: crate::DType) -> Columns {
    let gpu = engine.placement(dtype).gpu;
    Columns::new()
        .with("experiment", name)
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("engine", if gpu { "gpu" } else { "cpu" })
        .with("adapter", if gpu { engine.info().name } else { String::new() })
}

/// Columns that tell the images of a training experiment from others.
pub(super) fn split_settings(data: &Split) -> Columns {
    let [train, test] = [&data.train, &data.test];
    Columns::new()
        .with("dataset", train.name.as_str())
        .with("data", format!("{:08x}-{:08x}", train.fingerprint(), test.fingerprint()))
        .with("images", train.len())
        .with("test_images", test.len())
}

/// The page of results, with the settings that have one value in all of them, and what they were computed with.
pub(super) fn page_of(page: fn(&[Record]) -> Result<Page>, records: &[Record]) -> Result<Page> {
    const PROVENANCE: [&str; 4] = ["version", "engine", "adapter", "data"];
    let values = |name: &str| -> Vec<String> {
        let mut values = distinct(records.iter().map(|r| r.settings.text(name)));
        values.retain(|value| !value.is_empty());
        values
    };
    let named = |name: &str, value: String| (name.replace('_', " "), value);
    let names = distinct(records.iter().flat_map(|r| r.settings.iter()).map(|(name, _)| name));
    let settings = names.into_iter().filter(|name| !PROVENANCE.contains(name)).filter_map(|name| {
        let [value] = <[String; 1]>::try_from(values(name)).ok()?;
        Some(named(name, value))
    });
    let made = PROVENANCE.iter().map(|name| named(name, values(name).join(", ")));
    let seconds = records.iter().map(|r| r.seconds).sum::<f64>();
    let time = [("time", format!("{seconds:.0} s in all")), ("written", utc(SystemTime::now()))];
    let mut page = page(records)?;
    page.settings = settings.collect();
    page.provenance = made.chain(time.map(|(name, value)| named(name, value))).collect();
    page.provenance.retain(|(_, value)| !value.is_empty());
    Ok(page)
}

/// Measures the units that have not finished yet, and writes `results.csv`, `results.jsonl`, `report.html` and the
/// pictures `plots/*.svg` of all that have, those of other shards in the same folder too.
///
/// Units are kept in `units*.jsonl` as they finish; what is interrupted, or killed, goes on there, and ends in the
/// same tables to the byte. `progress` is told after each step; [`ControlFlow::Break`] drops the present unit.
///
/// Errors: [`Error::InvalidArgument`] for a shard that is not 1 to n of n; [`Error::Io`] and [`Error::Format`] for
/// files of the folder; whatever the experiment meets.
pub fn run<E: Experiment>(
    experiment: &E,
    engine: &Engine,
    options: &RunOptions,
    progress: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Outcome> {
    let shard = checked(options.shard)?;
    let mut journal = Journal::open(&options.out, options.shard)?;
    let (mut outcome, page) = measure_all(experiment, engine, shard, options.merge, &mut journal, progress)?;
    if let Some(mut page) = page {
        write_tables(&options.out, &outcome.records)?;
        page.settings.push(("command".into(), options.command.clone()));
        write_page(&options.out, &page)?;
        outcome.report = Some(options.out.join(REPORT));
    }
    Ok(outcome)
}

/// As [`run`], but nothing is read or written: what the outcome holds is all there is.
///
/// Errors: [`Error::InvalidArgument`] for a shard that is not 1 to n of n; whatever the experiment meets.
pub fn run_in_memory<E: Experiment>(
    experiment: &E,
    engine: &Engine,
    shard: Option<Shard>,
    progress: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<Outcome> {
    let shard = checked(shard)?;
    Ok(measure_all(experiment, engine, shard, false, &mut Journal::in_memory(), progress)?.0)
}

fn checked(shard: Option<Shard>) -> Result<Shard> {
    let (first, stride) = shard.unwrap_or((1, 1));
    if (1..=stride).contains(&first) {
        return Ok((first, stride));
    }
    Err(Error::invalid("shard", "i/n with i from 1 to n", format!("{first}/{stride}")))
}

/// Measures what the journal lacks of a shard; the page of all that it then holds, where there is something.
fn measure_all<E: Experiment>(
    experiment: &E,
    engine: &Engine,
    (first, stride): Shard,
    merge: bool,
    journal: &mut Journal,
    progress: &mut dyn FnMut(Event) -> ControlFlow<()>,
) -> Result<(Outcome, Option<Page>)> {
    let units = experiment.units();
    let settings: Vec<Columns> = units.iter().map(|unit| experiment.settings(engine, unit)).collect();
    let mine = units.iter().zip(&settings).skip(first - 1).step_by(stride);
    let wanted = |settings: &Columns| !merge && journal.find(settings).is_none();
    let todo: Vec<_> = mine.filter(|(_, settings)| wanted(settings)).collect();
    let skipped = settings.iter().filter(|settings| journal.find(settings).is_some()).count();
    let (mut finished, mut cancelled) = (0, false);
    for (index, (unit, settings)) in todo.iter().enumerate() {
        let event = |done| Event { settings, index, units: todo.len(), done };
        let start = Instant::now();
        let mut listener = |done: u64, total: u64| progress(event(done as f64 / total.max(1) as f64 * 0.999));
        let measured = experiment.measure(engine, unit, &mut Progress::new(&mut listener));
        match measured {
            Ok(rows) => {
                let seconds = start.elapsed().as_secs_f64();
                journal.append(Record { settings: (*settings).clone(), rows, seconds })?;
                finished += 1;
                cancelled = progress(event(1.0)).is_break();
            }
            Err(Error::Cancelled) => cancelled = true,
            Err(e) => return Err(e),
        }
        if cancelled {
            break;
        }
    }
    let records: Vec<Record> = settings.iter().filter_map(|s| journal.find(s)).cloned().collect();
    let mut outcome =
        Outcome { units: units.len(), skipped, finished, cancelled, records, verdict: vec![], report: None };
    if outcome.records.is_empty() {
        return Ok((outcome, None));
    }
    let mut page = page_of(E::page, &outcome.records)?;
    if outcome.missing() > 0 {
        let missing = format!("{} of {} units have not finished yet.", outcome.missing(), outcome.units);
        page.verdict.push(missing);
    }
    outcome.verdict = page.verdict.clone();
    Ok((outcome, Some(page)))
}

/// `results.csv` and `results.jsonl`, tidy: a line for each row, the settings in each.
pub fn write_tables(out: &Path, records: &[Record]) -> Result<()> {
    let names = column_names(records);
    let mut csv = csv::Writer::from_writer(Vec::new());
    let mut lines = Vec::new();
    csv.write_record(&names).expect("writing to memory");
    for row in records.iter().flat_map(Record::tidy_rows) {
        csv.write_record(names.iter().map(|name| row.text(name))).expect("writing to memory");
        serde_json::to_writer(&mut lines, &row).expect("writing to memory");
        lines.push(b'\n');
    }
    whole_file::write(&out.join(TABLE), &csv.into_inner().expect("writing to memory"))?;
    whole_file::write(&out.join(LINES), &lines)
}

/// The page, and each of its pictures by itself.
pub fn write_page(out: &Path, page: &Page) -> Result<()> {
    whole_file::write(&out.join(REPORT), render(page).as_bytes())?;
    write_drawings(out, std::slice::from_ref(page))
}

/// The pictures of pages by their numbers, for a paper. To be written last: a system without fonts has no PNGs.
pub(super) fn write_drawings(out: &Path, pages: &[Page]) -> Result<()> {
    let plots = out.join("plots");
    fs::create_dir_all(&plots).map_err(|e| Error::io(&plots, e))?;
    let drawings = pages.iter().flat_map(|page| &page.figures).flat_map(|figure| &figure.drawings);
    for (i, drawing) in drawings.enumerate() {
        let number = i + 1;
        whole_file::write(&plots.join(format!("{number:02}.svg")), drawing.as_bytes())?;
        #[cfg(feature = "png")]
        {
            // 300 dots an inch at the width of a column.
            const WIDTH: u32 = 1050;
            let png = crate::report::png::png(drawing, WIDTH)?;
            whole_file::write(&plots.join(format!("{number:02}.png")), &png)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, EngineOptions};

    struct Squares(u64);

    impl Experiment for Squares {
        type Unit = u64;

        fn name(&self) -> &'static str {
            "squares"
        }
        fn units(&self) -> Vec<u64> {
            (0..self.0).collect()
        }
        fn settings(&self, engine: &Engine, unit: &u64) -> Columns {
            common_settings(self.name(), engine, DType::F64).with("n", *unit)
        }
        fn measure(&self, _: &Engine, unit: &u64, progress: &mut Progress) -> Result<Vec<Columns>> {
            progress.tell(1, 2)?;
            Ok((1..3)
                .map(|power| Columns::new().with("power", power as u64).with("v", unit.pow(power) as f64))
                .collect())
        }
        fn page(records: &[Record]) -> Result<Page> {
            Ok(Page { title: "squares".into(), verdict: vec![records.len().to_string()], ..Page::default() })
        }
    }

    fn table(dir: &Path) -> [Vec<u8>; 2] {
        [TABLE, LINES].map(|name| fs::read(dir.join(name)).unwrap())
    }

    fn run_in(dir: &Path, shard: Option<(usize, usize)>, stop_at: usize) -> Result<Outcome> {
        let engine = Engine::new(&EngineOptions::default())?;
        let options = RunOptions { out: dir.into(), shard, ..Default::default() };
        run(&Squares(5), &engine, &options, &mut |event| {
            if event.index == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    }

    #[test]
    fn interrupted_or_shared_it_ends_in_the_same_table() {
        let dirs = [(); 3].map(|_| tempfile::tempdir().unwrap());
        let whole = run_in(dirs[0].path(), None, usize::MAX).unwrap();
        assert_eq!((whole.units, whole.finished, whole.missing(), whole.cancelled), (5, 5, 0, false));
        let text = String::from_utf8(table(dirs[0].path())[0].clone()).unwrap();
        assert!(text.starts_with("experiment,version,engine,adapter,n,power,v\nsquares,"), "{text}");
        assert_eq!(text.lines().count(), 1 + 2 * 5);

        let stopped = run_in(dirs[1].path(), None, 2).unwrap();
        assert_eq!((stopped.finished, stopped.missing(), stopped.cancelled), (2, 3, true));
        assert!(stopped.verdict.last().unwrap().contains("3 of 5"), "{:?}", stopped.verdict);
        let again = run_in(dirs[1].path(), None, usize::MAX).unwrap();
        assert_eq!((again.skipped, again.finished), (2, 3));

        assert_eq!(run_in(dirs[2].path(), Some((2, 2)), usize::MAX).unwrap().missing(), 3);
        assert_eq!(run_in(dirs[2].path(), Some((1, 2)), usize::MAX).unwrap().missing(), 0);
        for dir in &dirs[1..] {
            assert_eq!(table(dir.path()), table(dirs[0].path()));
        }
        let wrong = run_in(dirs[2].path(), Some((3, 2)), 0).unwrap_err().to_string();
        assert!(wrong.contains("3/2"), "{wrong}");
    }

    #[test]
    fn in_memory_it_measures_the_same_and_writes_nothing() {
        let engine = Engine::new(&EngineOptions::default()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let whole = run_in(dir.path(), None, usize::MAX).unwrap();
        let go_on = |_: Event| ControlFlow::Continue(());
        let outcome = run_in_memory(&Squares(5), &engine, None, &mut go_on.clone()).unwrap();
        let rows = |outcome: &Outcome| -> Vec<Columns> {
            outcome.records.iter().flat_map(Record::tidy_rows).collect()
        };
        assert_eq!((rows(&outcome), outcome.verdict), (rows(&whole), whole.verdict));
        assert_eq!((outcome.finished, outcome.report), (5, None));
        let part = run_in_memory(&Squares(5), &engine, Some((2, 2)), &mut go_on.clone()).unwrap();
        assert_eq!((part.finished, part.missing()), (2, 3));
        assert!(run_in_memory(&Squares(5), &engine, Some((0, 2)), &mut go_on.clone()).is_err());
        let mut stop =
            |event: Event| if event.index == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let stopped = run_in_memory(&Squares(5), &engine, None, &mut stop).unwrap();
        assert_eq!((stopped.finished, stopped.records.len(), stopped.cancelled), (2, 2, true));
    }
}
