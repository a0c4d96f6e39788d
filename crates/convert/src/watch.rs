use std::ops::ControlFlow;

use crate::error::ConvertError;
use crate::report::TensorReport;

/// Something that happened during a conversion.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The work goes on where an earlier run stopped.
    Resumed {
        /// Tensors that are finished.
        finished: usize,
        /// Tensors to go through.
        tensors: usize,
    },
    /// Work begins, or begins again after a weight turned out to hold no finite numbers.
    Started {
        /// Tensors to go through.
        tensors: usize,
        /// Bytes of the input that will be reported as [`Event::Advanced`] or
        /// [`Event::Recalled`]: with learned rounding
        /// those of the weights that are learned.
        bytes: u64,
    },
    /// Bytes of the input have been dealt with.
    Advanced {
        /// How many more.
        bytes: u64,
    },
    /// Bytes of the input that an earlier run has dealt with: they took no time.
    Recalled {
        /// How many more.
        bytes: u64,
    },
    /// Learned rounding has gone over a weight once more.
    Rounding {
        /// Name of the weight.
        tensor: &'a str,
        /// Objective over that of nearest codes, as the search knows it.
        objective_ratio: f64,
    },
    /// A tensor is done.
    Finished(&'a TensorReport),
    /// A weight holds a NaN or an infinity; it will be kept, and the work begins again.
    NotFinite {
        /// Name of the weight.
        tensor: &'a str,
    },
    /// Everything is written; the output is read again.
    Verifying {
        /// Bytes of the output.
        bytes: u64,
    },
    /// Everything is written; the file is being synced to disk.
    Syncing,
}

/// Someone who wants to know how a conversion goes, and may stop it. Called from many threads.
pub trait Watch: Sync {
    /// Takes note; `Break` stops the conversion; what is finished stays for the
    /// next run.
    fn notice(&self, event: Event<'_>) -> ControlFlow<()>;
}

/// Tells the watcher, and stops when it says so.
pub(crate) fn notice(watch: &dyn Watch, event: Event<'_>) -> Result<(), ConvertError> {
    match watch.notice(event).is_break() {
        true => Err(ConvertError::Stopped),
        false => Ok(()),
    }
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn notice(&self, _event: Event<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
