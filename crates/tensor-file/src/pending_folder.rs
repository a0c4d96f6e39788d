use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tempfile::NamedTempFile;

use crate::disk::{
    folder_of, is_same_file, limit_permissions, open_folder, open_regular, require_regular,
    sync_folder,
};
use crate::pending_file::{Committed, lock, open_writable, partial_path};
use crate::{TensorFileError, TensorFileErrorKind as Kind};

/// Files in the making in a folder beside its final place, which the folder takes by rename. Its name
/// follows from the target's, so that a later run finds it.
#[derive(Debug)]
pub(crate) struct PendingFolder {
    target: PathBuf,
    path: PathBuf,
    folder: File,
    _lock: Option<NamedTempFile>,
    files: Vec<File>,
    names: Vec<String>,
    /// Length of what is not a tensor file.
    other_bytes: u64,
    is_kept: bool,
}

impl PendingFolder {
    /// Opens files of these names; whatever they hold is still there. Other files in the folder are
    /// removed.
    ///
    /// # Errors
    /// When the target is there and holds something, or someone else has the folder open.
    pub(crate) fn open(target: &Path, names: Vec<String>) -> Result<Self, TensorFileError> {
        check_target(target)?;
        let path = partial_path(target);
        let io = |doing| {
            let target = &target;
            move |error| Kind::io(doing)(error).at(target)
        };
        match path.symlink_metadata() {
            Ok(metadata) if !metadata.is_dir() => return Err(Kind::NotFolder.at(&path)),
            Ok(_) => {}
            Err(_) => std::fs::create_dir(&path).map_err(io("create a folder in the folder"))?,
        }
        let folder = open_folder(&path).map_err(io("open the unfinished folder"))?;
        let lock = lock(&folder, target)?;
        // The process that had the lock may have finished since: then what was opened is its finished
        // folder.
        if !is_same_file(&folder, &path, &path) {
            return Err(Kind::Busy.at(target));
        }
        // An earlier run may have cut its shards differently.
        remove_others(&path, &names)?;
        let files: Vec<File> =
            names.iter().map(|name| open_writable(&path.join(name))).collect::<Result<_, _>>()?;
        let (target, other_bytes) = (target.to_owned(), 0);
        Ok(Self { target, path, folder, _lock: lock, files, names, other_bytes, is_kept: false })
    }

    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    pub(crate) fn temporary_path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn files(&self) -> &[File] {
        &self.files
    }

    /// Keeps it from vanishing when it is dropped.
    pub(crate) fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Takes the folder away.
    pub(crate) fn remove(mut self) {
        self.is_kept = false;
    }

    /// Puts a file beside the tensor files, and waits until the disk has it.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), TensorFileError> {
        let path = self.path.join(name);
        // Synced by the handle that wrote: Windows refuses to sync one that only reads.
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        written.map_err(|error| Kind::io("write")(error).at(&path))?;
        self.other_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes a file as [`Self::write`] does, under a name that none of the tensor files has.
    pub(crate) fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), TensorFileError> {
        self.check_free(name)?;
        self.write(name, bytes)
    }

    fn check_free(&self, name: &str) -> Result<(), TensorFileError> {
        match self.names.iter().any(|other| other == name) {
            true => Err(Kind::Exists.at(&self.path.join(name))),
            false => Ok(()),
        }
    }

    /// Copies a file to beside the tensor files, and waits until the disk has it.
    pub(crate) fn copy(&mut self, name: &str, from: &Path) -> Result<(), TensorFileError> {
        self.check_free(name)?;
        let (mut source, _) = open_regular(from)?;
        let path = self.path.join(name);
        let copied = File::create(&path).and_then(|mut file| {
            limit_permissions(&file, std::iter::once(&source));
            let bytes = std::io::copy(&mut source, &mut file)?;
            file.sync_all().map(|()| bytes)
        });
        self.other_bytes += copied.map_err(|error| Kind::io("copy")(error).at(from))?;
        Ok(())
    }

    /// Waits until the disk has everything, then renames.
    pub(crate) fn commit(mut self) -> Result<Committed, TensorFileError> {
        let target = self.target.clone();
        let io = |doing| {
            let target = &target;
            move |error| Kind::io(doing)(error).at(target)
        };
        let start = Instant::now();
        // 1. Every file, and the folder that names them, on disk before the folder has its name.
        let mut bytes = self.other_bytes;
        for file in &self.files {
            file.sync_all().map_err(io("sync"))?;
            bytes += file.metadata().map_err(io("inspect"))?.len();
        }
        sync_folder(&self.path).map_err(io("sync"))?;
        // Checked once more: hours may have passed. The rename itself replaces an empty folder only.
        check_target(&target)?;
        // 2. The name, in one step. Windows renames no folder in which a file is open, and none over
        // an empty one.
        self.files.clear();
        #[cfg(windows)]
        let _ = std::fs::remove_dir(&target);
        std::fs::rename(&self.path, &target).map_err(|error| match error.kind() {
            std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::AlreadyExists => {
                Kind::FolderNotEmpty.at(&target)
            }
            _ => io("rename")(error),
        })?;
        // 3. The folder is there under its name; dropping this must not take it away.
        self.keep();
        sync_folder(&folder_of(&target))
            .map_err(|source| Kind::FolderNotSynced { source }.at(&target))?;
        Ok(Committed { sync_time: start.elapsed(), bytes })
    }
}

impl Drop for PendingFolder {
    fn drop(&mut self) {
        // Only what is still this folder: after a rename by somebody else the name may mean another
        // one.
        if !self.is_kept && is_same_file(&self.folder, &self.path, &self.path) {
            // A folder that cannot be removed is no failure of the work itself.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// Checks that nothing is there, or an empty folder.
fn check_target(target: &Path) -> Result<(), TensorFileError> {
    let Ok(metadata) = target.symlink_metadata() else { return Ok(()) };
    if !metadata.is_dir() {
        return Err(Kind::NotFolder.at(target));
    }
    let mut entries =
        std::fs::read_dir(target).map_err(|error| Kind::io("list")(error).at(target))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(Kind::FolderNotEmpty.at(target)),
    }
}

fn remove_others(folder: &Path, names: &[String]) -> Result<(), TensorFileError> {
    let io = |doing| move |error| Kind::io(doing)(error).at(folder);
    for entry in std::fs::read_dir(folder).map_err(io("list"))? {
        let entry = entry.map_err(io("list"))?;
        let is_expected = names.iter().any(|name| entry.file_name() == name.as_str());
        if is_expected {
            continue;
        }
        let path = entry.path();
        let metadata = path.symlink_metadata().map_err(io("inspect"))?;
        // No run makes a folder there, so that one is somebody else's.
        require_regular(&path, &metadata)?;
        std::fs::remove_file(&path).map_err(io("remove an older file of"))?;
    }
    Ok(())
}
