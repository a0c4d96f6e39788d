use roundwise_compute::{Engine, elementwise};
use roundwise_grid::{Code, Grid, GridVisitor};
use roundwise_scheme::{QuantizedMatrix, ScaleRule, Scheme, Weight};

use crate::attempt::Attempt;
use crate::cells::Cells;
use crate::guard::{is_better, score};
use crate::layer::Layer;
use crate::projection::Projection;
use crate::solve::State;
use crate::{Objective, Options, RoundingError, RoundingReport, Watch};

/// Codes and what is known about them.
#[derive(Clone, Debug, PartialEq)]
pub struct Rounded {
    /// What is stored.
    pub matrix: QuantizedMatrix,
    /// How good it is.
    pub report: RoundingReport,
}

/// Chooses the codes of a matrix.
///
/// - `weight`: `[m, n]`, finite
/// - `rule`: how scales are chosen; they are fixed before the first code is
/// - `seed`: of whatever is random; the same seed gives the same bytes on a CPU for any number of
///   threads
///
/// Nearest codes are stored where the solver does not beat them in the declared objective, or
/// breaks the budget. Takes up to four `f32` copies of the weight; five with the solver `greedy`,
/// and up to fourteen with those that descend by gradients, most of them the optimizer's.
///
/// # Errors
/// [`RoundingError`]: a weight that is not finite or not covered by its blocks, an option out of
/// range, or a watcher that said stop.
pub fn round(
    weight: &Weight<'_>,
    scheme: Scheme,
    rule: ScaleRule,
    options: &Options,
    engine: &Engine,
    seed: u64,
    watch: &mut dyn Watch,
) -> Result<Rounded, RoundingError> {
    options.check()?;
    let layer = Layer::new(weight, scheme, rule)?;
    let projection = Projection::of(options.objective, &layer, options.effort, engine, seed)?;
    scheme.grid().visit(Round { layer, projection, options, engine, seed, watch })
}

struct Round<'a> {
    layer: Layer<'a>,
    projection: Projection,
    options: &'a Options,
    engine: &'a Engine,
    seed: u64,
    watch: &'a mut dyn Watch,
}

impl GridVisitor for Round<'_> {
    type Output = Result<Rounded, RoundingError>;

    fn visit<G: Grid>(self) -> Self::Output {
        let Self { layer, projection, options, engine, seed, watch } = self;
        let cells = Cells::new(&layer, projection.order.clone());
        let weight_energy = elementwise::squared_norm(&cells.weights);
        let found = projection.project(&cells, engine);
        let nearest = score(&found, &layer, options.limit);
        let mut report = RoundingReport {
            objective: options.objective.name(),
            solver: "nearest",
            stored: nearest,
            nearest,
            weight_energy: weight_energy * layer.unit * layer.unit,
            changed: 0.0,
            rank: projection.rank(),
            lambda: options.limit.lambda(),
            bound_ratio: None,
            passes: 0,
            kept_nearest: true,
        };
        // Nearest codes are the minimum of ‖E‖², and nothing beats an objective that is 0.
        let is_open = match options.objective {
            Objective::None => weight_energy > 0.0,
            Objective::Weight => false,
            Objective::Principal(_) | Objective::PrincipalInput(_) | Objective::Sampled { .. } => {
                nearest.projected > 0.0
            }
        };
        // A matrix whose tiles differ by more than f32 spans has scales that this search cannot see.
        let has_lost_scales = cells.smallest_scale() < f32::MIN_POSITIVE;
        if !is_open || has_lost_scales {
            return Ok(Rounded { matrix: layer.nearest, report });
        }

        let mut state = State::new(engine, &projection, cells, layer.unit, found);
        let attempt = Attempt::make::<G>(&mut state, options, seed, watch)?;
        report.solver = attempt.solver;
        report.passes = attempt.passes;
        report.lambda = attempt.lambda.unwrap_or(report.lambda);
        let stored = score(&projection.project(&state.cells, engine), &layer, options.limit);
        let has_to_be_better = options.objective != Objective::None;
        if has_to_be_better && !is_better(&stored, &nearest, options.limit) {
            return Ok(Rounded { matrix: layer.nearest, report });
        }
        let matrix = state.cells.quantized(&layer)?;
        let code_bytes = G::Code::BYTES;
        let changed = matrix
            .codes()
            .chunks_exact(code_bytes)
            .zip(layer.nearest.codes().chunks_exact(code_bytes))
            .filter(|(a, b)| a != b)
            .count();
        report.changed = changed as f64 / (matrix.codes().len() / code_bytes) as f64;
        report.stored = stored;
        report.bound_ratio = bound_ratio(&report, options, layer.nearest.shape());
        report.kept_nearest = changed == 0;
        Ok(Rounded { matrix, report })
    }
}

fn bound_ratio(
    report: &RoundingReport,
    options: &Options,
    [rows, cols]: [usize; 2],
) -> Option<f64> {
    let numbers = match options.objective {
        Objective::Principal(_) => report.rank * report.rank,
        Objective::PrincipalInput(_) => report.rank * rows,
        // The bound is one for directions that are all equally strong.
        Objective::None | Objective::Weight | Objective::Sampled { .. } => return None,
    };
    let lambda = report.lambda;
    if lambda <= 0.0 || report.nearest.weight_error == 0.0 {
        return None;
    }
    let share = numbers as f64 / (rows * cols) as f64;
    let bound = lambda * report.nearest.weight_error * (1.0 + share * (1.0 + 1.0 / lambda).ln());
    let stored = &report.stored;
    Some((stored.projected + lambda * stored.weight_error) / bound)
}
