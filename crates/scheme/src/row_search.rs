//! The search for scales of tiles of one row, where columns differ in importance.

use roundwise_grid::{Grid, GridVisitor, vectorized};

use crate::scales::Scales;
use crate::scheme::Scheme;
use crate::weight::Weight;

/// Candidates from one that is tried at first to the next; those between are tried around the best.
/// Along the candidates the error falls and rises once but for noise, so that this finds what trying
/// all would, but for some per mille.
const STRIDE: usize = 3;

/// Partial sums of a tile; the loop over them becomes vectors, and adds in the same order on every CPU.
const LANES: usize = 16;

/// Puts the candidate of least weighed error, `Σ_j importance_j · E_ij²` of nearest codes, in the place
/// of each scale that it beats.
///
/// - `weight`: as its scheme sees it
/// - `scales`: of tiles that are one row high
///
/// A row is read, and rotated, once for all candidates.
pub(crate) fn search_row_scales(
    weight: &Weight<'_>,
    scheme: Scheme,
    importance: &[f32],
    scales: &mut Scales,
) {
    // Plain numbers and shared scales leave nothing to choose.
    if scheme.storage().candidate_count(scheme.grid()) > 0 {
        scheme.grid().visit(Search { weight, scheme, importance, scales });
    }
}

struct Search<'a> {
    weight: &'a Weight<'a>,
    scheme: Scheme,
    importance: &'a [f32],
    scales: &'a mut Scales,
}

impl GridVisitor for Search<'_> {
    type Output = ();

    fn visit<G: Grid>(self) {
        let Self { weight, scheme, importance, scales } = self;
        let shape @ [rows, cols] = [weight.rows(), weight.cols()];
        let [_, tile_cols] = scheme.tiling().tile_shape(rows, cols);
        let (storage, tensor) = (scheme.storage(), scales.tensor);
        let count = storage.candidate_count(scheme.grid());
        let mut values = vec![0.0; cols];
        for row in 0..rows {
            weight.widen_row(row, &mut values);
            let scales = &mut scales.tiles[scheme.tiling().row_tiles(row, shape)];
            let candidates: Vec<Vec<f32>> =
                (0..count).map(|index| storage.candidates(index, scales, tensor)).collect();
            let measure = |scales: &[f32]| errors::<G>(&values, importance, tile_cols, scales);
            improve(scales, &candidates, measure);
        }
    }
}

/// Puts candidates in the place of scales that they beat.
///
/// - `candidates`: of ascending size, one for each scale
/// - `measure`: returns the error with each of some scales
fn improve(scales: &mut [f32], candidates: &[Vec<f32>], measure: impl Fn(&[f32]) -> Vec<f32>) {
    // Begins at infinity and not with the chosen scales, which are compared once, at the end, so
    // that they win ties.
    let mut best = vec![(f32::INFINITY, 0); scales.len()];
    let consider = |best: &mut [(f32, usize)], indices: &[usize]| {
        let tried: Vec<f32> =
            indices.iter().enumerate().map(|(tile, &index)| candidates[index][tile]).collect();
        for ((best, error), &index) in best.iter_mut().zip(measure(&tried)).zip(indices) {
            // A NaN, the error with an infinite scale, compares false and so never wins.
            if error < best.0 {
                *best = (error, index);
            }
        }
    };
    // 1. Every third candidate, of all tiles of the row at once.
    for index in (0..candidates.len()).step_by(STRIDE) {
        consider(&mut best, &vec![index; scales.len()]);
    }
    // 2. Those between, around the best of each tile.
    let centres: Vec<usize> = best.iter().map(|&(_, index)| index).collect();
    for step in (1..STRIDE).flat_map(|step| [-(step as isize), step as isize]) {
        // At either end one candidate is tried twice, which changes nothing.
        let near = |&centre: &usize| centre.saturating_add_signed(step).min(candidates.len() - 1);
        consider(&mut best, &centres.iter().map(near).collect::<Vec<_>>());
    }
    // 3. The chosen scales, which keep their place where nothing beats them.
    let chosen_errors = measure(scales);
    for (tile, (&(error, index), chosen)) in best.iter().zip(chosen_errors).enumerate() {
        if error < chosen {
            scales[tile] = candidates[index][tile];
        }
    }
}

/// Returns `Σ_j importance_j · E_j²` of each tile of a row, rounded to nearest codes with these scales.
fn errors<G: Grid>(
    values: &[f32],
    importance: &[f32],
    tile_cols: usize,
    scales: &[f32],
) -> Vec<f32> {
    let mut errors = vec![0.0; scales.len()];
    vectorized(
        #[inline(always)]
        || {
            let tiles = values.chunks(tile_cols).zip(importance.chunks(tile_cols));
            for ((error, &scale), (values, importance)) in errors.iter_mut().zip(scales).zip(tiles)
            {
                *error = tile_error::<G>(values, importance, scale);
            }
        },
    );
    errors
}

#[inline(always)]
fn tile_error<G: Grid>(values: &[f32], importance: &[f32], scale: f32) -> f32 {
    let weighed = |value: f32, importance: f32| {
        // An error is of decoded codes, as everywhere: the grid value times the scale, not a
        // difference in grid units.
        let error = G::round(value / scale) * scale - value;
        importance * error * error
    };
    let mut sums = [0.0_f32; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    let (whole_importance, rest_importance) = importance.as_chunks::<LANES>();
    for (values, importance) in whole.iter().zip(whole_importance) {
        for ((sum, &value), &importance) in sums.iter_mut().zip(values).zip(importance) {
            *sum += weighed(value, importance);
        }
    }
    for ((sum, &value), &importance) in sums.iter_mut().zip(rest).zip(rest_importance) {
        *sum += weighed(value, importance);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors that fall and rise once: the best of all candidates is found, and a scale that no
    /// candidate beats stays.
    #[test]
    fn the_best_of_all_candidates_is_found() {
        let candidates: Vec<Vec<f32>> = (1..=40).map(|index| vec![index as f32; 3]).collect();
        let wanted = [7.2, 33.0, 40.0];
        let errors = |scales: &[f32]| -> Vec<f32> {
            scales.iter().zip(wanted).map(|(scale, wanted)| (scale - wanted).powi(2)).collect()
        };
        let mut scales = vec![1.0, 33.0, 1.0];
        improve(&mut scales, &candidates, errors);
        assert_eq!(scales, [7.0, 33.0, 40.0]);
        let mut scales = vec![7.1, 33.0, 40.1];
        improve(&mut scales, &candidates, errors);
        assert_eq!(scales, [7.1, 33.0, 40.0]);
    }
}
