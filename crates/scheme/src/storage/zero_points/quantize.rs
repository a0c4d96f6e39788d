use roundwise_grid::{Grid, Int8, vectorized};

use super::{HIGHEST, LOWEST, code_range};
use crate::error::SchemeError;
use crate::quantized::{QuantizedMatrix, StoredMatrix};
use crate::row_search::{better_scale, weighed_error};
use crate::scales::{ScaleRule, Scales};
use crate::scheme::Scheme;
use crate::weight::Weight;

/// What the 16 codes of a tile stand for.
#[derive(Clone, Copy)]
struct Tile {
    scale: f32,
    zero: i8,
}

/// Rounds every weight to the nearest number that its tile can store.
///
/// With `l` and `h` the smallest and the largest weight of a tile, 0 among them, `scale = (h − l) / 15`
/// and `zero = nearest_even(−8 − l / scale)`, which is a whole number, so that 0 is stored exactly. Under
/// [`ScaleRule::Mse`] the scale of least error of the multiples that other schemes try, and then its zero
/// point or one beside it; where columns differ in importance, so do their squared errors.
///
/// # Errors
/// As [`crate::choose_scales`].
pub(crate) fn quantize(
    weight: &Weight<'_>,
    scheme: Scheme,
    rule: ScaleRule,
    memory: Vec<u8>,
) -> Result<QuantizedMatrix, SchemeError> {
    let shape @ [rows, cols] = [weight.rows(), weight.cols()];
    scheme.covers(rows, cols)?;
    let [_, group] = scheme.tiling().tile_shape(rows, cols);
    let mut codes = memory;
    // Asked for, not taken, as by nearest rounding.
    codes
        .try_reserve_exact((rows * cols).saturating_sub(codes.len()))
        .map_err(|_| SchemeError::OutOfMemory { bytes: rows * cols })?;
    codes.resize(rows * cols, 0);
    let alike = vec![1.0; cols];
    let importance = weight.importance().unwrap_or(&alike);
    let mut scales = Scales { tiles: vec![], tensor: 1.0, zeros: vec![] };
    let mut values = vec![0.0; cols];
    for row in 0..rows {
        weight.widen_row(row, &mut values);
        let mut tiles = tiles_of_range(scheme, &values, group);
        if tiles.iter().any(|tile| !tile.scale.is_finite()) {
            return Err(SchemeError::NotFinite { row });
        }
        if rule == ScaleRule::Mse {
            search(scheme, &values, importance, group, &mut tiles);
        }
        let codes = &mut codes[row * cols..][..cols];
        let of_tiles = codes.chunks_mut(group).zip(values.chunks(group)).zip(&tiles);
        vectorized(|| of_tiles.for_each(|((codes, values), tile)| encode(values, *tile, codes)));
        scales.tiles.extend(tiles.iter().map(|tile| tile.scale));
        scales.zeros.extend(tiles.iter().map(|tile| tile.zero));
    }
    QuantizedMatrix::from_stored_matrix(scheme, shape, StoredMatrix { codes, scales, levels: None })
}

/// Returns `‖E‖²` of the nearest numbers that tiles with these scales can store.
pub(crate) fn nearest_error(weight: &Weight<'_>, quantized: &QuantizedMatrix) -> f64 {
    let [rows, cols] = quantized.shape();
    let [_, group] = quantized.scheme().tiling().tile_shape(rows, cols);
    let mut tiles = quantized.scales().iter().zip(quantized.zero_points());
    let mut values = vec![0.0; cols];
    let mut error = 0.0;
    for row in 0..rows {
        weight.widen_row(row, &mut values);
        for (values, (&scale, &zero)) in values.chunks(group).zip(tiles.by_ref()) {
            let range = code_range(zero);
            let difference =
                |&value: &f32| f64::from(nearest(value / scale, range) * scale) - f64::from(value);
            error += values.iter().map(|value| difference(value).powi(2)).sum::<f64>();
        }
    }
    error
}

