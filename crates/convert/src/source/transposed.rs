//! Rows become columns, whatever the numbers are.

/// Edge of the squares that are turned one after the other: their lines stay in the nearest cache.
const EDGE: usize = 32;

/// Returns a row-major matrix with rows and columns exchanged.
///
/// - `width`: bytes of a number
/// - `memory`: is reused
pub(crate) fn transposed(
    bytes: &[u8],
    [rows, cols]: [usize; 2],
    width: usize,
    mut memory: Vec<u8>,
) -> Vec<u8> {
    memory.clear();
    memory.resize(bytes.len(), 0);
    match width {
        2 => turn::<2>(bytes, [rows, cols], &mut memory),
        4 => turn::<4>(bytes, [rows, cols], &mut memory),
        _ => turn::<8>(bytes, [rows, cols], &mut memory),
    }
    memory
}

/// `to[col, row] = from[row, col]`
fn turn<const WIDTH: usize>(from: &[u8], [rows, cols]: [usize; 2], to: &mut [u8]) {
    let (from, _) = from.as_chunks::<WIDTH>();
    let (to, _) = to.as_chunks_mut::<WIDTH>();
    for top in (0..rows).step_by(EDGE) {
        for left in (0..cols).step_by(EDGE) {
            for col in left..cols.min(left + EDGE) {
                for row in top..rows.min(top + EDGE) {
                    to[col * rows + row] = from[row * cols + col];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_goes_to_its_place_and_back() {
        for width in [2, 4, 8] {
            for [rows, cols] in [[1, 1], [1, 70], [33, 2], [64, 32], [45, 67]] {
                let bytes: Vec<u8> =
                    (0..rows * cols * width).map(|at| (at * 7 % 251) as u8).collect();
                let turned = transposed(&bytes, [rows, cols], width, vec![1; 3]);
                for row in 0..rows {
                    for col in 0..cols {
                        let [from, to] = [row * cols + col, col * rows + row].map(|at| at * width);
                        assert_eq!(turned[to..to + width], bytes[from..from + width]);
                    }
                }
                assert_eq!(transposed(&turned, [cols, rows], width, vec![]), bytes);
            }
        }
    }
}
