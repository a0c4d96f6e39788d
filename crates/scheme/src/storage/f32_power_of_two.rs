use roundwise_grid::GridKind;

use super::absmax::ZERO_ABSMAX;
use super::{F32, ScalePart, ScaleStorage, Storage, StoredScales, power_of_two};
use crate::error::SchemeError;
use crate::quantized::{QuantizedMatrix, StoredMatrix};
use crate::tiling::Tiling;

/// One F32 number per tile that is a power of two: the smallest one with `max |w| ≤ MAX · scale`.
///
/// Files hold it as they hold any [`F32`] scale. Multiplying by it is exact, and kernels that take
/// scales as exponents (`ue8m0`) take it as it is.
///
/// # Source
/// DeepSeek-V3.1, `scale_fmt` `ue8m0` of its `config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct F32PowerOfTwo {
    pub(crate) tiling: Tiling,
}

impl F32PowerOfTwo {
    fn as_f32(&self) -> F32 {
        F32 { tiling: self.tiling }
    }
}

impl Storage for F32PowerOfTwo {
    fn tiling(&self) -> Tiling {
        self.tiling
    }

    fn name(&self, grid: GridKind) -> String {
        format!("{}-pow2", self.as_f32().name(grid))
    }

    fn summary(&self) -> String {
        format!("{}, a power of two", self.tiling)
    }

    fn covers(&self, rows: usize, cols: usize) -> Result<(), SchemeError> {
        self.tiling.covers(rows, cols)
    }

    fn transposed(&self, shape: [usize; 2]) -> Option<ScaleStorage> {
        Some(ScaleStorage::F32PowerOfTwo(Self { tiling: self.tiling.transposed(shape) }))
    }

    fn scale_tiles(&self, grid: GridKind, maxima: &mut [f32]) {
        // As for every F32 scale; without a limit, tiles of zeros would get the smallest power there is.
        power_of_two::cover(grid, maxima, ZERO_ABSMAX);
    }

    fn candidate_count(&self, _grid: GridKind) -> usize {
        power_of_two::NEIGHBOURS
    }

    fn candidates(&self, scale: f32, _tensor: f32, candidates: &mut [f32]) {
        candidates.copy_from_slice(&power_of_two::neighbours(scale));
    }

    fn is_by_tile(&self) -> bool {
        true
    }

    fn parts(&self, shape: [usize; 2]) -> Vec<ScalePart> {
        self.as_f32().parts(shape)
    }

    fn part_bytes(&self, matrix: &QuantizedMatrix) -> Vec<Vec<u8>> {
        self.as_f32().part_bytes(matrix)
    }

    fn read(
        &self,
        shape: [usize; 2],
        codes: Vec<u8>,
        scales: &StoredScales,
    ) -> Result<StoredMatrix, SchemeError> {
        self.as_f32().read(shape, codes, scales)
    }

    fn read_as(&self) -> Option<ScaleStorage> {
        Some(ScaleStorage::F32(self.as_f32()))
    }
}

#[cfg(test)]
mod tests {
    use roundwise_grid::E8m0;

    use super::*;

    #[test]
    fn scales_are_the_smallest_powers_that_cover_their_tile() {
        let storage = F32PowerOfTwo { tiling: Tiling::Row };
        let mut maxima = [448.0, 449.0, 896.0, 0.0, 1e-13, 448e-10, f32::MAX];
        storage.scale_tiles(GridKind::E4m3, &mut maxima);
        let exact = 2f32.powi(-33);
        // With 2¹²⁰ the nearest code, 256, would decode to infinity.
        assert_eq!(maxima, [1.0, 2.0, 2.0, 1.0, 1.0, exact, 2f32.powi(119)]);
        assert!(maxima.iter().all(|scale| E8m0::encode(*scale).is_some()));
    }
}
