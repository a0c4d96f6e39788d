use roundwise_compute::DeviceMatrix;

use crate::Progress;
use crate::projection::{Projected, Projection};

/// The squared errors that solvers lower, in units of the layer.
#[derive(Clone, Copy)]
pub(crate) struct Losses {
    /// `‖LᵀER‖² + Σ penalty_l ‖e_l‖²`.
    pub(crate) projected: f64,
    /// `‖E‖²`.
    pub(crate) weight_error: f64,
}

impl Losses {
    /// Computes the losses of codes whose error was projected.
    pub(crate) fn of(found: &Projected, projection: &Projection) -> Self {
        let energy = match projection.left {
            Some(_) => found.state.squared_norm(),
            None => found.input_energy,
        };
        Self::of_energies(energy, &found.line_energies, projection)
    }

    /// Computes the losses of codes with this `K = RᵀEᵀL` and `‖E‖²` of every line.
    pub(crate) fn of_lines(
        state: &DeviceMatrix,
        line_energies: &[f64],
        projection: &Projection,
    ) -> Self {
        Self::of_energies(state.squared_norm(), line_energies, projection)
    }

    fn of_energies(energy: f64, line_energies: &[f64], projection: &Projection) -> Self {
        // With penalties below 0 this is a difference of sums, which rounding may take below 0.
        let projected = energy + projection.penalty(line_energies);
        Self { projected: projected.max(0.0), weight_error: line_energies.iter().sum() }
    }

    /// Returns `‖LᵀER‖² + λ‖E‖²`.
    pub(crate) fn objective(&self, lambda: f64) -> f64 {
        self.projected + lambda * self.weight_error
    }

    /// Returns how far a solver is that has reached these losses.
    pub(crate) fn progress(&self, nearest: &Self, step: usize, steps: usize) -> Progress {
        Progress {
            step,
            steps,
            // Never 0 / 0: a search starts only where nearest codes leave something to lower.
            projected_ratio: self.projected / nearest.projected,
            weight_error_ratio: (self.weight_error / nearest.weight_error).sqrt(),
        }
    }
}
