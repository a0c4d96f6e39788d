use crate::solver::positive;
use crate::{Effort, Limit, Objective, RoundingError, Sides, Solver};

/// The objective, solver and limits of a rounding. `E = Ŵ − W`, Ŵ decoded from the stored codes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// The objective to minimise.
    pub objective: Objective,
    /// The solver that minimises it.
    pub solver: Solver,
    /// Limit of the weight error that may be paid for it.
    pub limit: Limit,
    /// How much time may be spent, on singular vectors too.
    pub effort: Effort,
    /// What feedback for real inputs couples. Default columns alone.
    pub sides: Sides,
}

impl Options {
    /// Returns the most bytes that [`round`](crate::round) takes beside the weight, for a
    /// `[rows, cols]` matrix: `f32` copies of the weight, and the memory of the objective's vectors
    /// while they are searched for and used.
    #[must_use]
    pub fn working_bytes(&self, rows: usize, cols: usize) -> u64 {
        // Measured (docs/rounding.md, "Memory"): 3.5 copies are in use at once, one more in
        // `greedy`, up to fourteen with optimizers.
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
                let rank = rank.for_shape(rows, cols);
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

    /// Checks that the options lie in their ranges and go together.
    ///
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
        // A polish works on stripes of rows at once. With L, rows are not independent.
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
