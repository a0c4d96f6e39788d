use roundwise_grid::{Grid, GridVisitor, absmax, absmax_tiles};

use crate::error::SchemeError;
use crate::measure::tile_errors;
use crate::quantized::QuantizedMatrix;
use crate::row_search::search_row_scales;
use crate::scheme::Scheme;
use crate::tiling::Tiling;
use crate::weight::Weight;

/// How the scale of a tile is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ScaleRule {
    /// `max |w| / MAX`, or the stored scale that stands for it: nothing saturates by more than the
    /// rounding of the scale.
    #[default]
    Absmax,
    /// The scale near the absmax scale whose stored value leaves the least squared error after
    /// nearest rounding: of [`MSE_MULTIPLES`](crate::MSE_MULTIPLES) multiples where scales are F32
    /// (in tiles of one row every fourth, and then those around the best), else of neighbouring
    /// stored scales. Absmax wins ties. Where columns differ in
    /// [importance](Weight::with_importance), so do their squared errors.
    Mse,
}

impl ScaleRule {
    /// Every rule by its name.
    pub const NAMES: [(&str, Self); 2] = [("absmax", Self::Absmax), ("mse", Self::Mse)];
}

/// The scales of a matrix, each exactly as a reader of the file computes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    /// One per tile, row-major over tiles: model units per grid unit.
    pub tiles: Vec<f32>,
    /// The factor that all of them share where they are stored in two levels, else 1.
    pub tensor: f32,
    /// One per tile where its codes are counted from a zero point, the number that stands for 0; else
    /// none.
    pub zeros: Vec<i8>,
}

impl From<Vec<f32>> for Scales {
    /// Makes scales that share no factor.
    fn from(tiles: Vec<f32>) -> Self {
        Self { tiles, tensor: 1.0, zeros: vec![] }
    }
}

/// Chooses the scale of every tile, as it is stored.
///
/// - F32: `max |w| / MAX`; a tile below [`ZERO_ABSMAX`](crate::ZERO_ABSMAX) gets scale 1, so that its
///   codes decode to exact zeros.
/// - F32 powers of two: the smallest one with `max |w| ≤ MAX · scale`; 1 for tiles of zeros as above.
/// - powers of two as bytes: the same power; 1 where that is below 2⁻¹²⁶.
/// - two levels: `s = max |W| / (448 · 6)` for all, `b = E4M3(max |w| / 6 / s)` for a tile,
///   `scale = s · b`. Where `b` rounds to 0 the scale is `s`, for which all codes are 0, too.
/// - logarithms: the one nearest to `max |W| / MAX`, W with the weights [beside](Weight::beside) it
///   where these share its scale; weights beyond `MAX` after that saturate.
/// - levels: the scales of rows, which their codes are chosen together with.
/// - zero points: `(max w − min w) / 15`, 0 counted among the weights.
/// - F16: `max |W| / 10` below 10⁻⁴, else 1, as published.
///
/// # Errors
/// [`SchemeError::Ragged`] and [`SchemeError::Unrotatable`] when the scheme does not cover the
/// matrix, [`SchemeError::NotFinite`] when a weight is NaN or infinite.
///
/// # Cost
/// One reading of the weight, and one rounding more per candidate under [`ScaleRule::Mse`].
pub fn choose_scales(
    weight: &Weight<'_>,
    scheme: Scheme,
    rule: ScaleRule,
) -> Result<Scales, SchemeError> {
    scheme.covers(weight.rows(), weight.cols())?;
    // Scales of levels and zero points come with their codes, and from nowhere else.
    if scheme.has_levels() || scheme.has_zero_points() {
        return Ok(QuantizedMatrix::nearest(weight, scheme, rule)?.into_scales());
    }
    let weight = &weight.seen_by(scheme);
    let maxima = tile_maxima(weight, scheme.tiling())?;
    // Weights that share the scale count here and are never read: their largest magnitude is all
    // that a scale needs.
    let largest = absmax(&maxima).max(weight.shared_absmax());
    Ok(scales_of_maxima(weight, scheme, rule, maxima, largest))
}

/// Returns the largest magnitude of a weight, as its scheme sees it.
///
/// # Errors
/// [`SchemeError::NotFinite`] when a weight is NaN or infinite.
pub fn largest_magnitude(weight: &Weight<'_>, scheme: Scheme) -> Result<f32, SchemeError> {
    Ok(absmax(&tile_maxima(&weight.seen_by(scheme), Tiling::Row)?))
}

/// Chooses the scales of some rows, where the largest magnitude of all rows is known.
pub(crate) fn choose_band_scales(
    rows: &Weight<'_>,
    scheme: Scheme,
    rule: ScaleRule,
    largest: f32,
) -> Result<Scales, SchemeError> {
    let rows = &rows.seen_by(scheme);
    let maxima = tile_maxima(rows, scheme.tiling())?;
    Ok(scales_of_maxima(rows, scheme, rule, maxima, largest))
}

/// Turns the largest magnitudes of tiles into scales, and searches near them where the rule says so.
///
/// - `largest`: of the whole matrix, of which `weight` may be some rows
fn scales_of_maxima(
    weight: &Weight<'_>,
    scheme: Scheme,
    rule: ScaleRule,
    mut maxima: Vec<f32>,
    largest: f32,
) -> Scales {
    if scheme.tiling() == Tiling::Tensor {
        maxima.fill(largest);
    }
    let mut scales = scheme.storage().choose(scheme.grid(), maxima, largest);
    if rule == ScaleRule::Mse {
        search_scales(weight, scheme, &mut scales);
    }
    scales
}

