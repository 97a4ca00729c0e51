//! Photos in one folder per class, as ImageNet and its subsets are distributed.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::augmentation::{Area, Augmentation, ResizedCrop};
use super::file::format_error;
use super::photo::{self, MAX_SIDE};
use super::{Dataset, Split};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::tensor::filled;

/// Mean by channel (red, green, blue) of ImageNet.
pub const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
/// Standard deviation by channel of ImageNet.
pub const STD: [f64; 3] = [0.229, 0.224, 0.225];

/// The usual changes of training photos: a random part of each, resized, and a horizontal flip.
pub const AUGMENTATION: Augmentation =
    Augmentation { resized_crop: Some(ResizedCrop::USUAL), crop_padding: 0, horizontal_flip: true };

const TRAIN: &str = "train";

/// What becomes of the photos, and how many are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolderOptions {
    /// Height and width of the images in the data set.
    pub size: usize,
    /// What the shorter side becomes before the centre of `size` x `size` is cut out, at least `size`; `None`: `size`.
    /// ImageNet is usually tested with 256 for a size of 224.
    pub resize: Option<usize>,
    /// Takes the first images of each class only, in the order of their file names.
    pub limit_per_class: Option<usize>,
    /// Decodes the files anew for each batch, instead of all of them once into memory (`3 size^2` bytes each). The same
    /// bits, but [`ResizedCrop`] then cuts from the whole photo, as it should, not from the `size` x `size` of its
    /// centre.
    pub from_files: bool,
}

impl Default for ImageFolderOptions {
    /// All images at 224x224, in memory.
    fn default() -> Self {
        ImageFolderOptions { size: 224, resize: None, limit_per_class: None, from_files: false }
    }
}

/// Reads the folders `train` and `val` (or `test`, where there is no `val`) of `dir`, each as [`read`] does; both are
/// named after `dir`.
///
/// Errors: as for [`read`], and [`Error::Format`] where the two do not have the same classes.
pub fn load(dir: impl AsRef<Path>, options: &ImageFolderOptions) -> Result<Split> {
    load_with(dir.as_ref(), options, &mut Progress::silent())
}

/// [`load`], telling how many of the files were read.
pub(super) fn load_with(dir: &Path, options: &ImageFolderOptions, progress: &mut Progress) -> Result<Split> {
    let train = Listing::new(&dir.join(TRAIN), options)?;
    let Some(val) = ["val", "test"].map(|name| dir.join(name)).into_iter().find(|path| path.is_dir()) else {
        return Err(Error::io(dir, "no folder val or test"));
    };
    let val = Listing::new(&val, options)?;
    // A label is a place among the sorted names: one class more or less would shift all that follow.
    for (part, other) in [(&train, &val), (&val, &train)] {
        if let Some(class) = other.classes.iter().find(|class| !part.classes.contains(class)) {
            let message = format!("no class {}, which {} has", class.display(), other.dir.display());
            return Err(format_error(&part.dir, message));
        }
    }
    let (first, total) = (train.files.len(), train.files.len() + val.files.len());
    let mut tell = |done: usize| progress.tell(done as u64, total as u64);
    let train = train.read(dir, options, &mut tell)?;
    let test = val.read(dir, options, &mut |done| tell(first + done))?;
    Ok(Split { train, test })
}

/// Whether `dir` has a training part for [`load`].
pub(super) fn is_in(dir: &Path) -> bool {
    dir.join(TRAIN).is_dir()
}

/// Reads the JPEG and PNG files in the sub-folders of `dir`. Each sub-folder is a class; classes are numbered, and
/// images ordered, by name. Other files, deeper folders and hidden names are ignored.
///
/// An image is resized so that its shorter side is `resize`, by a triangle filter as wide as the pixels it merges,
/// and its centre is cut out: `torchvision.transforms.Resize(resize)` and `CenterCrop(size)`. Grey images become RGB,
/// transparency is dropped, 16 bits a channel become 8; orientation tags are not followed. Normalised with [`MEAN`]
/// and [`STD`]. Runs on the threads of the current rayon pool.
///
/// Errors: [`Error::InvalidArgument`] for a `size`, `resize` or limit outside its domain; [`Error::Io`] for a folder or file
/// that cannot be read; [`Error::Format`] where there is no sub-folder, one without images, more than 65,536, or
/// an image that cannot be decoded or is cut off, the first one in order; [`Error::OutOfMemory`]. With `from_files` it is
/// a batch that meets an image that cannot be read.
pub fn read(dir: impl AsRef<Path>, options: &ImageFolderOptions) -> Result<Dataset> {
    let dir = dir.as_ref();
    Listing::new(dir, options)?.read(dir, options, &mut |_| Ok(()))
}

/// Files read between two reports of progress: enough to keep all threads busy.
const BETWEEN: usize = 256;

/// The images of a folder, not read yet.
struct Listing {
    dir: PathBuf,
    /// Names of the sub-folders, sorted.
    classes: Vec<OsString>,
    files: Vec<PathBuf>,
    /// Class of each file.
    labels: Vec<u16>,
}

