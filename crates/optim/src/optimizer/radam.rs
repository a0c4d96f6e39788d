use roundwise_compute::{Matrix, elementwise};

use super::{Update, WeightDecay, zeros};
use crate::error::{OptimError, check_beta, check_positive};

/// RAdam. Adam's means m and v; at step t, counted from 1, with `ρ∞ = 2/(1 − β₂) − 1` and
/// `ρ = ρ∞ − 2tβ₂ᵗ/(1 − β₂ᵗ)`:
///
/// - ρ > 5: `x ← x − rate · m/(1 − β₁ᵗ) · √(1 − β₂ᵗ)/(√v + ε) · r`,
///   `r = √((ρ−4)(ρ−2)ρ∞ / ((ρ∞−4)(ρ∞−2)ρ))`
/// - else `x ← x − rate · m/(1 − β₁ᵗ)`: the first five steps at the default β₂
///
/// # Source
/// `torch.optim.RAdam`. Liu et al., "On the variance of the adaptive learning rate", ICLR 2020.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RAdam {
    /// β₁, memory of the gradient, 0 to below 1. Default 0.9.
    pub beta_1: f64,
    /// β₂, memory of its square, 0 to below 1. Default 0.999.
    pub beta_2: f64,
    /// ε, added to the root, above 0. Default 1e-8.
    pub epsilon: f64,
    /// Pull towards zero. Default none.
    pub weight_decay: WeightDecay,
}

impl Default for RAdam {
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: WeightDecay::Gradient(0.0) }
    }
}

impl RAdam {
    pub(super) fn start(self, start: &Matrix) -> Result<Box<dyn Update>, OptimError> {
        check_beta("radam beta 1", self.beta_1)?;
        check_beta("radam beta 2", self.beta_2)?;
        check_positive("radam epsilon", self.epsilon)?;
        self.weight_decay.check()?;
        Ok(Box::new(State { options: self, mean: zeros(start), square: zeros(start), steps: 0 }))
    }

    /// Returns √(1 − β₂ᵗ)·r, or nothing while the second moment says too little.
    fn rectification(self, steps: i32) -> Option<f64> {
        let memory = self.beta_2.powi(steps);
        let longest = 2.0 / (1.0 - self.beta_2) - 1.0;
        let length = longest - 2.0 * f64::from(steps) * memory / (1.0 - memory);
        let top = (length - 4.0) * (length - 2.0) * longest;
        let bottom = (longest - 4.0) * (longest - 2.0) * length;
        // PyTorch's limit; the paper has 4.
        (length > 5.0).then(|| (1.0 - memory).sqrt() * (top / bottom).sqrt())
    }
}

struct State {
    options: RAdam,
    mean: Vec<f32>,
    square: Vec<f32>,
    steps: i32,
}

impl Update for State {
    fn step(&mut self, variable: &mut Matrix, gradient: &Matrix, learning_rate: f64) {
        self.steps += 1;
        let RAdam { beta_1, beta_2, epsilon, weight_decay } = self.options;
        let size = learning_rate / (1.0 - beta_1.powi(self.steps));
        let (added, kept) = weight_decay.parts(learning_rate);
        let (fresh, old_square, new_square, epsilon) =
            ((1.0 - beta_1) as f32, beta_2 as f32, (1.0 - beta_2) as f32, epsilon as f32);
        let rectification = self.options.rectification(self.steps);
        // One formula for both cases: what does not apply is 0.
        let adapted = (size * rectification.unwrap_or(0.0)) as f32;
        let plain = if rectification.is_some() { 0.0 } else { size as f32 };
        elementwise::update_2(
            variable.values_mut(),
            gradient.values(),
            [&mut self.mean, &mut self.square],
            |x, g, m, v| {
                let g = g + added * *x;
                *m += fresh * (g - *m);
                *v = old_square * *v + new_square * g * g;
                // ε is added before the root is corrected, unlike in Adam: as PyTorch does in both.
                *x = *x * kept - *m * (plain + adapted / (v.sqrt() + epsilon));
            },
        );
    }
}
