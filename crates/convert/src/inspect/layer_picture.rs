//! One layer as a picture: its weights, its errors, and where they lie.

use std::path::Path;

use roundwise_scheme::{QuantizedMatrix, Tiling, Weight, WeightError, measure};
use serde::Serialize;

use crate::error::ConvertError;
use crate::inspect::comparison::Comparison;
use crate::inspect::verification::Biases;
use crate::source::Source;
use crate::source::find_tensor::find_tensor;

/// Distributions of a layer's weights and errors, and a map of the errors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerPicture {
    /// Name of the layer's weight in the original.
    pub tensor: String,
    /// `[rows, cols]` of the weight.
    pub shape: [usize; 2],
    /// Scheme of the codes.
    pub scheme: String,
    /// `‖E‖ / ‖W‖` of the stored codes; `None` where only `W` is 0.
    pub weight_error: Option<f64>,
    /// Weights of the original, in model units.
    pub weights: Histogram,
    /// `E = Ŵ − W`, Ŵ decoded from the stored codes, in model units.
    pub errors: Histogram,
    /// Where the errors lie.
    pub tiles: ErrorMap,
}

/// Counts of numbers by size, in bins of one width about 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Histogram {
    /// Bounds of the bins, one more than bins, ascending. A number that is a bound belongs to the bin
    /// above it, the largest one to the last bin.
    pub edges: Vec<f32>,
    /// Numbers in each bin.
    pub counts: Vec<u64>,
}

/// Errors of a matrix by cells of whole tiles, at most 128 down and 128 across. A tile that is larger
/// than that is cut.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorMap {
    /// Cells down.
    pub rows: usize,
    /// Cells across.
    pub cols: usize,
    /// `[rows, cols]` of a cell in weights; the last ones down and across may be smaller.
    pub cell: [usize; 2],
    /// Root mean square of E in each cell over that of W in the whole matrix, row-major; 0 where W
    /// is 0. Where cells are alike, their squares have the square of the weight error as their mean.
    pub error: Vec<f32>,
}

/// Looks at one layer of a converted file beside its original.
///
/// - `tensor`: name of the weight in the original, or of its layer
///
/// Both matrices are read whole and gone over twice.
///
/// # Errors
/// [`ConvertError::Misfit`] where the original has no such tensor, the converted file has no codes of
/// it, or they cannot be codes of this weight; else what the files answer.
pub fn look_at_layer(
    original: &Path,
    converted: &Path,
    tensor: &str,
) -> Result<LayerPicture, ConvertError> {
    let [original, converted] = [Source::open(original)?, Source::open(converted)?];
    let biases = Biases::Same;
    let comparison = Comparison { original, converted, biases, outputs: None };
    let header = find_tensor(&comparison.original, tensor)?;
    let (weight, matrix) = comparison.weight_and_codes(header)?;
    Ok(picture(&header.name, &weight.view(), &matrix))
}

/// - `weight`, `matrix`: of one shape, their numbers finite
fn picture(tensor: &str, weight: &Weight<'_>, matrix: &QuantizedMatrix) -> LayerPicture {
    let shape = matrix.shape();
    // 1. How large the numbers are, for the bins.
    let mut largest = [0.0_f32; 2];
    for_each_row(weight, matrix, |_, values, errors| {
        largest[0] = largest[0].max(roundwise_grid::absmax(values));
        largest[1] = largest[1].max(roundwise_grid::absmax(errors));
    });
    let [mut weights, mut errors] = largest.map(Histogram::up_to);
    let error = measure(weight, matrix);
    // 2. What is in each bin and each cell.
    let mut map = SquaresByCell::new(shape, matrix.scheme().tiling());
    for_each_row(weight, matrix, |row, of_weight, of_error| {
        weights.count(of_weight);
        errors.count(of_error);
        map.add(row, of_error);
    });
    LayerPicture {
        tensor: tensor.to_owned(),
        shape,
        scheme: matrix.scheme().to_string(),
        weight_error: Some(error.relative()).filter(|error| error.is_finite()),
        weights,
        errors,
        tiles: map.into_errors(error),
    }
}

/// Calls with the number of each row, its weights and their errors.
fn for_each_row(
    weight: &Weight<'_>,
    matrix: &QuantizedMatrix,
    mut look: impl FnMut(usize, &[f32], &[f32]),
) {
    let [rows, cols] = matrix.shape();
    let [mut values, mut errors] = [vec![0.0; cols], vec![0.0; cols]];
    for row in 0..rows {
        weight.widen_row(row, &mut values);
        matrix.decode_row(row, &mut errors);
        errors.iter_mut().zip(&values).for_each(|(error, value)| *error -= value);
        look(row, &values, &errors);
    }
}

