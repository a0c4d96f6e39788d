use roundwise_grid::Grid;

use crate::adaround::adaround;
use crate::anneal::anneal;
use crate::code_descent::code_descent;
use crate::feedback::feedback_within;
use crate::greedy::greedy;
use crate::solve::State;
use crate::stochastic::stochastic;
use crate::{Anneal, Effort, Feedback, Limit, Objective, Options, RoundingError, Solver, Watch};

/// The outcome of a solver's work on the codes of a state.
pub(crate) struct Attempt {
    /// Name of the solver that was asked for, or chosen.
    pub(crate) solver: &'static str,
    /// Passes over the matrix, evaluations or steps.
    pub(crate) passes: usize,
    /// λ that it ended at, where it has one of its own.
    pub(crate) lambda: Option<f64>,
    /// Whether it added its moves to K, and few enough of them, so that K is that of the codes.
    pub(crate) is_tracked: bool,
}

impl Attempt {
    /// Lets the solver of the options work on nearest codes.
    ///
    /// # Errors
    /// As the solvers.
    pub(crate) fn make<G: Grid>(
        state: &mut State<'_>,
        options: &Options,
        seed: u64,
        watch: &mut dyn Watch,
    ) -> Result<Self, RoundingError> {
        let limit = options.limit;
        // The limit is one of `‖E‖`, energies are its square.
        let largest_energy = state.weight_error() * limit.largest_energy_ratio();
        let solver = chosen::<G>(options, state);
        let (passes, lambda) = match solver {
            // `chosen` has put another solver in place of `Best`.
            Solver::Nearest | Solver::Best => (0, None),
            Solver::Stochastic => {
                stochastic::<G>(state, seed);
                (1, None)
            }
            Solver::Feedback(feedback) => {
                let lambda = match options.objective {
                    // Damping is in the penalties already.
                    Objective::Activations { .. } => limit.lambda(),
                    Objective::None
                    | Objective::Weight
                    | Objective::Principal(_)
                    | Objective::PrincipalInput(_)
                    | Objective::Sampled { .. } => own(limit, feedback.lambda),
                };
                let feedback = Feedback { lambda, ..feedback };
                let (passes, lambda) =
                    feedback_within::<G>(state, feedback, largest_energy, watch)?;
                (passes, Some(lambda))
            }
            Solver::Anneal(anneal_options) => {
                let anneal_options = against(limit, state.projection.strength, anneal_options);
                let (passes, lambda) = anneal::<G>(state, &anneal_options, largest_energy, watch)?;
                (passes, Some(lambda))
            }
            Solver::Greedy(options) => (greedy::<G>(state, options, limit, watch)?, None),
            Solver::Descent(options) => (code_descent::<G>(state, &options, limit, watch)?, None),
            Solver::AdaRound(options) => (adaround::<G>(state, &options, limit, watch)?, None),
        };
        let is_tracked = matches!(solver, Solver::Feedback(_));
        Ok(Self { solver: solver.name(), passes, lambda, is_tracked })
    }
}

/// Returns the solver that [`Solver::Best`] stands for here.
///
/// While the k² numbers to be cancelled are few against mn codes, one pass of feedback reaches the
/// bound; measured, annealing wins from a few thousandths on. On a grid of equal steps it wins there
/// too: k = 64 on 3072×12288 leaves 2.3e-3 of the projected energy after feedback, whatever its λ, and
/// 9e-5 after 6 passes of annealing; on E4M3 3.7e-4 and 6e-2.
fn chosen<G: Grid>(options: &Options, state: &State<'_>) -> Solver {
    const FEW: f64 = 0.003;
    let Solver::Best = options.solver else { return options.solver };
    if let Objective::Activations { .. } = options.objective {
        // More passes gain little: eight lower the error of outputs over nearest from 0.36 and
        // 0.42 to 0.34 and 0.41 (docs/rounding.md).
        let polish = match options.effort {
            Effort::Fast => 0,
            Effort::Normal if state.projection.is_triangular => 1,
            // A few directions make a pass cheap.
            Effort::Normal => 3,
            Effort::High => 8,
        };
        return Solver::Feedback(Feedback { polish, ..Feedback::default() });
    }
    let lines = state.cells.order.len();
    let cells = (lines * state.cells.rows) as f64;
    let numbers = (state.projected.rows() * state.projected.cols()) as f64;
    // Integers have one step everywhere; floats have their smallest at 0.
    let has_equal_steps = G::step(0.0) == G::step(G::MAX);
    if numbers / cells < FEW && !has_equal_steps {
        return Solver::Feedback(Feedback::default());
    }
    Solver::Anneal(Anneal::of(options.effort))
}

/// Returns the λ that was asked for, or the solver's own.
fn own(limit: Limit, lambda: f64) -> f64 {
    match limit {
        Limit::Lambda(lambda) => lambda,
        Limit::None | Limit::WeightErrorBudget(_) => lambda,
    }
}

/// Share of `‖E‖` that a pass at λ = 1 costs; measured, rounded up. A smaller budget needs a
/// larger first λ, or the first pass would end the walk.
const COST: f64 = 0.01;

/// Returns annealing along the walk of λ that a limit asks for: to a given λ, or along the solver's
/// own.
fn against(limit: Limit, strength: f64, anneal: Anneal) -> Anneal {
    match limit {
        Limit::Lambda(lambda) => {
            // λ only falls, so a longer walk starts at the larger one of the solver's own and that
            // asked for; a walk of one pass has no room to fall.
            let first_lambda = match anneal.sweeps {
                1 => lambda,
                _ => anneal.first_lambda.max(lambda),
            };
            Anneal { first_lambda, last_lambda: lambda, ..anneal }
        }
        Limit::None => Anneal {
            first_lambda: anneal.first_lambda * strength,
            last_lambda: anneal.last_lambda * strength,
            ..anneal
        },
        Limit::WeightErrorBudget(budget) => Anneal {
            // λ of 1000 at most, where hardly a code moves: a budget of 0 would ask for an infinite
            // one.
            first_lambda: anneal.first_lambda.max(COST / budget.max(COST * 1e-3)) * strength,
            last_lambda: anneal.last_lambda * strength,
            ..anneal
        },
    }
}
