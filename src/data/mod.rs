//! Labelled images and mini-batches of them.

mod augmentation;
pub mod cifar10;
mod file;
pub mod image_folder;
mod mat5;
pub mod mnist;
mod photo;
pub mod svhn;
pub mod synthetic;

use std::borrow::Cow;
use std::path::Path;

use rand_philox::Philox;
use rayon::prelude::*;

use augmentation::{Area, Crop};
pub use augmentation::{Augmentation, ResizedCrop};
use image_folder::{ImageFolderOptions, Photos};

use crate::dtype::{DType, Element, with_element};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::tensor::Tensor;

/// Labelled images of one size, 8 bits a channel, not yet normalised: in memory, or photos whose files each batch reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// What tables and plots call it.
    pub name: String,
    /// Pixels `[count, C, H, W]`, 0 to 255; empty where batches read files.
    pub images: Vec<u8>,
    /// One class per image, below `classes`.
    pub labels: Vec<u16>,
    /// `[C, H, W]` of one image.
    pub shape: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    mean: Vec<f64>,
    std: Vec<f64>,
    /// Where batches read files.
    photos: Option<Photos>,
}

/// Images to train on and images to test on.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Training part.
    pub train: Dataset,
    /// Test or validation part.
    pub test: Dataset,
}

/// Reads whichever data set the folder `dir` holds: MNIST or Fashion-MNIST ([`mnist::load`]), CIFAR-10
/// ([`cifar10::load`]), SVHN ([`svhn::load`]), or photos in one folder per class ([`image_folder::load`]), which become
/// `size` x `size` pixels large.
///
/// Errors: those of the function that reads it; [`Error::Io`] where there is no such folder, or no data set in it.
pub fn load(dir: impl AsRef<Path>, size: usize) -> Result<Split> {
    let options = ImageFolderOptions { size, ..Default::default() };
    load_with(dir, &options, &mut Progress::silent())
}

/// As [`load`] with `photos` for photos, telling how many files were read.
///
/// Errors: as for [`load`], and [`Error::Cancelled`].
pub fn load_with(
    dir: impl AsRef<Path>,
    photos: &ImageFolderOptions,
    progress: &mut Progress,
) -> Result<Split> {
    let dir = dir.as_ref();
    std::fs::metadata(dir).map_err(|e| Error::io(dir, e))?;
    if mnist::is_in(dir) {
        mnist::load_with(dir, progress)
    } else if cifar10::folder(dir).is_some() {
        cifar10::load_with(dir, progress)
    } else if svhn::is_in(dir) {
        svhn::load_with(dir, progress)
    } else if image_folder::is_in(dir) {
        image_folder::load_with(dir, photos, progress)
    } else {
        let message = "neither MNIST's IDX files, nor CIFAR-10's binary files (.bin), nor SVHN's (.mat), nor folders \
                       train and val";
        Err(Error::io(dir, message))
    }
}

/// Mean and standard deviation of [`Dataset::new`], in units of 0 to 1.
const NORMALIZATION: (f64, f64) = (0.5, 0.5);

impl Dataset {
    /// A data set from its parts, with mean 0.5 and standard deviation 0.5 in each channel.
    ///
    /// Errors: [`Error::Shape`] where `shape` has a 0 or `images` does not hold one image of `shape` per label,
    /// [`Error::InvalidArgument`] for a label that is not below `classes`.
    pub fn new(
        name: impl Into<String>,
        images: Vec<u8>,
        labels: Vec<u16>,
        shape: [usize; 3],
        classes: usize,
    ) -> Result<Dataset> {
        let pixels = shape.iter().try_fold(labels.len(), |n, &d| n.checked_mul(d));
        if pixels != Some(images.len()) || shape.contains(&0) {
            let expected = format!("{} images of {shape:?}, one per label", labels.len());
            return Err(Error::shape("images", expected, &[images.len()]));
        }
        if let Some(at) = labels.iter().position(|&label| label as usize >= classes) {
            let got = format!("{} at index {at}", labels[at]);
            return Err(Error::invalid("labels", format!("classes below {classes}"), got));
        }
        let [mean, std] = [NORMALIZATION.0, NORMALIZATION.1].map(|v| vec![v; shape[0]]);
        Ok(Dataset { name: name.into(), images, labels, shape, classes, mean, std, photos: None })
    }

    /// A data set that reads the files of `photos` when it needs them, one for each label; labels are below `classes`.
    fn of_photos(name: impl Into<String>, photos: Photos, labels: Vec<u16>, classes: usize) -> Dataset {
        let shape = [3, photos.size, photos.size];
        let [mean, std] = [NORMALIZATION.0, NORMALIZATION.1].map(|v| vec![v; 3]);
        let (name, images) = (name.into(), Vec::new());
        Dataset { name, images, labels, shape, classes, mean, std, photos: Some(photos) }
    }

