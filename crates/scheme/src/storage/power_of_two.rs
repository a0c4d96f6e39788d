use roundwise_grid::{E8m0, Grid, GridKind, GridVisitor};

use super::absmax::map_maxima;
use super::{ScaleNumbers, ScalePart, ScaleRole, Storage, StoredScales, block_bytes};
use crate::error::SchemeError;
use crate::quantized::{QuantizedMatrix, StoredMatrix};
use crate::tiling::Tiling;

/// One power of two, an E8M0 byte, per 32 weights of a row: the smallest one with
/// `max |w| ≤ MAX · scale`, and 1 where that is below 2⁻¹²⁶. Half of it where the code of the largest weight
/// would decode to infinity.
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

/// Turns the largest magnitude of each tile into the smallest power of two that covers it on this grid, and into 1
/// where it lies below `zero_below`.
pub(super) fn cover(grid: GridKind, maxima: &mut [f32], zero_below: f32) {
    grid.visit(Cover { maxima, zero_below });
}

struct Cover<'a> {
    maxima: &'a mut [f32],
    zero_below: f32,
}

impl GridVisitor for Cover<'_> {
    type Output = ();

    fn visit<G: Grid>(self) {
        let Self { maxima, zero_below } = self;
        map_maxima(maxima, |maximum| {
            if maximum < zero_below {
                return 1.0;
            }
            // The whole quotient is rounded up, as ComfyUI's encoder does, so that weights do not
            // saturate; the specification divides the exponents alone.
            let scale = at_least(maximum / G::MAX);
            // Near the largest f32 a code that is rounded up may decode to 2¹²⁸, which is infinity. With half
            // the scale even the largest code stays below the maximum.
            match (G::round(maximum / scale) * scale).is_infinite() {
                true => scale / 2.0,
                false => scale,
            }
        });
    }
}

/// Returns the powers of two below and above a scale, or the scale itself where there is none.
pub(super) fn neighbours(scale: f32) -> [f32; NEIGHBOURS] {
    // Halving and doubling are exact, so that a byte exists or the range ends here.
    [0.5, 2.0].map(|factor| E8m0::encode(scale * factor).map_or(scale, |_| scale * factor))
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
        cover(grid, maxima, 0.0);
    }

    fn candidate_count(&self, _grid: GridKind) -> usize {
        NEIGHBOURS
    }

    fn candidates(&self, scale: f32, _tensor: f32, candidates: &mut [f32]) {
        candidates.copy_from_slice(&neighbours(scale));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest weights of all have codes that decode to numbers, on every grid.
    #[test]
    fn no_scale_makes_a_number_infinite() {
        struct Decoded(f32);

        impl GridVisitor for Decoded {
            type Output = f32;

            fn visit<G: Grid>(self) -> f32 {
                let mut scale = [self.0];
                cover(G::KIND, &mut scale, 0.0);
                G::round(self.0 / scale[0]) * scale[0]
            }
        }

        for grid in GridKind::ALL {
            for maximum in [f32::MAX, 3.3e38, 3.2e38, 3e38, 2e38, 1.7e38] {
                let decoded = grid.visit(Decoded(maximum));
                let error = (decoded - maximum).abs() / maximum;
                assert!(error <= 0.26, "{grid:?}: {maximum:e} decodes to {decoded:e}");
            }
        }
    }
}
