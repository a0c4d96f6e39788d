//! Matrices to be rounded: ordinary ones, awkward ones, and those of the golden vectors.

mod awkward;
mod contract;
mod ordinary;

pub use awkward::{
    all_zero, constant, one_huge, subnormals, with_outliers, with_zero_rows, with_zero_tiles,
};
pub use contract::{contract_b, contract_c, contract_i};
pub use ordinary::{gaussian, power_law_spectrum, rank_one};

/// A small matrix, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
    /// `rows · cols` values; row `r`, column `c` at `r · cols + c`.
    pub values: Vec<f32>,
}

impl Matrix {
    /// Returns the matrix with `value(row, col)` everywhere, called row by row.
    pub fn from_fn(rows: usize, cols: usize, mut value: impl FnMut(usize, usize) -> f32) -> Matrix {
        let cells = (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
        Matrix { rows, cols, values: cells.map(|(row, col)| value(row, col)).collect() }
    }

    /// Replaces every value by `value(row, col, old)`.
    pub fn map(mut self, mut value: impl FnMut(usize, usize, f32) -> f32) -> Matrix {
        for (index, cell) in self.values.iter_mut().enumerate() {
            *cell = value(index / self.cols, index % self.cols, *cell);
        }
        self
    }

    /// Returns one value.
    pub fn at(&self, row: usize, col: usize) -> f32 {
        self.values[row * self.cols + col]
    }

    /// Returns `[rows, cols]`, as in a tensor header.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// Returns the values as little-endian F32 bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }
}
