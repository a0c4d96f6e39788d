use roundwise_grid::{E4m3, E8m0, Grid, GridKind, GridVisitor, absmax, absmax_tiles, vectorized};

use crate::measure::tile_errors;
use crate::{QuantizedMatrix, ScaleStorage, Scheme, SchemeError, Tiling, Weight};

/// Tiles whose largest magnitude lies below this are stored as zeros with scale 1, where scales are
/// F32.
///
/// The floor that the published converters clamp at before they divide.
pub const ZERO_ABSMAX: f32 = 1e-12;

/// How the scale of a tile is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ScaleRule {
    /// `max |w| / MAX`, or the stored scale that stands for it: nothing saturates by more than the
    /// rounding of the scale.
    #[default]
    Absmax,
    /// The scale near the absmax scale whose stored value leaves the least squared error after
    /// nearest rounding: of [`MSE_MULTIPLES`] multiples where scales are F32, else of neighbouring
    /// stored scales. Absmax wins ties.
    Mse,
}

impl ScaleRule {
    /// Every rule by its name.
    pub const NAMES: [(&str, Self); 2] = [("absmax", Self::Absmax), ("mse", Self::Mse)];
}

/// Candidates that [`ScaleRule::Mse`] tries beside 1 for F32 scales: `0.70, 0.72, … 1.48`.
pub const MSE_MULTIPLES: usize = 40;

fn mse_multiple(index: usize) -> f32 {
    0.70 + 0.02 * index as f32
}

/// The scales of a matrix, each exactly as a reader of the file computes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    /// One per tile, row-major over tiles: model units per grid unit.
    pub tiles: Vec<f32>,
    /// The factor that all of them share where they are stored in two levels, else 1.
    pub tensor: f32,
}

impl From<Vec<f32>> for Scales {
    /// Scales that share no factor.
    fn from(tiles: Vec<f32>) -> Self {
        Self { tiles, tensor: 1.0 }
    }
}

/// Chooses the scale of every tile, as it is stored.
///
/// - F32: `max |w| / MAX`; a tile below [`ZERO_ABSMAX`] gets scale 1, so that its codes decode to
///   exact zeros.
/// - powers of two: the smallest one with `max |w| ≤ MAX · scale`; 1 where that is below 2⁻¹²⁶.
/// - two levels: `s = max |W| / (448 · 6)` for all, `b = E4M3(max |w| / 6 / s)` for a tile,
///   `scale = s · b`. Where `b` rounds to 0 the scale is `s`, for which all codes are 0, too.
/// - logarithms: the one nearest to `max |W| / MAX`, W with the weights [beside](Weight::beside) it
///   where these share its scale; what lies beyond `MAX` after that saturates.
/// - levels: see [`Levels`](crate::Levels); the scales of rows.
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
    if scheme.scale_storage() == ScaleStorage::Leveled {
        return Ok(QuantizedMatrix::nearest(weight, scheme, rule)?.scales().to_vec().into());
    }
    let weight = &weight.seen_by(scheme);
    let mut maxima = tile_maxima(weight, scheme.tiling())?;
    if scheme.shares_scales() {
        maxima.iter_mut().for_each(|maximum| *maximum = maximum.max(weight.shared_absmax()));
    }
    let largest = absmax(&maxima);
    let mut scales = absmax_scales(maxima, scheme, largest);
    if rule == ScaleRule::Mse {
        search_scales(weight, scheme, &mut scales);
    }
    Ok(scales)
}

/// The largest magnitude of a weight, as its scheme sees it.
///
/// # Errors
/// [`SchemeError::NotFinite`] when a weight is NaN or infinite.
pub fn largest_magnitude(weight: &Weight<'_>, scheme: Scheme) -> Result<f32, SchemeError> {
    Ok(absmax(&tile_maxima(&weight.seen_by(scheme), Tiling::Row)?))
}

/// [`choose_scales`] for some rows, where the largest magnitude of all rows is known.
pub(crate) fn choose_band_scales(
    rows: &Weight<'_>,
    scheme: Scheme,
    rule: ScaleRule,
    largest: f32,
) -> Result<Scales, SchemeError> {
    let rows = &rows.seen_by(scheme);
    let mut maxima = tile_maxima(rows, scheme.tiling())?;
    if scheme.tiling() == Tiling::Tensor {
        maxima.fill(largest);
    }
    let mut scales = absmax_scales(maxima, scheme, largest);
    if rule == ScaleRule::Mse {
        search_scales(rows, scheme, &mut scales);
    }
    Ok(scales)
}

/// Tiles narrower than this are measured together, for a call per tile would cost more than they.
pub(crate) const NARROW: usize = 64;

