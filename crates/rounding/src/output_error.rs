use roundwise_compute::{DeviceMatrix, Engine, Matrix, elementwise};
use roundwise_scheme::{QuantizedMatrix, ScaleRule};

use crate::layer::Layer;
use crate::section::sections;
use crate::{Inputs, Linear, RoundingError, SecondMoment};

/// Returns the relative error of a layer's outputs for some codes, and for nearest ones of the same scheme,
/// as a search with [`Objective::Activations`](crate::Objective) reports them: by the statistics that count
/// for each row.
///
/// - `rule`: how the scales of the nearest codes are chosen
///
/// # Errors
/// As [`relative_output_error`]; when no whole blocks of the scheme cover the weight.
///
/// # Panics
/// When weight and codes differ in shape.
pub fn output_errors(
    layer: Linear<'_>,
    quantized: &QuantizedMatrix,
    rule: ScaleRule,
    engine: &Engine,
) -> Result<[f64; 2], RoundingError> {
    let (scheme, cols) = (quantized.scheme(), layer.weight.cols());
    let group = scheme.rotation().and_then(|rotation| rotation.group(cols));
    let [mut stored, mut nearest, mut outputs] = [0.0; 3];
    for section in sections(&layer, scheme, rule) {
        // Scales are searched for by the inputs as the columns of the scheme see them.
        let rotated = group.zip(section.inputs).map(|(group, inputs)| inputs.rotated(group));
        let seen = rotated.as_ref().or(section.inputs);
        let importance = seen.map(|inputs| inputs.second_moment().diagonal());
        let whole = Layer::new(layer.weight, scheme, rule, importance.as_deref())?;
        let rows = layer.weight.row_range(section.rows.clone());
        let part = Linear::from(&rows).with_inputs(section.inputs);
        let of_part = |codes: &QuantizedMatrix| {
            squared_output_errors(part, &codes.row_range(section.rows.clone()), engine)
        };
        stored += of_part(quantized)?;
        nearest += of_part(&whole.nearest)?;
        outputs += squared_outputs(part, engine)?;
    }
    let relative = |error: f64| if error > 0.0 { error / outputs } else { 0.0 };
    Ok([stored, nearest].map(relative))
}

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
