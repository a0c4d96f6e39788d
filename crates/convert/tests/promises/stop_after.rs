//! A watcher that the tests of interruptions share.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

use roundwise_convert::{Event, Watch};

/// Stops after a number of finished tensors.
pub(crate) struct StopAfter(pub(crate) AtomicUsize);

impl Watch for StopAfter {
    fn notice(&self, event: Event<'_>) -> ControlFlow<()> {
        let is_last = matches!(event, Event::Finished { is_recalled: false, .. })
            && self.0.fetch_sub(1, Ordering::Relaxed) == 1;
        if is_last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
