use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::report::watch::{Event, Watch};

/// A flag that asks work to stop, from any thread or from a signal handler.
///
/// As a [`Watch`] it is silent until somebody asks; watchers that show something end with
/// [`StopFlag::answer`].
///
/// ```
/// use roundwise_convert::{Event, Watch};
/// use roundwise_convert::report::StopFlag;
///
/// let flag = StopFlag::new();
/// assert!(flag.notice(Event::Advanced { bytes: 1 }).is_continue());
/// flag.ask();
/// assert!(flag.notice(Event::Advanced { bytes: 1 }).is_break());
/// ```
#[derive(Debug, Default)]
pub struct StopFlag(AtomicBool);

impl StopFlag {
    /// Makes a flag that nobody has raised.
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Asks to stop, and returns whether somebody had before.
    pub fn ask(&self) -> bool {
        // Relaxed, for nothing else is passed along with the flag.
        self.0.swap(true, Ordering::Relaxed)
    }

    /// Returns whether somebody has asked.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns what a watcher answers.
    pub fn answer(&self) -> ControlFlow<()> {
        if self.is_asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Watch for StopFlag {
    fn notice(&self, _event: Event<'_>) -> ControlFlow<()> {
        self.answer()
    }
}