/// Whether the scales of a row follow from that row alone, so that it can be rounded while it is at
/// hand.
pub(crate) fn is_by_row(scheme: Scheme, rule: ScaleRule, [rows, cols]: [usize; 2]) -> bool {
    let [tile_rows, _] = scheme.tiling().tile_shape(rows, cols);
    let is_single_level = matches!(
        scheme.scale_storage(),
        ScaleStorage::F32(_) | ScaleStorage::PowerOfTwo | ScaleStorage::PowerOfTwoAndLargest
    );
    rule == ScaleRule::Absmax && is_single_level && tile_rows == 1 && cols > 0
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
    single_level_scales(scales, scheme);
    Ok(())
}

/// The largest magnitude of a row in each tile that it crosses.
fn row_maxima(
    tiling: Tiling,
    shape @ [rows, cols]: [usize; 2],
    values: &[f32],
    maxima: &mut [f32],
) {
    let [_, tile_cols] = tiling.tile_shape(rows, cols);
    if tile_cols < NARROW {
        return absmax_tiles(values, tile_cols, maxima);
    }
    for (columns, maximum) in tiling.columns(shape).zip(maxima) {
        *maximum = absmax(&values[columns]);
    }
}

fn tile_maxima(weight: &Weight<'_>, tiling: Tiling) -> Result<Vec<f32>, SchemeError> {
    let shape @ [rows, cols] = [weight.rows(), weight.cols()];
    let [_, across] = tiling.tiles(rows, cols);
    let mut maxima = vec![0.0f32; tiling.tiles(rows, cols).iter().product()];
    let mut values = vec![0.0; cols];
    let mut of_row = vec![0.0f32; if cols == 0 { 0 } else { across }];
    for row in 0..rows {
        weight.widen_row(row, &mut values);
        row_maxima(tiling, shape, &values, &mut of_row);
        if !absmax(&of_row).is_finite() {
            return Err(SchemeError::NotFinite { row });
        }
        let first = tiling.first_tile(row, shape);
        for (maximum, of_row) in maxima[first..].iter_mut().zip(&of_row) {
            *maximum = of_row.max(*maximum);
        }
    }
    Ok(maxima)
}

fn absmax_scales(mut maxima: Vec<f32>, scheme: Scheme, largest: f32) -> Scales {
    if scheme.scale_storage() != ScaleStorage::TwoLevel {
        single_level_scales(&mut maxima, scheme);
        return maxima.into();
    }
    let largest_code = scheme.grid().max();
    let tensor = absmax_scale(largest, E4m3::MAX * largest_code);
    each(&mut maxima, |maximum| two_level_scale(maximum / largest_code, tensor));
    Scales { tiles: maxima, tensor }
}

/// Turns the largest magnitudes of tiles into scales that need no other tile.
fn single_level_scales(maxima: &mut [f32], scheme: Scheme) {
    let largest_code = scheme.grid().max();
    match scheme.scale_storage() {
        ScaleStorage::F32(_) if scheme.grid() == GridKind::F16 => {
            each(maxima, tiny_scale);
        }
        ScaleStorage::F32(_) => each(maxima, |maximum| absmax_scale(maximum, largest_code)),
        ScaleStorage::Logarithmic { range, .. } => {
            let stored = |scale| range.decode(range.encode(scale));
            each(maxima, |maximum| stored(absmax_scale(maximum, largest_code)));
        }
        ScaleStorage::PowerOfTwo | ScaleStorage::PowerOfTwoAndLargest => {
            let power = |wanted| E8m0::at_least(wanted).map_or(1.0, E8m0::decode);
            each(maxima, |maximum| power(maximum / largest_code));
        }
        ScaleStorage::TwoLevel | ScaleStorage::Leveled | ScaleStorage::Unscaled => maxima.fill(1.0),
    }
}

/// There may be a tile for every few weights.
fn each(maxima: &mut [f32], scale: impl Fn(f32) -> f32) {
    vectorized(|| maxima.iter_mut().for_each(|maximum| *maximum = scale(*maximum)));
}

fn absmax_scale(maximum: f32, largest_code: f32) -> f32 {
    if maximum < ZERO_ABSMAX {
        return 1.0;
    }
    let scale = maximum / largest_code;
    // A quotient of f32's largest number that was rounded up decodes to infinity.
    if (scale * largest_code).is_finite() { scale } else { scale.next_down() }
}

/// Tensors of F16 whose largest magnitude lies below this are scaled, to a largest of 10.
const TINY_ABSMAX: f32 = 1e-4;
const TINY_TARGET: f32 = 10.0;

fn tiny_scale(maximum: f32) -> f32 {
    match maximum {
        ZERO_ABSMAX..TINY_ABSMAX => 1.0 / (TINY_TARGET / maximum),
        _ => 1.0,
    }
}

/// The stored scale nearest to `wanted`; `tensor` itself where that would be 0.
#[inline(always)]
fn two_level_scale(wanted: f32, tensor: f32) -> f32 {
    let block = E4m3::round((wanted / tensor).min(E4m3::MAX));
    if block == 0.0 { tensor } else { tensor * block }
}

