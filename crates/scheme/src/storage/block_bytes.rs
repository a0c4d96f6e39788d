//! Scales of one byte for every few weights of a row.

use roundwise_grid::vectorized;

use crate::error::SchemeError;
use crate::quantized::{QuantizedMatrix, StoredMatrix};
use crate::scales::Scales;
use crate::tiling::Tiling;

/// A block scale of 0: everything in the tile is 0.
const ZERO_CODE: u8 = 0;

/// Returns the byte of every scale, 0 for a tile whose codes are all 0: readers then need no scale,
/// and existing writers store it so.
pub(super) fn encode(matrix: &QuantizedMatrix, code: impl Fn(f32) -> u8) -> Vec<u8> {
    let [rows, cols] = matrix.shape();
    let [_, tile_cols] = matrix.scheme().tiling().tile_shape(rows, cols);
    let mut bytes = vec![ZERO_CODE; matrix.scales().len()];
    vectorized(
        #[inline(always)]
        || bytes.iter_mut().zip(matrix.scales()).for_each(|(b, s)| *b = code(*s)),
    );
    // By rows first: tiles lie in one row, and the last of a row may be shorter.
    let tiles = matrix.codes().chunks(cols.max(1)).flat_map(|row| row.chunks(tile_cols));
    for (byte, codes) in bytes.iter_mut().zip(tiles) {
        if are_zeros(codes) {
            *byte = ZERO_CODE;
        }
    }
    bytes
}

fn are_zeros(codes: &[u8]) -> bool {
    // Sixteen at once: tiles are as wide, or twice as wide.
    let (whole, rest) = codes.as_chunks();
    whole.iter().all(|codes| u128::from_ne_bytes(*codes) == 0) && rest.iter().all(|code| *code == 0)
}

/// Reads bytes back. Codes of a tile whose scale is stored as 0 become 0, whatever they are: that is
/// what readers make of them.
///
/// - `tensor`: the factor of all scales, 1 where there is none
pub(super) fn decode(
    tiling: Tiling,
    shape: [usize; 2],
    mut codes: Vec<u8>,
    bytes: &[u8],
    tensor: f32,
    value: impl Fn(u8) -> f32,
) -> Result<StoredMatrix, SchemeError> {
    let [_, tile_cols] = tiling.tile_shape(shape[0], shape[1]);
    let tiles = codes.chunks_mut(shape[1].max(1)).flat_map(|row| row.chunks_mut(tile_cols));
    // Byte 0 of an MX block is 2⁻¹²⁷ by the specification, and 0 to ComfyUI: with codes of 0 both
    // agree.
    for (codes, _) in tiles.zip(bytes).filter(|(_, scale)| **scale == ZERO_CODE) {
        codes.fill(0);
    }
    let scale = |byte: &u8| match *byte {
        // Any scale will do for codes of 0; the factor of all is one that two levels can have.
        ZERO_CODE => tensor,
        byte => tensor * value(byte),
    };
    let tiles = bytes.iter().map(scale).collect();
    Ok(StoredMatrix { codes, scales: Scales { tiles, tensor, zeros: vec![] }, levels: None })
}
