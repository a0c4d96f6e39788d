use roundwise_grid::{Grid, GridVisitor, absmax};

use crate::measure::tile_errors;
use crate::{Scheme, SchemeError, Weight};

/// Tiles whose largest magnitude lies below this are stored as zeros with scale 1.
///
/// The floor that the published converters clamp at before they divide.
pub const ZERO_ABSMAX: f32 = 1e-12;

/// How the scale of a tile is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ScaleRule {
    /// `max |w| / MAX`: nothing saturates.
    #[default]
    Absmax,
    /// The multiple of the absmax scale, out of [`MSE_MULTIPLES`] candidates, whose stored value
    /// leaves the least squared error after nearest rounding. Absmax wins ties.
    Mse,
}

impl ScaleRule {
    /// Every rule by its name.
    pub const NAMES: [(&str, Self); 2] = [("absmax", Self::Absmax), ("mse", Self::Mse)];
}

/// Candidates that [`ScaleRule::Mse`] tries beside 1: `0.70, 0.72, … 1.48`.
pub const MSE_MULTIPLES: usize = 40;

fn mse_multiple(index: usize) -> f32 {
    0.70 + 0.02 * index as f32
}

/// Chooses the scale of every tile, row-major over tiles, as it is stored.
///
/// A tile below [`ZERO_ABSMAX`] gets scale 1, so that its codes decode to exact zeros.
///
/// # Errors
/// [`SchemeError::Ragged`] when blocks do not cover the matrix,
/// [`SchemeError::NotFinite`] when a weight is NaN or infinite.
///
/// # Cost
/// One reading of the weight, and [`MSE_MULTIPLES`] roundings more under [`ScaleRule::Mse`].
pub fn choose_scales(
    weight: &Weight<'_>,
    scheme: Scheme,
    rule: ScaleRule,
) -> Result<Vec<f32>, SchemeError> {
    let scales = absmax_scales(weight, scheme)?;
    match rule {
        ScaleRule::Absmax => Ok(scales),
        ScaleRule::Mse => Ok(search_scales(weight, scheme, scales)),
    }
}

fn absmax_scales(weight: &Weight<'_>, scheme: Scheme) -> Result<Vec<f32>, SchemeError> {
    let shape @ [rows, cols] = [weight.rows(), weight.cols()];
    let tiling = scheme.tiling;
    tiling.covers(rows, cols)?;

    let mut maxima = vec![0.0f32; tiling.tiles(rows, cols).iter().product()];
    let mut values = vec![0.0; cols];
    for row in 0..rows {
        weight.widen_row(row, &mut values);
        let first = tiling.first_tile(row, shape);
        for (tile, columns) in tiling.columns(shape).enumerate() {
            let segment_max = absmax(&values[columns]);
            if !segment_max.is_finite() {
                return Err(SchemeError::NotFinite { row });
            }
            maxima[first + tile] = segment_max.max(maxima[first + tile]);
        }
    }
    let largest_code = scheme.grid.max();
    Ok(maxima.into_iter().map(|maximum| absmax_scale(maximum, largest_code)).collect())
}

fn absmax_scale(maximum: f32, largest_code: f32) -> f32 {
    if maximum < ZERO_ABSMAX {
        return 1.0;
    }
    let scale = maximum / largest_code;
    // A quotient of f32's largest number that was rounded up decodes to infinity.
    if (scale * largest_code).is_finite() { scale } else { scale.next_down() }
}

fn search_scales(weight: &Weight<'_>, scheme: Scheme, absmax: Vec<f32>) -> Vec<f32> {
    let mut best_scales = absmax.clone();
    let mut best_errors = errors_of(weight, scheme, &absmax);
    for index in 0..MSE_MULTIPLES {
        let candidate: Vec<f32> = absmax.iter().map(|scale| scale * mse_multiple(index)).collect();
        let errors = errors_of(weight, scheme, &candidate);
        for tile in 0..candidate.len() {
            if errors[tile] < best_errors[tile] {
                best_errors[tile] = errors[tile];
                best_scales[tile] = candidate[tile];
            }
        }
    }
    best_scales
}

fn errors_of(weight: &Weight<'_>, scheme: Scheme, scales: &[f32]) -> Vec<f64> {
    struct Errors<'a>(&'a Weight<'a>, Scheme, &'a [f32]);
    impl GridVisitor for Errors<'_> {
        type Output = Vec<f64>;
        fn visit<G: Grid>(self) -> Vec<f64> {
            tile_errors::<G>(self.0, self.1.tiling, self.2)
        }
    }
    scheme.grid.visit(Errors(weight, scheme, scales))
}
