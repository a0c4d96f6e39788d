//! Whole numbers of 4 bits in groups of a row, counted from a zero point.

mod quantize;

use roundwise_grid::{Bf16, Grid, GridKind, Int8};

use super::absmax::{absmax_scale, map_maxima};
use super::bf16::rounded;
use super::{Bf16Scales, F32, ScaleNumbers, ScalePart, ScaleRole, ScaleStorage, Storage};
use super::{StoredScales, f32_bytes};
use crate::error::SchemeError;
use crate::quantized::{QuantizedMatrix, StoredMatrix};
use crate::scales::Scales;
use crate::tiling::Tiling;

pub(crate) use quantize::{nearest_error, quantize};

/// One number and one zero point per group of a row: `weight ≈ (stored − zero) · scale`, both whole
/// numbers from −8 to 7.
///
/// Codes in memory are `stored − zero`, INT8 from −15 to 15, so that decoding multiplies as
/// everywhere. The zero point says which 16 of them a group can store.
///
/// # Source
/// `pack-quantized` of compressed-tensors, `symmetric: false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ZeroPoints {
    /// Neighbouring weights of a row that share a scale and a zero point.
    pub(crate) group: usize,
    /// Whether scales are BF16 numbers, chosen before the codes are, as servers keep them.
    pub(crate) is_bf16: bool,
}

/// Smallest number that is stored.
const LOWEST: i8 = -8;

/// Largest number that is stored.
const HIGHEST: i8 = 7;

/// Steps between them.
const STEPS: f32 = 15.0;

/// Rows whose zero points are in one word of 32 bits.
pub(crate) const ROWS_IN_WORD: usize = 8;

/// Returns the smallest and the largest code of a tile with this zero point.
pub(crate) fn code_range(zero: i8) -> [f32; 2] {
    [LOWEST, HIGHEST].map(|end| f32::from(end) - f32::from(zero))
}

impl ZeroPoints {
    /// Returns how the scales are stored.
    fn scale_numbers(&self) -> ScaleStorage {
        let tiling = self.tiling();
        match self.is_bf16 {
            true => ScaleStorage::Bf16(Bf16Scales { tiling }),
            false => ScaleStorage::F32(F32 { tiling }),
        }
    }
}

impl Storage for ZeroPoints {
    fn tiling(&self) -> Tiling {
        Tiling::group(self.group)
    }

    fn name(&self, _grid: GridKind) -> String {
        format!("int4-group-{}-asym", self.group)
    }

    fn codes(&self, _grid: GridKind) -> String {
        "INT4 codes".to_owned()
    }

    fn summary(&self) -> String {
        format!("{}, and a zero point", self.scale_numbers().rules().summary())
    }

    fn covers(&self, rows: usize, cols: usize) -> Result<(), SchemeError> {
        self.tiling().covers(rows, cols)
    }

    /// Turns the distance from the smallest to the largest weight of each tile, 0 among them, into
    /// its scale.
    fn scale_tiles(&self, _grid: GridKind, distances: &mut [f32]) {
        map_maxima(distances, |distance| absmax_scale(distance, STEPS));
        if self.is_bf16 {
            distances.iter_mut().for_each(|scale| *scale = rounded(*scale, STEPS));
        }
    }

    fn candidate_count(&self, grid: GridKind) -> usize {
        self.scale_numbers().rules().candidate_count(grid)
    }

    fn candidates(&self, scale: f32, tensor: f32, candidates: &mut [f32]) {
        self.scale_numbers().rules().candidates(scale, tensor, candidates);
    }

    fn parts(&self, shape @ [rows, cols]: [usize; 2]) -> Vec<ScalePart> {
        let mut parts = self.scale_numbers().rules().parts(shape);
        let [_, across] = self.tiling().tiles(rows, cols);
        let words = [rows.div_ceil(ROWS_IN_WORD), across];
        parts.push(ScalePart::new(ScaleRole::ZeroPoints, ScaleNumbers::Nibbles, &words));
        parts
    }

    fn part_bytes(&self, matrix: &QuantizedMatrix) -> Vec<Vec<u8>> {
        let scales = match self.is_bf16 {
            true => {
                let code = |scale: &f32| Bf16::encode(*scale).to_le_bytes();
                matrix.scales().iter().flat_map(code).collect()
            }
            false => f32_bytes(matrix.scales()),
        };
        let [rows, cols] = matrix.shape();
        let [_, across] = self.tiling().tiles(rows, cols);
        vec![scales, packed(matrix.zero_points(), across)]
    }

