use roundwise_compute::{DeviceMatrix, Engine, Matrix, elementwise};
use roundwise_scheme::QuantizedMatrix;

use crate::{Inputs, Linear, RoundingError, SecondMoment};

/// Returns `tr(EHEᵀ) / tr(WHWᵀ)`: the mean squared error of a layer's outputs over their mean
/// square, for any codes, decoded with the stored scales. It is 0 where the layer's outputs are.
///
/// - `layer`: a weight `[m, n]` and statistics of its inputs
/// - `quantized`: `[m, n]`
///
/// # Errors
/// [`RoundingError::InputColumns`] without statistics of n inputs.
///
/// # Cost
/// Two products with H, `2mn²` multiplications, or with its factor.
///
/// # Panics
/// When weight and codes differ in shape.
pub fn relative_output_error(
    layer: Linear<'_>,
    quantized: &QuantizedMatrix,
    engine: &Engine,
) -> Result<f64, RoundingError> {
    let output = squared_outputs(layer, engine)?;
    let error = squared_output_errors(layer, quantized, engine)?;
    Ok(if error > 0.0 { error / output } else { 0.0 })
}

/// Returns `tr(EHEᵀ)`, the mean squared error of a layer's outputs, for any codes, decoded with the stored
/// scales. H is that of the layer's inputs in all rows.
///
/// # Errors
/// As [`relative_output_error`].
///
/// # Panics
/// When weight and codes differ in shape.
pub fn squared_output_errors(
    layer: Linear<'_>,
    quantized: &QuantizedMatrix,
    engine: &Engine,
) -> Result<f64, RoundingError> {
    let shape = [layer.weight.rows(), layer.weight.cols()];
    assert_eq!(quantized.shape(), shape, "shapes of a weight and its codes");
    let mut decoded = vec![0.0; shape[1]];
    energy(layer, engine, |row, values| {
        layer.weight.widen_row(row, values);
        quantized.decode_row(row, &mut decoded);
        elementwise::add_scaled(values, -1.0, &decoded);
    })
}

/// Returns `tr(WHWᵀ)`, the mean square of a layer's outputs.
///
/// # Errors
/// As [`relative_output_error`].
pub fn squared_outputs(layer: Linear<'_>, engine: &Engine) -> Result<f64, RoundingError> {
    energy(layer, engine, |row, values| layer.weight.widen_row(row, values))
}

/// Returns `tr(MHMᵀ)`, M given row by row.
fn energy(
    layer: Linear<'_>,
    engine: &Engine,
    mut read_row: impl FnMut(usize, &mut [f32]),
) -> Result<f64, RoundingError> {
    /// Rows that exist as F32 at once.
    const BLOCK: usize = 256;
    let (rows, cols) = (layer.weight.rows(), layer.weight.cols());
    let found = layer.inputs.map_or(0, Inputs::columns);
    let inputs = layer.inputs.filter(|inputs| inputs.columns() == cols);
    let inputs = inputs.ok_or(RoundingError::InputColumns { found, expected: cols })?;
    let metric = Metric::of(inputs, engine);
    let mut sum = 0.0;
    for first in (0..rows).step_by(BLOCK) {
        let block = first..rows.min(first + BLOCK);
        let mut values = Matrix::zeros(block.len(), cols);
        block.enumerate().for_each(|(index, row)| read_row(row, values.row_mut(index)));
        sum += metric.energy(values, engine);
    }
    Ok(sum)
}

/// H on the device.
enum Metric<'a> {
    Full(DeviceMatrix),
    LowRank { factor: DeviceMatrix, residual: &'a [f32] },
}

impl<'a> Metric<'a> {
    fn of(inputs: &'a Inputs, engine: &Engine) -> Self {
        match inputs.second_moment() {
            SecondMoment::Full(matrix) => Self::Full(engine.upload(matrix.clone())),
            SecondMoment::LowRank { factor, residual } => {
                Self::LowRank { factor: engine.upload(factor.clone()), residual }
            }
        }
    }

    /// Returns `tr(MHMᵀ)`.
    fn energy(&self, rows: Matrix, engine: &Engine) -> f64 {
        match self {
            Self::Full(second_moment) => {
                let rows = engine.upload(rows);
                // tr(MHMᵀ) is the dot product of MH and M: the m × m product is never made.
                let pulled = rows.multiply(second_moment);
                rows.read(|rows| pulled.read(|pulled| elementwise::dot(rows, pulled)))
            }
            Self::LowRank { factor, residual } => {
                let rest: f64 = (0..rows.rows())
                    .flat_map(|row| rows.row(row).iter().zip(*residual))
                    .map(|(value, rest)| f64::from(value * value) * f64::from(*rest))
                    .sum();
                rest + engine.upload(rows).multiply(factor).squared_norm()
            }
        }
    }
}
