use rayon::prelude::*;

use crate::ComputeError;

/// A matrix on the host: `[rows, cols]`, row-major, `f32`, owned.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    values: Vec<f32>,
}

impl Matrix {
    /// Takes `values`, row after row, without copying them.
    ///
    /// # Errors
    /// [`ComputeError::Shape`] when there are not `rows · cols` of them.
    pub fn new(rows: usize, cols: usize, values: Vec<f32>) -> Result<Self, ComputeError> {
        if rows.checked_mul(cols) != Some(values.len()) {
            return Err(ComputeError::Shape { rows, cols, values: values.len() });
        }
        Ok(Self { rows, cols, values })
    }

    /// Makes a matrix of zeros.
    #[must_use]
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, values: vec![0.0; rows * cols] }
    }

    /// Makes a matrix with ones on the diagonal and zeros elsewhere.
    #[must_use]
    pub fn identity(dimension: usize) -> Self {
        Self::from_fn(dimension, dimension, |row, col| f32::from(row == col))
    }

    /// Makes a matrix from a function of row and column.
    #[must_use]
    pub fn from_fn(rows: usize, cols: usize, mut value: impl FnMut(usize, usize) -> f32) -> Self {
        let mut values = Vec::with_capacity(rows * cols);
        for row in 0..rows {
            values.extend((0..cols).map(|col| value(row, col)));
        }
        Self { rows, cols, values }
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Returns all values, row after row.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Returns all values, row after row, to be changed in place.
    #[must_use]
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Returns the values without copying them.
    #[must_use]
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// Returns one row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.cols..][..self.cols]
    }

    /// Returns one row, to be changed in place.
    #[must_use]
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.cols..][..self.cols]
    }

    /// Returns one value.
    #[must_use]
    pub fn at(&self, row: usize, col: usize) -> f32 {
        self.row(row)[col]
    }

    /// Returns a new matrix with rows and columns exchanged.
    #[must_use]
    pub fn transposed(&self) -> Self {
        // Square tiles keep both the reads and the writes within the first-level cache.
        const TILE: usize = 32;
        let mut turned = Self::zeros(self.cols, self.rows);
        let stripes = turned.values.par_chunks_mut((TILE * self.rows).max(1)).enumerate();
        stripes.for_each(|(stripe, turned)| {
            let cols = stripe * TILE..self.cols.min((stripe + 1) * TILE);
            for first in (0..self.rows).step_by(TILE) {
                for row in first..self.rows.min(first + TILE) {
                    for (index, value) in self.row(row)[cols.clone()].iter().enumerate() {
                        turned[index * self.rows + row] = *value;
                    }
                }
            }
        });
        turned
    }

    /// Returns a new matrix of the first `count` columns.
    #[must_use]
    pub fn leading_columns(&self, count: usize) -> Self {
        let count = count.min(self.cols);
        let mut values = Vec::with_capacity(self.rows * count);
        for row in 0..self.rows {
            values.extend_from_slice(&self.row(row)[..count]);
        }
        Self { rows: self.rows, cols: count, values }
    }

    /// Checks that every value is finite.
    ///
    /// # Errors
    /// [`ComputeError::NotFinite`] with the first place that is infinite or NaN.
    pub fn check_finite(&self) -> Result<(), ComputeError> {
        match self.values.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(index) => {
                // Where there is a value there are columns: no division by 0.
                Err(ComputeError::NotFinite { row: index / self.cols, col: index % self.cols })
            }
        }
    }
}
