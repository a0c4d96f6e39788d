use roundwise_compute::{Matrix, elementwise};

use super::{Update, zeros};
use crate::error::{OptimError, check_beta, check_positive, check_size};

/// RMSprop.
///
/// `g ← g + weight_decay·x`, `v ← αv + (1 − α)g²`, `b ← momentum·b + g/(√v + ε)`, `x ← x − rate·b`.
///
/// # Source
/// `torch.optim.RMSprop`, not centred. Hinton, lecture 6e of "Neural networks for machine learning".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RmsProp {
    /// α, memory of the square, 0 to below 1. Default 0.99.
    pub alpha: f64,
    /// ε, added to the root, above 0. Default 1e-8.
    pub epsilon: f64,
    /// Share of the previous step kept, 0 to below 1. Default 0.
    pub momentum: f64,
    /// Pull towards zero, added to the gradient, 0 on. Default 0.
    pub weight_decay: f64,
}

impl Default for RmsProp {
    fn default() -> Self {
        Self { alpha: 0.99, epsilon: 1e-8, momentum: 0.0, weight_decay: 0.0 }
    }
}

impl RmsProp {
    pub(super) fn start(self, start: &Matrix) -> Result<Box<dyn Update>, OptimError> {
        check_beta("rmsprop alpha", self.alpha)?;
        check_positive("rmsprop epsilon", self.epsilon)?;
        check_beta("rmsprop momentum", self.momentum)?;
        check_size("rmsprop weight decay", self.weight_decay)?;
        // Without momentum b is the step itself, and nothing to be kept.
        let buffer = if self.momentum > 0.0 { zeros(start) } else { Vec::new() };
        Ok(Box::new(State { options: self, square: zeros(start), buffer }))
    }
}

struct State {
    options: RmsProp,
    square: Vec<f32>,
    buffer: Vec<f32>,
}

impl Update for State {
    fn step(&mut self, variable: &mut Matrix, gradient: &Matrix, learning_rate: f64) {
        let RmsProp { alpha, epsilon, momentum, weight_decay } = self.options;
        let (old, new, epsilon) = (alpha as f32, (1.0 - alpha) as f32, epsilon as f32);
        let (rate, momentum, decay) = (learning_rate as f32, momentum as f32, weight_decay as f32);
        let (values, gradient) = (variable.values_mut(), gradient.values());
        if self.buffer.is_empty() {
            elementwise::update_1(values, gradient, &mut self.square, |x, g, v| {
                let g = g + decay * *x;
                *v = old * *v + new * g * g;
                *x -= rate * (g / (v.sqrt() + epsilon));
            });
        } else {
            let states = [self.square.as_mut_slice(), self.buffer.as_mut_slice()];
            elementwise::update_2(values, gradient, states, |x, g, v, b| {
                let g = g + decay * *x;
                *v = old * *v + new * g * g;
                *b = momentum * *b + g / (v.sqrt() + epsilon);
                *x -= rate * *b;
            });
        }
    }
}
