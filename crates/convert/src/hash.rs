use roundwise_tensor_file::{Checkpoint, TensorFileError, read_pieces};

use crate::report::FileHash;

/// BLAKE3 of every file of an input, as `b3sum` prints it.
///
/// # Errors
/// When a file cannot be read.
pub fn hash_files(checkpoint: &Checkpoint) -> Result<Vec<FileHash>, TensorFileError> {
    checkpoint
        .files()
        .map(|path| {
            let mut hasher = blake3::Hasher::new();
            read_pieces(path, |piece| {
                hasher.update_rayon(piece);
            })?;
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
            Ok(FileHash {
                file: file.unwrap_or_default(),
                blake3: hasher.finalize().to_hex().to_string(),
            })
        })
        .collect()
}
