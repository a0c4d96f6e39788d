use roundwise_grid::{Bf16, Grid, GridKind};

use super::{F32, ScaleNumbers, ScalePart, ScaleRole, ScaleStorage, Storage, StoredScales};
use crate::error::SchemeError;
use crate::quantized::{QuantizedMatrix, StoredMatrix};
use crate::tiling::Tiling;

/// One BF16 number per tile: the one nearest to that of [`F32`], chosen before the codes are.
///
/// Servers keep scales in the dtype of their model, so an F32 number would be rounded behind the
/// codes that were chosen for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bf16Scales {
    pub(crate) tiling: Tiling,
}

impl Bf16Scales {
    fn as_f32(&self) -> F32 {
        F32 { tiling: self.tiling }
    }
}

/// Returns the BF16 number nearest to a scale, from below where that decodes past all numbers.
pub(super) fn rounded(scale: f32, largest_code: f32) -> f32 {
    let nearest = Bf16::round(scale);
    if (nearest * largest_code).is_finite() { nearest } else { Bf16::below(nearest) }
}

impl Storage for Bf16Scales {
    fn tiling(&self) -> Tiling {
        self.tiling
    }

    fn name(&self, grid: GridKind) -> String {
        self.as_f32().name(grid)
    }

    fn summary(&self) -> String {
        format!("{} in BF16", self.tiling)
    }

    fn covers(&self, rows: usize, cols: usize) -> Result<(), SchemeError> {
        self.tiling.covers(rows, cols)
    }

    fn transposed(&self, shape: [usize; 2]) -> Option<ScaleStorage> {
        Some(ScaleStorage::Bf16(Self { tiling: self.tiling.transposed(shape) }))
    }

    fn scale_tiles(&self, grid: GridKind, maxima: &mut [f32]) {
        self.as_f32().scale_tiles(grid, maxima);
        let largest_code = grid.max();
        maxima.iter_mut().for_each(|scale| *scale = rounded(*scale, largest_code));
    }

    fn candidate_count(&self, grid: GridKind) -> usize {
        self.as_f32().candidate_count(grid)
    }

    fn candidates(&self, scale: f32, tensor: f32, candidates: &mut [f32]) {
        self.as_f32().candidates(scale, tensor, candidates);
        // May become an infinity, whose error is no number, so that no search takes it.
        candidates.iter_mut().for_each(|scale| *scale = Bf16::round(*scale));
    }

    fn is_by_tile(&self) -> bool {
        true
    }

    fn parts(&self, shape: [usize; 2]) -> Vec<ScalePart> {
        let parts = self.as_f32().parts(shape).into_iter();
        parts.map(|part| ScalePart { numbers: ScaleNumbers::Bf16, ..part }).collect()
    }

    fn part_bytes(&self, matrix: &QuantizedMatrix) -> Vec<Vec<u8>> {
        let code = |scale: &f32| Bf16::encode(*scale).to_le_bytes();
        vec![matrix.scales().iter().flat_map(code).collect()]
    }

    fn read(
        &self,
        _shape: [usize; 2],
        codes: Vec<u8>,
        scales: &StoredScales,
    ) -> Result<StoredMatrix, SchemeError> {
        let bytes = scales.get(&ScaleRole::Tiles).map_or(&[][..], Vec::as_slice);
        let numbers =
            bytes.as_chunks().0.iter().map(|code| Bf16::decode(u16::from_le_bytes(*code)));
        let scales = numbers.collect::<Vec<f32>>().into();
        Ok(StoredMatrix { codes, scales, levels: None })
    }

    fn read_as(&self) -> Option<ScaleStorage> {
        Some(ScaleStorage::F32(self.as_f32()))
    }

    fn is_named_as_read(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_rounded_before_codes_are_chosen() {
        let storage = Bf16Scales { tiling: Tiling::Row };
        let mut maxima = [1.0, 448.0, 0.0, f32::MAX];
        storage.scale_tiles(GridKind::E4m3, &mut maxima);
        for scale in maxima {
            assert_eq!(Bf16::decode(Bf16::encode(scale)), scale);
            assert!((scale * 448.0).is_finite());
        }
        assert_eq!(maxima[1..3], [1.0, 1.0]);
    }
}
