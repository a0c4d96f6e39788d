use roundwise_compute::{Matrix, elementwise};

use super::Update;
use crate::error::{OptimError, check_positive};

/// Plain descent: `x ← x − rate · step_scale · g / ‖g‖_F`; no move where the gradient is zero.
///
/// For `‖UᵀEV‖_F`, whose gradient `U·P·Vᵀ`, `P = UᵀEV/‖UᵀEV‖_F`, has length 1 already, this is exactly
/// the descent of the first learned roundings. The schedules `plateau` and `adaptive` suit it best:
/// they find the rate.
///
/// # Source
/// convert_to_quant, optimizer `original`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Original {
    /// Length of a step at rate 1, in units of the variable, above 0. Default 1. A variable in code
    /// units takes codes per weight unit here.
    pub step_scale: f64,
}

impl Default for Original {
    fn default() -> Self {
        Self { step_scale: 1.0 }
    }
}

impl Original {
    pub(super) fn start(self) -> Result<Box<dyn Update>, OptimError> {
        check_positive("original step scale", self.step_scale)?;
        Ok(Box::new(self))
    }
}

impl Update for Original {
    fn step(&mut self, variable: &mut Matrix, gradient: &Matrix, learning_rate: f64) {
        let length = elementwise::squared_norm(gradient.values()).sqrt();
        // A gradient of zeros has no direction, and divided by its length it would be NaN.
        if length > 0.0 {
            let factor = -learning_rate * self.step_scale / length;
            elementwise::add_scaled(variable.values_mut(), factor as f32, gradient.values());
        }
    }
}
