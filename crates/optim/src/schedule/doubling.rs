use super::{Progress, Rule};
use crate::error::{OptimError, check, check_size};

/// A rate that doubles after a success and is halved after a failure.
///
/// `rate ← up · rate` after a success, `rate ← max(minimum, down · rate)` after a failure.
/// A plain descent with it finds its rate from any start within a few steps.
///
/// # Source
/// TPEC-Quant, fast form.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Doubling {
    /// Factor after a success, 1 on. Default 2.
    pub up: f64,
    /// Factor after a failure, above 0 to 1. Default 0.5.
    pub down: f64,
    /// The rate goes no lower, 0 on. Default 1e-8.
    pub minimum: f64,
}

impl Default for Doubling {
    fn default() -> Self {
        Self { up: 2.0, down: 0.5, minimum: 1e-8 }
    }
}

impl Doubling {
    pub(super) fn rule(self) -> Result<Box<dyn Rule>, OptimError> {
        check("doubling up", self.up, self.up >= 1.0, "a number from 1 on")?;
        let is_within = self.down > 0.0 && self.down <= 1.0;
        check("doubling down", self.down, is_within, "a number above 0, to 1")?;
        check_size("doubling minimum", self.minimum)?;
        Ok(Box::new(self))
    }
}

impl Rule for Doubling {
    fn next(&mut self, _first: f64, rate: f64, progress: &Progress) -> f64 {
        if progress.has_improved() {
            // Beyond this a step in f32 would be infinite, and nothing else stops the rate from
            // growing.
            (rate * self.up).min(f64::from(f32::MAX).max(rate))
        } else {
            (rate * self.down).max(self.minimum.min(rate))
        }
    }
}
