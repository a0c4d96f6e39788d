//! Tensors of GGUF files: plain numbers, and blocks read as the F32 that they stand for.
//!
//! # Source
//! ggml, `docs/gguf.md`.

mod cursor;
mod header;
mod tensor_type;
mod value;

use std::fs::File;

use crate::TensorFileErrorKind as Kind;
use crate::container::{Complaint, Contents, whole};
use crate::header::HEADER_LIMIT_BYTES;
use crate::zip::read;

pub use value::GgufValue;

/// Bytes that are read first; a longer header is read again from its beginning.
const FIRST_BYTES: u64 = 1 << 20;

pub(crate) fn read_gguf(file: &File, file_bytes: u64) -> Result<Contents, Complaint> {
    let limit = file_bytes.min(HEADER_LIMIT_BYTES);
    let mut length = FIRST_BYTES.min(file_bytes);
    loop {
        let text = read(file, 0, length as usize).map_err(whole)?;
        match header::parse(&text, file_bytes) {
            Err((_, Kind::Gguf { problem: cursor::CUT, .. })) if length < limit => {
                // Fourfold, so that reading again and again costs a third of the last reading at
                // most.
                length = length.saturating_mul(4).min(limit);
            }
            outcome => return outcome,
        }
    }
}
