use roundwise_grid::GridKind;

use super::absmax::{ZERO_ABSMAX, absmax_scale, map_maxima};
use super::{Bf16Scales, ScaleNumbers, ScalePart, ScaleRole, ScaleStorage, Storage, StoredScales};
use super::{f32_bytes, f32_numbers};
use crate::error::SchemeError;
use crate::quantized::{QuantizedMatrix, StoredMatrix};
use crate::tiling::Tiling;

/// One F32 number per tile: `max |w| / MAX`.
///
/// A tile below [`ZERO_ABSMAX`] has scale 1, so that its codes decode to exact zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct F32 {
    pub(crate) tiling: Tiling,
}

/// Candidates that [`ScaleRule::Mse`](crate::ScaleRule) tries beside 1 for F32 scales:
/// `0.70, 0.72, … 1.48`.
pub const MSE_MULTIPLES: usize = 40;

/// Tensors of F16 whose largest magnitude lies below this are scaled, to a largest of 10, as
/// published. Other F16 weights need no scale.
const TINY_ABSMAX: f32 = 1e-4;
const TINY_TARGET: f32 = 10.0;

impl Storage for F32 {
    fn tiling(&self) -> Tiling {
        self.tiling
    }

    fn name(&self, grid: GridKind) -> String {
        let grid = grid.name();
        match self.tiling {
            Tiling::Block { rows, cols } if rows == cols => format!("{grid}-block-{rows}"),
            Tiling::Block { rows, cols } => format!("{grid}-block-{rows}x{cols}"),
            Tiling::Row => format!("{grid}-row"),
            Tiling::Tensor => grid.to_owned(),
        }
    }

    fn summary(&self) -> String {
        self.tiling.to_string()
    }

    fn covers(&self, rows: usize, cols: usize) -> Result<(), SchemeError> {
        self.tiling.covers(rows, cols)
    }

    fn transposed(&self, shape: [usize; 2]) -> Option<ScaleStorage> {
        Some(ScaleStorage::F32(Self { tiling: self.tiling.transposed(shape) }))
    }

    fn scale_tiles(&self, grid: GridKind, maxima: &mut [f32]) {
        let largest_code = grid.max();
        match grid {
            // F16 has a range of its own: weights that it covers are stored as they are.
            GridKind::F16 => map_maxima(maxima, tiny_scale),
            _ => map_maxima(maxima, |maximum| absmax_scale(maximum, largest_code)),
        }
    }

    fn for_servers(&self) -> Option<ScaleStorage> {
        Some(ScaleStorage::Bf16(Bf16Scales { tiling: self.tiling }))
    }

    fn candidate_count(&self, grid: GridKind) -> usize {
        match grid {
            // A scale other than 1 is read by few programs.
            GridKind::F16 => 0,
            _ => MSE_MULTIPLES,
        }
    }

    fn candidates(&self, scale: f32, _tensor: f32, candidates: &mut [f32]) {
        // Above 1 as well: a scale that is a little too large can still fall better on the grid, and FP8 saturates
        // nothing then. Below 1 the largest weights saturate, which pays where few of them stand out.
        for (index, candidate) in candidates.iter_mut().enumerate() {
            *candidate = scale * (0.70 + 0.02 * index as f32);
        }
    }

    fn is_by_tile(&self) -> bool {
        true
    }

    fn parts(&self, [rows, cols]: [usize; 2]) -> Vec<ScalePart> {
        let shape = self.tiling.scale_shape(rows, cols);
        vec![ScalePart::new(ScaleRole::Tiles, ScaleNumbers::F32, &shape)]
    }

    fn part_bytes(&self, matrix: &QuantizedMatrix) -> Vec<Vec<u8>> {
        vec![f32_bytes(matrix.scales())]
    }

    fn read(
        &self,
        _shape: [usize; 2],
        codes: Vec<u8>,
        scales: &StoredScales,
    ) -> Result<StoredMatrix, SchemeError> {
        // Codes that are values by themselves come without a scale.
        let scales = scales.get(&ScaleRole::Tiles).map_or(vec![1.0], |bytes| f32_numbers(bytes));
        Ok(StoredMatrix { codes, scales: scales.into(), levels: None })
    }
}

fn tiny_scale(maximum: f32) -> f32 {
    match maximum {
        // Two quotients, as published: `maximum / TINY_TARGET` can differ in the last bit.
        ZERO_ABSMAX..TINY_ABSMAX => 1.0 / (TINY_TARGET / maximum),
        _ => 1.0,
    }
}
