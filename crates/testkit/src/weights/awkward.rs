use super::{Matrix, gaussian};
use crate::random::Random;

/// Returns [`gaussian`] with one value in about 200, and at least one, a hundred times as large.
pub fn with_outliers(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut matrix = gaussian(rows, cols, seed);
    // `outl` in ASCII: another sequence than that of the values.
    let mut random = Random::new(seed ^ 0x6F75_746C);
    if matrix.values.is_empty() {
        return matrix;
    }
    for _ in 0..(rows * cols).div_ceil(200) {
        let cell = random.below(rows * cols);
        matrix.values[cell] = 100.0 * matrix.values[cell].clamp(-0.02, 0.02) + 1.0;
    }
    matrix
}

/// Returns [`gaussian`] with every third row zero, beginning with the first; one in six of them −0.
pub fn with_zero_rows(rows: usize, cols: usize, seed: u64) -> Matrix {
    gaussian(rows, cols, seed).map(|row, _, value| match row % 6 {
        0 => 0.0,
        3 => -0.0,
        _ => value,
    })
}

/// Returns [`gaussian`] where every second `tile` × `tile` square is zero, like a chess board.
///
/// # Panics
/// When `tile` is 0.
pub fn with_zero_tiles(rows: usize, cols: usize, tile: usize, seed: u64) -> Matrix {
    gaussian(rows, cols, seed).map(|row, col, value| {
        let is_black = (row / tile + col / tile).is_multiple_of(2);
        if is_black { 0.0 } else { value }
    })
}

/// Returns f32 subnormals of both signs, down to the smallest, and zeros: scales of such a matrix
/// underflow when nobody takes care.
pub fn subnormals(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut random = Random::new(seed);
    Matrix::from_fn(rows, cols, |_, _| {
        let bits = random.bits();
        let magnitude = (bits as u32 & 0x007F_FFFF) >> (bits >> 32 & 31);
        f32::from_bits(magnitude | (bits >> 63 << 31) as u32)
    })
}

/// Returns a matrix of one value.
pub fn constant(rows: usize, cols: usize, value: f32) -> Matrix {
    Matrix { rows, cols, values: vec![value; rows * cols] }
}

/// Returns a matrix of zeros.
pub fn all_zero(rows: usize, cols: usize) -> Matrix {
    constant(rows, cols, 0.0)
}

/// Returns [`gaussian`] with one value of −3e38 in the middle: everything else is small against it.
pub fn one_huge(rows: usize, cols: usize, seed: u64) -> Matrix {
    gaussian(rows, cols, seed).map(|row, col, value| {
        let is_middle = row == rows / 2 && col == cols / 2;
        if is_middle { -3e38 } else { value }
    })
}
