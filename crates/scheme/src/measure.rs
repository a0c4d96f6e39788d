use roundwise_grid::{
    Grid, GridVisitor, Squares, count_codes, encode_measured, measure_each, round_each, vectorized,
};

use crate::quantized::QuantizedMatrix;
use crate::scales::NARROW;
use crate::storage::nearest_error_from_zero_points;
use crate::tiling::Tiling;
use crate::tiling::spread;
use crate::weight::Weight;

/// Error of stored codes: `E = Ŵ − W`, Ŵ decoded from the codes with the stored scales. Of a
/// rotated weight it is measured on the rotated numbers, which have the same norms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WeightError {
    /// `‖E‖²`, the sum over all weights.
    pub error_squared: f64,
    /// `‖W‖²`.
    pub weight_squared: f64,
}

impl WeightError {
    /// Returns `‖E‖ / ‖W‖`; 0 where both are 0, infinite where only `W` is 0.
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

impl std::ops::AddAssign<Squares> for WeightError {
    fn add_assign(&mut self, row: Squares) {
        self.error_squared += row.error;
        self.weight_squared += row.value;
    }
}

/// Measures the error of what is stored. Sums are added in row order, so the result is the same
/// on every machine and for any number of threads.
///
/// # Panics
/// When the shapes differ.
pub fn measure(weight: &Weight<'_>, quantized: &QuantizedMatrix) -> WeightError {
    assert_eq!([weight.rows(), weight.cols()], quantized.shape(), "shapes differ");
    quantized.scheme().grid().visit(Measure { weight, quantized })
}

struct Measure<'a> {
    weight: &'a Weight<'a>,
    quantized: &'a QuantizedMatrix,
}

impl GridVisitor for Measure<'_> {
    type Output = WeightError;

    fn visit<G: Grid>(self) -> WeightError {
        let mut total = WeightError::default();
        for_each_row::<G>(self.weight, self.quantized, |values, scales, codes| {
            total += match scales {
                RowScales::One(scale) => roundwise_grid::measure::<G>(values, scale, codes),
                RowScales::Each(scales) => measure_each::<G>(values, scales, codes),
            };
        });
        total
    }
}

/// Numbers that stored codes stand for 0 in place of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Zeroed {
    /// Numbers other than 0 whose code stands for 0; counted where most codes do.
    pub lost: u64,
    /// Codes that stand for another number.
    pub kept: u64,
}

impl Zeroed {
    /// Returns the share of the numbers other than 0 that became 0.
    pub fn share(&self) -> f64 {
        self.lost as f64 / (self.lost + self.kept).max(1) as f64
    }
}

impl std::ops::AddAssign for Zeroed {
    fn add_assign(&mut self, other: Self) {
        self.lost += other.lost;
        self.kept += other.kept;
    }
}

/// Counts the numbers that became 0. With zero points each tile has another code that stands for 0: there
/// only a weight counts that is 0 already in `f32`, and is not as it is stored.
///
/// # Cost
/// One look at the codes; at the weight only where most codes stand for 0.
///
/// # Panics
/// When the shapes differ.
pub fn zeroed(weight: &Weight<'_>, quantized: &QuantizedMatrix) -> Zeroed {
    assert_eq!([weight.rows(), weight.cols()], quantized.shape(), "shapes differ");
    match quantized.scheme().has_zero_points() || quantized.levels().is_some() {
        true => Zeroed { lost: vanished(weight), kept: 0 },
        false => quantized.scheme().grid().visit(CountZeroed { weight, quantized }),
    }
}

/// Counts the numbers of a weight in F64 of which none is other than 0 in `f32`.
fn vanished(weight: &Weight<'_>) -> u64 {
    let mut lost = 0;
    for row in 0..weight.rows() {
        let Some(stored) = weight.row_of_f64(row) else { return 0 };
        for value in stored.filter(|value| *value != 0.0) {
            if value as f32 != 0.0 {
                return 0;
            }
            lost += 1;
        }
    }
    lost
}

struct CountZeroed<'a> {
    weight: &'a Weight<'a>,
    quantized: &'a QuantizedMatrix,
}

