//! Products on the host, in the place of what is there or added to it.
//!
//! burn's product writes a new matrix, copies it and leaves the sum to another pass. What that costs is
//! told in `docs/decisions/0007-products-on-the-host-by-faer.md`.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Columns, or rows, of the result that one thread works on: wherever the threads are, the same
/// pieces are computed by the same operations.
const STRIPE: usize = 192;

/// `left · right` in the place of, or added to, `sum` `[left.rows, right.cols]`, row after row.
///
/// Fresh zeros are better replaced than added to: reading them maps a page that writing has to
/// exchange.
pub(crate) fn product(
    sum: &mut [f32],
    accum: Accum,
    left: MatRef<'_, f32>,
    right: MatRef<'_, f32>,
) {
    let (rows, cols) = (left.nrows(), right.ncols());
    if rows == 0 || cols == 0 {
        return;
    }
    let sum = MatMut::from_row_major_slice_mut(sum, rows, cols);
    let multiply = |sum, left, right| matmul(sum, accum, left, right, 1.0, Par::Seq);
    if cols >= 2 * STRIPE {
        let stripes = sum.par_col_chunks_mut(STRIPE).zip(right.par_col_chunks(STRIPE));
        stripes.for_each(|(sum, right)| multiply(sum, left, right));
    } else {
        let stripes = sum.par_row_chunks_mut(STRIPE).zip(left.par_row_chunks(STRIPE));
        stripes.for_each(|(sum, left)| multiply(sum, left, right));
    }
}

/// A matrix somewhere in `values`.
///
/// # Panics
/// When neither its rows nor its columns are contiguous.
pub(crate) fn view(
    values: &[f32],
    start: usize,
    [rows, cols]: [usize; 2],
    [row_stride, col_stride]: [usize; 2],
) -> MatRef<'_, f32> {
    if rows == 0 || cols == 0 {
        return MatRef::from_row_major_slice(&[], rows, cols);
    }
    let length = (rows - 1) * row_stride + (cols - 1) * col_stride + 1;
    let values = &values[start..start + length];
    match (row_stride, col_stride) {
        (_, 1) => MatRef::from_row_major_slice_with_stride(values, rows, cols, row_stride),
        (1, _) => MatRef::from_column_major_slice_with_stride(values, rows, cols, col_stride),
        _ => panic!("a matrix with contiguous rows or columns"),
    }
}
