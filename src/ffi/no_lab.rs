//! Stands for `crate::data` in a build without the feature `lab`: a data set that cannot be made.

// Nobody reads how a data set would be read or changed.
#![allow(dead_code)]

use std::convert::Infallible;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::tensor::Tensor;

/// There is none: it would have to hold a value of a type that has none.
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
    Err(Error::Unsupported("this build has no data sets (feature `lab`)".into()))
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
