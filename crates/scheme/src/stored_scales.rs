use roundwise_grid::{E4m3, E8m0, Grid, vectorized};

use crate::scales::block_code;
use crate::{QuantizedMatrix, ScaleStorage, Scales, Scheme, SchemeError};

/// A block scale of 0: everything in the tile is 0.
const ZERO_CODE: u8 = 0;

impl QuantizedMatrix {
    /// The scales of all tiles as they are stored, row-major over tiles: little-endian F32, or one
    /// byte for each, E8M0 for powers of two, E4M3 for blocks of two levels and the logarithm where
    /// that is stored. Nothing for codes without scales.
    ///
    /// A byte is 0 for a tile whose codes are all 0: readers then need no scale, and existing ones
    /// write it so.
    #[must_use]
    pub fn scale_bytes(&self) -> Vec<u8> {
        match self.scheme().scale_storage() {
            ScaleStorage::F32(_) | ScaleStorage::Leveled => {
                self.scales().iter().flat_map(|s| s.to_le_bytes()).collect()
            }
            ScaleStorage::Unscaled => vec![],
            ScaleStorage::Logarithmic { range, .. } => {
                self.scales().iter().map(|scale| range.encode(*scale)).collect()
            }
            ScaleStorage::PowerOfTwo | ScaleStorage::PowerOfTwoAndLargest => {
                self.block_bytes(|scale| {
                    // Scales of other values come from nowhere but a caller's own parts.
                    E8m0::encode(scale).unwrap_or(u8::MAX)
                })
            }
            ScaleStorage::TwoLevel => {
                let tensor = self.tensor_scale();
                self.block_bytes(|scale| block_code(scale, tensor))
            }
        }
    }

    fn block_bytes(&self, code: impl Fn(f32) -> u8) -> Vec<u8> {
        let [rows, cols] = self.shape();
        let tiling = self.scheme().tiling();
        let [_, tile_cols] = tiling.tile_shape(rows, cols);
        let mut bytes = vec![ZERO_CODE; self.scales().len()];
        vectorized(|| bytes.iter_mut().zip(self.scales()).for_each(|(b, s)| *b = code(*s)));
        let tiles = self.codes().chunks(cols.max(1)).flat_map(|row| row.chunks(tile_cols));
        for (byte, codes) in bytes.iter_mut().zip(tiles) {
            // All of them are looked at: an early end would keep vectors out.
            if codes.iter().fold(0, |all, code| all | code) == 0 {
                *byte = ZERO_CODE;
            }
        }
        bytes
    }

    /// Takes codes and scales as they are stored: the inverse of
    /// [`scale_bytes`](QuantizedMatrix::scale_bytes).
    ///
    /// - `codes`: as in [`QuantizedMatrix::from_parts`]
    /// - `tensor`: the factor of all scales, 1 where there is none
    ///
    /// Codes of a tile whose scale is stored as 0 become 0, whatever they are: that is what readers
    /// make of them.
    ///
    /// # Errors
    /// As [`QuantizedMatrix::from_parts`].
    pub fn from_stored(
        scheme: Scheme,
        shape: [usize; 2],
        mut codes: Vec<u8>,
        scale_bytes: &[u8],
        tensor: f32,
    ) -> Result<Self, SchemeError> {
        let decode: fn(u8) -> f32 = match scheme.scale_storage() {
            ScaleStorage::F32(_) | ScaleStorage::Leveled => {
                let (scales, _) = scale_bytes.as_chunks();
                let scales: Vec<f32> = scales.iter().map(|s| f32::from_le_bytes(*s)).collect();
                return Self::from_parts(scheme, shape, codes, scales);
            }
            ScaleStorage::Unscaled => return Self::from_parts(scheme, shape, codes, vec![1.0]),
            ScaleStorage::Logarithmic { range, .. } => {
                let scales: Vec<f32> = scale_bytes.iter().map(|byte| range.decode(*byte)).collect();
                return Self::from_parts(scheme, shape, codes, scales);
            }
            ScaleStorage::PowerOfTwo | ScaleStorage::PowerOfTwoAndLargest => E8m0::decode,
            ScaleStorage::TwoLevel => E4m3::decode,
        };
        let [_, tile_cols] = scheme.tiling().tile_shape(shape[0], shape[1]);
        let tiles = codes.chunks_mut(shape[1].max(1)).flat_map(|row| row.chunks_mut(tile_cols));
        for (codes, _) in tiles.zip(scale_bytes).filter(|(_, scale)| **scale == ZERO_CODE) {
            codes.fill(0);
        }
        let scale = |byte: &u8| match *byte {
            ZERO_CODE => tensor,
            byte => tensor * decode(byte),
        };
        let tiles = scale_bytes.iter().map(scale).collect();
        Self::from_parts(scheme, shape, codes, Scales { tiles, tensor })
    }
}
