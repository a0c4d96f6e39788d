use std::num::NonZeroUsize;

use roundwise_tensor_file::{Checkpoint, PIECE_BYTES, SourceFile, pieces};

use crate::parallel::map_in_order;
use crate::report::FileHash;
use crate::watch::notice;
use crate::{ConvertError, Event, Watch};

/// BLAKE3 of every file of an input, as `b3sum` prints it: of what was opened, whatever has its
/// name by now.
///
/// # Errors
/// When a file cannot be read, or the watcher says stop.
pub(crate) fn hash_files(
    checkpoint: &Checkpoint,
    threads: NonZeroUsize,
    watch: &dyn Watch,
) -> Result<Vec<FileHash>, ConvertError> {
    notice(watch, Event::Hashing { bytes: checkpoint.total_bytes() })?;
    map_in_order(checkpoint.files(), threads, |file, _| hash_file(file, watch))
}

fn hash_file(file: &SourceFile, watch: &dyn Watch) -> Result<FileHash, ConvertError> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; file.bytes().min(PIECE_BYTES) as usize];
    for piece in pieces(file.bytes()) {
        let length = piece.end - piece.start;
        let buffer = &mut buffer[..length as usize];
        file.read_into(piece.start, buffer)?;
        hasher.update(buffer);
        notice(watch, Event::Advanced { bytes: length })?;
    }
    let name = file.path().file_name().map(|name| name.to_string_lossy().into_owned());
    let blake3 = hasher.finalize().to_hex().to_string();
    Ok(FileHash { file: name.unwrap_or_default(), blake3 })
}
