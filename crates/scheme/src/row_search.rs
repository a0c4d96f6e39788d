//! The search for scales of tiles of one row.

use roundwise_grid::{Grid, GridVisitor, vectorized};

use crate::narrow_tiles::NarrowTiles;
use crate::scales::{NARROW, Scales};
use crate::scheme::Scheme;
use crate::weight::Weight;

/// Candidates from one that is tried at first to the next; halved around the best until it is 1. Along
/// the candidates the error falls and rises once but for noise, so that this finds what trying all
/// would, but for some per mille.
pub(crate) const STRIDE: usize = 4;

/// Partial sums of a tile; the loop over them becomes vectors, and adds in the same order on every CPU.
const LANES: usize = 16;

/// A scale is changed for what is better by more than the rounding of sums of a long row.
pub(crate) const LEAST_GAIN: f32 = 1e-5;

/// Puts the candidate of least weighed error, `Σ_j importance_j · E_ij²` of nearest codes, in the place
/// of each scale that it beats.
///
/// - `weight`: as its scheme sees it; without importance all columns count alike
/// - `scales`: of tiles that are one row high
///
/// A row is read, and rotated, once for all candidates.
pub(crate) fn search_row_scales(weight: &Weight<'_>, scheme: Scheme, scales: &mut Scales) {
    // Plain numbers and shared scales leave nothing to choose.
    if scheme.storage().candidate_count(scheme.grid()) > 0 {
        scheme.grid().visit(Search { weight, scheme, scales });
    }
}

struct Search<'a> {
    weight: &'a Weight<'a>,
    scheme: Scheme,
    scales: &'a mut Scales,
}

impl GridVisitor for Search<'_> {
    type Output = ();

    fn visit<G: Grid>(self) {
        let Self { weight, scheme, scales } = self;
        let shape @ [rows, cols] = [weight.rows(), weight.cols()];
        let [_, tile_cols] = scheme.tiling().tile_shape(rows, cols);
        let (storage, tensor) = (scheme.storage(), scales.tensor);
        let count = storage.candidate_count(scheme.grid());
        let mut candidates = vec![0.0; cols.div_ceil(tile_cols) * count];
        let mut values = vec![0.0; cols];
        let alike = vec![1.0; cols];
        let importance = weight.importance().unwrap_or(&alike);
        let is_narrow = tile_cols < NARROW;
        let mut narrow = is_narrow.then(|| NarrowTiles::new(importance, tile_cols));
        for row in 0..rows {
            weight.widen_row(row, &mut values);
            let scales = &mut scales.tiles[scheme.tiling().row_tiles(row, shape)];
            for (scale, candidates) in scales.iter().zip(candidates.chunks_mut(count)) {
                storage.candidates(*scale, tensor, candidates);
            }
            vectorized(
                #[inline(always)]
                || match &mut narrow {
                    Some(tiles) => tiles.improve::<G>(&values, &candidates, scales),
                    None => improve::<G>(&values, importance, tile_cols, &candidates, scales),
                },
            );
        }
    }
}

/// Puts the candidate of least error in the place of each scale that it beats.
///
/// - `candidates`: those of the first scale, then those of the next one
#[inline(always)]
fn improve<G: Grid>(
    values: &[f32],
    importance: &[f32],
    tile_cols: usize,
    candidates: &[f32],
    scales: &mut [f32],
) {
    let candidates = candidates.chunks(candidates.len() / scales.len());
    let tiles = values.chunks(tile_cols).zip(importance.chunks(tile_cols));
    for ((scale, candidates), (values, importance)) in scales.iter_mut().zip(candidates).zip(tiles)
    {
        let better = better_scale(
            *scale,
            candidates,
            #[inline(always)]
            |scale| nearest_error::<G>(values, importance, scale),
        );
        *scale = better.unwrap_or(*scale);
    }
}

/// Returns the candidate of least error, `None` where the chosen scale is as good.
///
/// - `candidates`: in ascending order
/// - `error`: that of a tile with a scale; a NaN, that with an infinite scale, never wins
#[inline(always)]
pub(crate) fn better_scale(
    chosen: f32,
    candidates: &[f32],
    error: impl Fn(f32) -> f32,
) -> Option<f32> {
    let (mut least, mut best) = (f32::INFINITY, 0);
    for (index, &scale) in candidates.iter().enumerate().step_by(STRIDE) {
        let error = error(scale);
        if error < least {
            (least, best) = (error, index);
        }
    }
    let mut stride = STRIDE / 2;
    while stride > 0 {
        let centre = best;
        // Below the first the number wraps around, to where there is no candidate either.
        for index in [centre.wrapping_sub(stride), centre + stride] {
            if let Some(&scale) = candidates.get(index) {
                let error = error(scale);
                if error < least {
                    (least, best) = (error, index);
                }
            }
        }
        stride /= 2;
    }
    (least < error(chosen) * (1.0 - LEAST_GAIN)).then(|| candidates[best])
}

/// Returns `Σ_j importance_j · E_j²` of a tile that is rounded to nearest codes.
#[inline(always)]
fn nearest_error<G: Grid>(values: &[f32], importance: &[f32], scale: f32) -> f32 {
    // A product in place of a quotient rounds the other way where a weight lies half way between two
    // codes, which are equally good then. Of a scale below 2⁻¹²⁸ it makes NaN, and the scale stays.
    let inverse = 1.0 / scale;
    weighed_error(
        values,
        importance,
        // An error is of decoded codes, as everywhere: the grid value times the scale, not a difference
        // in grid units.
        #[inline(always)]
        |value| G::round(value * inverse) * scale - value,
    )
}

/// Returns `Σ_j importance_j · error(value_j)²` of a tile.
#[inline(always)]
pub(crate) fn weighed_error(values: &[f32], importance: &[f32], error: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    let (whole_importance, rest_importance) = importance.as_chunks::<LANES>();
    for (values, importance) in whole.iter().zip(whole_importance) {
        for ((sum, &value), &importance) in sums.iter_mut().zip(values).zip(importance) {
            let error = error(value);
            *sum += importance * error * error;
        }
    }
    for ((sum, &value), &importance) in sums.iter_mut().zip(rest).zip(rest_importance) {
        let error = error(value);
        *sum += importance * error * error;
    }
    // By halves, for additions that do not wait for each other: tiles can be as short as this.
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors that fall and rise once: the best of all candidates is found, and a scale that no
    /// candidate beats stays.
    #[test]
    fn the_best_of_all_candidates_is_found() {
        let candidates: Vec<f32> = (1..=40).map(|index| index as f32).collect();
        let better = |chosen, wanted: f32| {
            better_scale(chosen, &candidates, |scale| (scale - wanted).powi(2))
        };
        for (wanted, best) in [(7.2, 7.0), (33.0, 33.0), (40.0, 40.0), (0.0, 1.0)] {
            assert_eq!(better(20.0, wanted), Some(best));
            assert_eq!(better(best, wanted), None);
        }
        assert_eq!(better(7.1, 7.2), None);
    }
}