/// Returns the tiles of a row that cover all of its weights. A scale that is no number tells of a weight
/// that is none.
fn tiles_of_range(scheme: Scheme, values: &[f32], group: usize) -> Vec<Tile> {
    let lowest: Vec<f32> = values.chunks(group).map(|tile| least(tile.iter().copied())).collect();
    let negated = values.chunks(group).map(|tile| -least(tile.iter().map(|value| -value)));
    // Weights at both ends of all numbers are further apart than numbers go.
    let distance = |(highest, lowest): (f32, &f32)| match highest - lowest {
        distance if distance == f32::INFINITY && highest.is_finite() && lowest.is_finite() => {
            f32::MAX
        }
        distance => distance,
    };
    let mut scales: Vec<f32> = negated.zip(&lowest).map(distance).collect();
    scheme.storage().scale_tiles(scheme.grid(), &mut scales);
    let tile = |(&scale, &lowest): (&f32, &f32)| {
        let zero = (f32::from(LOWEST) - lowest / scale).round_ties_even();
        Tile { scale, zero: zero.clamp(f32::from(LOWEST), f32::from(HIGHEST)) as i8 }
    };
    scales.iter().zip(&lowest).map(tile).collect()
}

/// Returns the least of 0 and some values; NaN where one is.
fn least(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(0.0, |least, value| if value < least || value.is_nan() { value } else { least })
}

/// Puts the tile of least weighed error among its candidates in the place of each that it beats.
fn search(scheme: Scheme, values: &[f32], importance: &[f32], group: usize, tiles: &mut [Tile]) {
    let storage = scheme.storage();
    let mut candidates = vec![0.0; storage.candidate_count(scheme.grid())];
    for ((values, importance), tile) in
        values.chunks(group).zip(importance.chunks(group)).zip(tiles)
    {
        storage.candidates(tile.scale, 1.0, &mut candidates);
        *tile = vectorized(
            #[inline(always)]
            || best(*tile, &candidates, values, importance),
        );
    }
}

/// Returns the tile of least error: of those with the chosen zero point, and then of zero points beside.
#[inline(always)]
fn best(chosen: Tile, candidates: &[f32], values: &[f32], importance: &[f32]) -> Tile {
    let better = better_scale(
        chosen.scale,
        candidates,
        #[inline(always)]
        |scale| weighed_nearest_error(values, importance, Tile { scale, ..chosen }),
    );
    let chosen = Tile { scale: better.unwrap_or(chosen.scale), ..chosen };
    let mut best = (weighed_nearest_error(values, importance, chosen), chosen);
    for zero in [chosen.zero - 1, chosen.zero + 1] {
        let tried = Tile { zero, ..chosen };
        let error = weighed_nearest_error(values, importance, tried);
        if (LOWEST..=HIGHEST).contains(&zero) && error < best.0 {
            best = (error, tried);
        }
    }
    best.1
}

/// Returns the code nearest to a weight over its scale, of those that a tile can store.
#[inline(always)]
fn nearest(target: f32, [low, high]: [f32; 2]) -> f32 {
    // Comparisons in this order become two vector instructions.
    let target = if target < high { target } else { high };
    let target = if target > low { target } else { low };
    target.round_ties_even()
}

#[inline(always)]
fn encode(values: &[f32], Tile { scale, zero }: Tile, codes: &mut [u8]) {
    let range = code_range(zero);
    for (code, value) in codes.iter_mut().zip(values) {
        *code = Int8::encode(nearest(value / scale, range));
    }
}

/// Returns `Σ_j importance_j · E_j²` of the nearest codes of a tile.
#[inline(always)]
fn weighed_nearest_error(values: &[f32], importance: &[f32], Tile { scale, zero }: Tile) -> f32 {
    let (range, inverse) = (code_range(zero), 1.0 / scale);
    weighed_error(
        values,
        importance,
        #[inline(always)]
        |value| nearest(value * inverse, range) * scale - value,
    )
}
