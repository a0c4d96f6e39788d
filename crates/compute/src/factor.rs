use faer::{Mat, Par};

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
    faer::linalg::triangular_solve::solve_lower_triangular_in_place(
        lower.as_ref(),
        solution.as_mut(),
        Par::Seq,
    );
    faer::linalg::triangular_solve::solve_upper_triangular_in_place(
        lower.transpose(),
        solution.as_mut(),
        Par::Seq,
    );
    Ok(small::narrowed(solution.as_ref()))
}

/// Computes the upper triangular U with `A = UUᵀ`, A symmetric positive definite.
///
/// Reads the lower half of A. Factored in `f64`, on one thread.
///
/// `‖EU‖² = tr(EAEᵀ)`, and column j of EU holds the first j columns of E alone: rounding column
/// after column, each cancels what the ones before it left in its own column of EU. That is the
/// feedback of GPTQ without an inverse of A.
///
/// # Errors
/// [`ComputeError::NotPositiveDefinite`]; add damping to the diagonal.
pub fn upper_factor(symmetric: &Matrix) -> Result<Matrix, ComputeError> {
    let last = symmetric.rows().saturating_sub(1);
    // Rows and columns in reverse order turn the lower factor into an upper one. Of the reversed
    // matrix only the lower half is read: the upper half of this one, of which the mirror image is.
    let reversed = Mat::from_fn(symmetric.rows(), symmetric.rows(), |row, col| match row >= col {
        true => f64::from(symmetric.row(last - col)[last - row]),
        false => 0.0,
    });
    let lower = small::cholesky_lower(reversed)?;
    // Columns of the lower factor are contiguous: they become rows, then columns again.
    let turned = Matrix::from_fn(symmetric.rows(), symmetric.rows(), |col, row| {
        lower[(last - row, last - col)] as f32
    });
    Ok(turned.transposed())
}
