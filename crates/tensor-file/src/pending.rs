use std::fs::File;
use std::path::Path;

use crate::pending_file::{Committed, Overwrite, PendingFile};
use crate::pending_folder::PendingFolder;
use crate::{Manifest, TensorFileError, TensorFileErrorKind as Kind};

/// One file or a folder of files in the making.
#[derive(Debug)]
pub(crate) enum Pending {
    File(PendingFile),
    Folder(PendingFolder),
}

impl Pending {
    /// Opens a file or folder that a later run finds again; whatever it holds is still there.
    pub(crate) fn open_lasting(
        target: &Path,
        manifest: &Manifest,
        overwrite: Overwrite,
    ) -> Result<Self, TensorFileError> {
        if !manifest.is_folder() {
            return Ok(Self::File(PendingFile::open_lasting(target, overwrite)?));
        }
        let names = manifest.files().iter().map(|file| file.name.clone()).collect();
        Ok(Self::Folder(PendingFolder::open(target, names)?))
    }

    pub(crate) fn target(&self) -> &Path {
        match self {
            Self::File(file) => file.target(),
            Self::Folder(folder) => folder.target(),
        }
    }

    pub(crate) fn temporary_path(&self) -> &Path {
        match self {
            Self::File(file) => file.temporary_path(),
            Self::Folder(folder) => folder.temporary_path(),
        }
    }

    /// Returns the tensor files, in the manifest's order.
    pub(crate) fn files(&self) -> &[File] {
        match self {
            Self::File(file) => std::slice::from_ref(file.file()),
            Self::Folder(folder) => folder.files(),
        }
    }

    pub(crate) fn empty(&self) -> Result<(), TensorFileError> {
        // So that no byte of an earlier run is taken for one of this run.
        let emptied = self.files().iter().try_for_each(|file| file.set_len(0));
        emptied.map_err(|error| Kind::io("empty")(error).at(self.target()))
    }

    /// Waits until the disk has what was written into the tensor files.
    pub(crate) fn sync_data(&self) -> Result<(), TensorFileError> {
        let synced = self.files().iter().try_for_each(File::sync_data);
        synced.map_err(|error| Kind::io("sync")(error).at(self.target()))
    }

    /// Keeps it from vanishing when it is dropped.
    pub(crate) fn keep(&mut self) {
        match self {
            Self::File(file) => file.keep(),
            Self::Folder(folder) => folder.keep(),
        }
    }

    pub(crate) fn remove(self) {
        match self {
            Self::File(file) => file.remove(),
            Self::Folder(folder) => folder.remove(),
        }
    }

    pub(crate) fn commit(self) -> Result<Committed, TensorFileError> {
        match self {
            Self::File(file) => file.commit(),
            Self::Folder(folder) => folder.commit(),
        }
    }
}
