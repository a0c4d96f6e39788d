use roundwise_compute::{Matrix, elementwise};

use super::{Update, zeros};
use crate::error::{OptimError, check_beta, check_size};

/// Signs of the gradient, sized by arctangents. At step t, counted from 1:
///
/// ```text
/// g  ← g / max(1, rms(g))
/// h  = sin(atan g)                       (invariant; else h = g)
/// s  ← β₁ s + (1 − β₁) sign(h)
/// d  = atan2(atan2(h, √v₂)·4/π, √v₃)·4/π
/// vᵢ ← bᵢ vᵢ + (1 − bᵢ) h²               bᵢ = (βᵢᵗ − βᵢ)/(βᵢᵗ − 1), vᵢ = 1 at first
/// d  ← |d| · s
/// d  ← atan2(d, cos(atan g))·4/π         (invariant)
/// x  ← x · (1 − rate · weight_decay · 0.995ᵗ) − rate · d
/// ```
///
/// The means of squares are used before they take in the gradient. Its optional orthogonalisation
/// ("adaptive muon"), which learned rounding switches off, is not here.
///
/// # Source
/// Clybius, Personalized-Optimizers, GOODDOG, 2025-06-22: from its description, not its text. Where
/// that leaves an order open (the two arctangents follow each other; the squares are those of h),
/// this file decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GoodDog {
    /// β₁, memory of the signs, 0 to below 1. Default 0.9.
    pub beta_1: f64,
    /// β₂, memory of the faster mean of squares, 0 to below 1. Default 0.96.
    pub beta_2: f64,
    /// β₃, memory of the slower one, 0 to below 1. Default 1 − 1e-7.
    pub beta_3: f64,
    /// Whether gradients pass through the sine of their arctangent. Default yes.
    pub is_invariant: bool,
    /// Pull towards zero, fading by 0.995 per step, 0 on. Default 0.
    pub weight_decay: f64,
}

impl Default for GoodDog {
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.96,
            beta_3: 1.0 - 1e-7,
            is_invariant: true,
            weight_decay: 0.0,
        }
    }
}

impl GoodDog {
    pub(super) fn start(self, start: &Matrix) -> Result<Box<dyn Update>, OptimError> {
        check_beta("gooddog beta 1", self.beta_1)?;
        check_beta("gooddog beta 2", self.beta_2)?;
        check_beta("gooddog beta 3", self.beta_3)?;
        check_size("gooddog weight decay", self.weight_decay)?;
        let ones = vec![1.0; start.values().len()];
        let squares = [ones.clone(), ones];
        Ok(Box::new(State { options: self, signs: zeros(start), squares, steps: 0 }))
    }
}

struct State {
    options: GoodDog,
    signs: Vec<f32>,
    squares: [Vec<f32>; 2],
    steps: i32,
}

/// Returns the weight of the past in a debiased mean: 0 at the first step, towards β later.
fn debiased(beta: f64, steps: i32) -> f64 {
    let memory = beta.powi(steps);
    (memory - beta) / (memory - 1.0)
}

impl Update for State {
    fn step(&mut self, variable: &mut Matrix, gradient: &Matrix, learning_rate: f64) {
        self.steps += 1;
        let options = self.options;
        let count = gradient.values().len().max(1) as f64;
        // A pass of its own: each step depends on the length of the whole gradient.
        let rms = (elementwise::squared_norm(gradient.values()) / count).sqrt();
        let shrink = (1.0 / rms.max(1.0)) as f32;
        let (old_sign, new_sign) = (options.beta_1 as f32, (1.0 - options.beta_1) as f32);
        let [memory_2, memory_3] =
            [options.beta_2, options.beta_3].map(|b| debiased(b, self.steps));
        let (old_2, new_2) = (memory_2 as f32, (1.0 - memory_2) as f32);
        let (old_3, new_3) = (memory_3 as f32, (1.0 - memory_3) as f32);
        let decay = options.weight_decay * 0.995_f64.powi(self.steps);
        let (rate, kept) = (learning_rate as f32, (1.0 - learning_rate * decay) as f32);
        let is_invariant = options.is_invariant;
        let [square_2, square_3] = &mut self.squares;
        elementwise::update_3(
            variable.values_mut(),
            gradient.values(),
            [&mut self.signs, square_2, square_3],
            |x, g, s, v2, v3| {
                let g = g * shrink;
                // sin(atan g) = g·c and cos(atan g) = c.
                let c = 1.0 / (1.0 + g * g).sqrt();
                let h = if is_invariant { g * c } else { g };
                // `signum` of 0 is 1, but a gradient of 0 has no direction.
                let sign = if h == 0.0 { 0.0 } else { h.signum() };
                *s = old_sign * *s + new_sign * sign;
                // By the squares as they were before this gradient.
                let mut step = arc(arc(h.abs(), v2.sqrt()), v3.sqrt()) * *s;
                *v2 = old_2 * *v2 + new_2 * h * h;
                *v3 = old_3 * *v3 + new_3 * h * h;
                if is_invariant {
                    step = arc(step.abs(), c).copysign(step);
                }
                *x = *x * kept - rate * step;
            },
        );
    }
}

/// Computes `atan2(y, x)·4/π` for y, x ≥ 0, within 3e-7; 0 at (0, 0).
///
/// The system's arctangent is neither the same on every platform nor fit for vectors. Here the
/// smaller over the larger lies in [0, 1]; above tan(π/8) it is turned back by π/4, and an odd
/// polynomial of degree 9 does the rest.
///
/// # Source
/// `atanf` of the Cephes library (S. Moshier): its reduction and coefficients.
#[inline(always)]
fn arc(y: f32, x: f32) -> f32 {
    use std::f32::consts::{FRAC_PI_2, FRAC_PI_4};
    const TAN_PI_8: f32 = 0.414_213_56;
    let (small, large) = (y.min(x), y.max(x));
    // (0, 0) becomes 0/1.
    let ratio = small / if large == 0.0 { 1.0 } else { large };
    let is_far = ratio > TAN_PI_8;
    let z = if is_far { (ratio - 1.0) / (ratio + 1.0) } else { ratio };
    let w = z * z;
    let series = ((8.053_744_5e-2 * w - 1.387_768_5e-1) * w + 1.997_771_1e-1) * w - 3.333_295e-1;
    let low = series * w * z + z + if is_far { FRAC_PI_4 } else { 0.0 };
    let angle = if y > x { FRAC_PI_2 - low } else { low };
    angle * (1.0 / FRAC_PI_4)
}

#[cfg(test)]
mod tests {
    use super::arc;

    #[test]
    fn arcs_are_arctangents() {
        assert_eq!(arc(0.0, 0.0), 0.0);
        assert_eq!(arc(1.0, 1.0), 1.0);
        let sizes = (-40..=40).map(|power| 1.37_f32.powi(power)).chain([0.0]);
        for y in sizes.clone() {
            for x in sizes.clone().filter(|x| *x > 0.0 || y > 0.0) {
                let expected = f64::from(y).atan2(f64::from(x)) * 4.0 / std::f64::consts::PI;
                let error = (f64::from(arc(y, x)) - expected).abs();
                assert!(error <= 3e-7 * expected.max(1e-3), "atan2({y}, {x}) is off by {error}");
            }
        }
    }
}
