use rayon::prelude::*;
use roundwise_compute::Matrix;
use roundwise_scheme::{QuantizedMatrix, ScaleRule, Scheme, SchemeError, Weight};

/// A matrix to be rounded, its scales fixed, in units in which its largest weight is about 1.
///
/// The unit is a power of two, so that codes are the same in both units, and squares of the largest
/// and the smallest weights stay within `f32`.
pub(crate) struct Layer {
    pub(crate) scheme: Scheme,
    /// Model units per unit of this layer.
    pub(crate) unit: f64,
    /// `[m, n]`, units of the layer.
    pub(crate) weight: Matrix,
    /// Nearest codes with the same scales.
    pub(crate) nearest: QuantizedMatrix,
}

impl Layer {
    /// Chooses the scales and rounds to nearest.
    ///
    /// # Errors
    /// As [`QuantizedMatrix::nearest`].
    pub(crate) fn new(
        weight: &Weight<'_>,
        scheme: Scheme,
        rule: ScaleRule,
    ) -> Result<Self, SchemeError> {
        let nearest = QuantizedMatrix::nearest(weight, scheme, rule)?;
        let [rows, cols] = nearest.shape();
        let mut values = vec![0.0; rows * cols];
        if cols > 0 {
            values
                .par_chunks_mut(cols)
                .enumerate()
                .for_each(|(row, values)| weight.widen_row(row, values));
        }
        let unit = power_of_two_below(roundwise_grid::absmax(&values));
        let factor = 1.0 / unit;
        values.par_chunks_mut(1 << 14).for_each(|values| {
            values.iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
        });
        let weight = Matrix::new(rows, cols, values).expect("rows · cols values");
        Ok(Self { scheme, unit, weight, nearest })
    }

    /// Scales in units of the layer, one per row, for each tile across.
    pub(crate) fn row_scales(&self) -> Vec<Vec<f32>> {
        let [rows, cols] = self.nearest.shape();
        let tiling = self.scheme.tiling;
        let [_, across] = tiling.tiles(rows, cols);
        let scale = |row, tile| self.nearest.scales()[tiling.first_tile(row, [rows, cols]) + tile];
        let in_unit = |scale: f32| (f64::from(scale) / self.unit) as f32;
        (0..across).map(|tile| (0..rows).map(|row| in_unit(scale(row, tile))).collect()).collect()
    }
}

/// The largest power of two that is at most `value`; 1 for 0. In `f64`, for subnormals.
fn power_of_two_below(value: f32) -> f64 {
    if value == 0.0 {
        return 1.0;
    }
    f64::from_bits(f64::from(value).to_bits() & 0x7FF0_0000_0000_0000)
}
