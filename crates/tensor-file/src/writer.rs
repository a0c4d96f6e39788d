mod journaled;
mod written;

use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use self::journaled::Left;
use self::written::Written;
use crate::disk::{available_bytes, reserve, write_all_at};
use crate::journal::Journal;
use crate::pending_file::{Committed, Overwrite, PendingFile};
use crate::{Manifest, TensorFileError, TensorFileErrorKind as Kind};

/// Writes one safetensors file whose every offset is known beforehand.
///
/// Tensors may come in any order, in parts and from many threads: the same bytes make the same
/// file. The file is made under another name in the same folder and takes its own by rename in
/// [`Self::commit`].
///
/// Of a file that was [created](Self::create), nothing is left without that. One that was
/// [begun](Self::begin) stays beside its journal, and is gone on with by [`Self::resume`].
#[derive(Debug)]
pub struct TensorFileWriter {
    pending: PendingFile,
    manifest: Manifest,
    /// What has been written of the tensor at the same index of the manifest.
    written: Vec<Mutex<Written>>,
    journal: Option<Journal>,
}

impl TensorFileWriter {
    /// Reserves the disk space and writes the header.
    ///
    /// # Errors
    /// When something is in the way (see [`Overwrite`]), the folder cannot be written, or the
    /// disk has no room for the whole file.
    pub fn create(
        path: &Path,
        manifest: Manifest,
        overwrite: Overwrite,
    ) -> Result<Self, TensorFileError> {
        Self::start(PendingFile::create(path, overwrite)?, manifest)
    }

    fn new(pending: PendingFile, manifest: Manifest) -> Self {
        let written = manifest.tensors().iter().map(|_| Mutex::default()).collect();
        Self { pending, manifest, written, journal: None }
    }

    fn start(pending: PendingFile, manifest: Manifest) -> Result<Self, TensorFileError> {
        let path = pending.target();
        let needed = manifest.file_bytes();
        // Asked first: a reservation that fails half-way has taken what was left, for a moment
        // from everybody.
        let available = available_bytes(path);
        if let Some(available) = available.filter(|&available| available < needed) {
            return Err(Kind::DiskFull { needed, available }.at(path));
        }
        let writer = Self::new(pending, manifest);
        reserve(writer.pending.file(), needed)
            .and_then(|()| write_all_at(writer.pending.file(), &writer.manifest.start_bytes(), 0))
            .map_err(|error| disk_error("reserve space", error, needed, available))
            .map_err(|kind| kind.at(writer.pending.target()))?;
        Ok(writer)
    }

    /// Writes the header again, with other metadata: what is only known once the tensors are
    /// written.
    ///
    /// # Errors
    /// [`Kind::OtherPlaces`] when the tensors would have other places.
    pub fn write_header(&self, manifest: &Manifest) -> Result<(), TensorFileError> {
        if !manifest.has_places_of(&self.manifest) {
            return Err(Kind::OtherPlaces.at(self.pending.target()));
        }
        write_all_at(self.pending.file(), &manifest.start_bytes(), 0)
            .map_err(|error| Kind::io("write")(error).at(self.pending.target()))
    }

    /// What is being written.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where the file is until [`Self::commit`].
    pub fn temporary_path(&self) -> &Path {
        self.pending.temporary_path()
    }

