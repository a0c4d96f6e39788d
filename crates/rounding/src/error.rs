use roundwise_compute::ComputeError;
use roundwise_optim::OptimError;
use roundwise_scheme::{Scheme, SchemeError};

/// Why a matrix could not be rounded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RoundingError {
    /// The weight holds a NaN or an infinity, or blocks do not cover it.
    #[error(transparent)]
    Scheme(#[from] SchemeError),
    /// The scheme does not leave codes free, so there is nothing to search.
    #[error("no search can choose the codes of scheme `{scheme}` freely; use nearest rounding")]
    Unsearchable {
        /// The scheme.
        scheme: Scheme,
    },
    /// The singular vectors could not be computed.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// An option lies outside its range.
    #[error("{option} is {found}; {expected}")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its value.
        found: f64,
        /// The range, in words.
        expected: &'static str,
    },
    /// An option of a descent lies outside its range.
    #[error(transparent)]
    Optim(#[from] OptimError),
    /// Statistics of inputs that contradict themselves.
    #[error("statistics of inputs: {problem}")]
    Inputs {
        /// The problem, in words.
        problem: &'static str,
    },
    /// Statistics of inputs that are missing, or of another layer.
    #[error("objective activations needs statistics of {expected} inputs, found {found}")]
    InputColumns {
        /// Inputs that are described; 0 without statistics.
        found: usize,
        /// Columns of the weight.
        expected: usize,
    },
    /// A solver that has nothing to work towards.
    #[error("solver {solver} cannot work towards objective {objective}")]
    Objective {
        /// Name of the solver.
        solver: &'static str,
        /// Name of the objective.
        objective: &'static str,
    },
    /// The watcher asked to stop.
    #[error("stopped")]
    Stopped,
}
