use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blake3::{Hash, Hasher};
use serde_json::Value;

use super::TensorFileWriter;
use super::settler::settle;
use crate::disk::{read_exact_at, remove_if_there};
use crate::journal::{Journal, Record};
use crate::pending::Pending;
use crate::pending_file::{Overwrite, journal_path};
use crate::{
    Manifest, PIECE_BYTES, TensorFileError, TensorFileErrorKind as Kind, UnfinishedFile, pieces,
};

/// The rest of a file whose writing was [given up](TensorFileWriter::leave).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Path of the unfinished file.
    pub path: PathBuf,
    /// Number of records in its journal.
    pub records: usize,
}

impl TensorFileWriter {
    /// Creates a file as [`Self::create`] does, with a journal, in place of anything unfinished.
    ///
    /// - `run`: what tells this run from another one towards the same file
    ///
    /// # Errors
    /// Those of [`Self::create`], and [`Kind::Busy`] when another process is writing the file.
    pub fn begin(
        path: &Path,
        manifest: Manifest,
        overwrite: Overwrite,
        run: &Value,
    ) -> Result<Self, TensorFileError> {
        let pending = Pending::open_lasting(path, &manifest, overwrite)?;
        let journal = journal_path(path);
        // In this order nothing that is on disk is ever described by the wrong journal.
        remove_if_there(&journal).map_err(|error| Kind::io("remove")(error).at(&journal))?;
        pending.empty()?;
        let mut writer = Self::start(pending, manifest)?;
        writer.journal = Some(Arc::new(Journal::create(journal, run)?));
        // Last, so that a failure before this leaves nothing behind that a later run would find.
        writer.pending.keep();
        Ok(writer)
    }

    /// Goes on where an earlier run stopped, and gives its records.
    ///
    /// Reads every tensor that is recorded, to see that it is what was written.
    ///
    /// # Errors
    /// Those of [`Self::begin`], and [`Kind::UnfinishedChanged`] when the unfinished file is not what the
    /// journal says.
    pub fn resume(
        unfinished: UnfinishedFile,
        manifest: Manifest,
        overwrite: Overwrite,
    ) -> Result<(Self, Vec<Record>), TensorFileError> {
        let mut pending = Pending::open_lasting(unfinished.target(), &manifest, overwrite)?;
        pending.keep();
        let mut writer = Self::new(pending, manifest);
        let path = writer.temporary_path();
        for (file, planned) in writer.pending.files().iter().zip(writer.manifest.files()) {
            let found = file.metadata().map_err(|error| Kind::io("inspect")(error).at(path))?;
            // The file has its final length from the beginning, so that another length means another
            // file.
            if found.len() != planned.bytes {
                return Err(Kind::UnfinishedChanged.at(path));
            }
        }
        // Headers follow from the plan: they are written again instead of being checked.
        writer.write_starts(&writer.manifest)?;
        writer.write_index()?;
        let (records, journal) = unfinished.into_journal()?;
        for record in &records {
            writer.recall(record)?;
        }
        writer.journal = Some(Arc::new(journal));
        Ok((writer, records))
    }

