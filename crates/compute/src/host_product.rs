//! Products on the host that replace a matrix or are added to it.
//!
//! burn's product writes a new matrix, copies it and leaves the sum to another pass. What that costs is
//! told in `docs/decisions/0007-products-on-the-host-by-faer.md`.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Columns of the result that one thread works on: twice those of faer's AVX-512 kernel. The same
/// operations compute the same tiles for any number of threads.
const TILE_COLS: usize = 192;
/// Rows of a tile in a wide result, and in a narrow one, where only rows keep many threads busy. More
/// rows reuse the packed columns more often.
const TILE_ROWS: [usize; 2] = [768, 192];

/// Stores `left · right` in `sum` `[left.rows, right.cols]`, row-major, or adds it there.
///
/// Replacing fresh zeros is faster than adding to them: reading them maps a page that writing has to
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
    let height = if cols < 2 * TILE_COLS { TILE_ROWS[1] } else { TILE_ROWS[0] };
    let lines = sum.par_row_chunks_mut(height).zip(left.par_row_chunks(height));
    lines.for_each(|(sum, left)| {
        let tiles = sum.par_col_chunks_mut(TILE_COLS).zip(right.par_col_chunks(TILE_COLS));
        tiles.for_each(|(sum, right)| matmul(sum, accum, left, right, 1.0, Par::Seq));
    });
}

/// Rows of a triangular factor, or of a symmetric result, that are worked on at once.
const BLOCK: usize = 96;

/// Replaces `wide` `[k, n]`, row-major, by `lower · wide`, leaving out the zeros of `lower` `[k, k]`,
/// which is lower triangular.
pub(crate) fn multiply_lower(lower: MatRef<'_, f32>, wide: &mut [f32]) {
    let rows = lower.nrows();
    let cols = wide.len() / rows.max(1);
    let wide = MatMut::from_row_major_slice_mut(wide, rows, cols);
    wide.par_col_chunks_mut(TILE_COLS).for_each(|mut stripe| {
        let width = stripe.ncols();
        let mut product = vec![0.0; BLOCK * width];
        // A row of the product needs only itself and the rows before it: from the last block backwards, none that
        // was replaced is needed again.
        for first in (0..rows).step_by(BLOCK).rev() {
            let end = rows.min(first + BLOCK);
            let height = end - first;
            let product = &mut product[..height * width];
            let mut product = MatMut::from_row_major_slice_mut(product, height, width);
            let left = lower.subrows(first, height).subcols(0, end);
            let right = stripe.as_ref().subrows(0, end);
            matmul(product.as_mut(), Accum::Replace, left, right, 1.0, Par::Seq);
            stripe.as_mut().subrows_mut(first, height).copy_from(product);
        }
    });
}

/// Computes `wide · wideᵀ`, `[k, k]`, row-major; half of it is a mirror image.
pub(crate) fn gram(wide: MatRef<'_, f32>) -> Vec<f32> {
    let side = wide.nrows();
    let mut gram = vec![0.0; side * side];
    let mut whole = MatMut::from_row_major_slice_mut(&mut gram, side, side);
    whole.as_mut().par_row_chunks_mut(BLOCK).enumerate().for_each(|(block, gram)| {
        let (first, height) = (block * BLOCK, gram.nrows());
        // Each block of rows up to its own diagonal; what lies right of that is the mirror image.
        let end = first + height;
        let (left, right) = (wide.subrows(first, height), wide.subrows(0, end).transpose());
        matmul(gram.subcols_mut(0, end), Accum::Replace, left, right, 1.0, Par::Seq);
    });
    for row in 0..side {
        for col in row + 1..side {
            whole[(row, col)] = whole[(col, row)];
        }
    }
    gram
}

/// Views a part of `values` as a matrix.
///
/// # Panics
/// When neither its rows nor its columns are contiguous.
pub(crate) fn view(
    values: &[f32],
    start: usize,
    [rows, cols]: [usize; 2],
    [row_stride, col_stride]: [usize; 2],
) -> MatRef<'_, f32> {
    // Nothing to view, and `rows - 1` below would underflow.
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
