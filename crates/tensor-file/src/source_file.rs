use std::fs::File;
use std::path::{Path, PathBuf};

use crate::disk::{open_regular, read_exact_at, stamp};
use crate::header::{HEADER_LIMIT_BYTES, RawHeader};
use crate::lookalike::recognise_start;
use crate::tiling::DataRegion;
use crate::{TensorFileError, TensorFileErrorKind as Kind};

/// Bytes of the header length that starts every file.
pub(crate) const LENGTH_BYTES: u64 = 8;

/// One weight file of a [`Checkpoint`](crate::Checkpoint), open.
#[derive(Debug)]
pub struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    /// Length when it was opened.
    pub(crate) bytes: u64,
    /// Header of safetensors as stored, with its padding, without its length; of other containers what
    /// says where the tensors lie.
    pub(crate) header: Vec<u8>,
}

impl SourceFile {
    /// Returns the path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its length when it was opened.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns a hash that tells files apart without reading all of them: it changes with the length, the header and
    /// the time of the last change, and with samples of the contents.
    pub fn fingerprint(&self) -> String {
        stamp(&self.file, self.bytes).update(&self.header).finalize().to_hex().to_string()
    }

    /// Fills `buffer` with the file's bytes from byte `offset` on, header and all.
    ///
    /// # Errors
    /// When the file has no such bytes, or no longer.
    pub fn read_into(&self, offset: u64, buffer: &mut [u8]) -> Result<(), TensorFileError> {
        self.read(offset, buffer).map_err(|kind| kind.at(&self.path))
    }

    /// Opens a file and reads its header, which must be small enough and inside the file before
    /// any memory is taken for it.
    pub(crate) fn open(path: &Path) -> Result<Self, TensorFileError> {
        let (file, metadata) = open_regular(path)?;
        let bytes = metadata.len();
        let header = read_header(&file, bytes).map_err(|kind| kind.at(path))?;
        Ok(Self { path: path.to_owned(), file, bytes, header })
    }

    /// Returns the header's entries, unchecked.
    pub(crate) fn parse(&self) -> Result<RawHeader, TensorFileError> {
        parse_header(&self.header).map_err(|kind| kind.at(&self.path))
    }

    /// Returns the place of the tensors of this file, number `file` of its checkpoint.
    pub(crate) fn data_region(&self, file: usize) -> DataRegion {
        let start = LENGTH_BYTES + self.header.len() as u64;
        DataRegion { file, start, bytes: self.bytes - start }
    }

    /// Reads `buffer.len()` bytes from byte `offset` of the file on.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Kind> {
        read_inside(&self.file, offset, buffer)
    }
}

/// Fills `buffer` from byte `offset` on; a file that is too short is an error of its own.
pub(crate) fn read_inside(file: &File, offset: u64, buffer: &mut [u8]) -> Result<(), Kind> {
    read_exact_at(file, buffer, offset).map_err(|source| {
        if source.kind() != std::io::ErrorKind::UnexpectedEof {
            return Kind::Io { doing: "read", source };
        }
        let found = file.metadata().map_or(0, |metadata| metadata.len());
        Kind::Truncated { found, expected: offset.saturating_add(buffer.len() as u64) }
    })
}

fn read_header(file: &File, file_bytes: u64) -> Result<Vec<u8>, Kind> {
    let available_bytes =
        file_bytes.checked_sub(LENGTH_BYTES).ok_or(Kind::TooShort { found: file_bytes })?;
    let mut length = [0; LENGTH_BYTES as usize];
    read_exact_at(file, &mut length, 0).map_err(Kind::io("read"))?;
    let header_bytes = u64::from_le_bytes(length);

    if header_bytes > HEADER_LIMIT_BYTES {
        // The message says what the file is, where its first bytes are known; otherwise it gives the
        // length that they stand for.
        return Err(match recognise_start(length) {
            Some(looks_like) => Kind::NotSafetensors { looks_like },
            None => Kind::HeaderTooLong { found: header_bytes, limit: HEADER_LIMIT_BYTES },
        });
    }
    if header_bytes > available_bytes {
        return Err(Kind::HeaderPastEnd { header_bytes, available_bytes });
    }
    // The cast is lossless: the length is at most `HEADER_LIMIT_BYTES`.
    let mut header = vec![0; header_bytes as usize];
    read_exact_at(file, &mut header, LENGTH_BYTES).map_err(Kind::io("read the header"))?;
    Ok(header)
}

fn parse_header(header: &[u8]) -> Result<RawHeader, Kind> {
    // The format demands it, and it tells garbage from JSON with a mistake in it.
    match header.first() {
        Some(b'{') => {}
        first => return Err(Kind::HeaderStart { found: first.copied().unwrap_or(0) }),
    }
    let text = std::str::from_utf8(header).map_err(|source| Kind::HeaderUtf8 { source })?;
    serde_json::from_str(text).map_err(|source| Kind::HeaderJson { source })
}