impl Histogram {
    /// Odd, so that 0 lies in the middle of a bin.
    const BINS: usize = 129;

    /// Makes empty bins for numbers of at most this magnitude.
    fn up_to(largest: f32) -> Self {
        // Zeros lie in the middle bin, however wide it is.
        let largest = if largest > 0.0 { f64::from(largest) } else { 1.0 };
        let edge = |index: usize| ((2.0 * index as f64 / Self::BINS as f64 - 1.0) * largest) as f32;
        Self { edges: (0..=Self::BINS).map(edge).collect(), counts: vec![0; Self::BINS] }
    }

    fn count(&mut self, values: &[f32]) {
        let largest = f64::from(self.edges[Self::BINS]);
        let scale = Self::BINS as f64 / (2.0 * largest);
        for &value in values {
            // The cast saturates: what rounding puts a little below 0 falls into the first bin.
            let bin = ((f64::from(value) + largest) * scale) as usize;
            self.counts[bin.min(Self::BINS - 1)] += 1;
        }
    }
}

/// Sums of squared errors by cells.
struct SquaresByCell {
    shape: [usize; 2],
    cell: [usize; 2],
    cells: [usize; 2],
    sums: Vec<f64>,
}

impl SquaresByCell {
    fn new(shape: [usize; 2], tiling: Tiling) -> Self {
        let tile = tiling.tile_shape(shape[0], shape[1]);
        let cell = [0, 1].map(|side| cell_size(shape[side], tile[side]));
        let cells = [0, 1].map(|side| shape[side].div_ceil(cell[side]));
        Self { shape, cell, cells, sums: vec![0.0; cells[0] * cells[1]] }
    }

    fn add(&mut self, row: usize, errors: &[f32]) {
        let first = row / self.cell[0] * self.cells[1];
        for (part, sum) in errors.chunks(self.cell[1]).zip(&mut self.sums[first..]) {
            *sum += part.iter().map(|&error| f64::from(error).powi(2)).sum::<f64>();
        }
    }

    fn into_errors(self, total: WeightError) -> ErrorMap {
        let Self { shape, cell, cells, sums } = self;
        // Over W of the whole matrix, not of the cell: where a cell holds zeros its own ratio would
        // mean nothing.
        let mean_square = total.weight_squared / (shape[0] as f64 * shape[1] as f64);
        let length = |side: usize, at: usize| cell[side].min(shape[side] - at * cell[side]);
        let relative = |(index, sum): (usize, f64)| {
            let count = length(0, index / cells[1]) * length(1, index % cells[1]);
            let ratio = (sum / count as f64 / mean_square).sqrt();
            if ratio.is_finite() { ratio as f32 } else { 0.0 }
        };
        let error = sums.into_iter().enumerate().map(relative).collect();
        ErrorMap { rows: cells[0], cols: cells[1], cell, error }
    }
}

/// Most cells along a side.
const MOST_CELLS: usize = 128;

/// Weights along a side of a cell: those of whole tiles, unless one alone is too large.
fn cell_size(size: usize, tile: usize) -> usize {
    let smallest = size.div_ceil(MOST_CELLS).max(1);
    // A tile as long as the side may be cut. Others stay whole, so that cells show what one scale
    // does.
    match tile <= smallest || size.div_ceil(tile) > 1 {
        true => smallest.next_multiple_of(tile.max(1)),
        false => smallest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_whole_tiles_and_few() {
        for (size, tile, cell) in [
            (1, 1, 1),
            (0, 1, 1),
            (128, 1, 1),
            (129, 1, 2),
            (3072, 128, 128),
            (3072, 16, 32),
            (64, 128, 1),
            (3072, 3072, 24),
            (100, 64, 64),
        ] {
            assert_eq!(cell_size(size, tile), cell, "{size} by {tile}");
            assert!(size.div_ceil(cell) <= MOST_CELLS);
        }
    }

    #[test]
    fn every_number_is_counted_once() {
        let mut histogram = Histogram::up_to(2.0);
        histogram.count(&[-2.0, -0.0, 0.0, 0.01, 2.0, 1.99]);
        assert_eq!(histogram.counts.iter().sum::<u64>(), 6);
        assert_eq!(histogram.counts[Histogram::BINS / 2], 3);
        assert_eq!([histogram.counts[0], histogram.counts[Histogram::BINS - 1]], [1, 2]);
        assert_eq!((histogram.edges[0], histogram.edges[Histogram::BINS]), (-2.0, 2.0));
        Histogram::up_to(0.0).count(&[0.0]);
        // Numbers whose squares or differences leave `f32`.
        Histogram::up_to(f32::MAX).count(&[f32::MAX, -f32::MAX, 1e-45]);
        Histogram::up_to(1e-45).count(&[1e-45, -1e-45]);
    }
}
