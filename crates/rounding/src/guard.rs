use roundwise_compute::{Engine, elementwise};

use crate::cells::Cells;
use crate::layer::Layer;
use crate::projection::Projection;
use crate::{Limit, Score};

/// Scores codes as they are stored, in squared units of the model.
pub(crate) fn score(
    layer: &Layer,
    cells: &Cells,
    projection: &Projection,
    limit: Limit,
    engine: &Engine,
) -> Score {
    let errors = cells.errors();
    let weight_error = elementwise::squared_norm(errors.values());
    let (projected, input_projected) = if projection.rank() == 0 {
        (0.0, 0.0)
    } else {
        let (projected, input) = projection.project(&engine.upload(errors));
        (projected.squared_norm(), input)
    };
    let unit = layer.unit * layer.unit;
    Score {
        objective: (projected + limit.lambda() * weight_error) * unit,
        projected: projected * unit,
        input_projected: input_projected * unit,
        weight_error: weight_error * unit,
    }
}

/// Whether a solver's codes may be stored instead of nearest ones.
pub(crate) fn is_better(stored: &Score, nearest: &Score, limit: Limit) -> bool {
    // Both energies are sums of the same terms in the same order; the slack is a few roundings.
    const ROUNDING: f64 = 1.0 + 1e-9;
    let allowed = nearest.weight_error * limit.largest_energy_ratio() * ROUNDING;
    stored.objective < nearest.objective && stored.weight_error <= allowed
}
