use std::ops::Range;

use rayon::prelude::*;
use roundwise_compute::{Matrix, elementwise};
use roundwise_grid::{Code, Grid, GridVisitor};
use roundwise_scheme::{QuantizedMatrix, SchemeError};

use crate::layer::Layer;

/// Columns that are turned together: pieces long enough to pay for the call that reads them, and whole groups
/// of the usual rotation.
const STRIPE: usize = 256;

/// Rows that are turned together: sixteen values are a cache line, so that each is written once.
const TILE: usize = 16;

/// Weights and codes as solvers work on them: turned so that an input column is contiguous, columns
/// in a chosen order. "Line" `l` is column `order[l]` of the matrix.
pub(crate) struct Cells {
    /// m: cells of a line.
    pub(crate) rows: usize,
    /// Column of each line.
    pub(crate) order: Vec<usize>,
    /// `[n, m]`, units of the layer, the middle of its tile taken off each where tiles have zero
    /// points.
    pub(crate) weights: Vec<f32>,
    /// `[n, m]`, grid values of the codes, less those of the middle.
    pub(crate) values: Vec<f32>,
    /// Scale of every row, for each tile across.
    scales: Vec<Vec<f32>>,
    /// Grid value in the middle of every row's codes, for each tile across; none where it is 0.
    middles: Vec<Vec<f32>>,
    tile_cols: usize,
}

impl Cells {
    /// Starts from nearest codes.
    pub(crate) fn new(layer: &Layer<'_>, order: Vec<usize>) -> Self {
        let [rows, cols] = layer.nearest.shape();
        let weights = turned(rows, &order, |row, cols, piece| layer.widen(row, cols, piece));
        let values =
            layer.scheme.grid().visit(NearestValues { nearest: &layer.nearest, order: &order });
        let [_, tile_cols] = layer.scheme.tiling().tile_shape(rows, cols);
        let (scales, middles) = (layer.row_scales(), layer.row_middles());
        let mut cells = Self { rows, order, weights, values, scales, middles, tile_cols };
        cells.move_to_middle();
        cells
    }

    /// Takes the middle of its tile off every weight and code.
    fn move_to_middle(&mut self) {
        if self.middles.is_empty() {
            return;
        }
        let tiles = self.order.iter().map(|col| col / self.tile_cols);
        let lines = self.weights.chunks_mut(self.rows).zip(self.values.chunks_mut(self.rows));
        for (tile, (weights, values)) in tiles.zip(lines) {
            let rows = weights.iter_mut().zip(values).zip(&self.scales[tile]);
            for (((weight, value), scale), middle) in rows.zip(&self.middles[tile]) {
                *weight -= middle * scale;
                *value -= middle;
            }
        }
    }

    /// Adds what was taken off the weights of some lines.
    fn moved_back(&self, lines: Range<usize>, mut weights: Vec<f32>) -> Vec<f32> {
        if !self.middles.is_empty() {
            for (line, weights) in lines.zip(weights.chunks_mut(self.rows)) {
                let middles = &self.middles[self.order[line] / self.tile_cols];
                let moves = middles.iter().zip(self.scales(line));
                weights.iter_mut().zip(moves).for_each(|(weight, (middle, scale))| {
                    *weight += middle * scale;
                });
            }
        }
        weights
    }

    /// Returns the scale of every cell of a line.
    pub(crate) fn scales(&self, line: usize) -> &[f32] {
        &self.scales[self.order[line] / self.tile_cols]
    }

    /// Returns the largest scale of all; 1 where there is none.
    pub(crate) fn largest_scale(&self) -> f32 {
        self.scales.iter().flatten().copied().reduce(f32::max).unwrap_or(1.0)
    }

    /// Returns the smallest scale of all; 1 where there is none.
    pub(crate) fn smallest_scale(&self) -> f32 {
        self.scales.iter().flatten().copied().reduce(f32::min).unwrap_or(1.0)
    }

    /// Returns `‖W‖²`.
    pub(crate) fn weight_energy(&self) -> f64 {
        if self.middles.is_empty() {
            return elementwise::squared_norm(&self.weights);
        }
        elementwise::squared_norm(&self.moved_back(0..self.order.len(), self.weights.clone()))
    }

    /// Returns `Eᵀ`, `[n, m]`.
    pub(crate) fn all_errors(&self) -> Matrix {
        self.errors(0..self.order.len())
    }

    /// Returns rows of `Wᵀ`, `[b, m]`.
    pub(crate) fn weights_of(&self, lines: Range<usize>) -> Matrix {
        let cells = self.weights[lines.start * self.rows..lines.end * self.rows].to_vec();
        let weights = self.moved_back(lines.clone(), cells);
        Matrix::new(lines.len(), self.rows, weights).expect("b · m weights")
    }

