use std::ops::ControlFlow;

use crate::TensorReport;

/// Something that happened during a conversion.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Work begins, or begins again after a weight turned out to hold no finite numbers.
    Started {
        /// Tensors to go through.
        tensors: usize,
        /// Bytes of the input that will be read.
        bytes: u64,
    },
    /// Bytes of the input have been dealt with.
    Advanced {
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
    /// Everything is written; the file is being synced to disk.
    Syncing,
}

/// Someone who wants to know how a conversion goes, and may stop it. Called from many threads.
pub trait Watch: Sync {
    /// Takes note; `Break` stops the conversion, and nothing is left behind.
    fn notice(&self, event: Event<'_>) -> ControlFlow<()>;
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn notice(&self, _event: Event<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
