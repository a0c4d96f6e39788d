use std::ops::Range;

use crate::error::SchemeError;
use crate::rotation::rotate;
use crate::scheme::Scheme;

/// Numbers in which a weight can be stored before it is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatDtype {
    /// IEEE binary64, rounded to binary32 on reading.
    F64,
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// bfloat16.
    BF16,
}

impl FloatDtype {
    /// Returns the bytes of one number.
    pub fn byte_len(self) -> usize {
        match self {
            FloatDtype::F64 => 8,
            FloatDtype::F32 => 4,
            FloatDtype::F16 | FloatDtype::BF16 => 2,
        }
    }
}

/// A matrix `[rows, cols]` as it lies in a file: little-endian, row-major.
///
/// Rows are widened to `f32` one at a time, so that a whole `f32` copy never exists; where a scheme
/// [sees](Weight::seen_by) the weight rotated, they are rotated then.
#[derive(Clone, Copy, Debug)]
pub struct Weight<'a> {
    rows: usize,
    cols: usize,
    dtype: FloatDtype,
    bytes: &'a [u8],
    /// Columns of the groups that are rotated on reading; 0 for none.
    rotation_group: usize,
    /// Largest magnitude of the weights that share their scale with it, or 0.
    shared_absmax: f32,
    importance: Option<&'a [f32]>,
}

impl<'a> Weight<'a> {
    /// Borrows `rows · cols` numbers.
    ///
    /// # Errors
    /// [`SchemeError::WeightBytes`] when `bytes` does not hold exactly that many.
    pub fn new(
        rows: usize,
        cols: usize,
        dtype: FloatDtype,
        bytes: &'a [u8],
    ) -> Result<Self, SchemeError> {
        // No slice has `usize::MAX` bytes, so that a product that overflows matches none.
        let expected = rows
            .checked_mul(cols)
            .and_then(|count| count.checked_mul(dtype.byte_len()))
            .unwrap_or(usize::MAX);
        if bytes.len() != expected {
            return Err(SchemeError::WeightBytes { found: bytes.len(), expected });
        }
        Ok(Self {
            rows,
            cols,
            dtype,
            bytes,
            rotation_group: 0,
            shared_absmax: 0.0,
            importance: None,
        })
    }

    /// Returns the weight whose codes `scheme` stores: rotated where the scheme rotates.
    ///
    /// Rotated numbers are those of whole groups in `f32`, whatever part is read. Asking again
    /// changes nothing.
    #[must_use]
    pub fn seen_by(&self, scheme: Scheme) -> Self {
        Self { rotation_group: scheme.rotation_group(self.cols), ..*self }
    }

    /// Returns a row of F64 as it is stored, and nothing for other dtypes: numbers below the least of
    /// `f32` are 0 once they are widened.
    pub(crate) fn row_of_f64(&self, row: usize) -> Option<impl Iterator<Item = f64>> {
        let row_bytes = self.cols * self.dtype.byte_len();
        let (numbers, _) = self.bytes[row * row_bytes..][..row_bytes].as_chunks::<8>();
        let numbers = numbers.iter().map(|number| f64::from_le_bytes(*number));
        (self.dtype == FloatDtype::F64).then_some(numbers)
    }

    /// Returns the weight beside others, of which the largest has this magnitude: the scale of its
    /// tensor, or the factor of all its scales, covers them all.
    #[must_use]
    pub fn beside(&self, absmax: f32) -> Self {
        Self { shared_absmax: absmax, ..*self }
    }

    /// Returns the largest magnitude of the weights beside it, 0 where there are none.
    pub(crate) fn shared_absmax(&self) -> f32 {
        self.shared_absmax
    }

    /// Returns the weight with an importance for each column j: its error costs `importance[j]`
    /// where scales are searched for ([`ScaleRule::Mse`](crate::ScaleRule)), as a scheme sees the
    /// columns. The mean squares of a layer's inputs are such numbers. Without them each column
    /// counts 1.
    ///
    /// # Panics
    /// When there is not one number per column.
    #[must_use]
    pub fn with_importance(&self, importance: &'a [f32]) -> Self {
        assert_eq!(importance.len(), self.cols, "importance of every column");
        Self { importance: Some(importance), ..*self }
    }

    pub(crate) fn importance(&self) -> Option<&'a [f32]> {
        self.importance
    }

    /// Returns some of its rows.
    ///
    /// # Panics
    /// When `rows` are out of range.
    #[must_use]
    pub fn row_range(&self, rows: Range<usize>) -> Self {
        let row_bytes = self.cols * self.dtype.byte_len();
        let bytes = &self.bytes[rows.start * row_bytes..rows.end * row_bytes];
        Self { rows: rows.len(), bytes, ..*self }
    }

    /// Returns the number of output channels.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of input channels.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Widens row `row` into `values`, which holds `cols` numbers.
    ///
    /// # Panics
    /// When `row` or the length of `values` is out of range.
    pub fn widen_row(&self, row: usize, values: &mut [f32]) {
        self.widen_part(row, 0..self.cols, values);
    }

    /// Widens some columns of row `row` into `values`, which holds as many numbers.
    ///
    /// # Panics
    /// When `row`, `cols` or the length of `values` is out of range.
    pub fn widen_part(&self, row: usize, cols: Range<usize>, values: &mut [f32]) {
        assert!(cols.end <= self.cols, "columns of one row");
        match self.rotation_group {
            0 => self.widen_stored(row, cols, values),
            group if cols.start.is_multiple_of(group) && cols.len().is_multiple_of(group) => {
                self.widen_stored(row, cols, values);
                rotate(group, values);
            }
            group => {
                // Rotated numbers depend on all of their group: a part of one is cut out of the
                // whole.
                let groups = cols.start / group * group..cols.end.next_multiple_of(group);
                let skipped = cols.start - groups.start;
                let mut whole = vec![0.0; groups.len()];
                self.widen_stored(row, groups, &mut whole);
                rotate(group, &mut whole);
                values.copy_from_slice(&whole[skipped..skipped + cols.len()]);
            }
        }
    }

    fn widen_stored(&self, row: usize, cols: Range<usize>, values: &mut [f32]) {
        let size = self.dtype.byte_len();
        let bytes = &self.bytes[(row * self.cols + cols.start) * size..][..cols.len() * size];
        match self.dtype {
            FloatDtype::F64 => roundwise_grid::widen_f64(bytes, values),
            FloatDtype::F32 => roundwise_grid::widen_f32(bytes, values),
            FloatDtype::F16 => roundwise_grid::widen_f16(bytes, values),
            FloatDtype::BF16 => roundwise_grid::widen_bf16(bytes, values),
        }
    }

    /// Widens the whole matrix to `f32`, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.cols];
        for (row, out) in values.chunks_exact_mut(self.cols.max(1)).enumerate() {
            self.widen_row(row, out);
        }
        values
    }
}
