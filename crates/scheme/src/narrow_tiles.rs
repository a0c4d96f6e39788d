//! The search for scales of tiles that are narrower than a vector is useful for.

use roundwise_grid::Grid;

use crate::row_search::{LEAST_GAIN, STRIDE};

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
            let mut search = Search::new(Group { values, importance, candidates, count });
            search.run::<G>();
            search.improve::<G>(scales);
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

/// The best candidate that was found for each tile of a group.
struct Search<'a> {
    group: Group<'a>,
    errors: [f32; LANES],
    best: [usize; LANES],
}

impl<'a> Search<'a> {
    fn new(group: Group<'a>) -> Self {
        Self { group, errors: [f32::INFINITY; LANES], best: [0; LANES] }
    }

    /// Tries candidates as [`better_scale`](crate::row_search::better_scale) does for one tile.
    #[inline(always)]
    fn run<G: Grid>(&mut self) {
        let mut stride = self.group.first_stride();
        for index in (0..self.group.count).step_by(stride) {
            self.attempt::<G>([index; LANES]);
        }
        while stride > 1 {
            stride /= 2;
            let (centres, last) = (self.best, self.group.count - 1);
            // At either end one candidate is tried twice, which changes nothing.
            self.attempt::<G>(centres.map(|centre| centre.saturating_sub(stride)));
            self.attempt::<G>(centres.map(|centre| (centre + stride).min(last)));
        }
    }

    /// Tries one candidate of each tile.
    #[inline(always)]
    fn attempt<G: Grid>(&mut self, indices: [usize; LANES]) {
        // Lanes past the last tile hold zeros, which any scale rounds without an error.
        let mut scales = [1.0; LANES];
        let candidates = self.group.candidates.chunks(self.group.count);
        for ((scale, candidates), index) in scales.iter_mut().zip(candidates).zip(indices) {
            *scale = candidates[index];
        }
        let errors = self.group.errors::<G>(&scales);
        for lane in 0..LANES {
            let is_better = errors[lane] < self.errors[lane];
            self.errors[lane] = if is_better { errors[lane] } else { self.errors[lane] };
            self.best[lane] = if is_better { indices[lane] } else { self.best[lane] };
        }
    }

    /// Puts what was found in the place of scales that it beats.
    #[inline(always)]
    fn improve<G: Grid>(&self, scales: &mut [f32]) {
        let mut chosen = [1.0; LANES];
        chosen[..scales.len()].copy_from_slice(scales);
        let errors = self.group.errors::<G>(&chosen);
        let candidates = self.group.candidates.chunks(self.group.count);
        for (lane, (scale, candidates)) in scales.iter_mut().zip(candidates).enumerate() {
            if self.errors[lane] < errors[lane] * (1.0 - LEAST_GAIN) {
                *scale = candidates[self.best[lane]];
            }
        }
    }
}

impl Group<'_> {
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