    /// The same images, normalised to (v / 255 - mean) / std in the batches, one `mean` and `std` per channel.
    ///
    /// Errors: [`Error::Shape`] for another number of values than channels, [`Error::InvalidArgument`] for a mean
    /// that is not finite or a standard deviation that is not finite and above 0.
    pub fn with_normalization(mut self, mean: &[f64], std: &[f64]) -> Result<Dataset> {
        for (name, values) in [("mean", mean), ("std", std)] {
            if values.len() != self.shape[0] {
                return Err(Error::shape(name, format!("[{}]", self.shape[0]), &[values.len()]));
            }
        }
        if let Some(mean) = mean.iter().find(|v| !v.is_finite()) {
            return Err(Error::invalid("mean", "finite numbers", mean));
        }
        if let Some(std) = std.iter().find(|v| !v.is_finite() || **v <= 0.0) {
            return Err(Error::invalid("std", "finite numbers above 0", std));
        }
        (self.mean, self.std) = (mean.to_vec(), std.to_vec());
        Ok(self)
    }

    /// What [`Dataset::batch`] subtracts, by channel, in units of 0 to 1.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// What [`Dataset::batch`] then divides by, by channel.
    pub fn std(&self) -> &[f64] {
        &self.std
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True where there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The first `limit` images, or all where there are fewer.
    #[must_use]
    pub fn take(self, limit: usize) -> Dataset {
        self.split_at(limit).train
    }

    /// The first `count` images, or all where there are fewer, to train on, and the rest to test on: for a data set
    /// with one part only.
    #[must_use]
    pub fn split_at(mut self, count: usize) -> Split {
        let count = count.min(self.len());
        let pixels = self.shape.iter().product::<usize>();
        let test = Dataset {
            name: self.name.clone(),
            labels: self.labels.split_off(count),
            images: self.images.split_off(self.images.len().min(count * pixels)),
            mean: self.mean.clone(),
            std: self.std.clone(),
            photos: self
                .photos
                .as_mut()
                .map(|photos| Photos { files: photos.files.split_off(count), ..*photos }),
            ..self
        };
        Split { train: self, test }
    }

    /// The pixels of one image, `[C, H, W]`. Panics where `index` is not below [`Dataset::len`], or where batches read
    /// files.
    pub fn image(&self, index: usize) -> &[u8] {
        assert!(self.photos.is_none(), "the images of {} are not in memory", self.name);
        let pixels = self.shape.iter().product::<usize>();
        &self.images[index * pixels..][..pixels]
    }

    /// The pixels of one image after what `area` takes of its height and width.
    fn pixels(&self, index: usize, area: impl Fn([usize; 2]) -> Option<Area>) -> Result<Cow<'_, [u8]>> {
        let [c, h, w] = self.shape;
        if let Some(photos) = &self.photos {
            let mut pixels = vec![0; c * h * w];
            photos.read(index, area, &mut pixels)?;
            return Ok(pixels.into());
        }
        let image = self.image(index);
        Ok(match area([h, w]) {
            None => image.into(),
            Some(area) => {
                let mut pixels = vec![0; image.len()];
                photo::resized_area_of_planes(image, self.shape, area, &mut pixels);
                pixels.into()
            }
        })
    }

    /// CRC-32 of pixels and labels, and of a normalisation other than that of [`Dataset::new`]: tells two data sets
    /// of one name apart. Where batches read files, their names, lengths and the size of the images stand for the pixels.
    pub fn fingerprint(&self) -> u32 {
        let mut crc = flate2::Crc::new();
        crc.update(&self.images);
        if let Some(photos) = &self.photos {
            photos.fingerprint(&mut crc);
        }
        // Labels that fit take one byte: fingerprints of stored results stay valid.
        let width = if self.classes <= 256 { 1 } else { 2 };
        let labels = self.labels.iter().flat_map(|label| label.to_le_bytes().into_iter().take(width));
        crc.update(&labels.collect::<Vec<_>>());
        let normalization = || self.mean.iter().copied().zip(self.std.iter().copied());
        if normalization().any(|pair| pair != NORMALIZATION) {
            let bytes =
                normalization().flat_map(|(mean, std)| [mean.to_le_bytes(), std.to_le_bytes()].concat());
            crc.update(&bytes.collect::<Vec<_>>());
        }
        crc.sum()
    }

    /// The images `indices` as `[len, C, H, W]`, normalised to (v / 255 - mean) / std, and their labels.
    ///
    /// Each of the 256 values of a channel is computed in f64 and rounded once to `dtype`. Files are read on the threads
    /// of the current rayon pool.
    /// Errors: [`Error::InvalidArgument`] for an index that is not below [`Dataset::len`]; where files are read those of
    /// [`image_folder::read`].
    pub fn batch(&self, indices: &[usize], dtype: DType) -> Result<(Tensor, Vec<i64>)> {
        self.gather(indices, dtype, |_| Crop::WHOLE, |_, _| None)
    }