impl Listing {
    fn new(dir: &Path, options: &ImageFolderOptions) -> Result<Listing> {
        if !(1..=MAX_SIDE).contains(&options.size) {
            return Err(Error::invalid("size", format!("1 to {MAX_SIDE}"), options.size));
        }
        if let Some(resize) = options.resize.filter(|resize| !(options.size..=MAX_SIDE).contains(resize)) {
            return Err(Error::invalid("resize", format!("{} to {MAX_SIDE}", options.size), resize));
        }
        if options.limit_per_class == Some(0) {
            return Err(Error::invalid("limit_per_class", "at least 1", 0));
        }
        let folders = sorted(dir, Path::is_dir)?;
        if folders.is_empty() {
            return Err(format_error(dir, "no sub-folders, one of which is expected for each class"));
        }
        let (mut classes, mut files, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        for folder in folders {
            let label = u16::try_from(classes.len())
                .map_err(|_| format_error(dir, "more than 65536 sub-folders, that is, classes"))?;
            let mut images = sorted(&folder, is_image)?;
            if images.is_empty() {
                return Err(format_error(&folder, "no JPEG or PNG file (.jpg, .jpeg, .png)"));
            }
            images.truncate(options.limit_per_class.unwrap_or(usize::MAX));
            labels.resize(labels.len() + images.len(), label);
            files.extend(images);
            classes.extend(folder.file_name().map(OsString::from));
        }
        Ok(Listing { dir: dir.to_path_buf(), classes, files, labels })
    }

    /// The data set, named after `folder`. `tell` hears how many files were read, and stops by an error.
    fn read(
        self,
        folder: &Path,
        options: &ImageFolderOptions,
        tell: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Dataset> {
        let name = folder.file_name().map_or("images".into(), |name| name.to_string_lossy());
        let shape = [3, options.size, options.size];
        let photos = Photos { files: self.files, size: options.size, resize: options.resize };
        let data = if options.from_files {
            Dataset::of_photos(name, photos, self.labels, self.classes.len())
        } else {
            Dataset::new(name, photos.decode(tell)?, self.labels, shape, self.classes.len())?
        };
        data.with_normalization(&MEAN, &STD)
    }
}

/// Files of photos, and what becomes of each.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Photos {
    pub files: Vec<PathBuf>,
    pub size: usize,
    pub resize: Option<usize>,
}

impl Photos {
    /// All of them, `[N, 3, size, size]`. `tell` hears how many were read, and stops by an error.
    fn decode(&self, tell: &mut dyn FnMut(usize) -> Result<()>) -> Result<Vec<u8>> {
        let pixels = 3 * self.size * self.size;
        let total = self.files.len().saturating_mul(pixels);
        let mut images = filled(0, total, "the images of a folder")?;
        tell(0)?;
        let mut done = 0;
        for images in images.chunks_mut(BETWEEN * pixels) {
            let failed = images
                .par_chunks_exact_mut(pixels)
                .enumerate()
                .map(|(i, to)| self.read(done + i, |_| None, to).err());
            // The first in order, whichever thread is faster.
            if let Some(error) = failed.find_map_first(|error| error) {
                return Err(error);
            }
            done += images.len() / pixels;
            tell(done)?;
        }
        Ok(images)
    }

    /// One as `[3, size, size]`: what `area` says of its height and width, or its centre.
    pub fn read(&self, index: usize, area: impl Fn([usize; 2]) -> Option<Area>, to: &mut [u8]) -> Result<()> {
        let path = &self.files[index];
        let photo = photo::read(path)?;
        match area([photo.height() as usize, photo.width() as usize]) {
            Some(area) => photo::resized_area(&photo, area, self.size, to),
            None => photo::centre(path, &photo, self.resize.unwrap_or(self.size), self.size, to)?,
        }
        Ok(())
    }

    /// Tells apart what a fingerprint of the pixels would, but for files changed in place at the same length.
    pub fn fingerprint(&self, crc: &mut flate2::Crc) {
        for file in &self.files {
            // Relative to the folder that holds the classes: a data set may be moved.
            let name = file.iter().rev().take(2).flat_map(|part| part.as_encoded_bytes().iter().copied());
            crc.update(&name.collect::<Vec<_>>());
            crc.update(&fs::metadata(file).map_or(0, |file| file.len()).to_le_bytes());
        }
        crc.update(
            &[self.size, self.resize.unwrap_or(self.size)].map(|n| n as u64).map(u64::to_le_bytes).concat(),
        );
    }
}

/// What `dir` holds that `keep` takes, by name; nothing hidden.
fn sorted(dir: &Path, keep: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
    let list = || -> std::io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if !hidden(&entry.file_name()) && keep(&entry.path()) {
                paths.push(entry.path());
            }
        }
        paths.sort_unstable();
        Ok(paths)
    };
    list().map_err(|e| Error::io(dir, e))
}

fn is_image(path: &Path) -> bool {
    let known =
        |ending: &OsStr| ["jpg", "jpeg", "png"].iter().any(|known| ending.eq_ignore_ascii_case(known));
    path.extension().is_some_and(known) && !path.is_dir()
}
