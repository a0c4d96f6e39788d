//! Calls that differ between operating systems: positioned I/O, file identity, free space.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::{TensorFileError, TensorFileErrorKind as Kind};

/// Returns the bytes that an unprivileged user can still write at `path`, which need not exist, nor its
/// folder: then those of the nearest folder that is there.
///
/// `None` when the system cannot tell.
pub fn available_bytes(path: &Path) -> Option<u64> {
    free_bytes(&nearest_folder(path))
}

/// Returns the folder that is there and nearest to `path`: itself, or one that holds it.
fn nearest_folder(path: &Path) -> PathBuf {
    let there = path.ancestors().find(|folder| folder.is_dir());
    // A relative path begins in the current folder.
    there.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// Tells whether a new folder can take the name `path`: nothing is there, or an empty folder.
pub fn is_vacant(path: &Path) -> bool {
    match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        // A file, or a link that leads nowhere, cannot be listed either, but takes the name.
        Err(_) => path.symlink_metadata().is_err(),
    }
}

#[cfg(unix)]
fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    // File systems in user space that do not know report 0 of 0 blocks.
    let is_known = disk.f_blocks > 0;
    is_known.then(|| disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(folder: &Path) -> Option<u64> {
    fs4::available_space(folder).ok()
}

/// Returns the folder that holds `path`; `.` for a bare file name.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Checks that a file can be made at `path` (which need not exist, nor its folder).
///
/// A nameless file is made beside it and goes away at once.
///
/// # Errors
/// [`Kind::Io`] when the folder, or the nearest one that is there, takes no file, or none of such a name.
pub fn check_writable(path: &Path) -> Result<(), TensorFileError> {
    if let Err(error) = path.symlink_metadata()
        && error.kind() == io::ErrorKind::InvalidFilename
    {
        return Err(Kind::io("create a file of this name")(error).at(path));
    }
    match tempfile::tempfile_in(nearest_folder(&folder_of(path))) {
        Ok(_) => Ok(()),
        Err(error) => Err(Kind::io("create a file in the folder")(error).at(path)),
    }
}

/// Makes a folder, unless it is there already, in one that is there.
///
/// # Errors
/// [`Kind::Io`] when it cannot be made.
pub fn create_folder(path: &Path) -> Result<(), TensorFileError> {
    match std::fs::create_dir(path) {
        // Checked after the failure, not before: another process may make the folder in between.
        Err(error) if !path.is_dir() => Err(Kind::io("create the folder")(error).at(path)),
        _ => Ok(()),
    }
}

/// Opens a regular file for reading.
///
/// Looks before it opens, because opening a pipe would wait for a writer; and again after,
/// because the name may mean something else by then.
pub(crate) fn open_regular(path: &Path) -> Result<(File, Metadata), TensorFileError> {
    let look = std::fs::metadata(path).map_err(|error| Kind::io("open")(error).at(path))?;
    require_regular(path, &look)?;
    let file = File::open(path).map_err(|error| Kind::io("open")(error).at(path))?;
    let metadata = file.metadata().map_err(|error| Kind::io("inspect")(error).at(path))?;
    require_regular(path, &metadata)?;
    Ok((file, metadata))
}

/// Opens a folder, to tell later whether its name still means this one.
#[cfg(not(windows))]
pub(crate) fn open_folder(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Opens a folder, to tell later whether its name still means this one.
#[cfg(windows)]
pub(crate) fn open_folder(path: &Path) -> io::Result<File> {
    use std::os::windows::fs::OpenOptionsExt;
    // Without it Windows opens files only.
    const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
    File::options().read(true).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(path)
}

/// Removes a file, whether it is there or not.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Refuses folders, pipes, sockets and devices.
pub(crate) fn require_regular(path: &Path, metadata: &Metadata) -> Result<(), TensorFileError> {
    if metadata.is_file() {
        return Ok(());
    }
    let found = if metadata.is_dir() { "a folder" } else { "a device, pipe or socket" };
    Err(Kind::NotRegularFile { found }.at(path))
}

/// Refuses to write to a place that is another file, too: with a link somebody else could choose what is written over.
pub(crate) fn refuse_links(path: &Path) -> Result<(), TensorFileError> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(()) };
    require_regular(path, &metadata)?;
    match has_other_names(&metadata) {
        true => Err(Kind::OtherNames.at(path)),
        false => Ok(()),
    }
}

/// Tells whether a file is also another one, by a hard link.
#[cfg(unix)]
fn has_other_names(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.nlink() > 1
}

