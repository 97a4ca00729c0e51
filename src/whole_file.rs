//! Files that appear whole or not at all.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

/// Writes the file beside its place first, then moves it there: whoever reads, also after a crash, finds the old one or the
/// new one. Several processes may do so at once.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let io_error = |e: std::io::Error| Error::io(path, e);
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file: the process's mask takes away what it takes.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.prefix(".tiebreak").tempfile_in(folder).map_err(io_error)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(io_error)?;
    file.persist(path).map_err(|e| io_error(e.error))?;
    // The new name is not on disk before its folder is. Not every system can sync one.
    if let Ok(folder) = fs::File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}
