//! Stands for `crate::data` and `crate::lab` in a build without the feature `lab`: data sets and experiments that cannot be
//! made.

// Nobody reads how a data set would be read or changed, nor what an experiment would find.
#![allow(dead_code)]

use std::convert::Infallible;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::tensor::Tensor;

/// There is none: it would have to hold a value of a type that has none.
#[derive(Clone)]
pub(super) struct Dataset {
    pub name: String,
    pub shape: [usize; 3],
    pub classes: usize,
    none: Infallible,
}

/// What would happen to images.
pub(super) struct Augmentation {
    pub resized_crop: Option<ResizedCrop>,
    pub crop_padding: usize,
    pub horizontal_flip: bool,
}

/// The part of them that would be taken.
pub(super) struct ResizedCrop {
    pub scale: [f64; 2],
    pub ratio: [f64; 2],
}

impl ResizedCrop {
    pub const USUAL: ResizedCrop = ResizedCrop { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] };
}

pub(super) mod image_folder {
    /// How photos would be read.
    pub struct ImageFolderOptions {
        pub size: usize,
        pub resize: Option<usize>,
        pub limit_per_class: Option<usize>,
        pub from_files: bool,
    }
}

/// Its two parts.
pub(super) struct Split {
    pub train: Dataset,
    pub test: Dataset,
}

fn unsupported<T>() -> Result<T> {
    Err(Error::Unsupported("this build has no data sets and experiments (feature `lab`)".into()))
}

pub(super) fn load_with(_: &str, _: &image_folder::ImageFolderOptions, _: &mut Progress) -> Result<Split> {
    unsupported()
}

pub(super) mod synthetic {
    use super::*;

    pub fn digits_with(_: usize, _: u64, _: &mut Progress) -> Result<Dataset> {
        unsupported()
    }

    pub fn shapes_with(_: usize, _: u64, _: &mut Progress) -> Result<Dataset> {
        unsupported()
    }
}

impl Dataset {
    pub fn new(_: &str, _: Vec<u8>, _: Vec<u16>, _: [usize; 3], _: usize) -> Result<Dataset> {
        unsupported()
    }

    pub fn take(self, _: usize) -> Dataset {
        match self.none {}
    }

    pub fn len(&self) -> usize {
        match self.none {}
    }

    pub fn fingerprint(&self) -> u32 {
        match self.none {}
    }

    pub fn mean(&self) -> &[f64] {
        match self.none {}
    }

    pub fn std(&self) -> &[f64] {
        match self.none {}
    }

    pub fn batches(&self, _: usize, _: u64, _: u64) -> Result<std::vec::IntoIter<Vec<usize>>> {
        match self.none {}
    }

    pub fn batch(&self, _: &[usize], _: DType) -> Result<(Tensor, Vec<i64>)> {
        match self.none {}
    }

    pub fn augmented_batch(
        &self,
        _: &[usize],
        _: DType,
        augmentation: &Augmentation,
        _: u64,
        _: u64,
    ) -> Result<(Tensor, Vec<i64>)> {
        match (self.none, augmentation) {}
    }
}

pub(super) mod lab {
    use std::ops::ControlFlow;
    use std::path::PathBuf;

    use serde_json::{Map, Value};

    use super::*;
    use crate::engine::Engine;

    /// None.
    pub const EXPERIMENTS: [Entry; 0] = [];

    pub fn find(_: &str) -> Result<&'static Entry> {
        unsupported()
    }

    /// There is none.
    pub struct Entry {
        pub name: &'static str,
        pub about: &'static str,
        none: Infallible,
    }

    impl Entry {
        pub fn defaults(&self, _: bool) -> Map<String, Value> {
            match self.none {}
        }

        pub fn create(
            &self,
            _: &Map<String, Value>,
            _: Images,
        ) -> Result<Box<dyn AnyExperiment + Send + Sync>> {
            match self.none {}
        }
    }

    pub struct Images {
        pub train: Option<Dataset>,
        pub test: Option<Dataset>,
    }

    #[derive(Default)]
    pub struct RunOptions {
        pub out: PathBuf,
        pub shard: Option<(usize, usize)>,
        pub merge: bool,
    }

    pub struct Event {
        pub index: usize,
        pub units: usize,
        pub done: f64,
    }

    type Hear<'a> = dyn FnMut(Event) -> ControlFlow<()> + 'a;

    /// Nothing is one.
    pub trait AnyExperiment: Send + Sync {
        fn name(&self) -> &'static str;
        fn unit_count(&self) -> usize;
        fn run(&self, engine: &Engine, options: &RunOptions, hear: &mut Hear) -> Result<Outcome>;
        fn run_in_memory(
            &self,
            engine: &Engine,
            shard: Option<(usize, usize)>,
            hear: &mut Hear,
        ) -> Result<Outcome>;
    }

    pub struct Outcome {
        pub units: usize,
        pub skipped: usize,
        pub finished: usize,
        pub cancelled: bool,
        pub records: Vec<Infallible>,
        pub verdict: Vec<String>,
    }

    impl Outcome {
        pub fn missing(&self) -> usize {
            self.units
        }
    }

    pub enum Column {
        Numbers(Vec<f64>),
        Integers(Vec<u64>),
        Texts(Vec<String>),
    }

    impl Column {
        pub fn text(&self, _: usize) -> Option<String> {
            None
        }
    }

    pub struct Table {
        pub rows: usize,
        pub columns: Vec<(String, Column)>,
    }

    impl Table {
        pub fn of(_: &[Infallible]) -> Table {
            Table { rows: 0, columns: Vec::new() }
        }
    }
}
