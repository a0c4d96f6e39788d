use crate::projection::Projected;
use crate::{Limit, Progress};

/// What codes are worth, in units of the layer.
#[derive(Clone, Copy)]
pub(crate) struct Worth {
    /// `‖LᵀER‖²`.
    pub(crate) projected: f64,
    /// `‖E‖²`.
    pub(crate) weight_error: f64,
}

impl Worth {
    /// Of codes whose error was projected.
    pub(crate) fn of(found: &Projected) -> Self {
        Self {
            projected: found.state.squared_norm(),
            weight_error: found.line_energies.iter().sum(),
        }
    }

    /// `‖LᵀER‖² + λ‖E‖²`.
    pub(crate) fn objective(&self, limit: Limit) -> f64 {
        self.projected + limit.lambda() * self.weight_error
    }

    /// Where a solver is, `self` being what it has now.
    pub(crate) fn progress(&self, nearest: &Self, step: usize, steps: usize) -> Progress {
        Progress {
            step,
            steps,
            projected_ratio: self.projected / nearest.projected,
            weight_error_ratio: (self.weight_error / nearest.weight_error).sqrt(),
        }
    }
}
