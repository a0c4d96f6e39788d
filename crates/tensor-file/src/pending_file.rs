use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::{NamedTempFile, TempPath};

use crate::disk::{folder_of, is_same_file, refuse_links, require_regular, sync_folder};
use crate::{TensorFileError, TensorFileErrorKind as Kind};

/// The treatment of a file that is already at the output's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Fail, at the start and again at the end, and leave it alone.
    Refuse,
    /// Replace it in one step, at the end. A symbolic link is replaced, not followed.
    Replace,
}

/// A file that is complete, on disk and visible under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// How long the disk took to take everything in.
    pub sync_time: Duration,
    /// Size of the file.
    pub bytes: u64,
}

/// A file in the making beside its final place, which it takes by rename. Until then the name means the
/// old file, or none.
#[derive(Debug)]
pub(crate) struct PendingFile {
    target: PathBuf,
    temporary: NamedTempFile,
    overwrite: Overwrite,
    lock: Option<NamedTempFile>,
}

impl PendingFile {
    /// Makes a file that vanishes when it is dropped.
    pub(crate) fn create(target: &Path, overwrite: Overwrite) -> Result<Self, TensorFileError> {
        check_target(target, overwrite)?;
        let temporary = temporary_beside(target)
            .map_err(|error| Kind::io("create a file in the folder")(error).at(target))?;
        Ok(Self { target: target.to_owned(), temporary, overwrite, lock: None })
    }

    /// Opens a file whose name follows from the target's, so that a later run finds it; whatever it holds
    /// is still there. No other process opens it so before it is dropped; then it vanishes, unless it is
    /// to be [kept](Self::keep).
    pub(crate) fn open_lasting(
        target: &Path,
        overwrite: Overwrite,
    ) -> Result<Self, TensorFileError> {
        check_target(target, overwrite)?;
        let path = partial_path(target);
        let file = open_writable(&path)?;
        let lock = lock(&file, target)?;
        // The process that had the lock may have finished since: then what was opened is its finished
        // file.
        if !is_same_file(&file, &path, &path) {
            return Err(Kind::Busy.at(target));
        }
        let path =
            TempPath::try_from_path(path).map_err(|error| Kind::io("name")(error).at(target))?;
        let temporary = NamedTempFile::from_parts(file, path);
        Ok(Self { target: target.to_owned(), temporary, overwrite, lock })
    }

    /// Keeps it from vanishing when it is dropped.
    pub(crate) fn keep(&mut self) {
        self.temporary.disable_cleanup(true);
    }

    /// Takes the file away.
    pub(crate) fn remove(mut self) {
        self.temporary.disable_cleanup(false);
    }

    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    pub(crate) fn temporary_path(&self) -> &Path {
        self.temporary.path()
    }

    pub(crate) fn file(&self) -> &File {
        self.temporary.as_file()
    }

    /// Waits until the disk has everything, then renames.
    pub(crate) fn commit(self) -> Result<Committed, TensorFileError> {
        // The lock is held to the end.
        let Self { target, temporary, overwrite, lock: _lock } = self;
        let io = |doing| {
            let target = &target;
            move |error| Kind::io(doing)(error).at(target)
        };
        // 1. Everything on disk, before the name points at it: a rename may reach the disk first.
        let start = Instant::now();
        temporary.as_file().sync_all().map_err(io("sync"))?;
        let bytes = temporary.as_file().metadata().map_err(io("inspect"))?.len();

        // 2. The name, in one step: it means the old file or the new one, never a part.
        match overwrite {
            Overwrite::Replace => {
                // Once more: hours may have passed, and a rename would replace a device too.
                check_target(&target, overwrite)?;
                temporary.persist(&target).map_err(|error| io("rename")(error.error))?;
            }
            Overwrite::Refuse => {
                temporary.persist_noclobber(&target).map_err(|error| match error.error.kind() {
                    std::io::ErrorKind::AlreadyExists => Kind::Exists.at(&target),
                    _ => io("rename")(error.error),
                })?;
            }
        }
        // 3. The folder that holds the name.
        sync_folder(&folder_of(&target))
            .map_err(|source| Kind::FolderNotSynced { source }.at(&target))?;
        Ok(Committed { sync_time: start.elapsed(), bytes })
    }
}

