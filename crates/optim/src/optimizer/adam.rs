use roundwise_compute::{Matrix, elementwise};

use super::{Update, zeros};
use crate::error::{OptimError, check_beta, check_positive, check_size};

/// Adam and AdamW. At step t, counted from 1:
///
/// `m ← m + (1 − β₁)(g − m)`, `v ← β₂v + (1 − β₂)g²`,
/// `x ← x − rate/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε)`.
///
/// # Source
/// `torch.optim.Adam` and `AdamW`, amsgrad off. Kingma, Ba, ICLR 2015; Loshchilov, Hutter, ICLR 2019.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// β₁, memory of the gradient, 0 to below 1. Default 0.9.
    pub beta_1: f64,
    /// β₂, memory of its square, 0 to below 1. Default 0.999.
    pub beta_2: f64,
    /// ε, added to the root, above 0. Default 1e-8.
    pub epsilon: f64,
    /// Pull towards zero. Default none; PyTorch's AdamW has 1e-2.
    pub weight_decay: WeightDecay,
}

/// A pull of the variable towards zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WeightDecay {
    /// `g ← g + decay·x`, before everything else.
    Gradient(f64),
    /// `x ← x·(1 − rate·decay)`, beside the step: what makes Adam AdamW.
    Decoupled(f64),
}

impl WeightDecay {
    pub(super) fn check(self) -> Result<(), OptimError> {
        match self {
            Self::Gradient(decay) | Self::Decoupled(decay) => check_size("weight decay", decay),
        }
    }

    /// Returns the addend to the gradient per x, and the factor of x.
    pub(super) fn parts(self, rate: f64) -> (f32, f32) {
        match self {
            Self::Gradient(decay) => (decay as f32, 1.0),
            Self::Decoupled(decay) => (0.0, (1.0 - rate * decay) as f32),
        }
    }
}

impl Default for Adam {
    fn default() -> Self {
        Self { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, weight_decay: WeightDecay::Gradient(0.0) }
    }
}

impl Adam {
    /// Returns AdamW with PyTorch's defaults.
    #[must_use]
    pub fn decoupled() -> Self {
        Self { weight_decay: WeightDecay::Decoupled(1e-2), ..Self::default() }
    }

    pub(super) fn start(self, start: &Matrix) -> Result<Box<dyn Update>, OptimError> {
        check_beta("adam beta 1", self.beta_1)?;
        check_beta("adam beta 2", self.beta_2)?;
        check_positive("adam epsilon", self.epsilon)?;
        self.weight_decay.check()?;
        Ok(Box::new(State { options: self, mean: zeros(start), square: zeros(start), steps: 0 }))
    }
}

struct State {
    options: Adam,
    mean: Vec<f32>,
    square: Vec<f32>,
    steps: i32,
}

impl Update for State {
    fn step(&mut self, variable: &mut Matrix, gradient: &Matrix, learning_rate: f64) {
        self.steps += 1;
        let Adam { beta_1, beta_2, epsilon, weight_decay } = self.options;
        // Corrections for the first steps are computed in F64, once; the pass over all values is in
        // F32.
        let size = (learning_rate / (1.0 - beta_1.powi(self.steps))) as f32;
        let root = (1.0 - beta_2.powi(self.steps)).sqrt() as f32;
        let (added, kept) = weight_decay.parts(learning_rate);
        let (fresh, old_square, new_square, epsilon) =
            ((1.0 - beta_1) as f32, beta_2 as f32, (1.0 - beta_2) as f32, epsilon as f32);
        elementwise::update_2(
            variable.values_mut(),
            gradient.values(),
            [&mut self.mean, &mut self.square],
            |x, g, m, v| {
                let g = g + added * *x;
                *m += fresh * (g - *m);
                *v = old_square * *v + new_square * g * g;
                // ε comes after the correction of the root, as PyTorch has it.
                *x = *x * kept - size * (*m / (v.sqrt() / root + epsilon));
            },
        );
    }
}
