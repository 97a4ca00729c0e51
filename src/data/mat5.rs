//! Arrays of bytes in MATLAB's level 5 MAT-files, compressed or not.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use flate2::read::ZlibDecoder;

use super::file::format_error;
use crate::error::{Error, Result};

/// Length of the file's header: text, version and byte order.
const HEADER: u64 = 128;

// Types of elements.
const INT8: u32 = 1;
const UINT8: u32 = 2;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// Numbers of 0 to 255, the first index running fastest.
pub(super) struct Array {
    pub dims: Vec<usize>,
    pub values: Vec<u8>,
    /// Where the values start.
    place: Place,
}

impl Array {
    /// The byte at which value `i` stands, for messages.
    pub fn place(&self, i: usize) -> String {
        Place { at: self.place.at + i as u64, ..self.place }.to_string()
    }
}

/// The arrays of these names.
///
/// Errors: [`Error::Io`] for a file that cannot be read; [`Error::Format`] for one that is truncated, damaged, of
/// another kind or byte order, or does not hold all arrays as unsigned bytes.
pub(super) fn read<const N: usize>(path: &Path, names: [&str; N]) -> Result<[Array; N]> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut file = Stream { path, reader: BufReader::new(file), place: Place { at: 0, within: None } };
    file.header()?;
    let mut found: [Option<Array>; N] = std::array::from_fn(|_| None);
    while let Some((kind, size)) = file.next_element()? {
        let start = file.place.at;
        let end = start + if kind == COMPRESSED { size } else { size.next_multiple_of(8) };
        let named = match kind {
            COMPRESSED => {
                let reader = ZlibDecoder::new(file.reader.by_ref().take(size));
                let mut inner = Stream { path, reader, place: Place { at: 0, within: Some(start) } };
                match inner.tag()? {
                    (MATRIX, ..) => {}
                    (kind, ..) => return Err(inner.unexpected(0, "a matrix (14)", kind)),
                }
                let named = inner.array(&names)?;
                // To the end, where the checksum is.
                inner.skip(u64::MAX)?;
                let unread = inner.reader.into_inner().limit();
                file.skip(unread)?;
                named
            }
            MATRIX => {
                let reader = file.reader.by_ref().take(size);
                let mut inner = Stream { path, reader, place: file.place };
                let named = inner.array(&names)?;
                let unread = inner.reader.limit();
                file.skip(unread)?;
                named
            }
            _ => {
                file.skip(end - start)?;
                None
            }
        };
        file.place.at = end;
        if let Some((i, array)) = named {
            found[i] = Some(array);
        }
    }
    if let Some(missing) = found.iter().position(Option::is_none) {
        let message = format!("byte {}: ends without an array named {}", file.place.at, names[missing]);
        return Err(format_error(path, message));
    }
    Ok(found.map(|array| array.expect("just checked")))
}

/// A byte of a file.
#[derive(Clone, Copy)]
struct Place {
    at: u64,
    /// Where the compressed element starts of whose contents `at` counts the bytes.
    within: Option<u64>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "byte {}", self.at)?;
        match self.within {
            Some(start) => write!(f, " of the data compressed from byte {start} on"),
            None => Ok(()),
        }
    }
}

/// Reads elements one after the other.
struct Stream<'a, R> {
    path: &'a Path,
    reader: R,
    /// Of the next byte.
    place: Place,
}