impl GridVisitor for CountZeroed<'_> {
    type Output = Zeroed;

    fn visit<G: Grid>(self) -> Zeroed {
        let Self { weight, quantized } = self;
        let [rows, cols] = quantized.shape();
        let zero = G::encode(0.0);
        let mut codes = vec![G::Code::default(); cols];
        let mut kept = 0;
        for row in 0..rows {
            quantized.read_row_codes::<G>(row, &mut codes);
            kept += (cols - count_codes::<G>(&codes, zero)) as u64;
        }
        let mut lost = 0;
        if 2 * kept < (rows * cols) as u64 {
            let mut row = 0;
            for_each_row::<G>(weight, quantized, |values, _, codes| {
                let is_lost = |(value, code): &(f64, &G::Code)| *value != 0.0 && **code == zero;
                lost += match weight.row_of_f64(row) {
                    Some(stored) => stored.zip(codes).filter(is_lost).count(),
                    None => values
                        .iter()
                        .map(|value| f64::from(*value))
                        .zip(codes)
                        .filter(is_lost)
                        .count(),
                } as u64;
                row += 1;
            });
        }
        Zeroed { lost, kept }
    }
}

/// The largest `|Ŵ − W|` over all weights in steps of the grid: each at most 0.5 for nearest
/// rounding. Weights past the largest grid value are left out, since a scale may be chosen to clip.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LargestStep {
    /// In steps at `W`.
    pub at_weight: f32,
    /// In steps at the largest grid value, or in sixteenths of that value where these are larger,
    /// as in INT8. Learned rounding moves weights by many of their own steps, but not by many of
    /// these.
    pub at_largest: f32,
}

/// Measures the single weight that is furthest off.
///
/// # Panics
/// When the shapes differ.
pub fn largest_step(weight: &Weight<'_>, quantized: &QuantizedMatrix) -> LargestStep {
    assert_eq!([weight.rows(), weight.cols()], quantized.shape(), "shapes differ");
    quantized.scheme().grid().visit(MeasureStep { weight, quantized })
}

/// Returns the `‖E‖²` that nearest codes would have with the stored scales.
///
/// # Panics
/// When the shapes differ.
pub fn nearest_error(weight: &Weight<'_>, quantized: &QuantizedMatrix) -> f64 {
    assert_eq!([weight.rows(), weight.cols()], quantized.shape(), "shapes differ");
    // Nearest levels depend on scales of groups and of rows at once, which no single scale of a
    // tile says.
    if let Some(levels) = quantized.levels() {
        return levels.nearest_error(&weight.seen_by(quantized.scheme()), quantized.scales());
    }
    if quantized.scheme().has_zero_points() {
        return nearest_error_from_zero_points(weight, quantized);
    }
    quantized.scheme().grid().visit(MeasureNearest { weight, quantized })
}

struct MeasureNearest<'a> {
    weight: &'a Weight<'a>,
    quantized: &'a QuantizedMatrix,
}

impl GridVisitor for MeasureNearest<'_> {
    type Output = f64;

    fn visit<G: Grid>(self) -> f64 {
        let Self { weight, quantized } = self;
        let scheme = quantized.scheme();
        let weight = weight.seen_by(scheme);
        tile_errors::<G>(&weight, scheme.tiling(), quantized.scales()).iter().sum()
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
        let Self { weight, quantized } = self;
        let largest_of_grid = match quantized.scheme().has_zero_points() {
            true => G::step(G::MAX),
            false => G::step(G::MAX).max(G::MAX / FEWEST_STEPS),
        };
        let (tiling, shape) = (quantized.scheme().tiling(), quantized.shape());
        let [_, tile_cols] = tiling.tile_shape(shape[0], shape[1]);
        let mut row = 0;
        for_each_row::<G>(weight, quantized, |values, scales, codes| {
            let first = tiling.first_tile(row, shape);
            row += 1;
            for (index, (&value, &code)) in values.iter().zip(codes).enumerate() {
                let scale = match scales {
                    RowScales::One(scale) => scale,
                    RowScales::Each(scales) => scales[index],
                };
                let target = value / scale;
                let [low, high] =
                    quantized.code_range(first + index / tile_cols).unwrap_or([-G::MAX, G::MAX]);
                // A scale may be chosen to clip; what saturates is off by any number of steps.
                if (low..=high).contains(&target) {
                    let error = (G::decode(code) - target).abs();
                    largest.at_weight = largest.at_weight.max(error / G::step(target));
                    largest.at_largest = largest.at_largest.max(error / largest_of_grid);
                }
            }
        });
        largest
    }
}

/// Scales of one row of a matrix.
#[derive(Clone, Copy)]
enum RowScales<'a> {
    /// Of a row that lies in one tile.
    One(f32),
    /// For every column.
    Each(&'a [f32]),
}

