use std::ffi::{c_char, c_void};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::dataset::tb_dataset;
use super::engine::{self, tb_engine};
use super::handle::{self, Handle, Object};
#[cfg(not(feature = "lab"))]
use super::no_lab::lab;
use super::options::{self, Growable};
use super::progress::{listener, tb_progress_callback};
use super::status::tb_status;
use super::view::Borrows;
use super::{Failure, copy_text, guard, non_null_mut, optional_string, string, write_text};
use crate::error::Error;
#[cfg(feature = "lab")]
use crate::lab;
use lab::{AnyExperiment, Column, Images, Outcome, RunOptions, Table};

/// An experiment with its protocol chosen: a list of units, each of which is measured by itself. Created by
/// `tb_experiment_create`, given back by `tb_experiment_free`. It never changes, and may run more than once. In a build
/// without the feature `lab` there is none.
pub struct tb_experiment {
    _opaque: [u8; 0],
}

impl Handle for tb_experiment {
    const NAME: &'static str = "tb_experiment";
    type Target = Arc<dyn AnyExperiment + Send + Sync>;
    fn open(object: Object) -> Option<Self::Target> {
        match object {
            Object::Experiment(experiment) => Some(experiment),
            _ => None,
        }
    }
}

/// What a run of an experiment measured: a table with a row for each measurement, all settings among its columns, and the
/// answer in sentences. Created by `tb_experiment_run`, given back by `tb_experiment_result_free`. It never changes.
pub struct tb_experiment_result {
    _opaque: [u8; 0],
}

impl Handle for tb_experiment_result {
    const NAME: &'static str = "tb_experiment_result";
    type Target = Arc<ResultObject>;
    fn open(object: Object) -> Option<Self::Target> {
        match object {
            Object::ExperimentResult(result) => Some(result),
            _ => None,
        }
    }
}

/// A run's outcome, its rows as columns.
pub(super) struct ResultObject {
    outcome: Outcome,
    table: Table,
}

impl ResultObject {
    fn column(&self, column: usize) -> Result<&(String, Column), Failure> {
        let columns = &self.table.columns;
        columns.get(column).ok_or_else(|| below("column", columns.len(), column))
    }
}

fn below(argument: &str, count: usize, got: usize) -> Failure {
    Error::invalid(argument, format!("below {count}"), got).into()
}

/// What an experiment is; filled by `tb_experiments` and `tb_experiment_info`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_experiment_properties {
    /// `sizeof(tb_experiment_properties)`; set by the caller, of an array in the first.
    pub struct_size: usize,
    /// Its name.
    pub name: [c_char; 64],
    /// What it measures, in a line.
    pub about: [c_char; 256],
    /// How many units it has; 0 where no protocol was chosen.
    pub unit_count: usize,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_experiment_properties {
    const FIRST_SIZE: usize = 336;
    fn defaults() -> Self {
        tb_experiment_properties {
            struct_size: size_of::<Self>(),
            name: [0; 64],
            about: [0; 256],
            unit_count: 0,
        }
    }
}

/// What a run of an experiment did; filled by `tb_experiment_result_info`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_experiment_result_properties {
    /// `sizeof(tb_experiment_result_properties)`; set by the caller.
    pub struct_size: usize,
    /// Units of the experiment, all shards together.
    pub unit_count: usize,
    /// Units that had finished before, in the folder.
    pub skipped: usize,
    /// Units that this run finished.
    pub finished: usize,
    /// Units that have not finished yet, here or in another shard.
    pub missing: usize,
    /// Rows of the table.
    pub row_count: usize,
    /// Columns of the table; 0 where nothing has finished.
    pub column_count: usize,
    /// Sentences of the answer; 0 where nothing has finished.
    pub sentence_count: usize,
    /// 1 where `progress` stopped the run, else 0.
    pub cancelled: i32,
    /// 0.
    pub reserved: i32,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_experiment_result_properties {
    const FIRST_SIZE: usize = 72;
    fn defaults() -> Self {
        tb_experiment_result_properties {
            struct_size: size_of::<Self>(),
            unit_count: 0,
            skipped: 0,
            finished: 0,
            missing: 0,
            row_count: 0,
            column_count: 0,
            sentence_count: 0,
            cancelled: 0,
            reserved: 0,
        }
    }
}

