use std::ops::ControlFlow;

/// The progress of a solver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Passes over the matrix that are done.
    pub step: usize,
    /// Passes at most.
    pub steps: usize,
    /// `‖LᵀER‖²` over that of nearest codes, as the solver knows it.
    pub projected_ratio: f64,
    /// `‖E‖` over that of nearest codes.
    pub weight_error_ratio: f64,
}

/// A watcher of every pass of a solver, which may stop it.
pub trait Watch {
    /// Receives the progress after a pass; `Break` ends the rounding with
    /// [`RoundingError::Stopped`](crate::RoundingError).
    fn notice(&mut self, progress: Progress) -> ControlFlow<()>;
}

/// Ignores every pass and never stops.
impl Watch for () {
    fn notice(&mut self, _progress: Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(Progress) -> ControlFlow<()>> Watch for F {
    fn notice(&mut self, progress: Progress) -> ControlFlow<()> {
        self(progress)
    }
}