impl<R: Read> Stream<'_, R> {
    fn header(&mut self) -> Result<()> {
        let header = self.bytes(HEADER)?;
        let error = |message: String| Err(format_error(self.path, message));
        match header[124..] {
            [0, 1, b'I', b'M'] => Ok(()),
            [_, _, b'M', b'I'] => error("byte 126: a big-endian MAT-file, little-endian expected".into()),
            [0, 2, b'I', b'M'] => {
                error("byte 124: a MAT-file of version 7.3 (HDF5), expected 5 to 7 (save -v7)".into())
            }
            _ => error("byte 124: no MAT-file of version 5 to 7".into()),
        }
    }

    /// Type and size of the next element of a file, unless it ends here.
    fn next_element(&mut self) -> Result<Option<(u32, u64)>> {
        let first = self.some(1)?;
        if first.is_empty() {
            return Ok(None);
        }
        let tag = [first, self.bytes(7)?].concat();
        Ok(Some((word(&tag, 0), word(&tag, 4).into())))
    }

    /// Type and size of an element, and the whole of a short one.
    fn tag(&mut self) -> Result<(u32, u64, Option<[u8; 4]>)> {
        let tag = self.bytes(8)?;
        let first = word(&tag, 0);
        Ok(match first >> 16 {
            0 => (first, word(&tag, 4).into(), None),
            size => (first & 0xffff, size.into(), Some(tag[4..].try_into().expect("four bytes"))),
        })
    }

    /// The next element, of a type and at most so many bytes.
    fn element(&mut self, kind: u32, limit: u64, what: &str) -> Result<Vec<u8>> {
        let start = self.place.at;
        let (got, size, short) = self.tag()?;
        if got != kind {
            return Err(self.unexpected(start, &format!("{what} ({kind})"), got));
        }
        if size > limit.min(short.map_or(u64::MAX, |_| 4)) {
            return Err(self.error(start, format!("{size} bytes for {what}, at most {limit} expected")));
        }
        if let Some(bytes) = short {
            return Ok(bytes[..size as usize].to_vec());
        }
        let bytes = self.bytes(size)?;
        self.bytes(size.next_multiple_of(8) - size)?;
        Ok(bytes)
    }

    /// The contents of a matrix, if its name is one of `names`, with the name's place among them.
    fn array(&mut self, names: &[&str]) -> Result<Option<(usize, Array)>> {
        self.element(UINT32, 8, "flags of an array")?;
        let dims_at = self.place.at;
        let dims = self.element(INT32, 4 * 32, "dimensions of an array")?;
        let dims: Vec<usize> = (0..dims.len() / 4).map(|i| word(&dims, 4 * i) as usize).collect();
        let name = self.element(INT8, 64, "name of an array")?;
        let Some(i) = names.iter().position(|wanted| wanted.as_bytes() == name) else { return Ok(None) };
        let count = dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64)).filter(|&n| n < 1 << 40);
        let Some(count) = count else {
            return Err(self.error(dims_at, format!("impossible dimensions {dims:?}")));
        };
        let start = self.place.at;
        let (kind, size, short) = self.tag()?;
        if kind != UINT8 {
            return Err(self.unexpected(start, &format!("unsigned bytes (2) in {}", names[i]), kind));
        }
        if size != count {
            let message = format!("{size} bytes in {}, whose dimensions are {dims:?}", names[i]);
            return Err(self.error(start, message));
        }
        let place = Place { at: start + if short.is_some() { 4 } else { 8 }, ..self.place };
        let values = match short {
            Some(bytes) if size <= 4 => bytes[..size as usize].to_vec(),
            Some(_) => return Err(self.error(start, format!("a short element of {size} bytes"))),
            None => self.bytes(size)?,
        };
        Ok(Some((i, Array { dims, values, place })))
    }

    /// The next `len` bytes.
    fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        let bytes = self.some(len)?;
        if (bytes.len() as u64) < len {
            return Err(self.error(self.place.at, format!("ends here, {len} bytes expected")));
        }
        Ok(bytes)
    }

    /// The next `len` bytes, or fewer where it ends; never trusts a tag with memory.
    fn some(&mut self, len: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let result = self.reader.by_ref().take(len).read_to_end(&mut bytes);
        self.place.at += bytes.len() as u64;
        result.map_err(|e| self.unreadable(e))?;
        Ok(bytes)
    }

    /// Passes over `len` bytes, or all that follow where there are fewer.
    fn skip(&mut self, len: u64) -> Result<()> {
        match io::copy(&mut self.reader.by_ref().take(len), &mut io::sink()) {
            Ok(skipped) => self.place.at += skipped,
            Err(e) => return Err(self.unreadable(e)),
        }
        Ok(())
    }

    fn unreadable(&self, e: io::Error) -> Error {
        match self.place.within {
            Some(_) => self.error(self.place.at, format!("damaged: {e}")),
            None => Error::io(self.path, e),
        }
    }

    fn unexpected(&self, at: u64, expected: &str, kind: u32) -> Error {
        self.error(at, format!("an element of type {kind}, expected {expected}"))
    }

    fn error(&self, at: u64, message: String) -> Error {
        format_error(self.path, format!("{}: {message}", Place { at, ..self.place }))
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
