use crate::RoundingError;

/// What a rounding minimises and how. `E = Ŵ − W`, Ŵ decoded from the stored codes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// What is minimised.
    pub objective: Objective,
    /// How.
    pub solver: Solver,
    /// What weight error may be paid for it.
    pub limit: Limit,
    /// How much time may be spent.
    pub effort: Effort,
}

/// What is minimised, beside the weight error that [`Limit`] speaks of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// `‖E‖²`: nearest codes are its minimum.
    Weight,
    /// `‖UᵀEV‖²`, U and V the leading singular vectors of W: what TPEC-Quant and convert_to_quant
    /// minimise.
    Principal(Rank),
    /// `‖EV‖²`: the one-sided form.
    PrincipalInput(Rank),
    /// `‖EX‖² / samples`, X normally distributed inputs `[n, samples]`. Its expectation is `‖E‖²`,
    /// so what beats nearest codes here fits the sample.
    Sampled {
        /// Columns of X, at least 1.
        samples: usize,
    },
}

impl Default for Objective {
    fn default() -> Self {
        Self::Principal(Rank::default())
    }
}

impl Objective {
    /// Name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Principal(_) => "principal",
            Self::PrincipalInput(_) => "principal-input",
            Self::Sampled { .. } => "sampled",
        }
    }
}

/// How many singular vectors: `clamp(⌊share · min(m, n)⌋, least, most)`, at most `min(m, n)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rank {
    /// Share of the smaller side, 0 to 1. Default 0.2.
    pub share: f64,
    /// Default 1.
    pub least: usize,
    /// Default 1280.
    pub most: usize,
}

impl Default for Rank {
    fn default() -> Self {
        Self { share: 0.2, least: 1, most: 1280 }
    }
}

impl Rank {
    /// Exactly so many, as far as the matrix has them.
    #[must_use]
    pub fn exactly(rank: usize) -> Self {
        Self { share: 0.0, least: rank, most: rank }
    }

    /// The rank for a `[rows, cols]` matrix.
    #[must_use]
    pub fn of(self, rows: usize, cols: usize) -> usize {
        let smaller = rows.min(cols);
        let asked = (self.share * smaller as f64) as usize;
        asked.min(self.most).max(self.least).min(smaller)
    }
}

/// What weight error may be paid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// `‖E‖ ≤ (1 + budget) · ‖E_nearest‖`. 0.04 lets it rise by 4 %.
    WeightErrorBudget(f64),
    /// λ of `objective + λ‖E‖²`, above 0.
    Lambda(f64),
}

impl Default for Limit {
    fn default() -> Self {
        Self::WeightErrorBudget(0.03)
    }
}

impl Limit {
    /// λ of the declared objective.
    pub(crate) fn lambda(self) -> f64 {
        match self {
            Self::WeightErrorBudget(_) => 0.0,
            Self::Lambda(lambda) => lambda,
        }
    }

    /// Largest `‖E‖²` over that of nearest codes.
    pub(crate) fn largest_energy_ratio(self) -> f64 {
        match self {
            Self::WeightErrorBudget(budget) => (1.0 + budget) * (1.0 + budget),
            Self::Lambda(_) => f64::INFINITY,
        }
    }
}

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
    /// Feedback where the rank is small, annealing where it is large; passes by effort.
    #[default]
    Best,
}

/// How much time a solver may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// A few passes.
    Fast,
    /// About as many passes as pay.
    #[default]
    Normal,
    /// The last few per cent.
    High,
}

/// Options of column error feedback.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Feedback {
    /// Columns that are rounded at once. Default 32.
    pub block: usize,
    /// λ that the shifts are computed with, above 0; larger values are tried where the budget does
    /// not allow this one. Default 0.001.
    pub lambda: f64,
}

impl Default for Feedback {
    fn default() -> Self {
        Self { block: 32, lambda: 1e-3 }
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
    /// Columns that move at once, at most an eighth of all. Default 256.
    pub block: usize,
    /// What the projected part of the curvature is multiplied by at first; doubled after a pass
    /// that made things worse. Default 1.
    pub damping: f64,
}

impl Default for Anneal {
    fn default() -> Self {
        Self { sweeps: 12, first_lambda: 1.0, last_lambda: 0.01, block: 256, damping: 1.0 }
    }
}

impl Anneal {
    /// The passes and the end that an effort stands for.
    #[must_use]
    pub fn of(effort: Effort) -> Self {
        let (sweeps, last_lambda) = match effort {
            Effort::Fast => (4, 0.1),
            Effort::Normal => (12, 0.008),
            Effort::High => (32, 0.003),
        };
        Self { sweeps, last_lambda, ..Self::default() }
    }
}

impl Options {
    /// # Errors
    /// [`RoundingError::Option`].
    pub(crate) fn check(&self) -> Result<(), RoundingError> {
        let positive = |option, found: f64| match found > 0.0 && found.is_finite() {
            true => Ok(()),
            false => Err(RoundingError::Option { option, found, expected: "it has to be above 0" }),
        };
        match self.limit {
            Limit::WeightErrorBudget(budget) => {
                if !(budget >= 0.0 && budget.is_finite()) {
                    let expected = "it has to be 0 or more";
                    let option = "weight error budget";
                    return Err(RoundingError::Option { option, found: budget, expected });
                }
            }
            Limit::Lambda(lambda) => positive("lambda", lambda)?,
        }
        match self.solver {
            Solver::Nearest | Solver::Stochastic | Solver::Best => {}
            Solver::Feedback(feedback) => {
                positive("feedback block", feedback.block as f64)?;
                positive("feedback lambda", feedback.lambda)?;
            }
            Solver::Anneal(anneal) => {
                positive("sweeps", anneal.sweeps as f64)?;
                positive("anneal block", anneal.block as f64)?;
                positive("first lambda", anneal.first_lambda)?;
                positive("last lambda", anneal.last_lambda)?;
                positive("damping", anneal.damping)?;
            }
        }
        if let Objective::Sampled { samples } = self.objective {
            positive("samples", samples as f64)?;
        }
        Ok(())
    }
}
