use faer::linalg::matmul::matmul;
use faer::linalg::triangular_solve::{
    solve_lower_triangular_in_place, solve_upper_triangular_in_place,
};
use faer::reborrow::{Reborrow, ReborrowMut};
use faer::{Accum, MatMut, Par};
use rayon::prelude::*;

use crate::{ComputeError, Matrix, small};

/// Solves `A·X = B` for X in `f64`, A symmetric positive definite.
///
/// Reads the lower half of A.
///
/// # Errors
/// [`ComputeError::NotPositiveDefinite`].
pub fn solve_positive_definite(symmetric: &Matrix, right: &Matrix) -> Result<Matrix, ComputeError> {
    assert_eq!(symmetric.rows(), right.rows(), "rows of A·X = B");
    let lower = small::cholesky_lower(small::widened(symmetric))?;
    let mut solution = small::widened(right);
    solve_lower_triangular_in_place(lower.as_ref(), solution.as_mut(), Par::Seq);
    solve_upper_triangular_in_place(lower.transpose(), solution.as_mut(), Par::Seq);
    Ok(small::narrowed(solution.as_ref()))
}

/// Rows and columns of the blocks that a factorisation goes by.
const BLOCK: usize = 192;

/// Computes the upper triangular U with `A = UUᵀ`, A symmetric positive definite, in `f64`.
///
/// - `side`: rows and columns of A
/// - `value`: `A[row, col]`, asked for where `col ≤ row`
///
/// `‖EU‖² = tr(EAEᵀ)`, and column j of EU holds the first j columns of E alone: rounding column
/// after column, each cancels what the ones before it left in its own column of EU. That is the
/// feedback of GPTQ without an inverse of A. Takes three `f32` copies of A.
///
/// # Errors
/// [`ComputeError::NotPositiveDefinite`]; add damping to the diagonal.
pub fn upper_factor(
    side: usize,
    value: impl Fn(usize, usize) -> f64 + Sync,
) -> Result<Matrix, ComputeError> {
    // Rows and columns in reverse order turn an upper factor into a lower one. Column c of what is factored is
    // row `side − 1 − c` of A from its diagonal backwards.
    let mut values = vec![0.0; side * side];
    values.par_chunks_mut(side.max(1)).enumerate().for_each(|(col, values)| {
        let row = side - 1 - col;
        let lower = values[col..].iter_mut().rev().enumerate();
        lower.for_each(|(col, slot)| *slot = value(row, col));
    });
    factor_lower(MatMut::from_column_major_slice_mut(&mut values, side, side))?;
    let turned = values.par_iter().rev().map(|value| *value as f32).collect();
    drop(values);
    // Columns of the lower factor are contiguous: they become rows, then columns again.
    Ok(Matrix::new(side, side, turned)?.transposed())
}

/// Replaces a matrix by L with `A = LLᵀ`; of A only the lower half is read, and the upper one is 0.
///
/// In blocks that do not depend on the number of threads, as faer's own do: the same bits for each.
fn factor_lower(mut whole: MatMut<'_, f64>) -> Result<(), ComputeError> {
    let side = whole.nrows();
    for first in (0..side).step_by(BLOCK) {
        let rest = whole.rb_mut().submatrix_mut(first, first, side - first, side - first);
        let size = BLOCK.min(side - first);
        let (mut own, _, mut below, later) = rest.split_at_mut(size, size);
        let lower = small::cholesky_lower(own.to_owned()).map_err(|error| match error {
            ComputeError::NotPositiveDefinite { pivot, .. } => {
                ComputeError::NotPositiveDefinite { pivot: first + pivot, dimension: side }
            }
            error => error,
        })?;
        own.copy_from(&lower);
        // What is below is `X` of `XLᵀ`, row by row.
        below.rb_mut().par_row_chunks_mut(BLOCK).for_each(|rows| {
            solve_lower_triangular_in_place(lower.as_ref(), rows.transpose_mut(), Par::Seq);
        });
        let below = below.rb();
        later.par_col_chunks_mut(BLOCK).enumerate().for_each(|(block, columns)| {
            let (top, width) = (block * BLOCK, columns.ncols());
            let lower = columns.split_at_row_mut(top).1;
            // Rows from the diagonal on: the upper half is never read.
            let (left, right) = (below.split_at_row(top).1, below.subrows(top, width).transpose());
            matmul(lower, Accum::Add, left, right, -1.0, Par::Seq);
        });
    }
    Ok(())
}
