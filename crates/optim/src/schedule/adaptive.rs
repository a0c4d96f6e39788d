use super::{Progress, Rule, aspect};
use crate::error::{OptimError, check, check_positive, check_size};

/// A rate that rises after a success and falls after a failure, by how long the value has stalled.
///
/// With `u = (1 + cos 2πt) / 2`, `t = stalled evaluations / limit` (the stop rules' stall limit), and
/// `s = 1 − shorter side / longer side`:
///
/// - success: `rate ← min(maximum, rate · (1 + gain · (1 + s/2) · (1 − u)))`, u of the stall that ended
/// - failure: `rate ← max(minimum, rate · (low · u + high · (1 − u)))`, `low = factor − 0.03·s`
///
/// A fresh failure shortens the step most, a failure late in a stall hardly; the success that ends a
/// long stall lengthens it most.
///
/// # Source
/// convert_to_quant's `adaptive` rule for its `original` optimizer, in its cosine form; the form of
/// `s` is ours, since its description leaves it open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adaptive {
    /// Factor after a fresh failure, 0.03 to 1. Default 0.95.
    pub factor: f64,
    /// Factor after a failure halfway through the limit, `factor` to 1. Default 0.995.
    pub slowest: f64,
    /// Most that a success adds, as a share, 0 on. Default 0.25.
    pub gain: f64,
    /// The rate goes no lower, 0 on. Default 1e-8.
    pub minimum: f64,
    /// The rate goes no higher, above 0. Default 100.
    pub maximum: f64,
    /// The limit when the stop rules have none, 1 on. Default 500.
    pub stall_steps: usize,
}

impl Default for Adaptive {
    fn default() -> Self {
        Self {
            factor: 0.95,
            slowest: 0.995,
            gain: 0.25,
            minimum: 1e-8,
            maximum: 100.0,
            stall_steps: 500,
        }
    }
}

impl Adaptive {
    pub(super) fn rule(self, shape: [usize; 2]) -> Result<Box<dyn Rule>, OptimError> {
        // From a long matrix's factor up to 0.03 is taken off, and it has to stay above 0.
        let is_within = self.factor > 0.03 && self.factor <= 1.0;
        check("adaptive factor", self.factor, is_within, "a number above 0.03, to 1")?;
        let is_within = self.slowest >= self.factor && self.slowest <= 1.0;
        check("adaptive slowest", self.slowest, is_within, "a number from the factor to 1")?;
        check_size("adaptive gain", self.gain)?;
        check_size("adaptive minimum", self.minimum)?;
        check_positive("adaptive maximum", self.maximum)?;
        Ok(Box::new(Reacting { options: self, stretch: 1.0 - 1.0 / aspect(shape) }))
    }
}

struct Reacting {
    options: Adaptive,
    /// 0 for a square, towards 1 for a long matrix.
    stretch: f64,
}

impl Rule for Reacting {
    fn next(&mut self, _first: f64, rate: f64, progress: &Progress) -> f64 {
        let Adaptive { factor, slowest, gain, minimum, maximum, stall_steps } = self.options;
        let limit =
            if progress.stall_limit > 0 { progress.stall_limit } else { stall_steps.max(1) };
        let wave = |stalled: usize| {
            let turn = std::f64::consts::TAU * stalled as f64 / limit as f64;
            0.5 * (1.0 + turn.cos())
        };
        if progress.has_improved() {
            let boost =
                1.0 + gain * (1.0 + 0.5 * self.stretch) * (1.0 - wave(progress.stalled_before));
            // A rate above the maximum from the start is left alone.
            (rate * boost).min(maximum.max(rate))
        } else {
            let u = wave(progress.stalled);
            let low = factor - 0.03 * self.stretch;
            (rate * (low * u + slowest * (1.0 - u))).max(minimum.min(rate))
        }
    }
}
