use roundwise_grid::{E8m0, GridKind};

use super::absmax::map_maxima;
use super::{ScaleNumbers, ScalePart, ScaleRole, Storage, StoredScales, block_bytes};
use crate::error::SchemeError;
use crate::quantized::{QuantizedMatrix, StoredMatrix};
use crate::tiling::Tiling;

/// One power of two, an E8M0 byte, per 32 weights of a row: the smallest one with
/// `max |w| ≤ MAX · scale`, and 1 where that is below 2⁻¹²⁶.
///
/// # Source
/// OCP microscaling specification, revision 1.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PowerOfTwo {
    /// Whether the largest scale is stored once more, as F32, for readers that know no scales of
    /// blocks.
    pub(crate) repeats_largest: bool,
}

const TILING: Tiling = Tiling::Block { rows: 1, cols: 32 };

/// Powers of two that a search tries: half of the chosen one, and twice as much.
pub(super) const NEIGHBOURS: usize = 2;

/// Returns the smallest power of two that is not below `wanted`.
#[inline(always)]
pub(super) fn at_least(wanted: f32) -> f32 {
    // Readers disagree about powers below 2⁻¹²⁶. With a scale of 1 such weights have codes of 0.
    E8m0::at_least(wanted).map_or(1.0, E8m0::decode)
}

/// Returns the power of two below or above each scale, or the scale itself where there is none.
pub(super) fn neighbours(index: usize, scales: &[f32]) -> Vec<f32> {
    let factor = if index == 0 { 0.5 } else { 2.0 };
    // Halving and doubling are exact, so that a byte exists or the range ends here.
    let neighbour = |&scale: &f32| E8m0::encode(scale * factor).map_or(scale, |_| scale * factor);
    scales.iter().map(neighbour).collect()
}

impl Storage for PowerOfTwo {
    fn tiling(&self) -> Tiling {
        TILING
    }

    fn name(&self, grid: GridKind) -> String {
        let hybrid = if self.repeats_largest { "hybrid-" } else { "" };
        format!("{hybrid}mx-{}", grid.name())
    }

    fn summary(&self) -> String {
        let largest = if self.repeats_largest { ", and the largest of them as F32" } else { "" };
        format!("one power of two per 32 weights of a row{largest}")
    }

    fn scale_tiles(&self, grid: GridKind, maxima: &mut [f32]) {
        // The whole quotient is rounded up, as ComfyUI's encoder does, so that weights do not
        // saturate; the specification divides the exponents alone.
        let largest_code = grid.max();
        map_maxima(maxima, |maximum| {
            let scale = at_least(maximum / largest_code);
            // Above 3.5 · 2¹²⁶ the nearest code is 4, which decodes to infinity; with half the scale it
            // is 6, which does not.
            match grid == GridKind::E2m1 && (scale * largest_code).is_infinite() {
                true => scale / 2.0,
                false => scale,
            }
        });
    }

    fn candidate_count(&self, _grid: GridKind) -> usize {
        NEIGHBOURS
    }

    fn candidates(&self, index: usize, scales: &[f32], _tensor: f32) -> Vec<f32> {
        neighbours(index, scales)
    }

    fn is_by_tile(&self) -> bool {
        true
    }

    fn parts(&self, [rows, cols]: [usize; 2]) -> Vec<ScalePart> {
        let tiles = ScalePart::new(ScaleRole::Tiles, ScaleNumbers::E8m0, &TILING.tiles(rows, cols));
        let largest = ScalePart::new(ScaleRole::Largest, ScaleNumbers::F32, &[]);
        [tiles].into_iter().chain(self.repeats_largest.then_some(largest)).collect()
    }

    fn part_bytes(&self, matrix: &QuantizedMatrix) -> Vec<Vec<u8>> {
        // Scales of other values come from nowhere but a caller's own parts.
        let tiles = block_bytes::encode(matrix, |scale| E8m0::encode(scale).unwrap_or(u8::MAX));
        let largest = self.repeats_largest.then(|| largest(&tiles).to_le_bytes().to_vec());
        [tiles].into_iter().chain(largest).collect()
    }

    fn read(
        &self,
        shape: [usize; 2],
        codes: Vec<u8>,
        scales: &StoredScales,
    ) -> Result<StoredMatrix, SchemeError> {
        let bytes = scales.get(&ScaleRole::Tiles).map_or(&[][..], Vec::as_slice);
        block_bytes::decode(TILING, shape, codes, bytes, 1.0, E8m0::decode)
    }

    fn has_block_scales(&self) -> bool {
        true
    }

    fn needs_whole_matrix(&self) -> bool {
        self.repeats_largest
    }
}

/// Returns the largest of E8M0 scales; 1 where there are none but those of zeros.
fn largest(scales: &[u8]) -> f32 {
    match scales.iter().max() {
        None | Some(0) => 1.0,
        Some(&largest) => E8m0::decode(largest),
    }
}