    /// Returns the numbers counted from 0, two's complement of 4 bits.
    fn stored_codes(&self, matrix: QuantizedMatrix) -> Vec<u8> {
        let zeros = matrix.zero_points().to_vec();
        let mut codes = matrix.into_codes();
        for (codes, zero) in codes.chunks_mut(self.group).zip(zeros) {
            codes.iter_mut().for_each(|code| *code = code.wrapping_add_signed(zero) & 0xF);
        }
        codes
    }

    fn read(
        &self,
        shape @ [rows, cols]: [usize; 2],
        codes: Vec<u8>,
        scales: &StoredScales,
    ) -> Result<StoredMatrix, SchemeError> {
        self.covers(rows, cols)?;
        let mut stored = self.scale_numbers().rules().read(shape, codes, scales)?;
        let [_, across] = self.tiling().tiles(rows, cols);
        let words = scales.get(&ScaleRole::ZeroPoints).map_or(&[][..], Vec::as_slice);
        let (found, expected) =
            (words.len(), rows.div_ceil(ROWS_IN_WORD).saturating_mul(across * 4));
        if found != expected {
            return Err(SchemeError::PartLength { what: "bytes of zero points", found, expected });
        }
        let zeros = unpacked(words, [rows, across]);
        for (codes, zero) in stored.codes.chunks_mut(self.group).zip(&zeros) {
            for code in codes {
                // To the top of the byte and back, so that the sign fills the upper half.
                let number = (*code << 4) as i8 >> 4;
                *code = Int8::encode(f32::from(number) - f32::from(*zero));
            }
        }
        stored.scales = Scales { zeros, ..stored.scales };
        Ok(stored)
    }

    fn code_bits(&self, _grid: GridKind) -> usize {
        4
    }

    fn read_as(&self) -> Option<ScaleStorage> {
        Some(ScaleStorage::ZeroPoints(Self { is_bf16: false, ..*self }))
    }

    fn for_servers(&self) -> Option<ScaleStorage> {
        Some(ScaleStorage::ZeroPoints(Self { is_bf16: true, ..*self }))
    }

    fn is_named_as_read(&self) -> bool {
        true
    }

    fn has_zero_points(&self) -> bool {
        true
    }

    /// A word holds the zero points of eight rows, which a band may cut.
    fn needs_whole_matrix(&self) -> bool {
        true
    }
}

/// Packs zero points, made positive by adding 8, down the rows: that of row r in nibble `r mod 8` of
/// word `[r / 8, group]`.
///
/// - `across`: groups of a row
fn packed(zeros: &[i8], across: usize) -> Vec<u8> {
    let mut bytes = vec![];
    for rows in zeros.chunks(ROWS_IN_WORD * across.max(1)) {
        for group in 0..across {
            let column = rows[group..].iter().step_by(across).enumerate();
            let word = column.fold(0, |word: u32, (row, zero)| {
                word | u32::from(zero.wrapping_sub(LOWEST) as u8) << (4 * row)
            });
            bytes.extend(word.to_le_bytes());
        }
    }
    bytes
}

/// Returns the zero points of [`packed`] words, `[rows, across]`.
fn unpacked(words: &[u8], [rows, across]: [usize; 2]) -> Vec<i8> {
    let words = words.as_chunks().0;
    let word = |row: usize, group| u32::from_le_bytes(words[row / ROWS_IN_WORD * across + group]);
    let zero = |row, group| (word(row, group) >> (4 * (row % ROWS_IN_WORD)) & 0xF) as i8 + LOWEST;
    (0..rows).flat_map(|row| (0..across).map(move |group| zero(row, group))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words are those of `pack_to_int32(zeros, 4, packed_dim=0)` in compressed-tensors 0.20.
    #[test]
    fn zero_points_lie_as_compressed_tensors_packs_them() {
        // [3, 2], of which each column is a word.
        let zeros = [-8, 7, 0, -1, 5, 2];
        assert_eq!(packed(&zeros, 2), [0x80, 0x0D, 0, 0, 0x7F, 0x0A, 0, 0]);
        for (rows, across) in [(1, 1), (8, 3), (9, 2), (23, 1), (0, 4)] {
            let zeros: Vec<i8> = (0..rows * across).map(|at| (at * 7 % 16) as i8 - 8).collect();
            assert_eq!(unpacked(&packed(&zeros, across), [rows, across]), zeros);
        }
    }
}
