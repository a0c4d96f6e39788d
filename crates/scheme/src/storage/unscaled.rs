use roundwise_grid::GridKind;

use super::{ScalePart, ScaleStorage, Storage, StoredScales};
use crate::error::SchemeError;
use crate::quantized::{QuantizedMatrix, StoredMatrix};
use crate::tiling::Tiling;

/// No scales: the codes are the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Unscaled;

impl Storage for Unscaled {
    fn tiling(&self) -> Tiling {
        Tiling::Tensor
    }

    fn name(&self, grid: GridKind) -> String {
        format!("{}-unscaled", grid.name())
    }

    fn summary(&self) -> String {
        "no scales".to_owned()
    }

    fn transposed(&self, _shape: [usize; 2]) -> Option<ScaleStorage> {
        Some(ScaleStorage::Unscaled(Self))
    }

    fn scale_tiles(&self, _grid: GridKind, maxima: &mut [f32]) {
        maxima.fill(1.0);
    }

    fn parts(&self, _shape: [usize; 2]) -> Vec<ScalePart> {
        vec![]
    }

    fn part_bytes(&self, _matrix: &QuantizedMatrix) -> Vec<Vec<u8>> {
        vec![]
    }

    fn read(
        &self,
        _shape: [usize; 2],
        codes: Vec<u8>,
        _scales: &StoredScales,
    ) -> Result<StoredMatrix, SchemeError> {
        Ok(StoredMatrix { codes, scales: vec![1.0].into(), levels: None })
    }

    fn has_scales(&self) -> bool {
        false
    }
}
