use std::ops::ControlFlow;

use roundwise_compute::Matrix;

use crate::error::{OptimError, check_positive};
use crate::schedule::Progress;
use crate::{Optimizer, Schedule, StopReason, StopRules};

/// A function that a descent lowers.
pub trait Objective {
    /// Returns the value at `variable`, and writes the gradient there into every value of `gradient`.
    fn evaluate(&mut self, variable: &Matrix, gradient: &mut Matrix) -> f64;

    /// Returns the score that decides which iterate is kept; lower is better.
    ///
    /// `value` is the one just evaluated, and the score unless this method is overridden.
    ///
    /// An objective whose variable is rounded at the end scores the rounded copy here, so that what
    /// is kept is the best of what can be stored.
    fn score(&mut self, variable: &Matrix, value: f64) -> f64 {
        let _ = variable;
        value
    }
}

/// The replaceable parts of a descent beside its objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Descent {
    /// How a gradient becomes a step.
    pub optimizer: Optimizer,
    /// How the rate changes.
    pub schedule: Schedule,
    /// The rate that the schedule starts from, above 0.
    pub learning_rate: f64,
    /// When to end.
    pub stop: StopRules,
}

impl Descent {
    /// Returns a descent by `optimizer` at its usual rate, kept constant, with the default stop rules.
    #[must_use]
    pub fn new(optimizer: Optimizer) -> Self {
        let learning_rate = optimizer.usual_learning_rate();
        Self { optimizer, schedule: Schedule::Constant, learning_rate, stop: StopRules::default() }
    }
}

/// One evaluation, as the callback sees it before the variable moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Counted from 0.
    pub index: usize,
    /// The objective.
    pub value: f64,
    /// The score; the iterate with the lowest one is kept.
    pub score: f64,
    /// The lowest score so far, this one included.
    pub best_score: f64,
    /// The rate of the move that follows.
    pub learning_rate: f64,
}

/// The result of a descent.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The iterate with the lowest score; the earliest of equals. The start counts as one.
    pub best: Matrix,
    /// Its score.
    pub best_score: f64,
    /// The evaluation that found it, counted from 0.
    pub best_step: usize,
    /// Evaluations made.
    pub steps: usize,
    /// Why it ended.
    pub reason: StopReason,
}

/// Walks downhill from `start` and returns the iterate with the lowest score.
///
/// One round: evaluate, score, keep if best, tell `watch`, stop or move. The score belongs to the
/// iterate that is kept, never to its predecessor. The rate is set after the value is known and
/// before the move, so that a rule that reacts to a failure shortens the very next step. A value
/// that is not finite ends the descent; the best iterate before it is returned. Holds three copies
/// of the variable beside the optimizer's states.
///
/// # Errors
/// [`OptimError`] when an option is outside its range; nothing has been evaluated then.
pub fn descend<O: Objective + ?Sized>(
    objective: &mut O,
    start: Matrix,
    descent: &Descent,
    mut watch: impl FnMut(&Step) -> ControlFlow<()>,
) -> Result<Outcome, OptimError> {
    check_positive("learning rate", descent.learning_rate)?;
    descent.stop.check()?;
    let shape = [start.rows(), start.cols()];
    let mut schedule = descent.schedule.start(descent.learning_rate, shape)?;
    let mut optimizer = descent.optimizer.start(&start)?;

    let mut variable = start;
    let mut gradient = Matrix::zeros(shape[0], shape[1]);
    let mut best = variable.clone();
    // Where no score is a number, the start is what is returned.
    let (mut best_score, mut best_step) = (f64::INFINITY, 0);
    let mut progress = Progress::new(&descent.stop);
    let mut steps = 0;

    let reason = loop {
        if steps >= descent.stop.iterations {
            break StopReason::Iterations;
        }
        let value = objective.evaluate(&variable, &mut gradient);
        let score = if value.is_finite() { objective.score(&variable, value) } else { f64::NAN };
        // A score that is not a number is never the best.
        if score < best_score {
            (best_score, best_step) = (score, steps);
            // Copied, not moved: the descent goes on from here. It reuses the memory of the former best.
            best.values_mut().copy_from_slice(variable.values());
        }
        // Schedules react to the value, whose gradient is followed: a score of rounded copies falls in
        // steps, and hardly at first.
        progress.saw(value);
        let learning_rate = schedule.next(&progress);
        let step = Step { index: steps, value, score, best_score, learning_rate };
        steps += 1;
        if watch(&step).is_break() {
            break StopReason::Asked;
        }
        if let Some(reason) = descent.stop.after_value(value, progress.stalled()) {
            break reason;
        }
        if learning_rate < descent.stop.learning_rate {
            break StopReason::LearningRate;
        }
        // The move after the last evaluation would never be scored.
        if steps < descent.stop.iterations {
            optimizer.step(&mut variable, &gradient, learning_rate);
        }
    };
    Ok(Outcome { best, best_score, best_step, steps, reason })
}
