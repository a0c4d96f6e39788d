//! The search for scales of tiles that are narrower than a vector is useful for.

use roundwise_grid::Grid;

use crate::row_search::{STRIDE, is_gain, least_errors};

/// Tiles that are measured together.
const LANES: usize = 16;

/// No more candidates than this are tried one and all.
const FEW_CANDIDATES: usize = 16;

/// Narrow tiles of a row side by side, a lane for each. Their sums of errors do not wait for each other,
/// where a tile by itself is rounded in less time than its errors take to be added up.
pub(crate) struct NarrowTiles {
    width: usize,
    importance: Vec<[f32; LANES]>,
    values: Vec<[f32; LANES]>,
}

impl NarrowTiles {
    /// - `importance`: of every column
    /// - `width`: columns of a tile
    pub(crate) fn new(importance: &[f32], width: usize) -> Self {
        let groups = importance.len().div_ceil(width).div_ceil(LANES);
        let [mut turned, values] = [0; 2].map(|_| vec![[0.0; LANES]; groups * width]);
        turn(importance, width, &mut turned);
        Self { width, importance: turned, values }
    }

    /// Puts the candidate of least error in the place of each scale that it beats.
    ///
    /// - `candidates`: those of the first scale, then those of the next one
    #[inline(always)]
    pub(crate) fn improve<G: Grid>(&mut self, row: &[f32], candidates: &[f32], scales: &mut [f32]) {
        turn(row, self.width, &mut self.values);
        let count = candidates.len() / scales.len();
        let groups = self.values.chunks(self.width).zip(self.importance.chunks(self.width));
        let tiles = scales.chunks_mut(LANES).zip(candidates.chunks(LANES * count));
        for ((scales, candidates), (values, importance)) in tiles.zip(groups) {
            Group { values, importance, candidates, count }.improve::<G>(scales);
        }
    }
}

/// Tiles side by side, and the candidates of each.
struct Group<'a> {
    values: &'a [[f32; LANES]],
    importance: &'a [[f32; LANES]],
    candidates: &'a [f32],
    count: usize,
}

impl Group<'_> {
    /// Puts candidates in the place of scales that they beat.
    #[inline(always)]
    fn improve<G: Grid>(&self, scales: &mut [f32]) {
        let (least, best) = least_errors(
            self.count,
            self.first_stride(),
            #[inline(always)]
            |indices| self.errors::<G>(&self.scales(indices)),
        );
        // Lanes past the last tile hold zeros, which any scale rounds without an error.
        let mut chosen = [1.0; LANES];
        chosen[..scales.len()].copy_from_slice(scales);
        let errors = self.errors::<G>(&chosen);
        let found = self.scales(best);
        for (lane, scale) in scales.iter_mut().enumerate() {
            if is_gain(least[lane], errors[lane]) {
                *scale = found[lane];
            }
        }
    }

    /// Returns one candidate of each tile.
    #[inline(always)]
    fn scales(&self, indices: [usize; LANES]) -> [f32; LANES] {
        let mut scales = [1.0; LANES];
        let candidates = self.candidates.chunks(self.count);
        for ((scale, candidates), index) in scales.iter_mut().zip(candidates).zip(indices) {
            *scale = candidates[index];
        }
        scales
    }

    /// Of 16 weights the error is no smooth function of the scale: where candidates are few, all of them
    /// are tried.
    fn first_stride(&self) -> usize {
        if self.count <= FEW_CANDIDATES { 1 } else { STRIDE }
    }

    /// Returns `Σ_j importance_j · E_j²` of each tile with nearest codes.
    #[inline(always)]
    fn errors<G: Grid>(&self, scales: &[f32; LANES]) -> [f32; LANES] {
        let inverses = scales.map(|scale| 1.0 / scale);
        let mut sums = [0.0; LANES];
        for (values, importance) in self.values.iter().zip(self.importance) {
            for lane in 0..LANES {
                let value = values[lane];
                let error = G::round(value * inverses[lane]) * scales[lane] - value;
                sums[lane] += importance[lane] * error * error;
            }
        }
        sums
    }
}

/// Puts tiles of a row side by side: the same column of [`LANES`] tiles becomes neighbours.
#[inline(always)]
fn turn(row: &[f32], width: usize, turned: &mut [[f32; LANES]]) {
    for (group, turned) in row.chunks(width * LANES).zip(turned.chunks_mut(width)) {
        for (lane, tile) in group.chunks(width).enumerate() {
            for (values, &value) in turned.iter_mut().zip(tile) {
                values[lane] = value;
            }
        }
    }
}
