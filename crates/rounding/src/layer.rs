use std::ops::Range;

use rayon::prelude::*;
use roundwise_compute::Matrix;
use roundwise_scheme::{QuantizedMatrix, ScaleRule, Scheme, SchemeError, Weight};

/// A matrix to be rounded, its scales fixed, in units in which its largest weight is about 1.
///
/// The unit is a power of two, so that codes are the same in both units, and squares of the largest
/// and the smallest weights stay within `f32`.
pub(crate) struct Layer<'a> {
    pub(crate) scheme: Scheme,
    /// Model units per unit of this layer.
    pub(crate) unit: f64,
    /// `[m, n]`, units of the model; rotated where the scheme rotates.
    weight: Weight<'a>,
    /// Nearest codes with the same scales.
    pub(crate) nearest: QuantizedMatrix,
}

impl<'a> Layer<'a> {
    /// Chooses the scales and rounds to nearest.
    ///
    /// - `importance`: what an error in each column costs where scales are searched for
    ///
    /// # Errors
    /// As [`QuantizedMatrix::nearest`].
    pub(crate) fn new(
        weight: &'a Weight<'a>,
        scheme: Scheme,
        rule: ScaleRule,
        importance: Option<&[f32]>,
    ) -> Result<Self, SchemeError> {
        let weight = weight.seen_by(scheme);
        let nearest = match importance {
            Some(importance) => {
                QuantizedMatrix::nearest(&weight.with_importance(importance), scheme, rule)?
            }
            None => QuantizedMatrix::nearest(&weight, scheme, rule)?,
        };
        // Looked for in the weight as the scheme sees it: a rotation changes the largest magnitude.
        let rows = (0..weight.rows()).into_par_iter();
        let absmax = rows.map_init(
            || vec![0.0; weight.cols()],
            |values, row| {
                weight.widen_row(row, values);
                roundwise_grid::absmax(values)
            },
        );
        let unit = power_of_two_below(absmax.reduce(|| 0.0, f32::max));
        Ok(Self { scheme, unit, weight, nearest })
    }

    /// Returns some rows of the layer, with the scales that were chosen for all.
    pub(crate) fn row_range(self, rows: Range<usize>) -> Self {
        let (weight, nearest) = (self.weight.row_range(rows.clone()), self.nearest.row_range(rows));
        Self { weight, nearest, ..self }
    }

    /// Returns the weight, `[m, n]`, in units of the layer. A copy as large as the weight in F32:
    /// it is made where it is needed, not kept.
    pub(crate) fn values(&self) -> Matrix {
        let [rows, cols] = self.nearest.shape();
        let mut values = vec![0.0; rows * cols];
        let rows_of_values = values.par_chunks_mut(cols.max(1)).enumerate();
        rows_of_values.for_each(|(row, values)| self.widen(row, 0..cols, values));
        Matrix::new(rows, cols, values).expect("rows · cols values")
    }

    /// Widens some columns of a row of the weight, in units of the layer.
    pub(crate) fn widen(&self, row: usize, cols: Range<usize>, values: &mut [f32]) {
        self.weight.widen_part(row, cols, values);
        // In `f64`: the factor of a subnormal unit is beyond `f32`. A power of two, so nothing is
        // lost.
        let factor = 1.0 / self.unit;
        values.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
    }

    /// Returns the grid values in the middle of what tiles can store, one per row, for each tile
    /// across; none where no tile has a zero point, 0 where weights are too small for their scale.
    pub(crate) fn row_middles(&self) -> Vec<Vec<f32>> {
        let [rows, cols] = self.nearest.shape();
        if self.nearest.zero_points().is_empty() {
            return vec![];
        }
        let tiling = self.scheme.tiling();
        let [_, across] = tiling.tiles(rows, cols);
        // Tiles of next to nothing have scale 1: moved by a multiple of it, their weights would be lost.
        let widest = self.unit * f64::from(1 << f32::MANTISSA_DIGITS);
        let middle = |row, tile| {
            let tile = tiling.first_tile(row, [rows, cols]) + tile;
            if f64::from(self.nearest.scales()[tile]) > widest {
                return 0.0;
            }
            let range = self.nearest.code_range(tile);
            let [low, high] = range.expect("a zero point for each tile");
            (low + high) / 2.0
        };
        (0..across).map(|tile| (0..rows).map(|row| middle(row, tile)).collect()).collect()
    }

    /// Returns the scales in units of the layer, one per row, for each tile across.
    pub(crate) fn row_scales(&self) -> Vec<Vec<f32>> {
        let [rows, cols] = self.nearest.shape();
        let tiling = self.scheme.tiling();
        let [_, across] = tiling.tiles(rows, cols);
        let scale = |row, tile| self.nearest.scales()[tiling.first_tile(row, [rows, cols]) + tile];
        // The scale of a tile of zeros may be far above the others; as an infinity it would make 0 · ∞.
        let largest = f64::from(f32::MAX);
        let in_unit = |scale: f32| (f64::from(scale) / self.unit).min(largest) as f32;
        (0..across).map(|tile| (0..rows).map(|row| in_unit(scale(row, tile))).collect()).collect()
    }
}

/// Returns the largest power of two that is at most `value`; 1 for 0. In `f64`, for subnormals.
fn power_of_two_below(value: f32) -> f64 {
    if value == 0.0 {
        return 1.0;
    }
    f64::from_bits(f64::from(value).to_bits() & 0x7FF0_0000_0000_0000)
}
