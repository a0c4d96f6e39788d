use roundwise_compute::Engine;
use roundwise_grid::{Grid, GridVisitor};
use roundwise_scheme::{QuantizedMatrix, ScaleRule, Scheme, Weight};

use crate::adaround::adaround;
use crate::anneal::anneal;
use crate::cells::Cells;
use crate::code_descent::code_descent;
use crate::feedback::feedback;
use crate::greedy::greedy;
use crate::guard::{is_better, score};
use crate::iterate::Worth;
use crate::layer::Layer;
use crate::projection::Projection;
use crate::solve::State;
use crate::stochastic::stochastic;
use crate::{
    Anneal, Feedback, Limit, Objective, Options, RoundingError, RoundingReport, Score, Solver,
    Watch,
};

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
/// breaks the budget. Takes up to four `f32` copies of the weight.
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
    scheme.grid.visit(Round { layer, projection, options, engine, seed, watch })
}

struct Round<'a> {
    layer: Layer,
    projection: Projection,
    options: &'a Options,
    engine: &'a Engine,
    seed: u64,
    watch: &'a mut dyn Watch,
}

impl GridVisitor for Round<'_> {
    type Output = Result<Rounded, RoundingError>;

    fn visit<G: Grid>(self) -> Self::Output {
        let Self { mut layer, projection, options, engine, seed, watch } = self;
        let cells = Cells::new(&layer, projection.order.clone());
        let weight_energy = {
            let weight =
                std::mem::replace(&mut layer.weight, roundwise_compute::Matrix::zeros(0, 0));
            roundwise_compute::elementwise::squared_norm(weight.values())
        };
        let nearest = score(&layer, &cells, &projection, options.limit, engine);
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
        if !is_open {
            return Ok(Rounded { matrix: layer.nearest, report });
        }

        let mut state = State::new(engine, &projection, cells, layer.unit);
        solve::<G>(&mut state, options, seed, watch, &mut report)?;
        let stored = score(&layer, &state.cells, &projection, options.limit, engine);
        report.bound_ratio = bound_ratio(&stored, &report, layer.nearest.shape());
        let has_to_be_better = options.objective != Objective::None;
        if has_to_be_better && !is_better(&stored, &nearest, options.limit) {
            return Ok(Rounded { matrix: layer.nearest, report });
        }
        let matrix = state.cells.quantized(&layer)?;
        let code_bytes = scheme_bytes(&matrix);
        let changed = matrix
            .codes()
            .chunks_exact(code_bytes)
            .zip(layer.nearest.codes().chunks_exact(code_bytes))
            .filter(|(a, b)| a != b)
            .count();
        report.changed = changed as f64 / (matrix.codes().len() / code_bytes) as f64;
        report.stored = stored;
        report.kept_nearest = changed == 0;
        Ok(Rounded { matrix, report })
    }
}

fn scheme_bytes(matrix: &QuantizedMatrix) -> usize {
    matrix.scheme().code_bits() / 8
}

fn solve<G: Grid>(
    state: &mut State<'_>,
    options: &Options,
    seed: u64,
    watch: &mut dyn Watch,
    report: &mut RoundingReport,
) -> Result<(), RoundingError> {
    let largest_energy = state.weight_error() * options.limit.largest_energy_ratio();
    let solver = chosen(options, state);
    report.solver = solver.name();
    match solver {
        Solver::Nearest | Solver::Best => {}
        Solver::Stochastic => {
            report.passes = 1;
            stochastic::<G>(state, seed);
        }
        Solver::Feedback(mut feedback_options) => {
            if let Limit::Lambda(lambda) = options.limit {
                feedback_options.lambda = lambda;
            }
            // A larger λ pays less weight error; past 10 nothing is left to pay for.
            let largest_lambda = 10.0 * state.projection.strength;
            let nearest = Worth::of(state);
            loop {
                feedback::<G>(state, &feedback_options)?;
                report.passes += 1;
                report.lambda = feedback_options.lambda;
                let (projected, weight_error) =
                    (state.projected.squared_norm(), state.weight_error());
                let progress = Worth { projected, weight_error }.progress(
                    &nearest,
                    report.passes,
                    report.passes,
                );
                if watch.notice(progress).is_break() {
                    return Err(RoundingError::Stopped);
                }
                if weight_error <= largest_energy || feedback_options.lambda > largest_lambda {
                    break;
                }
                feedback_options.lambda *= 4.0;
            }
        }
        Solver::Anneal(mut anneal_options) => {
            if let Limit::Lambda(lambda) = options.limit {
                anneal_options.first_lambda = anneal_options.first_lambda.max(lambda);
                anneal_options.last_lambda = lambda;
            } else {
                anneal_options.first_lambda *= state.projection.strength;
                anneal_options.last_lambda *= state.projection.strength;
            }
            (report.passes, report.lambda) =
                anneal::<G>(state, &anneal_options, largest_energy, watch)?;
        }
        Solver::Greedy(greedy_options) => {
            report.passes = greedy::<G>(state, greedy_options, options.limit, watch)?;
        }
        Solver::Descent(descent) => {
            report.passes = code_descent::<G>(state, &descent, options.limit, watch)?;
        }
        Solver::AdaRound(choice) => {
            report.passes = adaround::<G>(state, &choice, options.limit, watch)?;
        }
    }
    Ok(())
}

/// What [`Solver::Best`] stands for here.
///
/// While the k² numbers to be cancelled are few against mn codes, one pass of feedback reaches the
/// bound; measured, annealing wins from a few thousandths on.
fn chosen(options: &Options, state: &State<'_>) -> Solver {
    const FEW: f64 = 0.003;
    let Solver::Best = options.solver else { return options.solver };
    let lines = state.cells.order.len();
    let cells = (lines * state.cells.rows) as f64;
    let numbers = (state.projected.rows() * state.projected.cols()) as f64;
    if numbers / cells < FEW {
        return Solver::Feedback(Feedback::default());
    }
    Solver::Anneal(Anneal::of(options.effort))
}

fn bound_ratio(stored: &Score, report: &RoundingReport, [rows, cols]: [usize; 2]) -> Option<f64> {
    let lambda = report.lambda;
    if lambda <= 0.0 || report.nearest.weight_error == 0.0 {
        return None;
    }
    let share = (report.rank * report.rank) as f64 / (rows * cols) as f64;
    let bound = lambda * report.nearest.weight_error * (1.0 + share * (1.0 + 1.0 / lambda).ln());
    Some((stored.projected + lambda * stored.weight_error) / bound)
}
