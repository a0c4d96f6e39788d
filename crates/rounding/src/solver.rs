use roundwise_optim::{Descent, Optimizer};

use crate::{Effort, Objective, RoundingError};

/// How codes are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Solver {
    /// Nearest codes.
    Nearest,
    /// Up or down by chance, right on average.
    Stochastic,
    /// One pass over the columns, each correcting what the ones before it left.
    Feedback(Feedback),
    /// Descent on codes while λ falls.
    Anneal(Anneal),
    /// For real inputs feedback, polished; else feedback where the rank is small and the grid
    /// floating, and annealing otherwise. Passes by effort.
    #[default]
    Best,
    /// The single step of one code that helps most, again and again.
    Greedy(Greedy),
    /// Descent by gradients on offsets from nearest codes, each iterate scored on cast codes.
    Descent(CodeDescent),
    /// A soft choice between the two neighbouring codes of every weight.
    AdaRound(AdaRound),
}

impl Solver {
    /// The names of [`named`](Self::named).
    pub const NAMES: [&str; 6] = ["best", "feedback", "anneal", "greedy", "descent", "adaround"];

    /// Returns the solver of this name with its default options. Nearest and stochastic codes are
    /// methods, not ways to minimise something.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "feedback" => Some(Self::Feedback(Feedback::default())),
            "anneal" => Some(Self::Anneal(Anneal::default())),
            "best" => Some(Self::Best),
            "greedy" => Some(Self::Greedy(Greedy::default())),
            "descent" => Some(Self::Descent(CodeDescent::default())),
            "adaround" => Some(Self::AdaRound(AdaRound::default())),
            _ => None,
        }
    }

    /// Returns the name on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Stochastic => "stochastic",
            Self::Feedback(_) => "feedback",
            Self::Anneal(_) => "anneal",
            Self::Best => "best",
            Self::Greedy(_) => "greedy",
            Self::Descent(_) => "descent",
            Self::AdaRound(_) => "adaround",
        }
    }

    /// Returns the descent by gradients inside it.
    pub(crate) fn descent_mut(&mut self) -> Option<&mut Descent> {
        match self {
            Self::Descent(options) => Some(&mut options.descent),
            Self::AdaRound(options) => Some(&mut options.descent),
            Self::Nearest
            | Self::Stochastic
            | Self::Feedback(_)
            | Self::Anneal(_)
            | Self::Best
            | Self::Greedy(_) => None,
        }
    }

    /// Checks that the options lie in their ranges.
    ///
    /// # Errors
    /// [`RoundingError::Option`]. What belongs to a descent is checked when it starts.
    pub(crate) fn check(&self) -> Result<(), RoundingError> {
        match *self {
            Self::Nearest | Self::Stochastic | Self::Best | Self::Descent(_) => Ok(()),
            Self::Greedy(Greedy { moves }) => positive("moves", moves as f64),
            Self::Feedback(Feedback { block, lambda, polish: _ }) => {
                positive("feedback block", block as f64)?;
                positive("feedback lambda", lambda)
            }
            Self::Anneal(anneal) => {
                positive("sweeps", anneal.sweeps as f64)?;
                positive("anneal block", anneal.block as f64)?;
                positive("first lambda", anneal.first_lambda)?;
                positive("last lambda", anneal.last_lambda)?;
                positive("damping", anneal.damping)
            }
            Self::AdaRound(ada) => {
                positive("regularizer", ada.regularizer)?;
                at_least_one("first beta", ada.first_beta)?;
                at_least_one("last beta", ada.last_beta)?;
                positive("calibration batch", ada.batch.unwrap_or(1) as f64)
            }
        }
    }

    /// Returns whether the solver can work towards an objective.
    pub(crate) fn serves(&self, objective: Objective) -> bool {
        match objective {
            Objective::None => matches!(self, Self::Nearest | Self::Stochastic),
            Objective::Activations { .. } => {
                !matches!(self, Self::Stochastic | Self::Greedy(_) | Self::Anneal(_))
            }
            Objective::Weight
            | Objective::Principal(_)
            | Objective::PrincipalInput(_)
            | Objective::Sampled { .. } => true,
        }
    }
}