    /// [`Dataset::batch`] of images that `augmentation` has changed at random.
    ///
    /// What happens to an image depends on `seed`, `epoch` and its index only, not on the batch that it is in nor on
    /// the number of threads.
    /// Errors: as for [`Dataset::batch`]; [`Error::InvalidArgument`] for a `crop_padding` that is not below height
    /// and width, or a [`ResizedCrop`] outside its domain.
    pub fn augmented_batch(
        &self,
        indices: &[usize],
        dtype: DType,
        augmentation: &Augmentation,
        seed: u64,
        epoch: u64,
    ) -> Result<(Tensor, Vec<i64>)> {
        augmentation.validate(self.shape)?;
        self.gather(
            indices,
            dtype,
            |index| augmentation.draw(seed, epoch, index),
            |index, sides| augmentation.draw_area(seed, epoch, index, sides),
        )
    }

    fn gather(
        &self,
        indices: &[usize],
        dtype: DType,
        crop: impl Fn(usize) -> Crop + Sync,
        area: impl Fn(usize, [usize; 2]) -> Option<Area> + Sync,
    ) -> Result<(Tensor, Vec<i64>)> {
        if let Some(&index) = indices.iter().find(|&&index| index >= self.len()) {
            return Err(Error::invalid("indices", format!("indices below {}", self.len()), index));
        }
        let [c, h, w] = self.shape;
        let mut x = Tensor::zeros(dtype, &[indices.len(), c, h, w])?;
        with_element!(dtype, T => {
            let values: Vec<[T; 256]> = self.mean.iter().zip(&self.std).map(|(mean, std)| {
                std::array::from_fn(|v| T::from_f64((v as f64 / 255.0 - mean) / std))
            }).collect();
            let one = |(to, &index): (&mut [T], &usize)| {
                let pixels = self.pixels(index, |sides| area(index, sides));
                pixels.map(|pixels| crop(index).copy(&pixels, self.shape, &values, to)).err()
            };
            let images = bytemuck::cast_slice_mut::<u8, T>(x.bytes_mut());
            // Threads are worth their while where files are decoded.
            let failed = if self.photos.is_some() {
                // The first in order, whichever thread is faster.
                images.par_chunks_exact_mut(c * h * w).zip(indices).find_map_first(one)
            } else {
                images.chunks_exact_mut(c * h * w).zip(indices).find_map(one)
            };
            if let Some(error) = failed {
                return Err(error);
            }
        });
        Ok((x, indices.iter().map(|&index| self.labels[index] as i64).collect()))
    }

    /// Mini-batches of one epoch in an order that depends on `seed` and `epoch` only.
    ///
    /// Errors: [`Error::InvalidArgument`] where `batch_size` is 0 or there are 2^32 images or more.
    pub fn batches(&self, batch_size: usize, seed: u64, epoch: u64) -> Result<Batches> {
        Batches::shuffled(self.len(), batch_size, seed, epoch)
    }
}

/// Cuts the indices of an epoch into mini-batches; the last one may be smaller.
#[derive(Debug, Clone)]
pub struct Batches {
    order: Vec<usize>,
    start: usize,
    batch_size: usize,
}

impl Batches {
    /// The indices `0..count` in order. Errors: [`Error::InvalidArgument`] where `batch_size` is 0.
    pub fn in_order(count: usize, batch_size: usize) -> Result<Batches> {
        if batch_size == 0 {
            return Err(Error::invalid("batch_size", "at least 1", 0));
        }
        Ok(Batches { order: (0..count).collect(), start: 0, batch_size })
    }

    /// The indices `0..count` in a uniformly drawn order that depends on `count`, `seed` and `epoch` only
    /// (Fisher-Yates over Philox4x32-10).
    ///
    /// Errors: [`Error::InvalidArgument`] where `batch_size` is 0 or `count` is 2^32 or more.
    pub fn shuffled(count: usize, batch_size: usize, seed: u64, epoch: u64) -> Result<Batches> {
        let mut batches = Batches::in_order(count, batch_size)?;
        let count = u32::try_from(count).map_err(|_| Error::invalid("count", "below 2^32", count))?;
        // A key of its own: the same seed also draws initial weights.
        let mut random = Philox::from_u64_seed_stream(seed ^ ORDER, epoch);
        for last in (1..count).rev() {
            batches.order.swap(last as usize, random.bounded(last + 1) as usize);
        }
        Ok(batches)
    }
}

/// "order" in ASCII.
const ORDER: u64 = 0x6f_7264_6572;

