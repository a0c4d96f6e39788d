use std::fmt;
use std::ops::Range;

use crate::error::SchemeError;

/// Which weights of a `[rows, cols]` matrix share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tiling {
    /// One scale for the whole matrix.
    Tensor,
    /// One scale per row, that is per output channel.
    Row,
    /// One scale per block of `rows × cols` weights; the matrix holds whole blocks only.
    Block {
        /// Rows of a block.
        rows: usize,
        /// Columns of a block.
        cols: usize,
    },
}

impl Tiling {
    /// Returns blocks of as many rows as columns.
    pub const fn square(edge: usize) -> Self {
        Tiling::Block { rows: edge, cols: edge }
    }

    /// Returns blocks of a single row.
    pub const fn group(cols: usize) -> Self {
        Tiling::Block { rows: 1, cols }
    }

    /// Returns the number of tiles `[down, across]` of a `[rows, cols]` matrix, ragged tiles
    /// counted whole.
    ///
    /// A matrix without elements has no blocks, but it still has its one scale or its row scales.
    pub fn tiles(self, rows: usize, cols: usize) -> [usize; 2] {
        match self {
            Tiling::Tensor => [1, 1],
            Tiling::Row => [rows, 1],
            Tiling::Block { .. } => {
                let [tile_rows, tile_cols] = self.tile_shape(rows, cols);
                [rows.div_ceil(tile_rows), cols.div_ceil(tile_cols)]
            }
        }
    }

    /// Returns the shape `[rows, cols]` of one tile of a `[rows, cols]` matrix; at least 1 × 1.
    pub fn tile_shape(self, rows: usize, cols: usize) -> [usize; 2] {
        match self {
            // Never 0, which rows and columns are divided by.
            Tiling::Tensor => [rows.max(1), cols.max(1)],
            Tiling::Row => [1, cols.max(1)],
            Tiling::Block { rows, cols } => [rows.max(1), cols.max(1)],
        }
    }

    /// Returns the shape of the scales as a tensor: `[]`, `[rows]` or `[rows / block, cols /
    /// block]`.
    pub fn scale_shape(self, rows: usize, cols: usize) -> Vec<usize> {
        match self {
            Tiling::Tensor => vec![],
            Tiling::Row => vec![rows],
            Tiling::Block { .. } => self.tiles(rows, cols).to_vec(),
        }
    }

    /// Returns the index of the leftmost tile that row `row` of a `[rows, cols]` matrix lies in.
    pub fn first_tile(self, row: usize, [rows, cols]: [usize; 2]) -> usize {
        let [tile_rows, _] = self.tile_shape(rows, cols);
        let [_, across] = self.tiles(rows, cols);
        row / tile_rows * across
    }

    /// Tells whether a `[rows, cols]` matrix can be cut above row `row` without cutting through blocks. One
    /// scale of all is that of every part.
    pub fn cuts_at(self, row: usize, [rows, cols]: [usize; 2]) -> bool {
        match self {
            Tiling::Tensor => true,
            Tiling::Row | Tiling::Block { .. } => {
                row.is_multiple_of(self.tile_shape(rows, cols)[0])
            }
        }
    }

    /// Returns the indices of the tiles that row `row` of a `[rows, cols]` matrix crosses, left to right.
    pub(crate) fn row_tiles(self, row: usize, shape @ [rows, cols]: [usize; 2]) -> Range<usize> {
        let [_, across] = self.tiles(rows, cols);
        let first = self.first_tile(row, shape);
        first..first + across
    }

    /// Returns the columns of each tile across a `[rows, cols]` matrix, left to right.
    pub fn columns(self, [rows, cols]: [usize; 2]) -> impl Iterator<Item = Range<usize>> {
        let [_, tile_cols] = self.tile_shape(rows, cols);
        (0..cols).step_by(tile_cols).map(move |first| first..(first + tile_cols).min(cols))
    }

