use super::Matrix;
use crate::random::Random;

/// Returns independent normal values with the deviation 0.02 that trained layers tend to have.
pub fn gaussian(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut random = Random::new(seed);
    Matrix::from_fn(rows, cols, |_, _| (0.02 * random.gaussian()) as f32)
}

/// Returns a matrix whose singular values fall like a power law, as those of trained layers do.
///
/// `Σ_i (i + 1)^−0.75 · u_i v_iᵀ` over up to 64 directions, plus noise, about 0.02 in root mean
/// square. The directions are random, hence nearly and not exactly orthogonal.
pub fn power_law_spectrum(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut random = Random::new(seed);
    let mut sums: Vec<f64> = (0..rows * cols).map(|_| 0.002 * random.gaussian()).collect();
    let mut strength_sum = 0.0;
    let strengths: Vec<f64> = (0..rows.min(cols).min(64)).map(|i| strength(i + 1)).collect();
    for strength in &strengths {
        strength_sum += strength * strength;
    }
    for strength in &strengths {
        let left: Vec<f64> = (0..rows).map(|_| random.gaussian()).collect();
        let right: Vec<f64> = (0..cols).map(|_| random.gaussian()).collect();
        let strength = 0.02 * strength / strength_sum.sqrt();
        for (row, left) in sums.chunks_exact_mut(cols.max(1)).zip(&left) {
            for (sum, right) in row.iter_mut().zip(&right) {
                *sum += strength * left * right;
            }
        }
    }
    Matrix { rows, cols, values: sums.into_iter().map(|sum| sum as f32).collect() }
}

/// Returns `n^−0.75` from square roots alone, which are the same on every system; `powf` is not.
fn strength(n: usize) -> f64 {
    let root = (n as f64).sqrt();
    1.0 / (root * root.sqrt())
}

/// Returns an outer product of two normal vectors: one singular value, all rows alike but for a
/// factor.
pub fn rank_one(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut random = Random::new(seed);
    let left: Vec<f64> = (0..rows).map(|_| random.gaussian()).collect();
    let right: Vec<f64> = (0..cols).map(|_| random.gaussian()).collect();
    Matrix::from_fn(rows, cols, |row, col| (0.02 * left[row] * right[col]) as f32)
}