/// Checks that an option is finite and above 0.
///
/// # Errors
/// [`RoundingError::Option`].
pub(crate) fn positive(option: &'static str, found: f64) -> Result<(), RoundingError> {
    if found > 0.0 && found.is_finite() {
        return Ok(());
    }
    Err(RoundingError::Option { option, found, expected: "it has to be above 0" })
}

/// Checks that an option is finite and 1 or more.
///
/// # Errors
/// [`RoundingError::Option`].
fn at_least_one(option: &'static str, found: f64) -> Result<(), RoundingError> {
    if found >= 1.0 && found.is_finite() {
        return Ok(());
    }
    Err(RoundingError::Option { option, found, expected: "it has to be 1 or more" })
}

/// Options of column error feedback.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Feedback {
    /// Columns that are rounded at once. Default 32.
    pub block: usize,
    /// λ that the shifts are computed with, above 0; larger values are tried where the budget does
    /// not allow this one. Default 0.001. For real inputs it is damping that counts.
    pub lambda: f64,
    /// Passes of coordinate descent afterwards, at most; of objectives without L. Default 0.
    pub polish: usize,
}

impl Default for Feedback {
    fn default() -> Self {
        Self { block: 32, lambda: 1e-3, polish: 0 }
    }
}

/// Options of annealing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Anneal {
    /// Passes over the matrix. Default 12.
    pub sweeps: usize,
    /// λ of the first pass. Default 1.
    pub first_lambda: f64,
    /// λ of the last pass, unless a budget stops before it. Default 0.01.
    pub last_lambda: f64,
    /// Columns that move at once, at most a sixteenth of all, rounded up. Default 256.
    pub block: usize,
    /// Factor of the projected part of the curvature at first; doubled after a pass that made
    /// things worse, once blocks are too small to be halved. Default 1.
    pub damping: f64,
}

impl Default for Anneal {
    fn default() -> Self {
        Self { sweeps: 12, first_lambda: 1.0, last_lambda: 0.01, block: 256, damping: 1.0 }
    }
}

impl Anneal {
    /// Returns the passes and the last λ that an effort stands for.
    #[must_use]
    pub fn of(effort: Effort) -> Self {
        let (sweeps, last_lambda) = match effort {
            Effort::Fast => (3, 0.1),
            Effort::Normal => (12, 0.008),
            Effort::High => (32, 0.003),
        };
        Self { sweeps, last_lambda, ..Self::default() }
    }
}

/// Options of the greedy solver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greedy {
    /// Steps of one code at most. Default 250, as TPEC-Quant.
    pub moves: usize,
}

impl Default for Greedy {
    fn default() -> Self {
        Self { moves: 250 }
    }
}

/// Options of the descent on offsets from nearest codes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodeDescent {
    /// The loss whose gradient is taken.
    pub loss: Loss,
    /// Optimizer, schedule, rate and stop rules. Losses are in model units, rates in grid units.
    pub descent: Descent,
}

/// The loss whose gradient is taken, with `J = ‖LᵀER‖² + λ‖E‖²`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// `√J`, as convert_to_quant.
    #[default]
    Root,
    /// `J / 2`, as TPEC-Quant: steps shrink with the error.
    Half,
}

impl Default for CodeDescent {
    fn default() -> Self {
        Self::published(Optimizer::Prodigy(roundwise_optim::optimizer::Prodigy::default()))
    }
}

/// Options of AdaRound.
///
/// It minimises `mn · J / J_nearest + regularizer · Σ (1 − |2h − 1|^β)`, J the objective at soft
/// choices h and β falling linearly from the first evaluation to the last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaRound {
    /// Weight of the term that makes choices hard, above 0. Default 0.01.
    pub regularizer: f64,
    /// β of the first evaluation, 1 on. Default 20.
    pub first_beta: f64,
    /// β of the last one, 1 on. Default 2.
    pub last_beta: f64,
    /// Random rows that are multiplied at once; `None` for all. Less memory, the same result up to
    /// the last bits. Default `None`.
    pub batch: Option<usize>,
    /// Optimizer, schedule, rate and stop rules of the logits of h.
    pub descent: Descent,
}
