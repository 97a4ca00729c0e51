//! MNIST, and anything else in its IDX files: 28x28 grey images of 10 classes.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::data::Dataset;
use crate::error::{Error, Result};

/// Training and test part.
#[derive(Debug, Clone, PartialEq)]
pub struct Mnist {
    /// 60,000 images in the original.
    pub train: Dataset,
    /// 10,000 images in the original.
    pub test: Dataset,
}

/// Reads the four files of `dir`: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
/// `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, with `-` or `.` before `idx`, with or without
/// `.gz`.
///
/// Errors: [`Error::Io`] for a missing or unreadable file; [`Error::Format`] for one that is truncated, has
/// surplus bytes, another kind of content, labels above 9, images of another size than 28x28, or another
/// number of images than labels.
pub fn load(dir: impl AsRef<Path>) -> Result<Mnist> {
    let dir = dir.as_ref();
    let part = |prefix: &str| -> Result<Dataset> {
        let images = find(dir, &format!("{prefix}-images"), "idx3-ubyte")?;
        let labels = find(dir, &format!("{prefix}-labels"), "idx1-ubyte")?;
        read_pair(&images, &labels)
    };
    Ok(Mnist { train: part("train")?, test: part("t10k")? })
}

/// Reads an IDX file of 28x28 images and the IDX file of their labels, each gzipped or not.
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
        let message = format!("{count} labels, but {} holds {} images", images.display(), dims[0]);
        return Err(format_error(labels, message));
    }
    if let Some(at) = classes.iter().position(|&label| label > 9) {
        let message = format!("byte {}: expected a label of 0 to 9, got {}", 8 + at, classes[at]);
        return Err(format_error(labels, message));
    }
    Dataset::new("mnist", pixels, classes, [1, 28, 28], 10)
}

fn find(dir: &Path, stem: &str, suffix: &str) -> Result<PathBuf> {
    let names = ["-", "."].map(|dot| format!("{stem}{dot}{suffix}"));
    let candidates = names.iter().flat_map(|name| [name.clone(), format!("{name}.gz")]);
    let found = candidates.map(|name| dir.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| Error::Io {
        path: dir.to_path_buf(),
        message: format!("no file {} or {}, with or without .gz", names[0], names[1]),
    })
}

fn format_error(path: &Path, message: impl Into<String>) -> Error {
    Error::Format { path: path.to_path_buf(), message: message.into() }
}

/// Dimensions and bytes of an IDX file of unsigned bytes with `R` dimensions.
fn read_idx<const R: usize>(path: &Path) -> Result<([usize; R], Vec<u8>)> {
    let io_error = |e: std::io::Error| Error::Io { path: path.to_path_buf(), message: e.to_string() };
    let mut reader = BufReader::new(File::open(path).map_err(io_error)?);
    // Decided by content: unpacked files often keep their name, and the other way round.
    let zipped = std::io::BufRead::fill_buf(&mut reader).map_err(io_error)?.starts_with(&[0x1f, 0x8b]);
    let mut reader: Box<dyn Read> =
        if zipped { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) };
    let unpacked = if zipped { " of the unpacked data" } else { "" };
    // `want` bytes, or fewer where the file ends; never trusts a header with memory.
    let mut read = |want: u64, before: u64| -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match reader.by_ref().take(want).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(e) if zipped && e.kind() != ErrorKind::PermissionDenied => {
                let at = before + bytes.len() as u64;
                Err(format_error(path, format!("damaged gzip data after byte {at}{unpacked}: {e}")))
            }
            Err(e) => Err(io_error(e)),
        }
    };

    let header_len = 4 + 4 * R as u64;
    let header = read(header_len, 0)?;
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
    if header.len() < header_len as usize {
        let message =
            format!("ends at byte {}{unpacked}, within its header of {header_len} bytes", header.len());
        return Err(format_error(path, message));
    }
    let dims: [usize; R] = std::array::from_fn(|i| word(i + 1) as usize);
    let len = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64)).filter(|&n| n < 1 << 40);
    let Some(len) = len else {
        return Err(format_error(path, format!("byte 4: impossible dimensions {dims:?}")));
    };
    let bytes = read(len, header_len)?;
    let end = header_len + bytes.len() as u64;
    if (bytes.len() as u64) < len {
        let message =
            format!("ends at byte {end}{unpacked}, {} expected for dimensions {dims:?}", header_len + len);
        return Err(format_error(path, message));
    }
    if !read(1, end)?.is_empty() {
        let message = format!("surplus bytes from byte {end}{unpacked} on, after dimensions {dims:?}");
        return Err(format_error(path, message));
    }
    Ok((dims, bytes))
}
