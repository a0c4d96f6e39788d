use faer::Mat;

use crate::{DeviceMatrix, Engine, Matrix, small};

/// Smallest pivot for which a Cholesky factor is trusted: how far a basis is from dependence.
///
/// The pivot of a row is the share of its squared length outside the rows before it. The Gram matrix,
/// summed in `f32`, is wrong by about 3e-6 for 600 rows of 3000 columns, so a basis that passes leaves
/// the first pass with rows that are independent, and nearly orthonormal.
const SMALLEST_PIVOT: f64 = 1e-5;
/// Smallest pivot of the second pass; after one good pass every pivot is close to 1.
const SMALLEST_SECOND_PIVOT: f64 = 0.5;

/// Computes an orthonormal basis of the space that the rows of `wide` span: `[k, n]`, k ≤ n.
///
/// `QQᵀ = I` within `f32` rounding. Two passes of Cholesky-QR, `Q = L⁻¹·Y` with `YYᵀ = LLᵀ`: the
/// products on the device, the k×k factor in `f64` on the host. Where the rows of `wide` are
/// dependent, nearly so, or out of the range of `f32` when squared, Householder reflections on the
/// host give k orthonormal rows.
///
/// # Source
/// Yamamoto, Nakatsukasa, Yanagisawa, Fukaya, "Roundoff error analysis of the CholeskyQR2
/// algorithm", ETNA 44, 2015.
#[must_use]
pub fn orthonormalised(engine: &Engine, wide: &DeviceMatrix) -> DeviceMatrix {
    let reflected = || reflected(engine, wide.clone());
    let Some((inverse, _)) = inverse_factor(wide, SMALLEST_PIVOT) else {
        return reflected();
    };
    let once = engine.upload(inverse).multiply(wide);
    match inverse_factor(&once, SMALLEST_SECOND_PIVOT) {
        Some((inverse, _)) => once.multiplied_by_lower(&engine.upload(inverse)),
        None => reflected(),
    }
}

/// Makes the rows of `wide` independent in one pass, and returns the smallest pivot that they had,
/// 0 to 1.
///
/// That is enough between products, which only need that rounding loses no direction.
pub(crate) fn conditioned(engine: &Engine, wide: DeviceMatrix) -> (DeviceMatrix, f64) {
    match inverse_factor(&wide, SMALLEST_PIVOT) {
        Some((inverse, pivot)) => (wide.multiplied_by_lower(&engine.upload(inverse)), pivot),
        None => (reflected(engine, wide), 0.0),
    }
}

fn reflected(engine: &Engine, wide: DeviceMatrix) -> DeviceMatrix {
    engine.upload(small::householder_basis(&wide.download().transposed()).transposed())
}

/// Computes L⁻¹ of `YYᵀ = LLᵀ` and the smallest pivot; `None` when that is too small, or NaN.
fn inverse_factor(wide: &DeviceMatrix, smallest_pivot: f64) -> Option<(Matrix, f64)> {
    let gram = wide.gram().download();
    let lengths: Vec<f64> = (0..gram.rows()).map(|i| f64::from(gram.at(i, i)).sqrt()).collect();
    if !lengths.iter().all(|length| *length > f64::from(f32::MIN_POSITIVE) && length.is_finite()) {
        return None;
    }
    // Rows of length 1 keep the pivots comparable and the factor well scaled.
    let cosines = Mat::from_fn(gram.rows(), gram.rows(), |row, col| {
        f64::from(gram.at(row, col)) / (lengths[row] * lengths[col])
    });
    drop(gram);
    let lower = small::cholesky_lower(cosines).ok()?;
    let pivot = (0..lengths.len()).map(|i| lower[(i, i)] * lower[(i, i)]).fold(1.0, f64::min);
    if pivot < smallest_pivot {
        return None;
    }
    let inverse = small::lower_inverse(lower.as_ref());
    let scaled = |row, col| (inverse[(row, col)] / lengths[col]) as f32;
    Some((Matrix::from_fn(lengths.len(), lengths.len(), scaled), pivot))
}
