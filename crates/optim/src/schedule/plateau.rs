use super::{Progress, Rule, aspect};
use crate::error::{OptimError, check, check_size};

/// A rate that falls when the value has stopped falling.
///
/// `rate ← max(minimum, rate · factor^e)` after more than `patience_steps` evaluations in a row whose
/// value is not below `lowest · (1 − threshold)`, with `e = aspect^(shape_influence / 2)` and the
/// aspect the longer side over the shorter.
///
/// After such a change `cooldown_steps` evaluations do not count as failures.
///
/// # Source
/// `ReduceLROnPlateau` of PyTorch (its defaults: factor 0.1, patience 10, threshold 1e-4, no
/// influence of the shape); convert_to_quant's defaults, the root of the aspect with them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plateau {
    /// Factor per change, above 0 to 1. Default 0.95.
    pub factor: f64,
    /// Failures in a row that change nothing. Default 1.
    pub patience_steps: usize,
    /// Evaluations after a change that do not count. Default 0.
    pub cooldown_steps: usize,
    /// The rate goes no lower, 0 on. Default 1e-8.
    pub minimum: f64,
    /// Relative gain that counts as one, 0 to 1. Default 0: any.
    pub threshold: f64,
    /// How much more a long matrix reduces, 0 on. Default 1; 0 not at all.
    pub shape_influence: f64,
    /// Steps at the start that change nothing. Default 0; convert_to_quant gives Prodigy 50.
    pub warm_up_steps: usize,
}

impl Default for Plateau {
    fn default() -> Self {
        Self {
            factor: 0.95,
            patience_steps: 1,
            cooldown_steps: 0,
            minimum: 1e-8,
            threshold: 0.0,
            shape_influence: 1.0,
            warm_up_steps: 0,
        }
    }
}

impl Plateau {
    pub(super) fn rule(self, shape: [usize; 2]) -> Result<Box<dyn Rule>, OptimError> {
        let is_within = self.factor > 0.0 && self.factor <= 1.0;
        check("plateau factor", self.factor, is_within, "a number above 0, to 1")?;
        let is_within = (0.0..=1.0).contains(&self.threshold);
        check("plateau threshold", self.threshold, is_within, "a number from 0 to 1")?;
        check_size("plateau minimum", self.minimum)?;
        check_size("shape influence", self.shape_influence)?;
        let factor = self.factor.powf(aspect(shape).powf(self.shape_influence / 2.0));
        Ok(Box::new(Waiting {
            options: self,
            factor,
            lowest: f64::INFINITY,
            failures: 0,
            cooldown: 0,
        }))
    }
}

struct Waiting {
    options: Plateau,
    factor: f64,
    lowest: f64,
    failures: usize,
    cooldown: usize,
}

impl Rule for Waiting {
    fn next(&mut self, _first: f64, rate: f64, progress: &Progress) -> f64 {
        // With a threshold of 1 the product of an infinite lowest value is no number: the first one
        // always counts.
        if progress.value < self.lowest * (1.0 - self.options.threshold)
            || self.lowest.is_infinite()
        {
            self.lowest = progress.value;
            self.failures = 0;
        } else {
            self.failures += 1;
        }
        if self.cooldown > 0 {
            self.cooldown -= 1;
            self.failures = 0;
        }
        if self.failures <= self.options.patience_steps
            || progress.evaluations <= self.options.warm_up_steps
        {
            return rate;
        }
        self.failures = 0;
        self.cooldown = self.options.cooldown_steps;
        // A rate below the minimum from the start is left alone.
        (rate * self.factor).max(self.options.minimum.min(rate))
    }
}