/// Tiles narrower than this are measured together: a call per tile would cost more than its
/// weights.
pub(crate) const NARROW: usize = 64;

/// Tells whether the scales of a row follow from that row alone, so that it can be rounded while it
/// is at hand.
pub(crate) fn is_by_row(scheme: Scheme, rule: ScaleRule, [rows, cols]: [usize; 2]) -> bool {
    let [tile_rows, _] = scheme.tiling().tile_shape(rows, cols);
    let is_of_a_row = scheme.tiling() != Tiling::Tensor && tile_rows == 1 && cols > 0;
    rule == ScaleRule::Absmax && scheme.storage().is_by_tile() && is_of_a_row
}

/// Chooses the scales of one row by [`ScaleRule::Absmax`], where [`is_by_row`] holds.
///
/// # Errors
/// [`SchemeError::NotFinite`] when a weight is NaN or infinite.
pub(crate) fn choose_row_scales(
    scheme: Scheme,
    shape: [usize; 2],
    row: usize,
    values: &[f32],
    scales: &mut [f32],
) -> Result<(), SchemeError> {
    row_maxima(scheme.tiling(), shape, values, scales);
    if !absmax(scales).is_finite() {
        return Err(SchemeError::NotFinite { row });
    }
    scheme.storage().scale_tiles(scheme.grid(), scales);
    Ok(())
}

/// Finds the largest magnitude of a row in each tile that it crosses.
fn row_maxima(
    tiling: Tiling,
    shape @ [rows, cols]: [usize; 2],
    values: &[f32],
    maxima: &mut [f32],
) {
    let [_, tile_cols] = tiling.tile_shape(rows, cols);
    // The width decides about the speed alone: both give the same maxima.
    if tile_cols < NARROW {
        return absmax_tiles(values, tile_cols, maxima);
    }
    for (columns, maximum) in tiling.columns(shape).zip(maxima) {
        *maximum = absmax(&values[columns]);
    }
}

/// Returns the largest magnitude of every tile.
fn tile_maxima(weight: &Weight<'_>, tiling: Tiling) -> Result<Vec<f32>, SchemeError> {
    let shape @ [rows, cols] = [weight.rows(), weight.cols()];
    let [_, across] = tiling.tiles(rows, cols);
    let mut maxima = vec![0.0f32; tiling.tiles(rows, cols).iter().product()];
    let mut values = vec![0.0; cols];
    // A tensor without columns still has its scale, but no row crosses it.
    let mut row_tiles = vec![0.0f32; if cols == 0 { 0 } else { across }];
    for row in 0..rows {
        weight.widen_row(row, &mut values);
        row_maxima(tiling, shape, &values, &mut row_tiles);
        // A NaN is not passed over by `absmax`, so that this finds it, too.
        if !absmax(&row_tiles).is_finite() {
            return Err(SchemeError::NotFinite { row });
        }
        let first = tiling.first_tile(row, shape);
        for (maximum, in_row) in maxima[first..].iter_mut().zip(&row_tiles) {
            *maximum = in_row.max(*maximum);
        }
    }
    Ok(maxima)
}

/// Puts the scale of least error among its candidates in the place of each absmax scale.
fn search_scales(weight: &Weight<'_>, scheme: Scheme, scales: &mut Scales) {
    let [tile_rows, _] = scheme.tiling().tile_shape(weight.rows(), weight.cols());
    // A row is read once for all candidates; a block of several rows is measured candidate by candidate.
    if tile_rows == 1 && weight.cols() > 0 {
        return search_row_scales(weight, scheme, scales);
    }
    let count = scheme.storage().candidate_count(scheme.grid());
    let mut candidates = vec![vec![0.0; count]; scales.tiles.len()];
    for (&scale, candidates) in scales.tiles.iter().zip(&mut candidates) {
        scheme.storage().candidates(scale, scales.tensor, candidates);
    }
    let mut best_errors = nearest_errors(weight, scheme, &scales.tiles);
    for index in 0..count {
        let tried: Vec<f32> = candidates.iter().map(|candidates| candidates[index]).collect();
        let errors = nearest_errors(weight, scheme, &tried);
        for tile in 0..tried.len() {
            // Strictly: of equals the absmax scale stays, or the candidate that was tried first.
            if errors[tile] < best_errors[tile] {
                best_errors[tile] = errors[tile];
                scales.tiles[tile] = tried[tile];
            }
        }
    }
}

/// Returns `‖E‖²` of every tile after nearest rounding with `scales`.
fn nearest_errors(weight: &Weight<'_>, scheme: Scheme, scales: &[f32]) -> Vec<f64> {
    struct Errors<'a>(&'a Weight<'a>, Scheme, &'a [f32]);
    impl GridVisitor for Errors<'_> {
        type Output = Vec<f64>;
        fn visit<G: Grid>(self) -> Vec<f64> {
            tile_errors::<G>(self.0, self.1.tiling(), self.2)
        }
    }
    scheme.grid().visit(Errors(weight, scheme, scales))
}
