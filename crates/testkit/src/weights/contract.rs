use super::Matrix;

/// Returns generator I: the whole numbers `((5r² + 3c² + rc + 7c) mod 23) − 11`.
///
/// # Source
/// The golden vectors are made of it, see `fixtures/README.md`.
pub fn contract_i(rows: usize, cols: usize) -> Matrix {
    Matrix::from_fn(rows, cols, |row, col| {
        let sum = 5 * row * row + 3 * col * col + row * col + 7 * col;
        (sum % 23) as f32 - 11.0
    })
}

/// Returns generator B: [`contract_i`] · 0.1, one f32 product each.
pub fn contract_b(rows: usize, cols: usize) -> Matrix {
    contract_i(rows, cols).map(|_, _, value| value * 0.1)
}

/// Returns generator C: [`contract_b`] · 2^((r mod 5) + (⌊c / 16⌋ mod 3) − 4), exactly.
pub fn contract_c(rows: usize, cols: usize) -> Matrix {
    contract_b(rows, cols).map(|row, col, value| {
        let power = 1u32 << (row % 5 + (col / 16) % 3);
        value * (power as f32 / 16.0)
    })
}