    /// Writes a whole tensor.
    ///
    /// # Errors
    /// When the manifest has no such tensor, or its length is another one.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TensorFileError> {
        let (position, range) = self.find(name)?;
        let found = bytes.len() as u64;
        let expected = range.end - range.start;
        if found != expected {
            let spec = &self.manifest.tensors()[position];
            let (dtype, shape) = (spec.dtype, spec.shape.clone());
            let kind = Kind::WrongLength { found, expected, dtype, shape };
            return Err(kind.at_tensor(self.pending.target(), name));
        }
        self.write_at(position, 0, bytes)
    }

    /// Writes some of a tensor's bytes, from its byte `offset` on.
    ///
    /// # Errors
    /// When the manifest has no such tensor, or the part reaches past its end.
    pub fn write_part(&self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), TensorFileError> {
        let (position, range) = self.find(name)?;
        let tensor_bytes = range.end - range.start;
        let length = bytes.len() as u64;
        if offset.checked_add(length).is_none_or(|end| end > tensor_bytes) {
            let kind = Kind::PartOutOfRange { offset, length, tensor_bytes };
            return Err(kind.at_tensor(self.pending.target(), name));
        }
        self.write_at(position, offset, bytes)
    }

    /// Makes the file durable, then visible under its name, with the permissions of any newly
    /// created file.
    ///
    /// # Errors
    /// When a byte of a tensor was never written; when [`Overwrite::Refuse`] finds a file that
    /// was not there at the start; when the disk fails. Whatever had the name keeps it. Only
    /// [`Kind::FolderNotSynced`] comes after the rename: then the file is complete and there.
    pub fn commit(self) -> Result<Committed, TensorFileError> {
        self.check_complete()?;
        if let Some(journal) = &self.journal {
            self.settle(journal, &journal.take())?;
        }
        let journal = self.journal.as_ref().map(|journal| journal.path().to_owned());
        let committed = self.pending.commit();
        let is_there = match &committed {
            Ok(_) => true,
            Err(error) => matches!(error.kind(), Kind::FolderNotSynced { .. }),
        };
        // Without its file a journal means nothing; that it cannot be removed is no failure.
        if let Some(journal) = journal.filter(|_| is_there) {
            let _ = std::fs::remove_file(journal);
        }
        committed
    }

    fn find(&self, name: &str) -> Result<(usize, Range<u64>), TensorFileError> {
        match self.manifest.position(name) {
            Some(position) => Ok((position, self.manifest.range(position))),
            None => Err(Kind::UnknownTensor.at_tensor(self.pending.target(), name)),
        }
    }

    /// `offset..offset + bytes.len()` is inside the tensor.
    fn write_at(&self, position: usize, offset: u64, bytes: &[u8]) -> Result<(), TensorFileError> {
        let place = self.manifest.range(position).start + offset;
        write_all_at(self.pending.file(), bytes, place).map_err(|error| {
            let path = self.pending.target();
            let name = &self.manifest.tensors()[position].name;
            let needed = bytes.len() as u64;
            disk_error("write", error, needed, available_bytes(path)).at_tensor(path, name)
        })?;
        let mut written = self.lock(position);
        match self.journal {
            Some(_) => written.add_hashed(offset, bytes),
            None => written.add(offset..offset + bytes.len() as u64),
        }
        Ok(())
    }

    fn lock(&self, position: usize) -> MutexGuard<'_, Written> {
        // A panic elsewhere cannot leave it half changed in a way that claims more.
        self.written[position].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_complete(&self) -> Result<(), TensorFileError> {
        let mut first = None;
        let mut tensors = 0;
        let mut missing_bytes = 0_u64;
        for position in 0..self.written.len() {
            let range = self.manifest.range(position);
            let missing = (range.end - range.start) - self.lock(position).bytes();
            if missing > 0 {
                first.get_or_insert(position);
                tensors += 1;
                missing_bytes += missing;
            }
        }
        match first {
            None => Ok(()),
            Some(position) => {
                let name = &self.manifest.tensors()[position].name;
                let kind = Kind::Incomplete { tensors, missing_bytes };
                Err(kind.at_tensor(self.pending.target(), name))
            }
        }
    }
}

/// A full disk gets numbers; anything else keeps the system's words.
fn disk_error(
    doing: &'static str,
    error: std::io::Error,
    needed: u64,
    available: Option<u64>,
) -> Kind {
    match (error.kind(), available) {
        (std::io::ErrorKind::StorageFull, Some(available)) => Kind::DiskFull { needed, available },
        _ => Kind::Io { doing, source: error },
    }
}
