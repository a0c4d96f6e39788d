use crate::Objective;

/// The errors of some codes, decoded with the stored scales. Energies are squared model units.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// The declared objective, λ‖E‖² included where λ was given.
    pub objective: f64,
    /// `‖LᵀER‖²`: the projected part of it (`‖UᵀEV‖²` for `principal`).
    pub projected: f64,
    /// `‖ER‖²` (`‖EV‖²` for both principal objectives).
    pub input_projected: f64,
    /// `‖E‖²`.
    pub weight_error: f64,
}

/// The report of one rounding.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundingReport {
    /// Name of the objective.
    pub objective: &'static str,
    /// Name of the solver that was asked for, or chosen.
    pub solver: &'static str,
    /// The codes that are stored.
    pub stored: Score,
    /// Nearest codes with the same scales.
    pub nearest: Score,
    /// `‖W‖²`, squared model units.
    pub weight_energy: f64,
    /// `tr(EHEᵀ) / tr(WHWᵀ)`, the mean squared error of the layer's outputs over their mean square, of
    /// the stored codes and of nearest ones; `None` without statistics of its inputs.
    pub output_errors: Option<[f64; 2]>,
    /// Share of the mean of H's diagonal that solvers added to it; raised where H is not positive
    /// definite otherwise.
    pub damping: f64,
    /// Share of the codes that are not the nearest ones, 0 to 1.
    pub changed: f64,
    /// Columns of R: the rank, or the samples.
    pub rank: usize,
    /// λ that the solver ended at, where it has one of its own; else that of the objective.
    pub lambda: f64,
    /// `‖LᵀER‖² + λ‖E‖²` over what one ideal sequential pass reaches,
    /// `λ‖E_nearest‖² · (1 + (k²/mn) · ln(1 + 1/λ))`, km in place of k² without L; at about 1 little is
    /// left to gain.
    pub bound_ratio: Option<f64>,
    /// Passes over the matrix.
    pub passes: usize,
    /// Whether nearest codes are stored: the solver did not beat them, or found no others.
    pub kept_nearest: bool,
}

impl RoundingReport {
    /// Returns [`bound_ratio`](Self::bound_ratio) of an objective, where there is a bound.
    pub(crate) fn bound_ratio_of(
        &self,
        objective: Objective,
        [rows, cols]: [usize; 2],
    ) -> Option<f64> {
        // The numbers that a pass has to cancel: K is k × k with L, k × m without.
        let numbers = match objective {
            Objective::Principal(_) => self.rank * self.rank,
            Objective::PrincipalInput(_) => self.rank * rows,
            // The bound is one for directions that are all equally strong.
            Objective::None
            | Objective::Weight
            | Objective::Sampled { .. }
            | Objective::Activations { .. } => return None,
        };
        let lambda = self.lambda;
        // Where λ or the weight error is 0 the bound is 0 as well.
        if lambda <= 0.0 || self.nearest.weight_error == 0.0 {
            return None;
        }
        let share = numbers as f64 / (rows * cols) as f64;
        let bound = lambda * self.nearest.weight_error * (1.0 + share * (1.0 + 1.0 / lambda).ln());
        Some((self.stored.projected + lambda * self.stored.weight_error) / bound)
    }

    /// Returns `‖E‖ / ‖W‖` of nearest codes.
    #[must_use]
    pub fn relative_nearest_error(&self) -> f64 {
        relative(self.nearest.weight_error, self.weight_energy)
    }
}

fn relative(error: f64, weight: f64) -> f64 {
    if error == 0.0 { 0.0 } else { (error / weight).sqrt() }
}