    /// Returns rows of `Eᵀ`, `[b, m]`.
    pub(crate) fn errors(&self, lines: Range<usize>) -> Matrix {
        let mut errors = Matrix::zeros(lines.len(), self.rows);
        if self.rows > 0 {
            let of_lines = errors.values_mut().par_chunks_mut(self.rows).zip(lines);
            of_lines.for_each(|(errors, line)| {
                let cells = line * self.rows..(line + 1) * self.rows;
                let stored = self.values[cells.clone()].iter().zip(self.scales(line));
                for ((error, weight), (value, scale)) in
                    errors.iter_mut().zip(&self.weights[cells]).zip(stored)
                {
                    *error = value * scale - weight;
                }
            });
        }
        errors
    }

    /// Returns the codes as they are stored.
    pub(crate) fn quantized(&self, layer: &Layer<'_>) -> Result<QuantizedMatrix, SchemeError> {
        let mut place = vec![0; self.order.len()];
        for (line, &col) in self.order.iter().enumerate() {
            place[col] = line;
        }
        let codes = layer.scheme.grid().visit(Encode { cells: self, place: &place });
        layer.nearest.with_codes(codes)
    }
}

/// Transposes a matrix of `rows` rows: row `i` of the result is column `order[i]`. `read` copies a
/// piece of one of its rows.
fn turned(
    rows: usize,
    order: &[usize],
    read: impl Fn(usize, Range<usize>, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut result = vec![0.0; rows * order.len()];
    // Pieces of 0 rows cannot be cut.
    if result.is_empty() {
        return result;
    }
    let mut lines: Vec<(usize, &mut [f32])> =
        order.iter().copied().zip(result.chunks_exact_mut(rows)).collect();
    // The columns of a stripe then lie side by side, and a row is read by whole cache lines,
    // wherever the lines go.
    lines.sort_unstable_by_key(|(col, _)| *col);
    lines.par_chunks_mut(STRIPE).for_each(|stripe| {
        let (first, cols) = (stripe[0].0, stripe.len());
        let mut tile = vec![0.0; TILE * cols];
        for top in (0..rows).step_by(TILE) {
            let height = TILE.min(rows - top);
            for (row, values) in tile.chunks_exact_mut(cols).take(height).enumerate() {
                read(top + row, first..first + cols, values);
            }
            for (col, (_, line)) in stripe.iter_mut().enumerate() {
                let column = tile[col..].iter().step_by(cols);
                line[top..top + height].iter_mut().zip(column).for_each(|(to, from)| *to = *from);
            }
        }
    });
    result
}

/// Grid values of nearest codes, turned.
struct NearestValues<'a> {
    nearest: &'a QuantizedMatrix,
    order: &'a [usize],
}

impl GridVisitor for NearestValues<'_> {
    type Output = Vec<f32>;

    fn visit<G: Grid>(self) -> Vec<f32> {
        let [rows, cols] = self.nearest.shape();
        let codes = self.nearest.codes();
        turned(rows, self.order, |row, range, piece| {
            let first = (row * cols + range.start) * G::Code::BYTES;
            let bytes = &codes[first..first + piece.len() * G::Code::BYTES];
            let mut codes = [G::Code::default(); STRIPE];
            let codes = &mut codes[..piece.len()];
            G::Code::read_le(bytes, codes);
            roundwise_grid::decode_scaled::<G>(codes, 1.0, piece);
        })
    }
}

struct Encode<'a> {
    cells: &'a Cells,
    place: &'a [usize],
}

impl GridVisitor for Encode<'_> {
    type Output = Vec<u8>;

    fn visit<G: Grid>(self) -> Vec<u8> {
        let (rows, cols) = (self.cells.rows, self.place.len());
        let row_bytes = cols * G::Code::BYTES;
        let mut bytes = vec![0; rows * row_bytes];
        if row_bytes == 0 {
            return bytes;
        }
        bytes.par_chunks_mut(TILE * row_bytes).enumerate().for_each(|(tile, bytes)| {
            let (top, height) = (tile * TILE, bytes.len() / row_bytes);
            let mut values = vec![0.0; height * STRIPE];
            let mut codes = [G::Code::default(); STRIPE];
            for (stripe, lines) in self.place.chunks(STRIPE).enumerate() {
                let cols = lines.len();
                for (col, &line) in lines.iter().enumerate() {
                    let from = &self.cells.values[line * rows + top..][..height];
                    let column = values[col..].iter_mut().step_by(cols);
                    column.zip(from).for_each(|(to, from)| *to = *from);
                    let tile = (stripe * STRIPE + col) / self.cells.tile_cols;
                    if let Some(middles) = self.cells.middles.get(tile) {
                        let column = values[col..].iter_mut().step_by(cols);
                        column.zip(&middles[top..]).for_each(|(to, middle)| *to += middle);
                    }
                }
                let first = stripe * STRIPE * G::Code::BYTES;
                let (codes, piece) = (&mut codes[..cols], first..first + cols * G::Code::BYTES);
                let rows_of_bytes = bytes.chunks_exact_mut(row_bytes);
                for (values, bytes) in values.chunks_exact(cols).zip(rows_of_bytes) {
                    // Values are grid values by now, so nothing is rounded here.
                    roundwise_grid::encode_scaled::<G>(values, 1.0, codes);
                    G::Code::write_le(codes, &mut bytes[piece.clone()]);
                }
            }
        });
        bytes
    }
}
