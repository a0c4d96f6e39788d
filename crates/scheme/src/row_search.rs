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
const LEAST_GAIN: f32 = 1e-5;

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
    let ([least], [best]) = least_errors(
        candidates.len(),
        STRIDE,
        #[inline(always)]
        |[index]| [error(candidates[index])],
    );
    is_gain(least, error(chosen)).then(|| candidates[best])
}

/// Returns whether a candidate is better than the chosen scale by more than the rounding of their errors.
#[inline(always)]
pub(crate) fn is_gain(least: f32, chosen: f32) -> bool {
    least < chosen * (1.0 - LEAST_GAIN)
}

/// Returns the least error of each of some tiles that was found, and its candidate.
///
/// - `count`: of candidates, one or more
/// - `stride`: from one that is tried at first to the next, a power of two
/// - `errors`: those of all tiles, each with one of its candidates
#[inline(always)]
pub(crate) fn least_errors<const TILES: usize>(
    count: usize,
    mut stride: usize,
    errors: impl Fn([usize; TILES]) -> [f32; TILES],
) -> Tried<TILES> {
    let mut found = ([f32::INFINITY; TILES], [0; TILES]);
    for index in (0..count).step_by(stride) {
        let tried = [index; TILES];
        found = better_of(found, (errors(tried), tried));
    }
    while stride > 1 {
        stride /= 2;
        let centres = found.1;
        // At either end one candidate is tried twice, which changes nothing.
        for tried in [
            centres.map(|centre| centre.saturating_sub(stride)),
            centres.map(|centre| (centre + stride).min(count - 1)),
        ] {
            found = better_of(found, (errors(tried), tried));
        }
    }
    found
}

/// Errors of some tiles, and the candidate that each is of.
type Tried<const TILES: usize> = ([f32; TILES], [usize; TILES]);

/// Returns what is better of each tile; of equals, what was found before.
#[inline(always)]
fn better_of<const TILES: usize>(mut found: Tried<TILES>, other: Tried<TILES>) -> Tried<TILES> {
    for tile in 0..TILES {
        let is_better = other.0[tile] < found.0[tile];
        found.0[tile] = if is_better { other.0[tile] } else { found.0[tile] };
        found.1[tile] = if is_better { other.1[tile] } else { found.1[tile] };
    }
    found
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