/// Tells whether a file is also another one, which is not known there.
#[cfg(not(unix))]
fn has_other_names(_metadata: &Metadata) -> bool {
    false
}

/// Tells whether `other` names the open `file`, through any link; `path` is how `file` was opened.
#[cfg(unix)]
pub(crate) fn is_same_file(file: &File, _path: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(other)) {
        (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
        _ => false,
    }
}

/// Tells whether `other` names the open `file`; without file numbers, hard links go unseen.
#[cfg(not(unix))]
pub(crate) fn is_same_file(_file: &File, path: &Path, other: &Path) -> bool {
    match (path.canonicalize(), other.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// Tells whether both paths name one file, through any link; `false` where one of them names none.
pub fn name_one_file(one: &Path, other: &Path) -> bool {
    File::open(one).is_ok_and(|file| is_same_file(&file, one, other))
}

/// Takes from a file in the making every permission that one of some other files lacks.
///
/// - `like`: the other files; a permission stays only if all of them have it
#[cfg(unix)]
pub(crate) fn limit_permissions<'a>(file: &File, like: impl Iterator<Item = &'a File>) {
    use std::os::unix::fs::PermissionsExt;
    /// Reading and writing by the owner, who has to go on with the file.
    const OWNER: u32 = 0o600;
    let mode = |file: &File| file.metadata().ok().map(|metadata| metadata.permissions().mode());
    let Some(own) = mode(file) else { return };
    let limited = like.filter_map(mode).fold(own, |limited, mode| limited & mode) | (own & OWNER);
    if limited != own {
        // A file system without permissions refuses, and has none to take away.
        let _ = file.set_permissions(std::fs::Permissions::from_mode(limited));
    }
}

/// Does nothing: files on Windows have the permissions of their folder.
#[cfg(not(unix))]
pub(crate) fn limit_permissions<'a>(_file: &File, _like: impl Iterator<Item = &'a File>) {}

/// Fills `buffer` from byte `offset` on, or fails with `UnexpectedEof`.
#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

/// Writes all of `bytes` from byte `offset` on.
#[cfg(unix)]
pub(crate) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Gives the file its final length, with blocks behind it where the file system can promise
/// them, so that a full disk is found before any work is done.
pub(crate) fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    // Blocks first: a length alone makes a sparse file, which fills up in the middle of the work.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    allocate_blocks(file, bytes)?;
    // Where nothing was reserved this still gives the file its final length, by which `resume`
    // knows it.
    file.set_len(bytes)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn allocate_blocks(file: &File, bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    loop {
        return match fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Err(Errno::INTR) => continue,
            // Network and FUSE file systems often cannot reserve; a full disk then shows when it is
            // written.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        };
    }
}

/// Makes a rename in `folder` survive a power failure.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some network file systems cannot sync a folder: there the rename has to be enough.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

#[cfg(windows)]
pub(crate) fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !buffer.is_empty() {
        let count = file.seek_read(buffer, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[count..];
        offset += count as u64;
    }
    Ok(())
}

#[cfg(windows)]
pub(crate) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !bytes.is_empty() {
        let count = file.seek_write(bytes, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[count..];
        offset += count as u64;
    }
    Ok(())
}

/// Windows flushes the folder with the file.
#[cfg(windows)]
pub(crate) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Places of a file that tell its contents from another's, evenly spread.
const SAMPLES: u64 = 64;

/// Bytes of such a place.
const SAMPLE_BYTES: u64 = 4096;

/// Returns a hash of a file's length, of the time of its last change, and of samples of its contents.
pub(crate) fn stamp(file: &File, bytes: u64) -> blake3::Hasher {
    let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
    let modified = file.metadata().and_then(|metadata| metadata.modified());
    // Contents are not hashed as a whole: that would read a model twice before anything happens. A copied input
    // therefore counts as another one, which costs a new start. A change between the samples that keeps length and time
    // is not seen.
    let modified = modified.ok().and_then(since).map_or(0, |time| time.as_nanos());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes.to_le_bytes()).update(&modified.to_le_bytes());
    // Two trainings of one model have one length, and programs that copy set the time to what it was.
    let mut sample = vec![0; SAMPLE_BYTES.min(bytes) as usize];
    let last = bytes - sample.len() as u64;
    for place in 0..SAMPLES {
        let offset = (u128::from(last) * u128::from(place) / u128::from(SAMPLES - 1)) as u64;
        // What cannot be read is an error when it is needed.
        if read_exact_at(file, &mut sample, offset).is_ok() {
            hasher.update(&sample);
        }
    }
    hasher
}