/// Opens a file for reading and writing, or creates it; links are not followed.
pub(crate) fn open_writable(path: &Path) -> Result<File, TensorFileError> {
    refuse_links(path)?;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    file.map_err(|error| Kind::io("create a file in the folder")(error).at(path))
}

/// Keeps other processes from writing towards a target for as long as the unfinished file is open.
///
/// - `unfinished`: file or folder
///
/// # Errors
/// [`Kind::Busy`] when another process does. File systems without locks have to do without.
#[cfg(unix)]
pub(crate) fn lock(
    unfinished: &File,
    target: &Path,
) -> Result<Option<NamedTempFile>, TensorFileError> {
    match unfinished.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Kind::Busy.at(target)),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Keeps other processes from writing towards a target for as long as what is returned lives: a file
/// beside the unfinished one. Windows would keep every other handle from reading a locked file, that of
/// the check before the rename too.
///
/// # Errors
/// [`Kind::Busy`] when another process does. File systems without locks have to do without.
#[cfg(not(unix))]
pub(crate) fn lock(
    _unfinished: &File,
    target: &Path,
) -> Result<Option<NamedTempFile>, TensorFileError> {
    let path = target.with_file_name(hidden_name(target, ".lock"));
    let file = open_writable(&path)?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        return Err(Kind::Busy.at(target));
    }
    let path = TempPath::try_from_path(path).map_err(|error| Kind::io("name")(error).at(target))?;
    Ok(Some(NamedTempFile::from_parts(file, path)))
}

fn check_target(target: &Path, overwrite: Overwrite) -> Result<(), TensorFileError> {
    if let Ok(metadata) = std::fs::metadata(target) {
        require_regular(target, &metadata)?;
    }
    // `/dev/stdout` is a regular file where a shell redirects it into one; the rename would replace the
    // link `/dev/stdout` itself.
    let leads_to_a_handle = std::fs::read_link(target)
        .is_ok_and(|link| ["/dev", "/proc"].iter().any(|system| link.starts_with(system)));
    if leads_to_a_handle {
        return Err(
            Kind::NotRegularFile { found: "a link to a device or to an open file" }.at(target)
        );
    }
    match (overwrite, target.symlink_metadata()) {
        (Overwrite::Refuse, Ok(_)) => Err(Kind::Exists.at(target)),
        (Overwrite::Refuse, Err(_)) | (Overwrite::Replace, _) => Ok(()),
    }
}

/// Ending of a target's unfinished file.
pub(crate) const PARTIAL: &str = ".partial";

/// Ending of its journal.
pub(crate) const JOURNAL: &str = ".journal";

/// Returns the name of a target's lasting unfinished file.
pub(crate) fn partial_path(target: &Path) -> PathBuf {
    target.with_file_name(hidden_name(target, PARTIAL))
}

/// Returns the name of its journal.
pub(crate) fn journal_path(target: &Path) -> PathBuf {
    target.with_file_name(hidden_name(target, JOURNAL))
}

/// Returns `.NAME` and the ending; of a name too long for that its beginning and its hash.
fn hidden_name(target: &Path, ending: &str) -> OsString {
    // File systems stop at 255 bytes.
    const LONGEST_BYTES: usize = 240;
    // Up to 4 bytes each, beside 64 digits of the hash and the ending.
    const BEGINNING_CHARS: usize = 40;
    let name = target.file_name().unwrap_or_default();
    let mut hidden = OsString::from(".");
    if name.len() <= LONGEST_BYTES {
        hidden.push(name);
    } else {
        let beginning: String = name.to_string_lossy().chars().take(BEGINNING_CHARS).collect();
        hidden.push(beginning);
        hidden.push(blake3::hash(name.as_encoded_bytes()).to_hex().as_str());
    }
    hidden.push(ending);
    hidden
}

fn temporary_beside(target: &Path) -> std::io::Result<NamedTempFile> {
    // File systems stop at 255 bytes; the random part and the suffix need some of them.
    const NAME_CHARS: usize = 40;
    let Some(name) = target.file_name() else {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a file name"));
    };
    let shortened: String = name.to_string_lossy().chars().take(NAME_CHARS).collect();
    let prefix = format!(".{shortened}.");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(PARTIAL);
    // Temporary files are private by default; this one is a normal file later. The system takes
    // the umask off, as for any other file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder_of(target))
}
