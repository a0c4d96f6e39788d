//! Schedules: rules by which the learning rate changes from step to step.

mod adaptive;
mod cosine;
mod doubling;
mod exponential;
mod plateau;

pub use adaptive::Adaptive;
pub use cosine::Cosine;
pub use doubling::Doubling;
pub use exponential::Exponential;
pub use plateau::Plateau;

use crate::{OptimError, StopRules};

/// A rule for the learning rate; its options document formula, defaults and source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Schedule {
    /// The rate stays what it is.
    Constant,
    /// The rate falls along half a cosine wave.
    Cosine(Cosine),
    /// The rate falls by a constant factor per step.
    Exponential(Exponential),
    /// The rate falls by a factor whenever the value stops falling.
    Plateau(Plateau),
    /// The rate rises after a success and falls after a failure.
    Adaptive(Adaptive),
    /// The rate doubles after a success and is halved after a failure.
    Doubling(Doubling),
}

impl Schedule {
    /// The names of [`named`](Self::named).
    pub const NAMES: [&str; 6] =
        ["constant", "cosine", "exponential", "plateau", "adaptive", "doubling"];

    /// Returns the schedule of a name, with its default options.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "constant" => Some(Self::Constant),
            "cosine" => Some(Self::Cosine(Cosine::default())),
            "exponential" => Some(Self::Exponential(Exponential::default())),
            "plateau" => Some(Self::Plateau(Plateau::default())),
            "adaptive" => Some(Self::Adaptive(Adaptive::default())),
            "doubling" => Some(Self::Doubling(Doubling::default())),
            _ => None,
        }
    }

    /// Returns the name that [`named`](Self::named) knows it by.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Cosine(_) => "cosine",
            Self::Exponential(_) => "exponential",
            Self::Plateau(_) => "plateau",
            Self::Adaptive(_) => "adaptive",
            Self::Doubling(_) => "doubling",
        }
    }

    /// Starts at a rate, for a variable of this shape.
    ///
    /// # Errors
    /// [`OptimError`] when an option is outside its range.
    pub fn start(&self, rate: f64, shape: [usize; 2]) -> Result<Rates, OptimError> {
        let rule: Box<dyn Rule> = match self {
            Self::Constant => Box::new(Constant),
            Self::Cosine(options) => options.rule()?,
            Self::Exponential(options) => options.rule()?,
            Self::Plateau(options) => options.rule(shape)?,
            Self::Adaptive(options) => options.rule(shape)?,
            Self::Doubling(options) => options.rule()?,
        };
        Ok(Rates { first: rate, rate, rule })
    }
}

/// The values that a schedule may react to.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Evaluations seen, this one included.
    evaluations: usize,
    /// Evaluations in a row without a value below the lowest, this one included.
    stalled: usize,
    /// Evaluations in a row without a value below the lowest, before this one.
    stalled_before: usize,
    lowest: f64,
    value: f64,
    iterations: usize,
    stall_limit: usize,
}

impl Progress {
    /// Returns the state before the first evaluation.
    #[must_use]
    pub fn new(stop: &StopRules) -> Self {
        Self {
            evaluations: 0,
            stalled: 0,
            stalled_before: 0,
            lowest: f64::INFINITY,
            value: f64::INFINITY,
            iterations: stop.iterations,
            stall_limit: stop.stall_steps,
        }
    }

    /// Takes in the value of one more evaluation.
    pub fn saw(&mut self, value: f64) {
        self.evaluations += 1;
        self.stalled_before = self.stalled;
        self.value = value;
        // A value that is no number is no gain either.
        if value < self.lowest {
            self.lowest = value;
            self.stalled = 0;
        } else {
            self.stalled += 1;
        }
    }

    /// Returns the number of evaluations in a row without a value below the lowest.
    #[must_use]
    pub fn stalled(&self) -> usize {
        self.stalled
    }

    fn has_improved(&self) -> bool {
        self.stalled == 0
    }
}

/// The running rate of one descent.
pub struct Rates {
    first: f64,
    rate: f64,
    rule: Box<dyn Rule>,
}

impl Rates {
    /// Returns the rate of the move that follows the evaluation last seen.
    pub fn next(&mut self, progress: &Progress) -> f64 {
        self.rate = self.rule.next(self.first, self.rate, progress);
        self.rate
    }
}

/// The states of one schedule.
trait Rule: Send {
    /// Returns the next rate, given the first one and the one before.
    fn next(&mut self, first: f64, rate: f64, progress: &Progress) -> f64;
}

struct Constant;

impl Rule for Constant {
    fn next(&mut self, first: f64, _rate: f64, _progress: &Progress) -> f64 {
        first
    }
}

/// Returns the longer side over the shorter one, at least 1; 1 for an empty shape.
fn aspect([rows, cols]: [usize; 2]) -> f64 {
    if rows == 0 || cols == 0 { 1.0 } else { rows.max(cols) as f64 / rows.min(cols) as f64 }
}
