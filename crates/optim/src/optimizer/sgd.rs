use roundwise_compute::{Matrix, elementwise};

use super::{Update, zeros};
use crate::error::{OptimError, check_beta, check_size};

/// Gradient descent with or without momentum.
///
/// `g ← g + weight_decay·x`, `b ← momentum·b + g` (at first `b = g`), `x ← x − rate·b`. With
/// `is_nesterov` the step is `g + momentum·b`. Without momentum there is no state.
///
/// # Source
/// `torch.optim.SGD`, dampening 0. Sutskever et al., ICML 2013, for the look-ahead.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sgd {
    /// Share of the previous step kept, 0 to below 1. Default 0; learned roundings use 0.9.
    pub momentum: f64,
    /// Pull towards zero, added to the gradient, 0 on. Default 0.
    pub weight_decay: f64,
    /// Whether the momentum looks one step ahead. Default no.
    pub is_nesterov: bool,
}

impl Sgd {
    pub(super) fn start(self, start: &Matrix) -> Result<Box<dyn Update>, OptimError> {
        check_beta("sgd momentum", self.momentum)?;
        check_size("sgd weight decay", self.weight_decay)?;
        let buffer = if self.momentum > 0.0 { zeros(start) } else { Vec::new() };
        Ok(Box::new(State { options: self, buffer, is_first: true }))
    }
}

struct State {
    options: Sgd,
    buffer: Vec<f32>,
    is_first: bool,
}

impl Update for State {
    fn step(&mut self, variable: &mut Matrix, gradient: &Matrix, learning_rate: f64) {
        let rate = learning_rate as f32;
        let decay = self.options.weight_decay as f32;
        if self.buffer.is_empty() {
            elementwise::update(variable.values_mut(), gradient.values(), |x, g| {
                *x -= rate * (g + decay * *x);
            });
            return;
        }
        let momentum = self.options.momentum as f32;
        let kept = if self.is_first { 0.0 } else { momentum };
        self.is_first = false;
        // The step as a sum of the gradient and the buffer.
        let (of_gradient, of_buffer) =
            if self.options.is_nesterov { (1.0, momentum) } else { (0.0, 1.0) };
        elementwise::update_1(
            variable.values_mut(),
            gradient.values(),
            &mut self.buffer,
            |x, g, b| {
                let g = g + decay * *x;
                *b = kept * *b + g;
                *x -= rate * (of_gradient * g + of_buffer * *b);
            },
        );
    }
}
