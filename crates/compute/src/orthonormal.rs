use faer::Mat;

use crate::{DeviceMatrix, Engine, Matrix, small};

/// How far a basis has to be from losing its independence for a Cholesky factor to be trusted.
///
/// The pivot of a column is the share of its squared length outside the columns before it. The Gram
/// matrix, summed in `f32`, is wrong by about 3e-6 for 600 columns of 3000 rows, so a basis that
/// passes leaves the first pass with columns that are independent, and nearly orthonormal.
const SMALLEST_PIVOT: f64 = 1e-5;
/// After one good pass every pivot is close to 1.
const SMALLEST_SECOND_PIVOT: f64 = 0.5;

/// An orthonormal basis of the space that the columns of `tall` span: `[m, k]`, m ≥ k.
///
/// `QᵀQ = I` within `f32` rounding. Two passes of Cholesky-QR, `Q = Y·R⁻¹` with `YᵀY = RᵀR`: the
/// products on the device, the k×k factor in `f64` on the host. Where the columns of `tall` are
/// dependent, nearly so, or out of the range of `f32` when squared, Householder reflections on the
/// host give k orthonormal columns all the same (36 ms for 3072×624 on one core; the two passes
/// 31 ms, and less on a GPU).
///
/// # Source
/// Yamamoto, Nakatsukasa, Yanagisawa, Fukaya, "Roundoff error analysis of the CholeskyQR2
/// algorithm", ETNA 44, 2015.
#[must_use]
pub fn orthonormalised(engine: &Engine, tall: &DeviceMatrix) -> DeviceMatrix {
    cholesky_pass(engine, tall, SMALLEST_PIVOT)
        .and_then(|(basis, _)| cholesky_pass(engine, &basis, SMALLEST_SECOND_PIVOT))
        .map_or_else(|| reflected(engine, tall), |(basis, _)| basis)
}

/// A basis of the same space whose columns are independent, not more: one pass. With it the
/// smallest pivot that `tall` had, 0 to 1.
///
/// Enough between products, which ask only that rounding loses no direction.
pub(crate) fn conditioned(engine: &Engine, tall: &DeviceMatrix) -> (DeviceMatrix, f64) {
    cholesky_pass(engine, tall, SMALLEST_PIVOT).unwrap_or_else(|| (reflected(engine, tall), 0.0))
}

fn reflected(engine: &Engine, tall: &DeviceMatrix) -> DeviceMatrix {
    engine.upload(small::householder_basis(&tall.clone().download()))
}

/// `Y·R⁻¹` and the smallest pivot; `None` when that is too small, or not a number.
fn cholesky_pass(
    engine: &Engine,
    tall: &DeviceMatrix,
    smallest_pivot: f64,
) -> Option<(DeviceMatrix, f64)> {
    let gram = tall.transposed_multiply(tall).download();
    let lengths: Vec<f64> = (0..gram.rows()).map(|i| f64::from(gram.at(i, i)).sqrt()).collect();
    if !lengths.iter().all(|length| *length > f64::from(f32::MIN_POSITIVE) && length.is_finite()) {
        return None;
    }
    // Columns of length 1 keep the pivots comparable and the factor well scaled. The factor is stored
    // by columns and the matrix by rows, so its mirror image is read.
    let cosines = Mat::from_fn(gram.rows(), gram.rows(), |row, col| {
        f64::from(gram.at(col, row)) / (lengths[row] * lengths[col])
    });
    drop(gram);
    let lower = small::cholesky_lower(cosines).ok()?;
    let pivot = (0..lengths.len()).map(|i| lower[(i, i)] * lower[(i, i)]).fold(1.0, f64::min);
    if pivot < smallest_pivot {
        return None;
    }
    let inverse = small::lower_inverse(lower.as_ref());
    // Column i of L⁻¹ is row i of R⁻¹.
    let mut scaled = Matrix::zeros(lengths.len(), lengths.len());
    for (row, length) in lengths.iter().enumerate() {
        let values = inverse.col_as_slice(row);
        scaled.row_mut(row).iter_mut().zip(values).for_each(|(s, v)| *s = (v / length) as f32);
    }
    Some((tall.multiply(&engine.upload(scaled)), pivot))
}
