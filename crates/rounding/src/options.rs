use crate::solver::positive;
use crate::{BiasCorrection, RoundingError, Solver};

/// What a rounding minimises and how. `E = Ŵ − W`, Ŵ decoded from the stored codes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// What is minimised.
    pub objective: Objective,
    /// How.
    pub solver: Solver,
    /// What weight error may be paid for it.
    pub limit: Limit,
    /// How much time may be spent, on singular vectors too.
    pub effort: Effort,
    /// Matrices with fewer weights are not worth rounding. Whoever plans a file asks for it;
    /// [`round`](crate::round) rounds whatever it is given. Default 0.
    pub min_tensor_size: u64,
    /// What the bias of a layer is corrected by; for whoever has the bias, as
    /// [`BiasCorrection::of`] computes it. Default none.
    pub bias_correction: BiasCorrection,
}

/// What is minimised, beside the weight error that [`Limit`] speaks of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Objective {
    /// Nothing: there is nothing that codes could be worse in, so whatever the solver chose is
    /// stored. For stochastic rounding alone.
    None,
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
    /// `tr(EHEᵀ)`, H the second moment of the layer's real [`Inputs`](crate::Inputs): the mean
    /// squared error of its outputs.
    Activations {
        /// What solvers add to the diagonal of H, as a share of its mean, from 0 on; scores go
        /// without it. `None` for 0.01, and 0.05 where there are fewer than ten samples per column.
        damping: Option<f64>,
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
            Self::None => "none",
            Self::Weight => "weight",
            Self::Principal(_) => "principal",
            Self::PrincipalInput(_) => "principal-input",
            Self::Sampled { .. } => "sampled",
            Self::Activations { .. } => "activations",
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

    /// Whether the share has no say.
    pub(crate) fn is_exact(self) -> bool {
        self.least >= self.most
    }

    /// The rank of an objective that has singular vectors.
    pub(crate) fn in_objective(objective: &mut Objective) -> Option<&mut Self> {
        match objective {
            Objective::Principal(rank) | Objective::PrincipalInput(rank) => Some(rank),
            Objective::None
            | Objective::Weight
            | Objective::Sampled { .. }
            | Objective::Activations { .. } => None,
        }
    }
}

/// What weight error may be paid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Any: as the published systems, which do not look at it.
    None,
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
            Self::None | Self::WeightErrorBudget(_) => 0.0,
            Self::Lambda(lambda) => lambda,
        }
    }

    /// Largest `‖E‖²` over that of nearest codes.
    pub(crate) fn largest_energy_ratio(self) -> f64 {
        match self {
            Self::WeightErrorBudget(budget) => (1.0 + budget) * (1.0 + budget),
            Self::None | Self::Lambda(_) => f64::INFINITY,
        }
    }
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

impl Effort {
    /// Vectors that are looked for beside the `rank` that are wanted.
    pub(crate) fn oversampling(self, rank: usize) -> usize {
        match self {
            Self::Fast => 10 + rank / 12,
            Self::Normal => 10 + rank / 8,
            Self::High => 10 + rank / 4,
        }
    }

    /// The names of [`named`](Self::named).
    pub const NAMES: [&str; 3] = ["fast", "normal", "high"];

    /// An effort by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "fast" => Some(Self::Fast),
            "normal" => Some(Self::Normal),
            "high" => Some(Self::High),
            _ => None,
        }
    }
}

impl Options {
    /// Bytes that [`round`](crate::round) takes beside the weight, for a `[rows, cols]` matrix, at
    /// most: `f32` copies of the weight, and what the objective's vectors take while they are looked
    /// for and used.
    #[must_use]
    pub fn working_bytes(&self, rows: usize, cols: usize) -> u64 {
        let copies = match self.solver {
            Solver::Nearest
            | Solver::Stochastic
            | Solver::Feedback(_)
            | Solver::Anneal(_)
            | Solver::Best => 4,
            Solver::Greedy(_) => 5,
            Solver::Descent(_) | Solver::AdaRound(_) => 14,
        };
        let vectors = match self.objective {
            Objective::None | Objective::Weight => 0,
            Objective::Principal(rank) | Objective::PrincipalInput(rank) => {
                let rank = rank.of(rows, cols);
                (rank + self.effort.oversampling(rank)).min(rows.min(cols))
            }
            Objective::Sampled { samples } => samples,
            // A full H and its factor.
            Objective::Activations { .. } => cols,
        };
        /// Bases, their products and their factors.
        const PARTS: u64 = 6;
        let cells = (rows as u64).saturating_mul(cols as u64);
        let of_vectors = (rows as u64 + cols as u64).saturating_mul(vectors as u64);
        let values = cells.saturating_mul(copies).saturating_add(of_vectors.saturating_mul(PARTS));
        values.saturating_mul(4)
    }

    /// # Errors
    /// [`RoundingError::Option`], [`RoundingError::Objective`].
    pub(crate) fn check(&self) -> Result<(), RoundingError> {
        match self.limit {
            Limit::None => {}
            Limit::WeightErrorBudget(budget) => {
                if !(budget >= 0.0 && budget.is_finite()) {
                    let expected = "it has to be 0 or more";
                    let option = "weight error budget";
                    return Err(RoundingError::Option { option, found: budget, expected });
                }
            }
            Limit::Lambda(lambda) => positive("lambda", lambda)?,
        }
        if let Objective::Sampled { samples } = self.objective {
            positive("samples", samples as f64)?;
        }
        if let Objective::Activations { damping: Some(damping) } = self.objective
            && !(damping >= 0.0 && damping.is_finite())
        {
            let expected = "it has to be 0 or more";
            return Err(RoundingError::Option { option: "damping", found: damping, expected });
        }
        if !self.solver.serves(self.objective) {
            let (solver, objective) = (self.solver.name(), self.objective.name());
            return Err(RoundingError::Objective { solver, objective });
        }
        if let (Solver::Feedback(feedback), Objective::Principal(_)) = (self.solver, self.objective)
            && feedback.polish > 0
        {
            let (option, found) = ("polish", feedback.polish as f64);
            let expected = "it has to be 0 for objective `principal`";
            return Err(RoundingError::Option { option, found, expected });
        }
        self.solver.check()
    }
}
