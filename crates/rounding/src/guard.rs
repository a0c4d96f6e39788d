use crate::layer::Layer;
use crate::losses::Losses;
use crate::projection::{Projected, Projection};
use crate::{Limit, Score};

/// Returns the score of codes as they are stored, in squared units of the model.
pub(crate) fn score(
    found: &Projected,
    projection: &Projection,
    layer: &Layer<'_>,
    limit: Limit,
) -> Score {
    let losses = Losses::of(found, projection);
    let weight_unit = layer.unit * layer.unit;
    let unit = projection.unit * weight_unit;
    // Without L both are the same.
    let input_projected = match projection.left {
        Some(_) => found.input_energy,
        None => losses.projected,
    };
    Score {
        objective: losses.objective(limit.lambda()) * unit,
        projected: losses.projected * unit,
        input_projected: input_projected * unit,
        weight_error: losses.weight_error * weight_unit,
    }
}

/// Largest `‖E‖` of a learned rounding that is stored, over that of nearest codes, whatever the
/// limit.
pub const LARGEST_ERROR_RATIO: f64 = 2.0;

/// Returns whether a solver's codes may be stored instead of nearest ones.
pub(crate) fn is_better(stored: &Score, nearest: &Score, limit: Limit) -> bool {
    // Both energies are sums of the same terms in the same order; the slack is a few roundings.
    const ROUNDING: f64 = 1.0 + 1e-9;
    // An objective of few directions can be lowered at any price in all others, which none of its
    // own numbers shows.
    let allowed = nearest.weight_error
        * limit.largest_energy_ratio().min(LARGEST_ERROR_RATIO.powi(2))
        * ROUNDING;
    // Strictly less: nearest codes win ties, so that codes that are reported as changed are better.
    stored.objective < nearest.objective && stored.weight_error <= allowed
}
