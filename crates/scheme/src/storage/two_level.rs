use std::ops::RangeInclusive;

use roundwise_grid::{E4m3, Grid, GridKind};

use super::absmax::{absmax_scale, map_maxima};
use super::{
    ScaleNumbers, ScalePart, ScaleRole, ScaleStorage, Storage, StoredScales, block_bytes,
    f32_bytes, power_of_two,
};
use crate::error::SchemeError;
use crate::quantized::{QuantizedMatrix, StoredMatrix};
use crate::scales::Scales;
use crate::tiling::Tiling;

/// One E4M3 number per 16 weights of a row, times one F32 number for all:
/// `s = max |W| / (448 · MAX)` for all, `b = E4M3(max |w| / MAX / s)` for a tile, `scale = s · b`.
///
/// Where `b` rounds to 0 the scale is `s`, for which all codes are 0, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TwoLevel {
    /// Whether `s` is the next power of two. Some programs multiply by `s` and some divide by its
    /// inverse, in F32 or BF16: of a power of two all of them get the same numbers. Blocks lose
    /// nothing by it but the smallest of their range.
    pub(crate) has_power_of_two: bool,
}

const TILING: Tiling = Tiling::Block { rows: 1, cols: 16 };

/// Codes of block scales that a search tries below and above the absmax one: about 0.7 to 1.8
/// times, 8 codes being a factor of 2.
const BLOCK_STEPS: RangeInclusive<i32> = -4..=7;

impl Storage for TwoLevel {
    fn tiling(&self) -> Tiling {
        TILING
    }

    fn name(&self, grid: GridKind) -> String {
        format!("nv-{}", grid.name())
    }

    fn summary(&self) -> String {
        "one E4M3 number per 16 weights of a row, times one F32 number for all".to_owned()
    }

    /// Chooses nothing: without the others a tile has no scale of two levels.
    fn scale_tiles(&self, _grid: GridKind, maxima: &mut [f32]) {
        maxima.fill(1.0);
    }

    fn choose(&self, grid: GridKind, mut maxima: Vec<f32>, largest: f32) -> Scales {
        let largest_code = grid.max();
        // The largest block scale becomes 448, the largest E4M3 number, so that the whole range of block scales
        // is used and none of them saturates.
        let tensor = absmax_scale(largest, E4m3::MAX * largest_code);
        let tensor = if self.has_power_of_two { power_of_two::at_least(tensor) } else { tensor };
        // Codes are chosen for the scale as it is stored, after its own rounding to E4M3.
        map_maxima(&mut maxima, |maximum| block_scale(maximum / largest_code, tensor));
        // Near the largest f32 the largest code of a block whose scale was rounded up would decode to infinity.
        if (tensor * E4m3::MAX * largest_code).is_infinite() {
            for scale in maxima.iter_mut().filter(|scale| (**scale * largest_code).is_infinite()) {
                *scale = tensor * E4m3::decode(block_code(*scale, tensor) - 1);
            }
        }
        Scales { tiles: maxima, tensor, zeros: vec![] }
    }

    fn candidate_count(&self, _grid: GridKind) -> usize {
        BLOCK_STEPS.count()
    }

    fn candidates(&self, scale: f32, tensor: f32, candidates: &mut [f32]) {
        let largest = i32::from(E4m3::encode(E4m3::MAX));
        let code = i32::from(block_code(scale, tensor));
        for (candidate, step) in candidates.iter_mut().zip(BLOCK_STEPS) {
            // From 1 on: a block of code 0 would be read as zeros, whatever its codes are.
            *candidate = E4m3::decode((code + step).clamp(1, largest) as u8) * tensor;
        }
    }

    fn parts(&self, [rows, cols]: [usize; 2]) -> Vec<ScalePart> {
        vec![
            ScalePart::new(ScaleRole::Tiles, ScaleNumbers::E4m3, &TILING.tiles(rows, cols)),
            ScalePart::new(ScaleRole::Tensor, ScaleNumbers::F32, &[]),
        ]
    }

    fn part_bytes(&self, matrix: &QuantizedMatrix) -> Vec<Vec<u8>> {
        let tensor = matrix.tensor_scale();
        let blocks = block_bytes::encode(matrix, |scale| block_code(scale, tensor));
        vec![blocks, f32_bytes(&[tensor])]
    }

    fn read(
        &self,
        shape: [usize; 2],
        codes: Vec<u8>,
        scales: &StoredScales,
    ) -> Result<StoredMatrix, SchemeError> {
        let bytes = |role| scales.get(&role).map_or(&[][..], Vec::as_slice);
        let tensor =
            bytes(ScaleRole::Tensor).first_chunk().map_or(1.0, |it| f32::from_le_bytes(*it));
        block_bytes::decode(TILING, shape, codes, bytes(ScaleRole::Tiles), tensor, E4m3::decode)
    }

    fn has_block_scales(&self) -> bool {
        true
    }

    fn for_servers(&self) -> Option<ScaleStorage> {
        Some(ScaleStorage::TwoLevel(Self { has_power_of_two: true }))
    }

    fn read_as(&self) -> Option<ScaleStorage> {
        self.has_power_of_two.then_some(ScaleStorage::TwoLevel(Self { has_power_of_two: false }))
    }

    fn is_named_as_read(&self) -> bool {
        self.has_power_of_two
    }
}

/// Returns the stored scale nearest to `wanted`; `tensor` itself where that would be 0.
#[inline(always)]
fn block_scale(wanted: f32, tensor: f32) -> f32 {
    // At most 448 but for the rounding of both quotients.
    let block = E4m3::round((wanted / tensor).min(E4m3::MAX));
    if block == 0.0 { tensor } else { tensor * block }
}

/// Returns the E4M3 code of a block of which the reader computes `scale`, exactly: the product of
/// both was rounded by far less than half a step of E4M3.
#[inline(always)]
fn block_code(scale: f32, tensor: f32) -> u8 {
    E4m3::encode(scale / tensor)
}

#[cfg(test)]
mod tests {
    use roundwise_grid::E2m1;

    use super::*;

    /// The product of a tensor scale and a block scale gives the block's code back.
    #[test]
    fn every_block_code_comes_back() {
        for tensor in [1.0, 0.000_409_226_2, 3.7e-16, 1.2e35, 0.1, f32::MIN_POSITIVE * 1e6] {
            for code in 1..=E4m3::encode(E4m3::MAX) {
                assert_eq!(block_code(tensor * E4m3::decode(code), tensor), code, "{tensor:e}");
            }
        }
    }

    #[test]
    fn no_scale_makes_a_number_infinite() {
        for has_power_of_two in [false, true] {
            for largest in [f32::MAX, 3.3e38, 3e38, 2e38] {
                let storage = TwoLevel { has_power_of_two };
                let scale = storage.choose(GridKind::E2m1, vec![largest], largest).tiles[0];
                let decoded = E2m1::round(largest / scale) * scale;
                let error = (decoded - largest).abs() / largest;
                assert!(error <= 0.07, "{largest:e} decodes to {decoded:e}");
            }
        }
    }

    /// Where a block's scale rounds to 0, the scale that stands in for it makes all codes 0.
    #[test]
    fn tiny_blocks_have_codes_of_zero() {
        let tensor = 0.01;
        let largest_tiny = 6.0 * tensor * E4m3::decode(1) / 2.0;
        for value in [0.0, largest_tiny, largest_tiny.next_down()] {
            let scale = block_scale(value / 6.0, tensor);
            assert_eq!((scale, E2m1::encode(value / scale)), (tensor, 0));
        }
    }
}
