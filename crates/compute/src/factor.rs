use faer::Par;
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat};

use crate::{ComputeError, Matrix, small};

/// `A⁻¹` of a symmetric positive definite A, of which the lower half is read; computed in `f64`.
///
/// # Errors
/// [`ComputeError::NotPositiveDefinite`].
pub fn inverse_of_positive_definite(symmetric: &Matrix) -> Result<Matrix, ComputeError> {
    let inverse = small::lower_inverse(small::cholesky_lower(small::widened(symmetric))?.as_ref());
    let mut product = Mat::zeros(inverse.nrows(), inverse.nrows());
    matmul(product.as_mut(), Accum::Replace, inverse.transpose(), inverse.as_ref(), 1.0, Par::Seq);
    Ok(small::narrowed(product.as_ref()))
}

/// X of `A·X = B`, A symmetric positive definite (its lower half is read); computed in `f64`.
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

/// The upper triangular R with `A⁻¹ = RᵀR`, A symmetric positive definite (its lower half is read).
///
/// What column-by-column error feedback needs of a second moment: row j of R, divided by its
/// diagonal, says how the error of column j is spread over the columns after it. `A = UUᵀ` is
/// factored from the last column backwards, and `R = U⁻¹`: no inverse of A is formed, so a poor
/// condition is not squared. In `f64`, on one thread.
///
/// # Errors
/// [`ComputeError::NotPositiveDefinite`]; add damping to the diagonal.
///
/// # Source
/// Frantar, Ashkboos, Hoefler, Alistarh, "GPTQ", ICLR 2023, step 3.
pub fn inverse_factor(symmetric: &Matrix) -> Result<Matrix, ComputeError> {
    let last = symmetric.rows().saturating_sub(1);
    // Rows and columns in reverse order turn the lower factor into an upper one.
    let reversed = Mat::from_fn(symmetric.rows(), symmetric.rows(), |row, col| {
        // The reversed lower half is the upper half, of which the mirror image is read.
        f64::from(symmetric.at(last - row.min(col), last - row.max(col)))
    });
    let inverse = small::lower_inverse(small::cholesky_lower(reversed)?.as_ref());
    Ok(Matrix::from_fn(symmetric.rows(), symmetric.rows(), |row, col| {
        inverse[(last - row, last - col)] as f32
    }))
}
