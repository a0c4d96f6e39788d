use std::ops::ControlFlow;
use std::path::Path;

use serde::Serialize;

use crate::error::ConvertError;
use crate::report::tensor_report::TensorReport;

/// Something that happened during a conversion.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event<'a> {
    /// A phase begins. It may begin again, after a weight turned out to hold no finite numbers.
    Phase {
        /// Which one.
        name: Phase,
        /// Tensors to go through.
        tensors: usize,
        /// Bytes that will be reported as [`Event::Advanced`] or [`Event::Recalled`]. While converting
        /// with learned rounding, those of the weights that are learned.
        bytes: u64,
    },
    /// The work continues where an earlier run stopped.
    Resumed {
        /// Tensors that are finished.
        finished_tensors: usize,
        /// Tensors to go through.
        tensors: usize,
    },
    /// Work on a tensor begins.
    Begun {
        /// Name of the tensor.
        tensor: &'a str,
    },
    /// Bytes have been dealt with.
    Advanced {
        /// How many more.
        bytes: u64,
    },
    /// Bytes that an earlier run has dealt with: they took no time.
    Recalled {
        /// How many more.
        bytes: u64,
    },
    /// A search has gone over a weight once more.
    Search {
        /// Name of the weight.
        tensor: &'a str,
        /// Steps that are done.
        step: usize,
        /// Steps to do at most.
        steps: usize,
        /// Objective over that of nearest codes, as the search knows it.
        objective_ratio: f64,
    },
    /// A tensor is done.
    Finished {
        /// The output that holds it.
        #[serde(serialize_with = "crate::report::named::lossy")]
        output: &'a Path,
        /// Whether an earlier run had finished it.
        is_recalled: bool,
        /// The tensor's entry in the report.
        tensor: &'a TensorReport,
    },
    /// A weight holds a NaN or an infinity; it will be kept, and the work begins again.
    NotFinite {
        /// Name of the weight.
        tensor: &'a str,
    },
}

/// A part of a conversion's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Weights are searched for a NaN or an infinity.
    Looking,
    /// Scales that layers share are measured.
    Scales,
    /// Tensors become what the plan says.
    Converting,
    /// The output is read again.
    Checking,
    /// The output is synced to disk.
    Syncing,
    /// Parts of a model are put together.
    Merging,
    /// Two files are compared.
    Comparing,
}

/// A watcher of a conversion, which may stop it. Called from many threads.
pub trait Watch: Sync {
    /// Receives an event. `Break` stops the conversion; finished tensors stay for the next run.
    fn notice(&self, event: Event<'_>) -> ControlFlow<()>;
}

/// Passes an event to the watcher.
///
/// # Errors
/// [`ConvertError::Stopped`] when it says so.
pub(crate) fn notice(watch: &dyn Watch, event: Event<'_>) -> Result<(), ConvertError> {
    match watch.notice(event).is_break() {
        true => Err(ConvertError::Stopped),
        false => Ok(()),
    }
}

/// A watcher that ignores every event and never stops the conversion.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn notice(&self, _event: Event<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
