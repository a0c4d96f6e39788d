//! Factors of few columns, through eigenvalues of small symmetric matrices.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::triangular::BlockStructure;
use faer::{Accum, Mat, MatRef, Par};

use crate::StatsErrorKind as Kind;

/// Computes F `[n, rank]`, row-major, such that `F·Fᵀ` is the best approximation of `X·Xᵀ` by that rank.
///
/// X is `[n, k]`; the work is nk² + k³: with `XᵀX = V Λ Vᵀ`, `F = X V` for the largest eigenvalues.
/// Columns that would be past k are 0.
pub(crate) fn reduced_factor(x: MatRef<'_, f64>, rank: usize) -> Result<Vec<f32>, Kind> {
    let k = x.ncols();
    // Only the lower half, which is what the decomposition reads.
    let mut gram = Mat::zeros(k, k);
    faer::linalg::matmul::triangular::matmul(
        gram.as_mut(),
        BlockStructure::TriangularLower,
        Accum::Replace,
        x.transpose(),
        BlockStructure::Rectangular,
        x,
        BlockStructure::Rectangular,
        1.0,
        Par::Seq,
    );
    // By the small matrix `XᵀX`: k is the sum of two ranks, n may be ten thousand columns. Squaring loses half
    // of the digits, which F64 has to spare for factors that are stored as F32.
    let (_, vectors) = eigen(gram.as_ref())?;
    // Eigenvalues ascend.
    let kept = rank.min(k);
    let leading = vectors.subcols(k - kept, kept);
    let mut factor = Mat::<f64>::zeros(x.nrows(), kept);
    faer::linalg::matmul::matmul(factor.as_mut(), Accum::Replace, x, leading, 1.0, Par::Seq);
    Ok(row_major(factor.as_ref(), rank))
}

/// Computes F `[n, rank]`, row-major, from the largest eigenvalues of a symmetric `[n, n]` matrix:
/// `F = V √Λ`. Negative eigenvalues count as 0. The work is n³.
pub(crate) fn leading_factor(symmetric: &[f32], n: usize, rank: usize) -> Result<Vec<f32>, Kind> {
    let matrix = Mat::from_fn(n, n, |row, column| f64::from(symmetric[row * n + column]));
    let (values, vectors) = eigen(matrix.as_ref())?;
    let kept = rank.min(n);
    let factor = Mat::from_fn(n, kept, |row, column| {
        let place = n - kept + column;
        // Rounded to F32, a matrix of low rank has eigenvalues a little below 0.
        vectors[(row, place)] * values.column_vector()[place].max(0.0).sqrt()
    });
    Ok(row_major(factor.as_ref(), rank))
}

/// Computes eigenvalues, ascending, and eigenvectors of a symmetric matrix; reads its lower half.
///
/// On one thread: faer chooses block sizes by the number of threads, and with them the bits.
fn eigen(symmetric: MatRef<'_, f64>) -> Result<(Diag<f64>, Mat<f64>), Kind> {
    let n = symmetric.nrows();
    let (mut values, mut vectors) = (Diag::zeros(n), Mat::zeros(n, n));
    let compute = ComputeEigenvectors::Yes;
    let scratch = self_adjoint_evd_scratch::<f64>(n, compute, Par::Seq, Default::default());
    self_adjoint_evd(
        symmetric,
        values.as_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| Kind::NoEigenvalues)?;
    Ok((values, vectors))
}

/// Stores the largest direction first, with columns of 0 at the end where there are too few.
fn row_major(ascending: MatRef<'_, f64>, rank: usize) -> Vec<f32> {
    let kept = ascending.ncols();
    let mut values = Vec::with_capacity(ascending.nrows() * rank);
    for row in 0..ascending.nrows() {
        values.extend((0..kept).rev().map(|column| ascending[(row, column)] as f32));
        values.extend(std::iter::repeat_n(0.0, rank - kept));
    }
    values
}
