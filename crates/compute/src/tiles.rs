use crate::{DeviceMatrix, Engine, Matrix, elementwise};

/// Multiplies matrices of the host on a device that has no room for them, a tile of each at a time.
#[derive(Debug)]
pub(crate) struct Tiles {
    /// Holds nothing but tiles.
    pub(crate) engine: Engine,
    /// Values of the largest tile.
    most_values: usize,
}

/// Rows, inner columns and columns of the tiles of a product.
#[derive(Debug, PartialEq)]
struct Sides {
    rows: usize,
    inner: usize,
    cols: usize,
}

impl Tiles {
    /// Bytes of a tile that keeps a GPU busy: 4096 × 4096 values. Larger ones would not be moved less often by
    /// enough to tell.
    const ENOUGH_BYTES: u64 = 1 << 26;

    /// - `engine`: with the limits of the device
    pub(crate) fn on(engine: Engine) -> Self {
        let limits = engine.limits();
        // Three tiles are there at once: those of both factors and of the product. A sixth of the room is theirs.
        let bytes = (limits.room_bytes / 18).min(limits.most_bytes).min(Self::ENOUGH_BYTES);
        let most_values = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<f32>();
        Self { engine, most_values: most_values.max(1) }
    }

    /// Computes `left · right`, `[m, k] · [k, n]`, all three on the host.
    pub(crate) fn product(&self, left: &DeviceMatrix, right: &DeviceMatrix) -> Matrix {
        let mut product = Matrix::zeros(left.rows(), right.cols());
        let sides = self.sides(left.rows(), left.cols(), right.cols());
        for cols in blocks(right.cols(), sides.cols) {
            for inner in blocks(left.cols(), sides.inner) {
                // Moved once for all rows.
                let part = right.row_block(inner.clone()).column_block(cols.clone()).download();
                let right = self.engine.upload(part);
                for rows in blocks(left.rows(), sides.rows) {
                    let part = left.row_block(rows.clone()).column_block(inner.clone()).download();
                    let tile = self.engine.upload(part).multiply(&right).download();
                    for (index, row) in rows.enumerate() {
                        let sum = &mut product.row_mut(row)[cols.clone()];
                        elementwise::add_scaled(sum, 1.0, tile.row(index));
                    }
                }
            }
        }
        product
    }

    /// Returns sides for which no tile has more than `most_values`.
    fn sides(&self, rows: usize, inner: usize, cols: usize) -> Sides {
        let most = self.most_values;
        // Sums in few parts first: each of them moves the product once more.
        let inner = inner.clamp(1, most.isqrt());
        let rows = rows.clamp(1, most / inner);
        let cols = cols.clamp(1, (most / inner).min(most / rows));
        Sides { rows, inner, cols }
    }
}

/// Cuts `0..length` into ranges of `size`; the last may be shorter.
fn blocks(length: usize, size: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..length).step_by(size).map(move |first| first..length.min(first + size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    #[test]
    fn no_tile_is_larger_than_it_may_be() {
        for most_values in [1, 2, 7, 100, 5000] {
            let tiles = Tiles { engine: Device::Cpu.resolve().unwrap(), most_values };
            for [rows, inner, cols] in [[1, 1, 1], [300, 20, 4], [4, 300, 20], [20, 4, 300]] {
                let found = tiles.sides(rows, inner, cols);
                let Sides { rows: m, inner: k, cols: n } = found;
                assert!([m * k, k * n, m * n].iter().all(|&it| it <= most_values), "{found:?}");
                assert!(found.rows <= rows && found.inner <= inner && found.cols <= cols);
            }
        }
    }
}