/// Calls `body(values, scales, codes)` for every row.
fn for_each_row<G: Grid>(
    weight: &Weight<'_>,
    quantized: &QuantizedMatrix,
    mut body: impl FnMut(&[f32], RowScales<'_>, &[G::Code]),
) {
    let weight = &weight.seen_by(quantized.scheme());
    let (rows, cols) = (weight.rows(), weight.cols());
    let [_, tile_cols] = quantized.scheme().tiling().tile_shape(rows, cols);
    let mut values = vec![0.0; cols];
    let mut codes = vec![G::Code::default(); cols];
    let mut spread_scales = vec![];
    for row in 0..rows {
        weight.widen_row(row, &mut values);
        quantized.read_row_codes::<G>(row, &mut codes);
        let scales = match quantized.row_scales(row) {
            [scale] => RowScales::One(*scale),
            scales => {
                spread(scales, tile_cols, cols, &mut spread_scales);
                RowScales::Each(&spread_scales)
            }
        };
        body(&values, scales, &codes);
    }
}

/// Returns `‖E‖²` of every tile after nearest rounding with `scales`, row-major over tiles; its
/// columns weighed where they differ in importance.
///
/// - `weight`: as its scheme sees it
pub(crate) fn tile_errors<G: Grid>(
    weight: &Weight<'_>,
    tiling: Tiling,
    scales: &[f32],
) -> Vec<f64> {
    let shape = [weight.rows(), weight.cols()];
    let [_, tile_cols] = tiling.tile_shape(shape[0], shape[1]);
    let mut errors = vec![0.0; scales.len()];
    let mut values = vec![0.0; weight.cols()];
    let mut row_errors = RowErrors::<G>::new(weight.cols());
    for row in 0..weight.rows() {
        weight.widen_row(row, &mut values);
        let first = tiling.first_tile(row, shape);
        // Narrow tiles would cost a call for a few weights each; importance needs what is decoded,
        // not only the sum of squares.
        match tile_cols < NARROW || weight.importance().is_some() {
            true => {
                let (scales, errors) = (&scales[first..], &mut errors[first..]);
                row_errors.add(&values, tile_cols, scales, weight.importance(), errors);
            }
            false => {
                for (tile, columns) in tiling.columns(shape).enumerate() {
                    let codes = &mut row_errors.codes[columns.clone()];
                    let scale = scales[first + tile];
                    let squares = encode_measured::<G>(&values[columns], scale, codes);
                    errors[first + tile] += squares.error;
                }
            }
        }
    }
    errors
}

/// Codes of one row, and what they decode to.
struct RowErrors<G: Grid> {
    codes: Vec<G::Code>,
    decoded: Vec<f32>,
    spread_scales: Vec<f32>,
}

impl<G: Grid> RowErrors<G> {
    fn new(cols: usize) -> Self {
        let codes = vec![G::Code::default(); cols];
        Self { codes, decoded: vec![0.0; cols], spread_scales: vec![] }
    }

    /// Adds the errors of one row to those of its tiles, `tile_cols` columns each.
    fn add(
        &mut self,
        values: &[f32],
        tile_cols: usize,
        scales: &[f32],
        importance: Option<&[f32]>,
        errors: &mut [f64],
    ) {
        let across = values.len().div_ceil(tile_cols);
        let scales = &scales[..across];
        spread(scales, tile_cols, values.len(), &mut self.spread_scales);
        round_each::<G>(values, &self.spread_scales, &mut self.decoded);
        if let Some(importance) = importance {
            let roots = importance.iter().zip(&mut self.decoded).zip(values);
            // Scaled by the root, so that the squares below are weighed by the importance.
            roots.for_each(|((importance, decoded), value)| {
                *decoded = (*decoded - value) * importance.sqrt();
            });
            let tiles = self.decoded.chunks(tile_cols).zip(errors);
            for (differences, error) in tiles {
                let squares = differences.iter().map(|value| f64::from(*value).powi(2));
                *error += squares.sum::<f64>();
            }
            return;
        }
        vectorized(
            #[inline(always)]
            || {
                let tiles = values.chunks(tile_cols).zip(self.decoded.chunks(tile_cols));
                for ((values, decoded), error) in tiles.zip(errors) {
                    let differences = values
                        .iter()
                        .zip(decoded)
                        .map(|(value, decoded)| f64::from(*decoded) - f64::from(*value));
                    *error += differences.map(|difference| difference * difference).sum::<f64>();
                }
            },
        );
    }
}
