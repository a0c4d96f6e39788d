mod journaled;
mod settler;
mod written;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub use self::journaled::Left;
use self::settler::{Settler, settle};
use self::written::Written;
use crate::disk::{available_bytes, limit_permissions, reserve, write_all_at};
use crate::journal::Journal;
use crate::manifest::Place;
use crate::pending::Pending;
use crate::pending_file::{Committed, Overwrite, PendingFile};
use crate::{Manifest, SourceFile, TensorFileError, TensorFileErrorKind as Kind};

/// Writes a safetensors file, or a folder of shards with their index, whose every offset is known
/// beforehand.
///
/// Tensors may come in any order, in parts and from many threads: the same bytes make the same
/// files. They are made under another name in the same folder and take their own by rename in
/// [`Self::commit`]: a folder of shards as a whole.
///
/// Without a commit nothing is left of a file that was [created](Self::create). One that was
/// [begun](Self::begin) stays beside its journal, and [`Self::resume`] continues it.
#[derive(Debug)]
pub struct TensorFileWriter {
    pending: Pending,
    manifest: Manifest,
    /// Bytes that have been written of the tensor at each index of the manifest.
    written: Vec<Mutex<Written>>,
    journal: Option<Arc<Journal>>,
    settler: Settler,
}

impl TensorFileWriter {
    /// Reserves the disk space and writes the header. Folders of shards are made by [`Self::begin`]
    /// only.
    ///
    /// # Errors
    /// When something is in the way (see [`Overwrite`]), the folder cannot be written, or the
    /// disk has no room for the whole file; [`Kind::NotFolder`] for a manifest of shards.
    pub fn create(
        path: &Path,
        manifest: Manifest,
        overwrite: Overwrite,
    ) -> Result<Self, TensorFileError> {
        if manifest.is_folder() {
            return Err(Kind::NotFolder.at(path));
        }
        Self::start(Pending::File(PendingFile::create(path, overwrite)?), manifest)
    }

    fn new(pending: Pending, manifest: Manifest) -> Self {
        let written = manifest.tensors().iter().map(|_| Mutex::default()).collect();
        Self { pending, manifest, written, journal: None, settler: Settler::default() }
    }

    fn start(pending: Pending, manifest: Manifest) -> Result<Self, TensorFileError> {
        let path = pending.target();
        let needed = manifest.file_bytes();
        // Asked first: a reservation that fails half-way takes what was left of the disk from all
        // programs for a moment.
        let available = available_bytes(path);
        if let Some(available) = available.filter(|&available| available < needed) {
            return Err(Kind::DiskFull { needed, available }.at(path));
        }
        let mut writer = Self::new(pending, manifest);
        for (file, planned) in writer.pending.files().iter().zip(writer.manifest.files()) {
            reserve(file, planned.bytes)
                .map_err(|error| disk_error("reserve space", error, needed, available))
                .map_err(|kind| kind.at(writer.pending.target()))?;
        }
        writer.write_starts(&writer.manifest)?;
        writer.write_index()?;
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
        self.write_starts(manifest)
    }

    /// Takes from the files in the making every permission that one of their sources lacks: what is
    /// made of a model that others may not read is not readable to them either.
    pub fn limit_permissions(&self, sources: &[SourceFile]) {
        for file in self.pending.files() {
            limit_permissions(file, sources.iter().map(|source| &source.file));
        }
    }

    fn write_starts(&self, manifest: &Manifest) -> Result<(), TensorFileError> {
        for (file, planned) in self.pending.files().iter().zip(manifest.files()) {
            let written = write_all_at(file, &planned.start_bytes(), 0);
            written.map_err(|error| Kind::io("write")(error).at(self.pending.target()))?;
        }
        Ok(())
    }

    fn write_index(&mut self) -> Result<(), TensorFileError> {
        match (&mut self.pending, self.manifest.index()) {
            (Pending::Folder(folder), Some((name, text))) => folder.write(name, text.as_bytes()),
            (Pending::Folder(_) | Pending::File(_), _) => Ok(()),
        }
    }

    /// Copies a file to beside the shards, under its own name.
    ///
    /// # Errors
    /// When it cannot be read or written, or one of the shards has its name;
    /// [`Kind::NotFolder`] where one file alone is written.
    pub fn copy_beside(&mut self, from: &Path) -> Result<(), TensorFileError> {
        let Pending::Folder(folder) = &mut self.pending else {
            return Err(Kind::NotFolder.at(self.pending.target()));
        };
        let name = from.file_name().unwrap_or_default().to_string_lossy();
        folder.copy(&name, from)
    }

