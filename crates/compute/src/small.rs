//! Decompositions by faer on the host, for factors of a few thousand rows at most.
//!
//! Always on one thread (`Par::Seq`): faer chooses block sizes by the number of threads, and with
//! them the bits; at these sizes a second thread gains nothing.

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::svd::ComputeSvdVectors;
use faer::linalg::{cholesky, householder, qr, svd, triangular_inverse};
use faer::traits::{ComplexField, RealField};
use faer::{Conj, Mat, MatRef, Par};

use crate::{ComputeError, Matrix};

/// Widens values to `f64`, column-major.
pub(crate) fn widened(matrix: &Matrix) -> Mat<f64> {
    Mat::from_fn(matrix.rows(), matrix.cols(), |row, col| f64::from(matrix.at(row, col)))
}

/// Rounds values to `f32`, row-major.
pub(crate) fn narrowed(matrix: MatRef<'_, f64>) -> Matrix {
    Matrix::from_fn(matrix.nrows(), matrix.ncols(), |row, col| matrix[(row, col)] as f32)
}

fn columns(matrix: &Matrix) -> Mat<f32> {
    Mat::from_fn(matrix.rows(), matrix.cols(), |row, col| matrix.at(row, col))
}

fn rows(matrix: MatRef<'_, f32>) -> Matrix {
    Matrix::from_fn(matrix.nrows(), matrix.ncols(), |row, col| matrix[(row, col)])
}

/// Computes L with `L·Lᵀ = symmetric`, of which it reads the lower half. The upper half of L is 0.
pub(crate) fn cholesky_lower<T: RealField>(mut symmetric: Mat<T>) -> Result<Mat<T>, ComputeError> {
    let dimension = symmetric.nrows();
    let scratch = cholesky::llt::factor::cholesky_in_place_scratch::<T>(
        dimension,
        Par::Seq,
        Default::default(),
    );
    cholesky::llt::factor::cholesky_in_place(
        symmetric.as_mut(),
        Default::default(),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|error| match error {
        cholesky::llt::factor::LltError::NonPositivePivot { index } => {
            ComputeError::NotPositiveDefinite { pivot: index, dimension }
        }
    })?;
    for col in 1..dimension {
        symmetric.col_mut(col).subrows_mut(0, col).fill(T::zero_impl());
    }
    Ok(symmetric)
}

/// Inverts a lower triangular matrix.
pub(crate) fn lower_inverse<T: ComplexField>(lower: MatRef<'_, T>) -> Mat<T> {
    let mut inverse = Mat::zeros(lower.nrows(), lower.nrows());
    triangular_inverse::invert_lower_triangular(inverse.as_mut(), lower, Par::Seq);
    inverse
}

/// Computes an orthonormal basis that spans the columns of `tall` (`[m, k]`, m ≥ k), by Householder
/// reflections: k orthonormal columns, whatever the rank of `tall`.
pub(crate) fn householder_basis(tall: &Matrix) -> Matrix {
    let (m, k) = (tall.rows(), tall.cols());
    let mut factors = columns(tall);
    let block = qr::no_pivoting::factor::recommended_block_size::<f32>(m, k);
    let mut coefficients = Mat::<f32>::zeros(block, k);
    let scratch = qr::no_pivoting::factor::qr_in_place_scratch::<f32>(
        m,
        k,
        block,
        Par::Seq,
        Default::default(),
    );
    qr::no_pivoting::factor::qr_in_place(
        factors.as_mut(),
        coefficients.as_mut(),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    );
    // The first k columns of all reflections, which are orthonormal whatever the columns of `tall`
    // were.
    let mut basis = Mat::<f32>::identity(m, k);
    let scratch = householder::apply_block_householder_sequence_on_the_left_in_place_scratch::<f32>(
        m, block, k,
    );
    householder::apply_block_householder_sequence_on_the_left_in_place_with_conj(
        factors.as_ref(),
        coefficients.as_ref(),
        Conj::No,
        basis.as_mut(),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
    );
    rows(basis.as_ref())
}

/// Computes U `[m, s]`, singular values in descending order and V `[n, s]`, s = min(m, n).
pub(crate) fn thin_svd(matrix: &Matrix) -> Result<(Matrix, Vec<f32>, Matrix), ComputeError> {
    let (m, n) = (matrix.rows(), matrix.cols());
    let size = m.min(n);
    let (mut u, mut v) = (Mat::<f32>::zeros(m, size), Mat::<f32>::zeros(n, size));
    let mut values = faer::diag::Diag::<f32>::zeros(size);
    let scratch = svd::svd_scratch::<f32>(
        m,
        n,
        ComputeSvdVectors::Thin,
        ComputeSvdVectors::Thin,
        Par::Seq,
        Default::default(),
    );
    svd::svd(
        columns(matrix).as_ref(),
        values.as_mut(),
        Some(u.as_mut()),
        Some(v.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| ComputeError::NoConvergence { rows: m, cols: n })?;
    let values = values.column_vector().iter().copied().collect();
    Ok((rows(u.as_ref()), values, rows(v.as_ref())))
}
