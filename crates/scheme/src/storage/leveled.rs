//! 4-bit codes for levels of INT8 rows.

mod levels;
mod quantize;
mod table;

use roundwise_grid::GridKind;

use super::{ScaleNumbers, ScalePart, ScaleRole, Storage, StoredScales, f32_bytes, f32_numbers};
use crate::error::SchemeError;
use crate::quantized::{QuantizedMatrix, StoredMatrix};
use crate::tiling::Tiling;

pub(crate) use levels::Levels;
pub(crate) use quantize::quantize;
pub use table::CODEBOOK;

/// Weights of a row that share a scale relative to the row's.
pub const LEVEL_GROUP: usize = 16;

/// Levels that a 4-bit code chooses from.
const LEVELS: usize = 16;

/// Smallest scale of a group or a row that holds more than zeros.
const SMALLEST_SCALE: f32 = 1e-8;

/// One F32 per row, for 8-bit codes that are stored as 4-bit ones: each stands for a level out of
/// 16, which follow from a table for the tensor and an E4M3 number per 16 weights of a row. See
/// [`Levels`].
///
/// # Source
/// `asym_w4a8_int8` of comfy-kitchen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leveled;

impl Storage for Leveled {
    fn tiling(&self) -> Tiling {
        Tiling::Row
    }

    fn name(&self, _grid: GridKind) -> String {
        "int4-asym".to_owned()
    }

    fn codes(&self, grid: GridKind) -> String {
        format!("4-bit codes of {} levels", grid.name().to_uppercase())
    }

    fn summary(&self) -> String {
        format!(
            "one scale per row and per {LEVEL_GROUP} weights of it, and a table of {LEVELS} levels"
        )
    }

    fn covers(&self, rows: usize, cols: usize) -> Result<(), SchemeError> {
        Tiling::Block { rows: 1, cols: LEVEL_GROUP }.covers(rows, cols)
    }

    /// Chooses nothing: [`quantize`] chooses scales and codes together.
    fn scale_tiles(&self, _grid: GridKind, maxima: &mut [f32]) {
        maxima.fill(1.0);
    }

    fn parts(&self, [rows, cols]: [usize; 2]) -> Vec<ScalePart> {
        let groups = [rows, cols / LEVEL_GROUP];
        vec![
            ScalePart::new(ScaleRole::Rows, ScaleNumbers::F32, &[rows]),
            ScalePart::new(ScaleRole::Groups, ScaleNumbers::E4m3, &groups),
            ScalePart::new(ScaleRole::Levels, ScaleNumbers::F32, &[LEVELS]),
        ]
    }

    fn part_bytes(&self, matrix: &QuantizedMatrix) -> Vec<Vec<u8>> {
        let rows = f32_bytes(matrix.scales());
        let levels = matrix.levels().expect("the scheme has levels");
        vec![rows, levels.group_scales.clone(), f32_bytes(&levels.table)]
    }

    /// Returns the 4-bit codes that stand for the levels.
    fn stored_codes(&self, matrix: QuantizedMatrix) -> Vec<u8> {
        let levels = matrix.levels().expect("the scheme has levels").clone();
        let mut codes = matrix.into_codes();
        levels.encode(&mut codes);
        codes
    }

    fn read(
        &self,
        shape @ [rows, cols]: [usize; 2],
        mut codes: Vec<u8>,
        scales: &StoredScales,
    ) -> Result<StoredMatrix, SchemeError> {
        self.covers(rows, cols)?;
        let bytes = |role| scales.get(&role).map_or(&[][..], Vec::as_slice);
        // Evenly spaced levels need no table; one that is too short is no table.
        let table = scales.get(&ScaleRole::Levels).map(|bytes| {
            let table = f32_numbers(bytes);
            std::array::from_fn(|at| table.get(at).copied().unwrap_or(f32::NAN))
        });
        let levels = Levels::new(table, bytes(ScaleRole::Groups).to_vec(), shape)?;
        // The product cannot overflow: there is a scale in memory for every group. Codes of another
        // length are left to `from_stored_matrix`, whose error names both lengths.
        if codes.len() == rows * cols {
            levels.decode(&mut codes);
        }
        let scales = f32_numbers(bytes(ScaleRole::Rows)).into();
        Ok(StoredMatrix { codes, scales, levels: Some(levels) })
    }

    fn code_bits(&self, _grid: GridKind) -> usize {
        4
    }

    fn has_levels(&self) -> bool {
        true
    }

    fn needs_whole_matrix(&self) -> bool {
        true
    }
}
