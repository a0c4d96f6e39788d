use std::ops::ControlFlow;

/// Where a solver is.
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

/// Somebody who is told about every pass and may say stop.
pub trait Watch {
    /// Takes note; `Break` ends the rounding with [`RoundingError::Stopped`](crate::RoundingError).
    fn notice(&mut self, progress: Progress) -> ControlFlow<()>;
}

/// Nobody.
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