    /// Puts a file of this name beside the shards.
    ///
    /// # Errors
    /// As [`Self::copy_beside`].
    pub fn write_beside(&mut self, name: &str, bytes: &[u8]) -> Result<(), TensorFileError> {
        match &mut self.pending {
            Pending::Folder(folder) => folder.put(name, bytes),
            Pending::File(_) => Err(Kind::NotFolder.at(self.pending.target())),
        }
    }

    /// Returns the manifest of what is being written.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the path of the file until [`Self::commit`].
    pub fn temporary_path(&self) -> &Path {
        self.pending.temporary_path()
    }

    /// Writes a whole tensor.
    ///
    /// # Errors
    /// When the manifest has no such tensor, or its length is another one.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TensorFileError> {
        let (position, place) = self.find(name)?;
        let found = bytes.len() as u64;
        let expected = place.bytes();
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
        let (position, place) = self.find(name)?;
        let tensor_bytes = place.bytes();
        let length = bytes.len() as u64;
        if offset.checked_add(length).is_none_or(|end| end > tensor_bytes) {
            let kind = Kind::PartOutOfRange { offset, length, tensor_bytes };
            return Err(kind.at_tensor(self.pending.target(), name));
        }
        self.write_at(position, offset, bytes)
    }

    /// Makes the file durable, then visible under its name, with the permissions of any newly
    /// created file, or [fewer](Self::limit_permissions).
    ///
    /// # Errors
    /// When a byte of a tensor was never written; when [`Overwrite::Refuse`] finds a file that
    /// was not there at the start; when the disk fails. Whatever had the name keeps it. Only
    /// [`Kind::FolderNotSynced`] comes after the rename: then the file is complete and there.
    pub fn commit(self) -> Result<Committed, TensorFileError> {
        self.check_complete()?;
        // A crash at any point from here on leaves an output that is finished or can be continued:
        // records are on disk before the rename, and the journal goes after it.
        let started = Instant::now();
        self.settler.finish()?;
        if let Some(journal) = &self.journal {
            settle(&self.pending, journal, &journal.take())?;
        }
        let settled = started.elapsed();
        let journal = self.journal.as_ref().map(|journal| journal.path().to_owned());
        let committed = self.pending.commit();
        let is_there = match &committed {
            Ok(_) => true,
            Err(error) => matches!(error.kind(), Kind::FolderNotSynced { .. }),
        };
        // A journal without its file means nothing, so that failing to remove it is no failure of the
        // commit.
        if let Some(journal) = journal.filter(|_| is_there) {
            let _ = std::fs::remove_file(journal);
        }
        committed.map(|it| Committed { sync_time: it.sync_time + settled, ..it })
    }

    fn find(&self, name: &str) -> Result<(usize, Place), TensorFileError> {
        match self.manifest.position(name) {
            Some(position) => Ok((position, self.manifest.place(position))),
            None => Err(Kind::UnknownTensor.at_tensor(self.pending.target(), name)),
        }
    }

    /// Writes bytes at an offset of a tensor; `offset..offset + bytes.len()` is inside it.
    fn write_at(&self, position: usize, offset: u64, bytes: &[u8]) -> Result<(), TensorFileError> {
        let place = self.manifest.place(position);
        let file = &self.pending.files()[place.file];
        write_all_at(file, bytes, place.range.start + offset).map_err(|error| {
            let path = self.pending.target();
            let name = &self.manifest.tensors()[position].name;
            let needed = bytes.len() as u64;
            disk_error("write", error, needed, available_bytes(path)).at_tensor(path, name)
        })?;
        // Counted after the write: a failed write leaves the tensor incomplete.
        let mut written = self.lock(position);
        match self.journal {
            Some(_) => written.add_hashed(offset, bytes),
            None => written.add(offset..offset + bytes.len() as u64),
        }
        Ok(())
    }

    fn lock(&self, position: usize) -> MutexGuard<'_, Written> {
        // After a panic of another thread the record is still usable: it never claims more than was
        // written.
        self.written[position].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_complete(&self) -> Result<(), TensorFileError> {
        let mut first = None;
        let mut tensors = 0;
        let mut missing_bytes = 0_u64;
        for position in 0..self.written.len() {
            let missing = self.manifest.place(position).bytes() - self.lock(position).bytes();
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

/// Explains a failed write: a full disk gets numbers; anything else, such as a quota, keeps the system's words.
fn disk_error(
    doing: &'static str,
    error: std::io::Error,
    needed: u64,
    available: Option<u64>,
) -> Kind {
    match (error.kind(), available) {
        (std::io::ErrorKind::StorageFull, Some(available)) if available < needed => {
            Kind::DiskFull { needed, available }
        }
        _ => Kind::Io { doing, source: error },
    }
}
