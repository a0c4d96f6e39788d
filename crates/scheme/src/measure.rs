use roundwise_grid::{Grid, GridVisitor, encode_measured};

use crate::{QuantizedMatrix, Tiling, Weight};

/// Error of stored codes: `E = Ŵ − W`, Ŵ decoded from the codes with the stored scales.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WeightError {
    /// `‖E‖²`, the sum over all weights.
    pub error_squared: f64,
    /// `‖W‖²`.
    pub weight_squared: f64,
}

impl WeightError {
    /// `‖E‖ / ‖W‖`; 0 where both are 0, infinite where only `W` is 0.
    pub fn relative(&self) -> f64 {
        if self.error_squared == 0.0 {
            return 0.0;
        }
        (self.error_squared / self.weight_squared).sqrt()
    }
}

impl std::ops::AddAssign for WeightError {
    fn add_assign(&mut self, other: Self) {
        self.error_squared += other.error_squared;
        self.weight_squared += other.weight_squared;
    }
}

/// Measures the error of what is stored. Sums are added in row order, so the result is the same
/// on every machine and for any number of threads.
///
/// # Panics
/// When the shapes differ.
pub fn measure(weight: &Weight<'_>, quantized: &QuantizedMatrix) -> WeightError {
    assert_eq!([weight.rows(), weight.cols()], quantized.shape(), "shapes differ");
    quantized.scheme().grid.visit(Measure { weight, quantized })
}

struct Measure<'a> {
    weight: &'a Weight<'a>,
    quantized: &'a QuantizedMatrix,
}

impl GridVisitor for Measure<'_> {
    type Output = WeightError;

    fn visit<G: Grid>(self) -> WeightError {
        let mut total = WeightError::default();
        for_each_segment::<G>(self.weight, self.quantized, |values, scale, codes| {
            let squares = roundwise_grid::measure::<G>(values, scale, codes);
            total += WeightError { error_squared: squares.error, weight_squared: squares.value };
        });
        total
    }
}

/// The largest `|Ŵ − W|` over all weights in steps of the grid: each at most 0.5 for nearest
/// rounding. Weights past the largest grid value are left out, for a scale may be chosen to clip.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LargestStep {
    /// In steps at `W`.
    pub at_weight: f32,
    /// In steps at the largest grid value, or in sixteenths of that value where these are larger, as
    /// in INT8. Learned rounding moves weights by many of their own steps, but not by many of these.
    pub at_largest: f32,
}

/// Measures the single weight that is furthest off.
///
/// # Panics
/// When the shapes differ.
pub fn largest_step(weight: &Weight<'_>, quantized: &QuantizedMatrix) -> LargestStep {
    assert_eq!([weight.rows(), weight.cols()], quantized.shape(), "shapes differ");
    quantized.scheme().grid.visit(MeasureStep { weight, quantized })
}

/// `‖E‖²` that nearest codes would have with the stored scales.
///
/// # Panics
/// When the shapes differ.
pub fn nearest_error(weight: &Weight<'_>, quantized: &QuantizedMatrix) -> f64 {
    assert_eq!([weight.rows(), weight.cols()], quantized.shape(), "shapes differ");
    quantized.scheme().grid.visit(MeasureNearest { weight, quantized })
}

struct MeasureNearest<'a> {
    weight: &'a Weight<'a>,
    quantized: &'a QuantizedMatrix,
}

impl GridVisitor for MeasureNearest<'_> {
    type Output = f64;

    fn visit<G: Grid>(self) -> f64 {
        let Self { weight, quantized } = self;
        tile_errors::<G>(weight, quantized.scheme().tiling, quantized.scales()).iter().sum()
    }
}

/// E4M3 has 14 of its largest steps from 0 to its largest value.
const FEWEST_STEPS: f32 = 16.0;

struct MeasureStep<'a> {
    weight: &'a Weight<'a>,
    quantized: &'a QuantizedMatrix,
}

impl GridVisitor for MeasureStep<'_> {
    type Output = LargestStep;

    fn visit<G: Grid>(self) -> LargestStep {
        let mut largest = LargestStep::default();
        let largest_of_grid = G::step(G::MAX).max(G::MAX / FEWEST_STEPS);
        for_each_segment::<G>(self.weight, self.quantized, |values, scale, codes| {
            for (&value, &code) in values.iter().zip(codes) {
                let target = value / scale;
                if target.abs() <= G::MAX {
                    let error = (G::decode(code) - target).abs();
                    largest.at_weight = largest.at_weight.max(error / G::step(target));
                    largest.at_largest = largest.at_largest.max(error / largest_of_grid);
                }
            }
        });
        largest
    }
}

/// Calls `body(values, scale, codes)` for the part of every row that lies in one tile.
fn for_each_segment<G: Grid>(
    weight: &Weight<'_>,
    quantized: &QuantizedMatrix,
    mut body: impl FnMut(&[f32], f32, &[G::Code]),
) {
    let mut values = vec![0.0; weight.cols()];
    let mut codes = vec![G::Code::default(); weight.cols()];
    for row in 0..weight.rows() {
        weight.widen_row(row, &mut values);
        quantized.read_row_codes::<G>(row, &mut codes);
        for (columns, scale) in quantized.row_tiles(row) {
            body(&values[columns.clone()], scale, &codes[columns]);
        }
    }
}

/// `‖E‖²` of every tile after nearest rounding with `scales`, row-major over tiles.
pub(crate) fn tile_errors<G: Grid>(
    weight: &Weight<'_>,
    tiling: Tiling,
    scales: &[f32],
) -> Vec<f64> {
    let shape = [weight.rows(), weight.cols()];
    let mut errors = vec![0.0; scales.len()];
    let mut values = vec![0.0; weight.cols()];
    let mut codes = vec![G::Code::default(); weight.cols()];
    for row in 0..weight.rows() {
        weight.widen_row(row, &mut values);
        let first = tiling.first_tile(row, shape);
        for (tile, columns) in tiling.columns(shape).enumerate() {
            let scale = scales[first + tile];
            let codes = &mut codes[columns.clone()];
            errors[first + tile] += encode_measured::<G>(&values[columns], scale, codes).error;
        }
    }
    errors
}