    /// Records that these tensors are whole, once they are on disk. Does nothing without a journal.
    ///
    /// - `name`: what they were made from
    /// - `told`: anything that the next run wants to know about them
    ///
    /// # Errors
    /// When one of the tensors is not complete, or the disk fails.
    pub fn record(
        &self,
        name: &str,
        tensors: &[String],
        told: Value,
    ) -> Result<(), TensorFileError> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let mut record = Record { name: name.to_owned(), hashes: BTreeMap::new(), told };
        let mut bytes = 0;
        for tensor in tensors {
            let (position, place) = self.find(tensor)?;
            let length = place.bytes();
            let missing_bytes = length - self.lock(position).bytes();
            if missing_bytes > 0 {
                let kind = Kind::Incomplete { tensors: 1, missing_bytes };
                return Err(kind.at_tensor(self.pending.target(), tensor));
            }
            bytes += length;
            record.hashes.insert(tensor.clone(), self.hash(position)?.to_hex().to_string());
        }
        // The record waits with others until their tensors are synced together.
        match journal.add(&record, bytes) {
            Some(lines) => self.settler.put(&self.pending, journal, lines),
            None => Ok(()),
        }
    }

    /// Reads a tensor again and compares it with what was written.
    ///
    /// # Errors
    /// [`Kind::Damaged`] when it is not the same.
    pub fn check(&self, name: &str) -> Result<(), TensorFileError> {
        let (position, _) = self.find(name)?;
        match self.hash_on_disk(position)? == self.hash(position)? {
            true => Ok(()),
            false => Err(Kind::Damaged.at_tensor(self.temporary_path(), name)),
        }
    }

    /// Reads the headers again and compares them with those of `manifest`.
    ///
    /// # Errors
    /// [`Kind::Damaged`] when it is not the same.
    pub fn check_header(&self, manifest: &Manifest) -> Result<(), TensorFileError> {
        for (file, planned) in self.pending.files().iter().zip(manifest.files()) {
            let expected = planned.start_bytes();
            let mut found = vec![0; expected.len()];
            read_exact_at(file, &mut found, 0)
                .map_err(|error| Kind::io("read")(error).at(self.temporary_path()))?;
            if found != expected {
                return Err(Kind::Damaged.at(self.temporary_path()));
            }
        }
        Ok(())
    }

    /// Stops writing. What is recorded stays for [`Self::resume`], also where the disk is full; where that
    /// is nothing, or there is no journal, everything is removed.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn leave(self) -> Result<Option<Left>, TensorFileError> {
        let Some(journal) = &self.journal else { return Ok(None) };
        // Waiting records are synced as well, so that nothing finished is lost when somebody stops the
        // work. If that fails, their tensors are made again, and the journal stays true.
        let _ = self.settler.finish();
        let _ = settle(&self.pending, journal, &journal.take());
        let records = journal.written();
        if records > 0 {
            return Ok(Some(Left { path: self.temporary_path().to_owned(), records }));
        }
        remove_if_there(journal.path()).map_err(|e| Kind::io("remove")(e).at(journal.path()))?;
        self.pending.remove();
        Ok(None)
    }

    /// Believes a record once the disk holds what it says.
    fn recall(&self, record: &Record) -> Result<(), TensorFileError> {
        for (tensor, hash) in &record.hashes {
            let changed = || Kind::UnfinishedChanged.at_tensor(self.temporary_path(), tensor);
            let (position, place) = self.find(tensor).map_err(|_| changed())?;
            let hash = Hash::from_hex(hash).map_err(|_| changed())?;
            // A record is believed only after its tensor was read and hashed: the disk may have been
            // full, or somebody may have changed the file.
            if self.hash_on_disk(position)? != hash {
                return Err(changed());
            }
            self.lock(position).is_whole(place.bytes(), hash);
        }
        Ok(())
    }

    /// Returns the hash of the written bytes of a tensor, which must be all of it.
    fn hash(&self, position: usize) -> Result<Hash, TensorFileError> {
        let hash = self.lock(position).hash(self.manifest.place(position).bytes());
        // Parts that came out of order were not hashed when they were written.
        hash.map_or_else(|| self.hash_on_disk(position), Ok)
    }

    fn hash_on_disk(&self, position: usize) -> Result<Hash, TensorFileError> {
        let place = self.manifest.place(position);
        let length = place.bytes();
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; length.min(PIECE_BYTES) as usize];
        for piece in pieces(length) {
            let buffer = &mut buffer[..(piece.end - piece.start) as usize];
            let file = &self.pending.files()[place.file];
            read_exact_at(file, buffer, place.range.start + piece.start)
                .map_err(|error| Kind::io("read")(error).at(self.temporary_path()))?;
            hasher.update(buffer);
        }
        Ok(hasher.finalize())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::{Dtype, TensorSpec};

    /// What is recorded can be continued; a record that the disk had no room for counts no longer.
    #[test]
    fn a_full_disk_leaves_what_was_recorded_before() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("o.safetensors");
        let spec = |name: &str| TensorSpec { name: name.into(), dtype: Dtype::U8, shape: vec![4] };
        let manifest = || Manifest::new(BTreeMap::new(), vec![spec("a"), spec("b")]).unwrap();
        let begin = || {
            let run = Value::Null;
            TensorFileWriter::begin(&target, manifest(), Overwrite::Refuse, &run).unwrap()
        };
        for written in [0, 1] {
            let mut writer = begin();
            writer.write("a", &[1; 4]).unwrap();
            writer.record("a", &["a".to_owned()], Value::Null).unwrap();
            if written == 1 {
                let journal = writer.journal.as_ref().unwrap();
                settle(&writer.pending, journal, &journal.take()).unwrap();
            }
            let full = File::options().write(true).open("/dev/full").unwrap();
            Arc::get_mut(writer.journal.as_mut().unwrap()).unwrap().lead_to(full);
            writer.write("b", &[2; 4]).unwrap();
            writer.record("b", &["b".to_owned()], Value::Null).unwrap();
            let left = writer.leave().unwrap();
            assert_eq!(left.map(|left| left.records), (written == 1).then_some(1));
            let files = std::fs::read_dir(folder.path()).unwrap().count();
            assert_eq!(files, 2 * written, "nothing recorded, nothing left");
        }
        let unfinished = UnfinishedFile::find(&target).unwrap().unwrap();
        let resumed = TensorFileWriter::resume(unfinished, manifest(), Overwrite::Refuse);
        let names: Vec<String> = resumed.unwrap().1.into_iter().map(|it| it.name).collect();
        assert_eq!(names, ["a"]);
    }
}