    /// Returns the tiling of the transposed matrix, whose scales go with their codes: rows become
    /// columns, which are blocks of `rows × 1`.
    ///
    /// - `rows`, `cols`: of the matrix before
    pub(crate) fn transposed(self, [rows, cols]: [usize; 2]) -> Self {
        match self {
            Tiling::Tensor => Tiling::Tensor,
            Tiling::Row => Tiling::Block { rows: cols.max(1), cols: 1 },
            // Columns that become rows again.
            Tiling::Block { rows: tall, cols: 1 } if tall == rows => Tiling::Row,
            Tiling::Block { rows, cols } => Tiling::Block { rows: cols, cols: rows },
        }
    }

    /// Checks that whole tiles cover a `[rows, cols]` matrix.
    ///
    /// # Errors
    /// [`SchemeError::Ragged`] names the dimension that no whole number of blocks fills.
    pub fn covers(self, rows: usize, cols: usize) -> Result<(), SchemeError> {
        let [tile_rows, tile_cols] = self.tile_shape(rows, cols);
        let ragged = |dimension, found, block| {
            Err(SchemeError::Ragged { dimension, found, block, tiling: self })
        };
        if !rows.is_multiple_of(tile_rows) {
            return ragged("rows", rows, tile_rows);
        }
        if !cols.is_multiple_of(tile_cols) {
            return ragged("columns", cols, tile_cols);
        }
        Ok(())
    }
}

/// Spreads the scales of tiles over the columns of a row.
///
/// - `scales`: of the tiles across, each `tile_cols` columns wide, the last one maybe less; there may
///   be more of them
pub(crate) fn spread(scales: &[f32], tile_cols: usize, cols: usize, spread: &mut Vec<f32>) {
    /// Spreads scales of one width, so that a tile is a few vectors.
    fn whole<const WIDTH: usize>(scales: &[f32], spread: &mut [f32]) {
        let (tiles, last) = spread.as_chunks_mut::<WIDTH>();
        tiles.iter_mut().zip(scales).for_each(|(columns, scale)| *columns = [*scale; WIDTH]);
        // The rest is the narrower last tile, which has a scale of its own. Without a rest there may
        // be no further scale.
        last.fill(scales.get(tiles.len()).copied().unwrap_or(1.0));
    }
    spread.resize(cols, 1.0);
    match tile_cols {
        // The widths of NVFP4 and MX, whose tiles are the most of all.
        16 => whole::<16>(scales, spread),
        32 => whole::<32>(scales, spread),
        _ => {
            for (columns, scale) in spread.chunks_mut(tile_cols).zip(scales) {
                columns.fill(*scale);
            }
        }
    }
}

impl fmt::Display for Tiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tiling::Tensor => write!(f, "one scale per tensor"),
            Tiling::Row => write!(f, "one scale per row"),
            Tiling::Block { rows, cols } => write!(f, "one scale per {rows}×{cols} block"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ragged_edges_are_named() {
        let blocks = Tiling::Block { rows: 64, cols: 64 };
        assert!(blocks.covers(128, 192).is_ok());
        assert_eq!(
            blocks.covers(128, 200).unwrap_err().to_string(),
            "columns are not a multiple of 64 (found 200); one scale per 64×64 block covers whole \
             blocks only"
        );
        assert!(Tiling::Tensor.covers(1, 1).is_ok());
        assert!(Tiling::Row.covers(3, 5).is_ok());
    }

    #[test]
    fn scale_shapes_follow_the_tiling() {
        assert_eq!(Tiling::Tensor.scale_shape(4, 6), Vec::<usize>::new());
        assert_eq!(Tiling::Row.scale_shape(4, 6), [4]);
        assert_eq!(Tiling::Block { rows: 2, cols: 3 }.scale_shape(4, 6), [2, 2]);
    }

    #[test]
    fn there_are_as_many_tiles_as_scales() {
        for shape @ [rows, cols] in [[4, 6], [1, 1], [0, 6], [4, 0], [0, 0]] {
            for tiling in [Tiling::Tensor, Tiling::Row, Tiling::Block { rows: 2, cols: 3 }] {
                let tiles: usize = tiling.tiles(rows, cols).iter().product();
                let scales: usize = tiling.scale_shape(rows, cols).iter().product();
                assert_eq!(tiles, scales, "{tiling}, {shape:?}");
            }
        }
    }
}