/// What a column of a table holds.
pub type tb_column_kind = i32;

/// Measurements, read by `tb_experiment_result_numbers`.
pub const TB_COLUMN_NUMBERS: tb_column_kind = 0;
/// Counts, seeds, widths in bits; read by `tb_experiment_result_integers`, and as numbers.
pub const TB_COLUMN_INTEGERS: tb_column_kind = 1;
/// Names, read by `tb_experiment_result_text`.
pub const TB_COLUMN_TEXTS: tb_column_kind = 2;

/// A column of a table; filled by `tb_experiment_result_column`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tb_column_properties {
    /// `sizeof(tb_column_properties)`; set by the caller.
    pub struct_size: usize,
    /// Its name; its first 127 bytes.
    pub name: [c_char; 128],
    /// A `TB_COLUMN_` value.
    pub kind: tb_column_kind,
    /// 0.
    pub reserved: i32,
    /// Bytes of the longest cell as a text, with its NUL.
    pub text_size: usize,
}

// SAFETY: repr(C), plain numbers, struct_size first.
unsafe impl Growable for tb_column_properties {
    const FIRST_SIZE: usize = 152;
    fn defaults() -> Self {
        tb_column_properties {
            struct_size: size_of::<Self>(),
            name: [0; 128],
            kind: TB_COLUMN_NUMBERS,
            reserved: 0,
            text_size: 0,
        }
    }
}

/// The experiments that there are; none in a build without the feature `lab`.
///
/// @param experiments  in: `struct_size` of the first; out: as many as there is room for; NULL where room is 0
/// @param room         number of structs at experiments
/// @param count        out: number of experiments; those beyond `room` were not written
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_experiments(
    experiments: *mut tb_experiment_properties,
    room: usize,
    count: *mut usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_experiments", || unsafe {
        let count = non_null_mut(count, "count")?;
        options::check_array(experiments, room, "experiments")?;
        *count = lab::EXPERIMENTS.len();
        let known = lab::EXPERIMENTS.iter().take(room);
        let written: Vec<_> = known.map(|entry| properties(entry.name, entry.about, 0)).collect();
        options::write_array(experiments, &written, "experiments")
    })
}

fn properties(name: &str, about: &str, unit_count: usize) -> tb_experiment_properties {
    let mut values = tb_experiment_properties { unit_count, ..Growable::defaults() };
    copy_text(name, &mut values.name);
    copy_text(about, &mut values.about);
    values
}

/// The protocol of an experiment where nothing is chosen: a JSON object with each field and its value. What the fields mean
/// is told by `lab NAME --help`, the command line of the experiments.
///
/// @param name  of `tb_experiments`
/// @param full  not 0: of the published size, which the field `full` of a protocol chooses; 0: of one that takes minutes
/// @param text  out: NUL-terminated UTF-8, cut where `room` ends; NULL where room is 0
/// @param room  bytes at text
/// @param size  out: bytes that the whole text takes, with its NUL
/// @return `TB_STATUS_NOT_FOUND` for an unknown name
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_experiment_defaults(
    name: *const c_char,
    full: i32,
    text: *mut c_char,
    room: usize,
    size: *mut usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_experiment_defaults", || unsafe {
        let defaults = lab::find(string(name, "name")?)?.defaults(full != 0);
        write_text(&Value::Object(defaults).to_string(), text, room, size)
    })
}

