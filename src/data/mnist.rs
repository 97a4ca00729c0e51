//! MNIST and Fashion-MNIST, in IDX files of the same names: 28x28 grey images of 10 classes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::file::{Source, format_error, ten_classes};
use super::{Dataset, Split};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Reads the four files of `dir`: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
/// `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, with `-` or `.` before `idx`, with or without
/// `.gz`. Both data sets have 60,000 training and 10,000 test images. Where `fashion` is part of the name of `dir` or of
/// the folder that it is in (`FashionMNIST/raw`), in whichever case, they are named `fashion-mnist`, else `mnist`.
///
/// Errors: [`Error::Io`] for a missing or unreadable file;
/// [`Error::Format`] for one that is truncated, has
/// surplus bytes, another kind of content, labels above 9, images of another size than 28x28, or another
/// number of images than labels.
pub fn load(dir: impl AsRef<Path>) -> Result<Split> {
    load_with(dir.as_ref(), &mut Progress::silent())
}

/// [`load`], telling how many of the files were read.
pub(super) fn load_with(dir: &Path, progress: &mut Progress) -> Result<Split> {
    let mut part = |prefix: &str, done: u64| -> Result<Dataset> {
        progress.tell(done, 4)?;
        let images = find(dir, &format!("{prefix}-images"), "idx3-ubyte")?;
        let labels = find(dir, &format!("{prefix}-labels"), "idx1-ubyte")?;
        let part = read_pair(&images, &labels)?;
        progress.tell(done + 2, 4)?;
        Ok(part)
    };
    Ok(Split { train: part("train", 0)?, test: part("t10k", 2)? })
}

/// Reads an IDX file of 28x28 images and the IDX file of their labels, each gzipped or not. Named as by [`load`], after
/// the folder of the images.
///
/// Errors: as for [`load`].
pub fn read_pair(images: impl AsRef<Path>, labels: impl AsRef<Path>) -> Result<Dataset> {
    let (images, labels) = (images.as_ref(), labels.as_ref());
    let (dims, pixels) = read_idx::<3>(images)?;
    let ([count], classes) = read_idx::<1>(labels)?;
    if dims[1..] != [28, 28] {
        let message = format!("byte 8: expected images of 28x28, got {}x{}", dims[1], dims[2]);
        return Err(format_error(images, message));
    }
    if count != dims[0] {
        let message = format!("byte 4: {count} labels, but {} holds {} images", images.display(), dims[0]);
        return Err(format_error(labels, message));
    }
    let classes = ten_classes(labels, &classes, |i| 8 + i)?;
    Dataset::new(name(images), pixels, classes, [1, 28, 28], 10)
}

/// Which of the two a file is of: nothing in it tells.
fn name(file: &Path) -> &'static str {
    // A path such as `.` does not tell either.
    let whole = file.canonicalize().unwrap_or_else(|_| file.to_path_buf());
    let mut folders = whole.ancestors().skip(1).take(2).filter_map(Path::file_name);
    let fashion = |name: &OsStr| name.to_string_lossy().to_lowercase().contains("fashion");
    if folders.any(fashion) { "fashion-mnist" } else { "mnist" }
}

/// Whether `dir` holds any of the four files.
pub(super) fn is_in(dir: &Path) -> bool {
    let has = |part: &str, kind: &str, suffix: &str| find(dir, &format!("{part}-{kind}"), suffix).is_ok();
    ["train", "t10k"]
        .iter()
        .any(|part| has(part, "images", "idx3-ubyte") || has(part, "labels", "idx1-ubyte"))
}

fn find(dir: &Path, stem: &str, suffix: &str) -> Result<PathBuf> {
    let names = ["-", "."].map(|dot| format!("{stem}{dot}{suffix}"));
    let candidates = names.iter().flat_map(|name| [name.clone(), format!("{name}.gz")]);
    let found = candidates.map(|name| dir.join(name)).find(|path| path.is_file());
    let missing = || format!("no file {} or {}, with or without .gz", names[0], names[1]);
    found.ok_or_else(|| Error::io(dir, missing()))
}

/// Dimensions and bytes of an IDX file of unsigned bytes with `R` dimensions.
fn read_idx<const R: usize>(path: &Path) -> Result<([usize; R], Vec<u8>)> {
    let mut file = Source::open(path)?;
    let header_len = 4 + 4 * R;
    let header = file.read(header_len as u64)?;
    let word = |i: usize| u32::from_be_bytes(header[4 * i..][..4].try_into().expect("four bytes"));
    let magic = 0x0800 + R as u32;
    if header.len() >= 4 && word(0) != magic {
        let got = word(0);
        let hint = match got {
            0x0801 => " (these are labels)",
            0x0803 => " (these are images)",
            _ => "",
        };
        let message = format!(
            "byte 0: expected the magic number {magic:#010x} (IDX, unsigned bytes, {R} dimensions), got \
             {got:#010x}{hint}"
        );
        return Err(format_error(path, message));
    }
    if header.len() < header_len {
        let message = format!("ends at {}, within its header of {header_len} bytes", file.place());
        return Err(format_error(path, message));
    }
    let dims: [usize; R] = std::array::from_fn(|i| word(i + 1) as usize);
    let len = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64)).filter(|&n| n < 1 << 40);
    let Some(len) = len else {
        return Err(format_error(path, format!("byte 4: impossible dimensions {dims:?}")));
    };
    Ok((dims, file.read_rest(len, &format!("dimensions {dims:?}"))?))
}
