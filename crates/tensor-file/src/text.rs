//! Small text files: recipes in, reports out.

use std::io::{Read, Write};
use std::path::Path;

use crate::disk::open_regular;
use crate::pending_file::{Overwrite, PendingFile};
use crate::{TensorFileError, TensorFileErrorKind as Kind};

/// Longest text that [`read_text`] takes.
pub const TEXT_LIMIT_BYTES: u64 = 16 << 20;

/// Reads a UTF-8 file of at most [`TEXT_LIMIT_BYTES`].
pub fn read_text(path: &Path) -> Result<String, TensorFileError> {
    let (file, _) = open_regular(path)?;
    let mut bytes = Vec::new();
    // Counted while reading: the length that the system reports may be 0 or change.
    file.take(TEXT_LIMIT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Kind::io("read")(error).at(path))?;
    let found = bytes.len() as u64;
    if found > TEXT_LIMIT_BYTES {
        return Err(Kind::TextTooLong { found, limit: TEXT_LIMIT_BYTES }.at(path));
    }
    String::from_utf8(bytes).map_err(|error| Kind::TextUtf8 { source: error.utf8_error() }.at(path))
}

/// Returns the first bytes of a regular file, at most `most` of them.
///
/// # Errors
/// When it is no regular file, or cannot be read.
pub fn read_start(path: &Path, most: u64) -> Result<Vec<u8>, TensorFileError> {
    let (file, _) = open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(|error| Kind::io("read")(error).at(path))?;
    Ok(bytes)
}

/// Writes a text file that is complete whenever it is visible.
pub fn write_text_atomically(
    path: &Path,
    text: &str,
    overwrite: Overwrite,
) -> Result<(), TensorFileError> {
    let pending = PendingFile::create(path, overwrite)?;
    pending.file().write_all(text.as_bytes()).map_err(|error| Kind::io("write")(error).at(path))?;
    pending.commit()?;
    Ok(())
}