/// An experiment with its protocol chosen.
///
/// @param name        of `tb_experiments`
/// @param protocol    a JSON object with some of the fields that `tb_experiment_defaults` tells: the others have their
///                    defaults, those of the published size where `"full": true` is among them. Precisions, optimizers and
///                    the like are texts such as "f16", or widths in bits; `null` is none. NULL: the defaults.
/// @param train       images, which are copied; NULL: none, or where LeNet-5 or a perceptron is measured, drawn digits
/// @param test        images to test on, which are copied; NULL for experiments that do not test
/// @param experiment  out: the handle; free it with `tb_experiment_free`. NULL on failure.
/// @return `TB_STATUS_NOT_FOUND` for an unknown name, field or network; `TB_STATUS_INVALID_ARGUMENT` for a field of a wrong
///         type or value, for images that are missing, and for `zero_program`, which takes none, for some;
///         `TB_STATUS_UNSUPPORTED` in a build without the feature `lab`
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_experiment_create(
    name: *const c_char,
    protocol: *const c_char,
    train: *const tb_dataset,
    test: *const tb_dataset,
    experiment: *mut *mut tb_experiment,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_experiment_create", || unsafe {
        let experiment = non_null_mut(experiment, "experiment")?;
        *experiment = std::ptr::null_mut();
        let entry = lab::find(string(name, "name")?)?;
        let protocol = object(optional_string(protocol, "protocol")?.unwrap_or("{}"))?;
        let images = |part: *const tb_dataset, argument: &str| match part.is_null() {
            true => Ok(None),
            false => handle::get(part, argument).map(|dataset| Some((*dataset).clone())),
        };
        let images = Images { train: images(train, "train")?, test: images(test, "test")? };
        let created: Arc<dyn AnyExperiment + Send + Sync> = entry.create(&protocol, images)?.into();
        *experiment = handle::create(Object::Experiment(created));
        Ok(())
    })
}

fn object(json: &str) -> Result<Map<String, Value>, Failure> {
    serde_json::from_str(json).map_err(|e| Error::invalid("protocol", "a JSON object", e).into())
}

/// Frees an experiment. NULL is nothing to do; a handle freed before is `TB_STATUS_INVALID_HANDLE`.
#[unsafe(no_mangle)]
pub extern "C" fn tb_experiment_free(experiment: *mut tb_experiment) -> tb_status {
    guard("tb_experiment_free", || handle::free(experiment, "experiment"))
}

/// What an experiment is.
///
/// @param properties  in: `struct_size`; out: the rest
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_experiment_info(
    experiment: *const tb_experiment,
    properties: *mut tb_experiment_properties,
) -> tb_status {
    guard("tb_experiment_info", || {
        let experiment = handle::get(experiment, "experiment")?;
        let about = lab::find(experiment.name()).map_or("", |entry| entry.about);
        let values = self::properties(experiment.name(), about, experiment.unit_count());
        // SAFETY: the caller's promise, as the header states it.
        unsafe { options::write(properties, values, "properties") }
    })
}

