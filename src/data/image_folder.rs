//! Photos in one folder per class, as ImageNet and its subsets are distributed.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::imageops::{self, FilterType};
use image::{
    DynamicImage, GenericImageView, ImageDecoder, ImageError, ImageFormat, ImageReader, ImageResult, Limits,
};
use rayon::prelude::*;

use super::file::{format_error, io_error};
use super::{Dataset, Split};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::tensor::filled;

/// Mean by channel (red, green, blue) of ImageNet.
pub const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
/// Standard deviation by channel of ImageNet.
pub const STD: [f64; 3] = [0.229, 0.224, 0.225];

const TRAIN: &str = "train";

/// What becomes of the photos, and how many are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolderOptions {
    /// Height and width of the images in the data set.
    pub size: usize,
    /// Takes the first images of each class only, in the order of their file names.
    pub limit_per_class: Option<usize>,
}

impl Default for ImageFolderOptions {
    /// All images at 224x224.
    fn default() -> Self {
        ImageFolderOptions { size: 224, limit_per_class: None }
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
        return Err(io_error(dir, "no folder val or test"));
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
/// An image is resized so that its shorter side is `size`, by a triangle filter as wide as the pixels it merges,
/// and its centre is cut out: `torchvision.transforms.Resize(size)` and `CenterCrop(size)`. Grey images become RGB,
/// transparency is dropped, 16 bits a channel become 8; orientation tags are not followed. Normalised with [`MEAN`]
/// and [`STD`]. All images are in memory: `3 size^2` bytes each. Runs on the threads of the current rayon pool.
///
/// Errors: [`Error::InvalidArgument`] for a `size` or limit outside its domain; [`Error::Io`] for a folder or file
/// that cannot be read; [`Error::Format`] where there is no sub-folder, one without images, more than 65,536, or
/// an image that cannot be decoded or is cut off, the first one in order; [`Error::OutOfMemory`].
pub fn read(dir: impl AsRef<Path>, options: &ImageFolderOptions) -> Result<Dataset> {
    let dir = dir.as_ref();
    Listing::new(dir, options)?.read(dir, options, &mut |_| Ok(()))
}

/// Files read between two reports of progress: enough to keep all threads busy.
const BETWEEN: usize = 256;

/// Largest side of an image, as in JPEG.
const MAX_SIDE: usize = 65_535;

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
        let pixels = 3 * options.size * options.size;
        let total = self.files.len().saturating_mul(pixels);
        let mut images = filled(0, total, "the images of a folder")?;
        tell(0)?;
        let mut done = 0;
        for (images, files) in images.chunks_mut(BETWEEN * pixels).zip(self.files.chunks(BETWEEN)) {
            let pieces = images.par_chunks_exact_mut(pixels).zip(files);
            let failed = pieces.map(|(to, path)| read_image(path, options.size, to).err());
            // The first in order, whichever thread is faster.
            if let Some(error) = failed.find_map_first(|error| error) {
                return Err(error);
            }
            done += files.len();
            tell(done)?;
        }
        let name = folder.file_name().map_or("images".into(), |name| name.to_string_lossy());
        let shape = [3, options.size, options.size];
        Dataset::new(name, images, self.labels, shape, self.classes.len())?.with_normalization(&MEAN, &STD)
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
    list().map_err(|e| io_error(dir, e))
}

fn is_image(path: &Path) -> bool {
    let known =
        |ending: &OsStr| ["jpg", "jpeg", "png"].iter().any(|known| ending.eq_ignore_ascii_case(known));
    path.extension().is_some_and(known) && !path.is_dir()
}

/// Decodes, resizes and crops one image to `[3, size, size]`.
fn read_image(path: &Path, size: usize, to: &mut [u8]) -> Result<()> {
    let bytes = fs::read(path).map_err(|e| io_error(path, e))?;
    let unreadable = |e: ImageError| format_error(path, e.to_string());
    // By content: ImageNet has a PNG that is named .JPEG.
    let format = image::guess_format(&bytes).map_err(unreadable)?;
    if format == ImageFormat::Jpeg && is_cut(&bytes) {
        return Err(format_error(path, "the file ends within its JPEG data"));
    }
    let decoder = ImageReader::with_format(Cursor::new(&bytes), format).into_decoder().map_err(unreadable)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > most_pixels(format, bytes.len()) {
        let message = format!("{width}x{height} pixels cannot be in {} bytes", bytes.len());
        return Err(format_error(path, message));
    }
    let image = decode(decoder).map_err(unreadable)?.into_rgb8();
    let sides = [image.width(), image.height()].map(|side| side as usize);
    let shorter = sides[0].min(sides[1]);
    let resized = sides.map(|side| size * side / shorter);
    if resized.iter().any(|&side| side > MAX_SIDE) {
        let message = format!("{}x{} is too long and narrow to resize", sides[0], sides[1]);
        return Err(format_error(path, message));
    }
    let image = imageops::resize(&image, resized[0] as u32, resized[1] as u32, FilterType::Triangle);
    // Half a pixel goes to the even side, as Python's `round` has it.
    let [left, top] = resized.map(|side| ((side - size) as f64 / 2.0).round_ties_even() as u32);
    let (red, rest) = to.split_at_mut(size * size);
    let (green, blue) = rest.split_at_mut(size * size);
    let crop = imageops::crop_imm(&image, left, top, size as u32, size as u32);
    for (i, (_, _, pixel)) in crop.pixels().enumerate() {
        [red[i], green[i], blue[i]] = pixel.0;
    }
    Ok(())
}

/// Pixels that a file of `len` bytes can hold at most: more must not be believed, nor given memory.
fn most_pixels(format: ImageFormat, len: usize) -> u64 {
    let per_byte = match format {
        // A bit for each block of 8x8.
        ImageFormat::Jpeg => 8 * 64,
        // A bit for each pixel, packed as well as DEFLATE can.
        _ => 8 * 1032,
    };
    len as u64 * per_byte
}

/// As [`image::load_from_memory`] does, which keeps to the default limit of memory.
fn decode(decoder: impl ImageDecoder) -> ImageResult<DynamicImage> {
    Limits::default().reserve(decoder.total_bytes())?;
    DynamicImage::from_decoder(decoder)
}

/// Whether a JPEG file ends before its end mark, which the decoder forgives and fills with grey.
fn is_cut(jpeg: &[u8]) -> bool {
    let mut rest = jpeg.get(2..); // after the start mark
    while let Some(bytes) = rest {
        // Stuffed zeros, fill bytes and restarts belong to the data of a scan.
        let is_mark = |b: &[u8]| b[0] == 0xff && !matches!(b[1], 0 | 0xff | 0xd0..=0xd7);
        let Some(at) = bytes.windows(2).position(is_mark) else { break };
        let segment = &bytes[at + 2..];
        match (bytes[at + 1], segment) {
            (0xd9, _) => return false,
            (_, [high, low, ..]) => rest = segment.get(u16::from_be_bytes([*high, *low]) as usize..),
            _ => break,
        }
    }
    true
}
