use std::fs::File;
use std::path::{Path, PathBuf};

use crate::TensorFileError;
use crate::disk::{open_regular, stamp};
use crate::source_file::read_inside;

/// A regular file of any content, open for positioned reads, for crates that understand another
/// container.
#[derive(Debug)]
pub struct PlainFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl PlainFile {
    /// Opens the file and reads nothing.
    ///
    /// # Errors
    /// When it cannot be opened, or is a folder, pipe, socket or device.
    pub fn open(path: &Path) -> Result<Self, TensorFileError> {
        let (file, metadata) = open_regular(path)?;
        Ok(Self { path: path.to_owned(), file, bytes: metadata.len() })
    }

    /// Returns the path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its length when it was opened.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns a hash that tells files apart without reading all of them: it changes with the length, with the time of
    /// the last change, and with samples of the contents.
    pub fn fingerprint(&self) -> String {
        stamp(&self.file, self.bytes).finalize().to_hex().to_string()
    }

    /// Fills `buffer` with the file's bytes from byte `offset` on.
    ///
    /// # Errors
    /// When the file has no such bytes, or no longer.
    pub fn read_into(&self, offset: u64, buffer: &mut [u8]) -> Result<(), TensorFileError> {
        read_inside(&self.file, offset, buffer).map_err(|kind| kind.at(&self.path))
    }
}