/// Measures the units of an experiment one after the other. With a folder it measures those that have not finished there
/// yet, keeps each as it finishes, and writes `results.csv`, `results.jsonl`, `report.html` and pictures of all that have:
/// what was interrupted goes on from there, and several processes may share the units. Without one nothing is written.
///
/// @param engine       runs it; 64 bits always run on the CPU
/// @param out          the folder, created where needed; NULL: nothing is read or written
/// @param shard        takes every `shard_count`-th unit from this number on, 1 to shard_count; 0 with a shard_count of 0
///                     takes all
/// @param shard_count  in how many parts the units are shared
/// @param progress     hears of thousandths of a unit done, of all units to do here; NULL: nobody. Not 0 stops the run: that
///                     is no failure, `result` has the units that have finished and says that it was `cancelled`.
/// @param user_data    passed to progress
/// @param result       out: the handle; free it with `tb_experiment_result_free`. NULL on failure.
/// @return `TB_STATUS_SHAPE_MISMATCH` where the images do not fit the experiment; `TB_STATUS_IO`, `TB_STATUS_FORMAT` for
///         files of the folder, `TB_STATUS_IO` too where another run writes there
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_experiment_run(
    experiment: *const tb_experiment,
    engine: *const tb_engine,
    out: *const c_char,
    shard: usize,
    shard_count: usize,
    progress: tb_progress_callback,
    user_data: *mut c_void,
    result: *mut *mut tb_experiment_result,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_experiment_run", || unsafe {
        let result = non_null_mut(result, "result")?;
        *result = std::ptr::null_mut();
        let experiment = handle::get(experiment, "experiment")?;
        let engine = engine::get(engine)?;
        let out = optional_string(out, "out")?;
        let shard = ((shard, shard_count) != (0, 0)).then_some((shard, shard_count));
        let mut listener = listener(progress, user_data);
        let mut hear = |event: lab::Event| {
            let done = event.index as u64 * THOUSANDTHS + (event.done * THOUSANDTHS as f64) as u64;
            listener(done, event.units as u64 * THOUSANDTHS)
        };
        let outcome = match out {
            Some(out) => {
                let options = RunOptions { out: PathBuf::from(out), shard, ..Default::default() };
                experiment.run(&engine, &options, &mut hear)?
            }
            None => experiment.run_in_memory(&engine, shard, &mut hear)?,
        };
        let table = Table::of(&outcome.records);
        *result = handle::create(Object::ExperimentResult(Arc::new(ResultObject { outcome, table })));
        Ok(())
    })
}

/// Steps of progress in a unit.
const THOUSANDTHS: u64 = 1000;

/// Frees a result. NULL is nothing to do; a handle freed before is `TB_STATUS_INVALID_HANDLE`.
#[unsafe(no_mangle)]
pub extern "C" fn tb_experiment_result_free(result: *mut tb_experiment_result) -> tb_status {
    guard("tb_experiment_result_free", || handle::free(result, "result"))
}

/// What a run did, and the size of its table.
///
/// @param properties  in: `struct_size`; out: the rest
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_experiment_result_info(
    result: *const tb_experiment_result,
    properties: *mut tb_experiment_result_properties,
) -> tb_status {
    guard("tb_experiment_result_info", || {
        let result = handle::get(result, "result")?;
        let outcome = &result.outcome;
        let values = tb_experiment_result_properties {
            unit_count: outcome.units,
            skipped: outcome.skipped,
            finished: outcome.finished,
            missing: outcome.missing(),
            row_count: result.table.rows,
            column_count: result.table.columns.len(),
            sentence_count: outcome.verdict.len(),
            cancelled: outcome.cancelled as i32,
            ..Growable::defaults()
        };
        // SAFETY: the caller's promise, as the header states it.
        unsafe { options::write(properties, values, "properties") }
    })
}

/// Name and kind of a column.
///
/// @param column      below `column_count` of `tb_experiment_result_info`
/// @param properties  in: `struct_size`; out: the rest
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_experiment_result_column(
    result: *const tb_experiment_result,
    column: usize,
    properties: *mut tb_column_properties,
) -> tb_status {
    guard("tb_experiment_result_column", || {
        let result = handle::get(result, "result")?;
        let (name, cells) = result.column(column)?;
        let texts = (0..result.table.rows).filter_map(|row| cells.text(row));
        let mut values = tb_column_properties {
            kind: match cells {
                Column::Numbers(_) => TB_COLUMN_NUMBERS,
                Column::Integers(_) => TB_COLUMN_INTEGERS,
                Column::Texts(_) => TB_COLUMN_TEXTS,
            },
            text_size: 1 + texts.map(|text| text.len()).max().unwrap_or(0),
            ..Growable::defaults()
        };
        copy_text(name, &mut values.name);
        // SAFETY: the caller's promise, as the header states it.
        unsafe { options::write(properties, values, "properties") }
    })
}

