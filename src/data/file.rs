//! Files of known length, gzipped or not, and errors that name file and byte.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Result};

pub(super) fn format_error(path: &Path, message: impl Into<String>) -> Error {
    Error::Format { path: path.to_path_buf(), message: message.into() }
}

/// Reads a file from its start to its end.
pub(super) struct Source<'a> {
    path: &'a Path,
    reader: Box<dyn Read>,
    zipped: bool,
    /// Bytes read so far, unpacked.
    at: u64,
}

impl<'a> Source<'a> {
    pub fn open(path: &'a Path) -> Result<Source<'a>> {
        let open = || -> std::io::Result<(Box<dyn Read>, bool)> {
            let mut reader = BufReader::new(File::open(path)?);
            // Decided by content: unpacked files often keep their name, and the other way round.
            let zipped = reader.fill_buf()?.starts_with(&[0x1f, 0x8b]);
            Ok(if zipped { (Box::new(MultiGzDecoder::new(reader)), true) } else { (Box::new(reader), false) })
        };
        let (reader, zipped) = open().map_err(|e| Error::io(path, e))?;
        Ok(Source { path, reader, zipped, at: 0 })
    }

    /// The next `want` bytes, or fewer where the file ends; never trusts a header with memory.
    pub fn read(&mut self, want: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let result = self.reader.by_ref().take(want).read_to_end(&mut bytes);
        self.at += bytes.len() as u64;
        match result {
            Ok(_) => Ok(bytes),
            Err(e) if self.zipped && e.kind() != ErrorKind::PermissionDenied => {
                Err(format_error(self.path, format!("damaged gzip data after {}: {e}", self.place())))
            }
            Err(e) => Err(Error::io(self.path, e)),
        }
    }

    /// The next `len` bytes, which must be there and be the last ones; `what` they are.
    pub fn read_rest(&mut self, len: u64, what: &str) -> Result<Vec<u8>> {
        let whole = self.at + len;
        let bytes = self.read(len)?;
        if self.at < whole {
            let message = format!("ends at {}, {whole} expected for {what}", self.place());
            return Err(format_error(self.path, message));
        }
        let end = self.place();
        if !self.read(1)?.is_empty() {
            return Err(format_error(self.path, format!("surplus bytes from {end} on, after {what}")));
        }
        Ok(bytes)
    }

    /// What has been read so far, for messages.
    pub fn place(&self) -> String {
        format!("byte {}{}", self.at, if self.zipped { " of the unpacked data" } else { "" })
    }
}

/// The labels 0 to 9 of `path`, number `i` of which stands at byte `byte(i)`.
pub(super) fn ten_classes(path: &Path, labels: &[u8], byte: impl Fn(usize) -> usize) -> Result<Vec<u16>> {
    if let Some(i) = labels.iter().position(|&label| label > 9) {
        let message = format!("byte {}: expected a label of 0 to 9, got {}", byte(i), labels[i]);
        return Err(format_error(path, message));
    }
    Ok(labels.iter().map(|&label| label.into()).collect())
}
