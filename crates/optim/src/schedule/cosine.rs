use super::{Progress, Rule};
use crate::error::{OptimError, check_size};

/// Half a cosine wave from the first rate to the last.
///
/// `rate(t) = minimum + (first − minimum) · (1 + cos(πt/T)) / 2`, t counted from 0, T the iterations
/// that the stop rules allow; `minimum` after them.
///
/// # Source
/// Loshchilov, Hutter, "SGDR", ICLR 2017, without restarts; `CosineAnnealingLR` of PyTorch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cosine {
    /// The rate at the end, 0 on. Default 0.
    pub minimum: f64,
}

impl Default for Cosine {
    fn default() -> Self {
        Self { minimum: 0.0 }
    }
}

impl Cosine {
    pub(super) fn rule(self) -> Result<Box<dyn Rule>, OptimError> {
        check_size("cosine minimum", self.minimum)?;
        Ok(Box::new(self))
    }
}

impl Rule for Cosine {
    fn next(&mut self, first: f64, _rate: f64, progress: &Progress) -> f64 {
        // At least one evaluation has been seen: the rate is asked for after it.
        let step = (progress.evaluations - 1).min(progress.iterations) as f64;
        let turn = std::f64::consts::PI * step / progress.iterations.max(1) as f64;
        self.minimum + (first - self.minimum) * 0.5 * (1.0 + turn.cos())
    }
}
