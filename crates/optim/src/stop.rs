use crate::error::{OptimError, check_size};

/// Rules that end a descent. The first rule that holds decides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StopRules {
    /// Evaluations of the objective; 0 leaves the start as it is. Default 500.
    pub iterations: usize,
    /// Ends when the value falls below this. Default 1e-8; 0 never.
    pub loss: f64,
    /// Ends when the schedule's rate falls below this. Default 1e-8; 0 never.
    pub learning_rate: f64,
    /// Ends after this many evaluations in a row without a lower value. Default 500; 0 never.
    pub stall_steps: usize,
}

impl Default for StopRules {
    fn default() -> Self {
        Self { iterations: 500, loss: 1e-8, learning_rate: 1e-8, stall_steps: 500 }
    }
}

/// The rule that ended a descent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// All iterations were used.
    Iterations,
    /// The value fell below [`StopRules::loss`].
    Loss,
    /// The rate fell below [`StopRules::learning_rate`].
    LearningRate,
    /// The value stopped falling.
    Stall,
    /// The value is not finite. The gradient is not looked at.
    NotFinite,
    /// The callback stopped it.
    Asked,
}

impl StopRules {
    pub(crate) fn check(&self) -> Result<(), OptimError> {
        check_size("loss stop", self.loss)?;
        check_size("learning rate stop", self.learning_rate)
    }

    /// Returns the rule by which an evaluation ends the descent, from its value and the number of
    /// evaluations since the lowest.
    pub(crate) fn after_value(&self, value: f64, stalled: usize) -> Option<StopReason> {
        // First: a NaN is below no limit and would count as a stall.
        if !value.is_finite() {
            Some(StopReason::NotFinite)
        } else if value < self.loss {
            Some(StopReason::Loss)
        } else if self.stall_steps > 0 && stalled >= self.stall_steps {
            Some(StopReason::Stall)
        } else {
            None
        }
    }
}
