//! Products of the small matrices that adapters are made of.

/// Multiplies `left · right`, `[rows, inner] · [inner, cols]`, row-major, summed in double
/// precision.
pub(super) fn product(left: &[f32], right: &[f32], inner: usize) -> Vec<f32> {
    let cols = right.len() / inner.max(1);
    let mut sums = vec![0.0_f64; cols];
    let mut product = Vec::with_capacity(left.len() / inner.max(1) * cols);
    for row in left.chunks(inner.max(1)) {
        sums.fill(0.0);
        // By rows of `right` as they lie in memory; the sums of one row stay in the cache.
        for (&factor, right) in row.iter().zip(right.chunks(cols.max(1))) {
            let factor = f64::from(factor);
            for (sum, &value) in sums.iter_mut().zip(right) {
                *sum += factor * f64::from(value);
            }
        }
        product.extend(sums.iter().map(|&sum| sum as f32));
    }
    product
}

/// Returns a matrix with rows and columns exchanged.
pub(super) fn transposed(matrix: &[f32], cols: usize) -> Vec<f32> {
    let rows = matrix.len() / cols.max(1);
    (0..cols).flat_map(|col| (0..rows).map(move |row| matrix[row * cols + col])).collect()
}

/// Mixes the channels of a kernel down to fewer: `[outer, inner, kernel] × [inner, channels]`,
/// summed over `inner`, is `[outer, channels, kernel]`.
///
/// - `mixing`: `[inner, channels]`
pub(super) fn mixed_channels(
    core: &[f32],
    mixing: &[f32],
    inner: usize,
    kernel: usize,
) -> Vec<f32> {
    let mixing = transposed(mixing, mixing.len() / inner.max(1));
    let slices = core.chunks((inner * kernel).max(1));
    slices.flat_map(|slice| product(&mixing, slice, inner)).collect()
}

/// Returns the product of two matrices `[size, size]`.
pub(super) fn product_f64(left: &[f64], right: &[f64], size: usize) -> Vec<f64> {
    let mut product = vec![0.0; size * size];
    for (row, sums) in product.chunks_mut(size.max(1)).enumerate() {
        for (factor, values) in left[row * size..].iter().zip(right.chunks(size.max(1))) {
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
        }
    }
    product
}

/// Returns the Cayley transform `(I + Q) · (I − Q)⁻¹` of a skew-symmetric `Q`, `[size, size]`,
/// which is a rotation; `I − Q` always has an inverse.
pub(super) fn cayley(skew: &[f64], size: usize) -> Vec<f64> {
    let unit = |row: usize, col: usize| f64::from(u8::from(row == col));
    let at = |row: usize, col: usize| skew[row * size + col];
    // R · (I − Q) = I + Q; both sides are transposed, and Qᵀ is −Q: (I + Q) · Rᵀ = I − Q.
    let mut left: Vec<f64> =
        (0..size * size).map(|it| unit(it / size, it % size) + at(it / size, it % size)).collect();
    let mut right: Vec<f64> =
        (0..size * size).map(|it| unit(it / size, it % size) - at(it / size, it % size)).collect();
    solve(&mut left, &mut right, size);
    (0..size * size).map(|it| right[(it % size) * size + it / size]).collect()
}

/// Turns `right` into `left⁻¹ · right` by elimination, the largest pivot of each column first.
fn solve(left: &mut [f64], right: &mut [f64], size: usize) {
    for col in 0..size {
        // It is never 0: the eigenvalues of I + Q are 1 + iλ, as those of a skew-symmetric Q are
        // imaginary.
        let pivot = (col..size)
            .max_by(|a, b| left[a * size + col].abs().total_cmp(&left[b * size + col].abs()))
            .unwrap_or(col);
        for at in 0..size {
            left.swap(col * size + at, pivot * size + at);
            right.swap(col * size + at, pivot * size + at);
        }
        let inverse = 1.0 / left[col * size + col];
        for row in (0..size).filter(|&row| row != col) {
            let factor = left[row * size + col] * inverse;
            if factor != 0.0 {
                for at in 0..size {
                    left[row * size + at] -= factor * left[col * size + at];
                    right[row * size + at] -= factor * right[col * size + at];
                }
            }
        }
        for at in 0..size {
            left[col * size + at] *= inverse;
            right[col * size + at] *= inverse;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_rows_times_columns() {
        let [left, right] = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]];
        assert_eq!(product(&left, &right, 2), [19.0, 22.0, 43.0, 50.0]);
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    /// `Q = [[0, t], [−t, 0]]` turns by `2 · atan(t)`.
    #[test]
    fn cayley_of_two_dimensions_is_a_known_rotation() {
        let angle = 2.0 * 0.5_f64.atan();
        let expected = [angle.cos(), angle.sin(), -angle.sin(), angle.cos()];
        let found = cayley(&[0.0, 0.5, -0.5, 0.0], 2);
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-15, "{found} {expected}");
        }
    }
}
