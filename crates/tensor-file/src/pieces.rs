//! A whole file, piece by piece, for those who hash it.

use std::io::Read;
use std::path::Path;

use crate::disk::open_regular;
use crate::{TensorFileError, TensorFileErrorKind as Kind};

const PIECE_BYTES: usize = 4 << 20;

/// Hands all bytes of a regular file to `take`, in order, a few MiB at a time.
pub fn read_pieces(path: &Path, mut take: impl FnMut(&[u8])) -> Result<(), TensorFileError> {
    let (mut file, _) = open_regular(path)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece).map_err(|error| Kind::io("read")(error).at(path))? {
            0 => return Ok(()),
            length => take(&piece[..length]),
        }
    }
}