impl Iterator for Batches {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let end = self.start.saturating_add(self.batch_size).min(self.order.len());
        let batch = self.order[self.start..end].to_vec();
        self.start = end;
        (!batch.is_empty()).then_some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.order.len() - self.start).div_ceil(self.batch_size);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Batches {}

#[cfg(test)]
mod tests {
    use super::*;

    fn four() -> Dataset {
        Dataset::new("four", (0..8).map(|v| v * 36).collect(), vec![0, 1, 2, 1], [1, 1, 2], 3).unwrap()
    }

    #[test]
    fn a_batch_is_normalised_with_one_rounding() {
        let (x, labels) = four().batch(&[3, 0], DType::F16).unwrap();
        assert_eq!((x.shape(), labels), (&[2, 1, 1, 2][..], vec![1, 0]));
        let exact = |v: f64| (v / 255.0 - 0.5) / 0.5;
        let expected = Tensor::from_f64(DType::F16, &[2, 1, 1, 2], &[216.0, 252.0, 0.0, 36.0].map(exact));
        assert_eq!(x, expected.unwrap());
        let (x, _) = four().batch(&[0], DType::F64).unwrap();
        assert_eq!(x.to_f64(), [-1.0, exact(36.0)]);
        assert!(four().batch(&[4], DType::F32).is_err());
    }

    #[test]
    fn each_channel_has_its_own_normalisation() {
        let two = Dataset::new("two", vec![0, 51, 102, 255], vec![0], [2, 1, 2], 1).unwrap();
        let plain = two.fingerprint();
        let two = two.with_normalization(&[0.25, 0.5], &[2.0, 0.1]).unwrap();
        let (x, _) = two.batch(&[0], DType::F64).unwrap();
        let v = |v: f64| v / 255.0;
        assert_eq!(x.to_f64(), [-0.125, (v(51.0) - 0.25) / 2.0, (v(102.0) - 0.5) / 0.1, 5.0]);
        assert_eq!((two.mean(), two.std()), (&[0.25, 0.5][..], &[2.0, 0.1][..]));
        assert_ne!(two.fingerprint(), plain);
        let halves = two.clone().with_normalization(&[0.5; 2], &[0.5; 2]).unwrap();
        assert_eq!(halves.fingerprint(), plain);
        let refused = |mean: &[f64], std: &[f64]| two.clone().with_normalization(mean, std).unwrap_err();
        assert!(matches!(refused(&[0.5], &[0.5; 2]), Error::Shape { argument, .. } if argument == "mean"));
        assert!(matches!(refused(&[0.5; 2], &[0.5; 3]), Error::Shape { argument, .. } if argument == "std"));
        for (mean, std) in [(0.5, 0.0), (0.5, -1.0), (0.5, f64::NAN), (f64::INFINITY, 1.0)] {
            assert!(
                matches!(refused(&[0.5, mean], &[1.0, std]), Error::InvalidArgument { .. }),
                "{mean} {std}"
            );
        }
    }

    #[test]
    fn every_index_comes_once_and_the_order_follows_seed_and_epoch() {
        let order = |seed, epoch| Batches::shuffled(10, 4, seed, epoch).unwrap().collect::<Vec<_>>();
        let batches = order(1, 0);
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
        let mut all = batches.concat();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        assert_eq!(batches, order(1, 0));
        assert_ne!(batches, order(1, 1));
        assert_ne!(batches, order(2, 0));
        assert_eq!(Batches::in_order(10, 4).unwrap().len(), 3);
        assert!(Batches::in_order(10, 0).is_err());
        assert_eq!(Batches::in_order(3, usize::MAX).unwrap().collect::<Vec<_>>(), [[0, 1, 2]]);
        assert_eq!(Batches::shuffled(0, 4, 0, 0).unwrap().count(), 0);
    }

    #[test]
    fn parts_must_agree() {
        assert!(Dataset::new("short", vec![0; 7], vec![0; 4], [1, 1, 2], 10).is_err());
        assert!(Dataset::new("label", vec![0; 8], vec![0, 0, 3, 0], [1, 1, 2], 3).is_err());
        assert!(Dataset::new("empty", vec![], vec![0], [1, 0, 2], 3).is_err());
        let wide = |label| Dataset::new("wide", vec![0, 0], vec![label, 0], [1, 1, 1], 1000).unwrap();
        assert_eq!(wide(999).batch(&[0], DType::F32).unwrap().1, [999]);
        assert_ne!(wide(256).fingerprint(), wide(0).fingerprint());
        let two = four().take(2);
        assert_eq!((two.len(), two.images.len()), (2, 4));
        assert_eq!(four().take(9), four());
        assert_ne!(two.fingerprint(), four().fingerprint());
    }
}