/// Codes of block scales that [`ScaleRule::Mse`] tries below and above the absmax one: about 0.7 to
/// 1.8 times, 8 codes being a factor of 2.
const BLOCK_STEPS: std::ops::RangeInclusive<i32> = -4..=7;

/// The same for codes of logarithmic scales.
const LOG_STEPS: std::ops::RangeInclusive<i32> = -3..=3;

/// The candidates that take the place of the scale of one tile, in the order they are tried.
fn candidates(scheme: Scheme) -> usize {
    match scheme.scale_storage() {
        // A scale other than 1 is read by few programs.
        ScaleStorage::F32(_) if scheme.grid() == GridKind::F16 => 0,
        ScaleStorage::Logarithmic { is_shared: false, .. } => LOG_STEPS.count(),
        // Nobody can change a scale that others have, too.
        ScaleStorage::Logarithmic { is_shared: true, .. } | ScaleStorage::Leveled => 0,
        ScaleStorage::F32(_) => MSE_MULTIPLES,
        ScaleStorage::PowerOfTwo | ScaleStorage::PowerOfTwoAndLargest => 2,
        ScaleStorage::TwoLevel => BLOCK_STEPS.count(),
        ScaleStorage::Unscaled => 0,
    }
}

/// A stored scale near `scale`, which is stored itself; the same where there is none.
fn candidate(storage: ScaleStorage, scale: f32, tensor: f32, index: usize) -> f32 {
    match storage {
        ScaleStorage::F32(_) => scale * mse_multiple(index),
        ScaleStorage::Logarithmic { range, .. } => {
            let code = i32::from(range.encode(scale)) + LOG_STEPS.start() + index as i32;
            range.decode(code.clamp(0, 255) as u8)
        }
        ScaleStorage::PowerOfTwo | ScaleStorage::PowerOfTwoAndLargest => {
            let other = if index == 0 { scale * 0.5 } else { scale * 2.0 };
            E8m0::encode(other).map_or(scale, |_| other)
        }
        ScaleStorage::TwoLevel => {
            let code = i32::from(block_code(scale, tensor)) + BLOCK_STEPS.start() + index as i32;
            let largest = i32::from(E4m3::encode(E4m3::MAX));
            E4m3::decode(code.clamp(1, largest) as u8) * tensor
        }
        ScaleStorage::Leveled | ScaleStorage::Unscaled => scale,
    }
}

/// The E4M3 code of a block of which the reader computes `scale`, exactly: the product of both was
/// rounded by far less than half a step of E4M3.
#[inline(always)]
pub(crate) fn block_code(scale: f32, tensor: f32) -> u8 {
    E4m3::encode(scale / tensor)
}

fn search_scales(weight: &Weight<'_>, scheme: Scheme, scales: &mut Scales) {
    let storage = scheme.scale_storage();
    let absmax = scales.tiles.clone();
    let mut best_errors = errors_of(weight, scheme, &absmax);
    for index in 0..candidates(scheme) {
        let near = |&scale: &f32| candidate(storage, scale, scales.tensor, index);
        let tried: Vec<f32> = absmax.iter().map(near).collect();
        let errors = errors_of(weight, scheme, &tried);
        for tile in 0..tried.len() {
            if errors[tile] < best_errors[tile] {
                best_errors[tile] = errors[tile];
                scales.tiles[tile] = tried[tile];
            }
        }
    }
}

fn errors_of(weight: &Weight<'_>, scheme: Scheme, scales: &[f32]) -> Vec<f64> {
    struct Errors<'a>(&'a Weight<'a>, Scheme, &'a [f32]);
    impl GridVisitor for Errors<'_> {
        type Output = Vec<f64>;
        fn visit<G: Grid>(self) -> Vec<f64> {
            tile_errors::<G>(self.0, self.1.tiling(), self.2)
        }
    }
    scheme.grid().visit(Errors(weight, scheme, scales))
}

#[cfg(test)]
mod tests {
    use roundwise_grid::E2m1;

    use super::*;

    /// The product of a tensor scale and a block scale gives the block's code back.
    #[test]
    fn every_block_code_comes_back() {
        for tensor in [1.0, 0.000_409_226_2, 3.7e-16, 1.2e35, 0.1, f32::MIN_POSITIVE * 1e6] {
            for code in 1..=E4m3::encode(E4m3::MAX) {
                assert_eq!(block_code(tensor * E4m3::decode(code), tensor), code, "{tensor:e}");
            }
        }
    }

    /// Where a block's scale rounds to 0, the scale that stands in for it makes all codes 0.
    #[test]
    fn tiny_blocks_have_codes_of_zero() {
        let tensor = 0.01;
        let largest_tiny = 6.0 * tensor * E4m3::decode(1) / 2.0;
        for value in [0.0, largest_tiny, largest_tiny.next_down()] {
            let scale = two_level_scale(value / 6.0, tensor);
            assert_eq!((scale, E2m1::encode(value / scale)), (tensor, 0));
        }
    }
}