/// Copies a column of numbers or integers.
///
/// @param column  below `column_count` of `tb_experiment_result_info`
/// @param values  out: `count` numbers; NaN where a row has none
/// @param count   `row_count` of `tb_experiment_result_info`
/// @return `TB_STATUS_INVALID_ARGUMENT` for a column of texts
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_experiment_result_numbers(
    result: *const tb_experiment_result,
    column: usize,
    values: *mut f64,
    count: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_experiment_result_numbers", || unsafe {
        let result = handle::get(result, "result")?;
        let (name, cells) = result.column(column)?;
        let values = rows(&result, values, count)?;
        match cells {
            Column::Numbers(cells) => values.copy_from_slice(cells),
            Column::Integers(cells) => values.iter_mut().zip(cells).for_each(|(to, &from)| *to = from as f64),
            Column::Texts(_) => return Err(kind_error("numbers or integers", name)),
        }
        Ok(())
    })
}

/// Copies a column of integers.
///
/// @param column  below `column_count` of `tb_experiment_result_info`
/// @param values  out: `count` numbers
/// @param count   `row_count` of `tb_experiment_result_info`
/// @return `TB_STATUS_INVALID_ARGUMENT` for a column of another kind
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_experiment_result_integers(
    result: *const tb_experiment_result,
    column: usize,
    values: *mut u64,
    count: usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_experiment_result_integers", || unsafe {
        let result = handle::get(result, "result")?;
        let (name, cells) = result.column(column)?;
        let values = rows(&result, values, count)?;
        match cells {
            Column::Integers(cells) => values.copy_from_slice(cells),
            _ => return Err(kind_error("integers", name)),
        }
        Ok(())
    })
}

/// The caller's array for a column.
///
/// # Safety
/// As [`Borrows::array_mut`].
unsafe fn rows<'a, T>(result: &ResultObject, values: *mut T, count: usize) -> Result<&'a mut [T], Failure> {
    if count != result.table.rows {
        return Err(Error::invalid("count", result.table.rows, count).into());
    }
    // SAFETY: the caller's promise.
    unsafe { Borrows::default().array_mut(values, count, "values") }
}

fn kind_error(expected: &str, name: &str) -> Failure {
    Error::invalid("column", format!("one of {expected}"), format!("`{name}`, which has none")).into()
}

/// A cell as a text, whatever the kind of its column: as `results.csv` has it.
///
/// @param column  below `column_count` of `tb_experiment_result_info`
/// @param row     below `row_count` of `tb_experiment_result_info`
/// @param text    out: NUL-terminated UTF-8, cut where `room` ends; NULL where room is 0
/// @param room    bytes at text; `text_size` of `tb_experiment_result_column` is enough for each row
/// @param size    out: bytes that the whole text takes, with its NUL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_experiment_result_text(
    result: *const tb_experiment_result,
    column: usize,
    row: usize,
    text: *mut c_char,
    room: usize,
    size: *mut usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_experiment_result_text", || unsafe {
        let result = handle::get(result, "result")?;
        let (_, cells) = result.column(column)?;
        let cell = cells.text(row).ok_or_else(|| below("row", result.table.rows, row))?;
        write_text(&cell, text, room, size)
    })
}

/// A sentence of the answer. The last one says where units are missing.
///
/// @param index  below `sentence_count` of `tb_experiment_result_info`
/// @param text   out: NUL-terminated UTF-8, cut where `room` ends; NULL where room is 0
/// @param room   bytes at text
/// @param size   out: bytes that the whole text takes, with its NUL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tb_experiment_result_sentence(
    result: *const tb_experiment_result,
    index: usize,
    text: *mut c_char,
    room: usize,
    size: *mut usize,
) -> tb_status {
    // SAFETY: the caller's promise, as the header states it.
    guard("tb_experiment_result_sentence", || unsafe {
        let result = handle::get(result, "result")?;
        let verdict = &result.outcome.verdict;
        let sentence = verdict.get(index).ok_or_else(|| below("index", verdict.len(), index))?;
        write_text(sentence, text, room, size)
    })
}
