use roundwise_tensor_file::{PIECE_BYTES, SourceFile, TensorFileError, pieces};
use serde::{Deserialize, Serialize};

use crate::error::ConvertError;

/// BLAKE3 of a whole file, as `b3sum` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHash {
    /// Name of the file.
    pub file: String,
    /// 64 hexadecimal digits.
    pub blake3: String,
}

/// Returns the BLAKE3 of a file of an input, as `b3sum` prints it: of the file that was opened,
/// even if another one has its name by now.
///
/// # Errors
/// When the file cannot be read, or `go_on` says stop.
pub(crate) fn hash_file(
    file: &SourceFile,
    go_on: &dyn Fn() -> Result<(), ConvertError>,
) -> Result<FileHash, ConvertError> {
    let read = |offset, buffer: &mut [u8]| file.read_into(offset, buffer);
    let blake3 = hash(file.bytes(), read, go_on)?;
    let name = file.path().file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(FileHash { file: name.unwrap_or_default(), blake3 })
}

/// Returns the BLAKE3 of `bytes` bytes, as `b3sum` prints it.
///
/// # Errors
/// When they cannot be read, or `go_on` says stop.
pub(crate) fn hash(
    bytes: u64,
    read: impl Fn(u64, &mut [u8]) -> Result<(), TensorFileError>,
    go_on: &dyn Fn() -> Result<(), ConvertError>,
) -> Result<String, ConvertError> {
    let mut hasher = blake3::Hasher::new();
    // In pieces, so that a file need not fit into memory, and a stop is heard soon.
    let mut buffer = vec![0; bytes.min(PIECE_BYTES) as usize];
    for piece in pieces(bytes) {
        let length = piece.end - piece.start;
        let buffer = &mut buffer[..length as usize];
        read(piece.start, buffer)?;
        hasher.update(buffer);
        go_on()?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}
