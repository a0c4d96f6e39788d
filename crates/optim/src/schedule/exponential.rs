use super::{Progress, Rule};
use crate::error::{OptimError, check};

/// A rate that falls by a constant factor per step.
///
/// `rate(t) = first · decay^(t + 1 − max(warm_up_steps, 1))`, t counted from 0; `first` before.
///
/// # Source
/// `ExponentialLR` of PyTorch; convert_to_quant's default decay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exponential {
    /// Factor per step, above 0 to 1. Default 0.99.
    pub decay: f64,
    /// Steps that keep the first rate. Default 0; convert_to_quant gives Prodigy 50.
    pub warm_up_steps: usize,
}

impl Default for Exponential {
    fn default() -> Self {
        Self { decay: 0.99, warm_up_steps: 0 }
    }
}

impl Exponential {
    pub(super) fn rule(self) -> Result<Box<dyn Rule>, OptimError> {
        let is_within = self.decay > 0.0 && self.decay <= 1.0;
        check("exponential decay", self.decay, is_within, "a number above 0, to 1")?;
        Ok(Box::new(self))
    }
}

impl Rule for Exponential {
    fn next(&mut self, first: f64, rate: f64, progress: &Progress) -> f64 {
        // The first move has the first rate, whatever the warm-up.
        let is_first = progress.evaluations == 1;
        if is_first || progress.evaluations <= self.warm_up_steps {
            first
        } else {
            rate * self.decay
        }
    }
}
