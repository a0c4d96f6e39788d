/// Rows and columns of the tiles that block scales are grouped in.
const TILE: [usize; 2] = [128, 4];

/// The order in which matrix units want the scales of blocks: tiles of 128 × 4, and within a tile
/// the rows `r`, `r + 32`, `r + 64` and `r + 96` beside each other. Scales beyond the matrix are 0.
///
/// `[r, c]` lies at `((r div 128)·⌈C/4⌉ + c div 4)·512 + (r mod 32)·16 + (r mod 128 div 32)·4 + c
/// mod 4`.
///
/// # Source
/// cuBLAS documentation, "1D Block Scaling Factors Layout".
#[derive(Clone, Copy, Debug)]
pub(crate) struct Swizzle {
    rows: usize,
    cols: usize,
}

impl Swizzle {
    /// Makes the order of a `[rows, cols]` matrix of scales.
    pub(crate) fn of(rows: usize, cols: usize) -> Self {
        Self { rows, cols }
    }

    /// Returns the shape of the tensor that holds them.
    pub(crate) fn shape(self) -> [usize; 2] {
        [self.rows.next_multiple_of(TILE[0]), self.cols.next_multiple_of(TILE[1])]
    }

    fn offset(self, row: usize, col: usize) -> usize {
        // Tiles one after the other, each of 512 bytes: 32 rows of 16, in which the four rows 32
        // apart lie side by side.
        let tile = row / 128 * self.cols.div_ceil(4) + col / 4;
        tile * 512 + row % 32 * 16 + row % 128 / 32 * 4 + col % 4
    }

    /// Puts row-major scales into the order.
    pub(crate) fn apply(self, scales: &[u8]) -> Vec<u8> {
        let mut swizzled = vec![0; self.shape().iter().product()];
        for (row, scales) in scales.chunks(self.cols.max(1)).enumerate() {
            // The four columns of a tile lie side by side.
            for (four, scales) in scales.chunks(TILE[1]).enumerate() {
                let at = self.offset(row, four * TILE[1]);
                swizzled[at..at + scales.len()].copy_from_slice(scales);
            }
        }
        swizzled
    }

    /// Returns swizzled scales to row-major order.
    ///
    /// - `swizzled`: of the shape [`Swizzle::shape`]
    pub(crate) fn undo(self, swizzled: &[u8]) -> Vec<u8> {
        let places = (0..self.rows).flat_map(|row| (0..self.cols).map(move |col| (row, col)));
        places.map(|(row, col)| swizzled[self.offset(row, col)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_lie_where_matrix_units_look() {
        let at = |[row, col]: [usize; 2]| Swizzle::of(256, 8).offset(row, col);
        let places = [[0, 0], [0, 1], [1, 0], [32, 0], [64, 0], [96, 0], [0, 4], [128, 0]];
        assert_eq!(places.map(at), [0, 1, 16, 4, 8, 12, 512, 1024]);
    }

    #[test]
    fn every_shape_comes_back() {
        for (rows, cols) in [(1, 1), (32, 2), (129, 5), (256, 8), (20, 3), (0, 4), (4, 0)] {
            let scales: Vec<u8> = (0..rows * cols).map(|at| at as u8 | 1).collect();
            let swizzle = Swizzle::of(rows, cols);
            let swizzled = swizzle.apply(&scales);
            assert_eq!(swizzled.len(), swizzle.shape().iter().product::<usize>());
            assert_eq!(swizzled.iter().filter(|scale| **scale != 0).count(), rows * cols);
            assert_eq!(swizzle.undo(&swizzled), scales);
        }
    }
}
