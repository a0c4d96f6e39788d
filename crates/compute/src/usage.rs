use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::tiles::Tiles;
use crate::{ComputeError, Device};

/// What has been moved between the host and a device, how often the host has waited for it, and what
/// was multiplied there.
///
/// Calls are counted, not copies: on a CPU, where a matrix is handed over without a copy, the numbers
/// are those of the same work on a device with memory of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of matrices that were moved to the device.
    pub uploaded_bytes: u64,
    /// Bytes of matrices and sums that were moved to the host.
    pub downloaded_bytes: u64,
    /// How often the host needed a result, and so waited for everything that the device had to do.
    pub synchronisations: u64,
    /// Multiplications and additions of all products, 2mnk for `[m, k] · [k, n]`, whatever a backend
    /// leaves out of a triangle or a square.
    pub product_operations: u64,
    /// Bytes of the matrices that were on the device at once, at most. What a backend needs beside them
    /// for a while, such as the two terms of a sum, is not among them.
    pub peak_bytes: u64,
}

impl Usage {
    /// Returns what has come to it since an earlier count; the peak is that of all the time.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            uploaded_bytes: self.uploaded_bytes - earlier.uploaded_bytes,
            downloaded_bytes: self.downloaded_bytes - earlier.downloaded_bytes,
            synchronisations: self.synchronisations - earlier.synchronisations,
            product_operations: self.product_operations - earlier.product_operations,
            peak_bytes: self.peak_bytes,
        }
    }
}

/// What a computation unwinds with where a matrix has no room on the device.
pub(crate) enum Shortage {
    /// It is larger than any matrix can be.
    OfOne { bytes: u64, most_bytes: u64 },
    /// The others leave too little.
    OfAll { bytes: u64, free_bytes: u64 },
}

impl Shortage {
    pub(crate) fn on(&self, device: Device) -> ComputeError {
        match *self {
            Self::OfOne { bytes, most_bytes } => {
                ComputeError::TooLarge { device, bytes, most_bytes }
            }
            Self::OfAll { bytes, free_bytes } => ComputeError::NoRoom { device, bytes, free_bytes },
        }
    }

    /// Not as a panic, which would print a message of its own.
    fn unwind(self) -> ! {
        resume_unwind(Box::new(self))
    }
}

/// Bytes that a device can hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// In one matrix.
    pub(crate) most_bytes: u64,
    /// In all of them.
    pub(crate) room_bytes: u64,
}

impl Limits {
    /// Those of a device that says nothing, or shares the memory of the host.
    pub(crate) const NONE: Self = Self { most_bytes: u64::MAX, room_bytes: u64::MAX };
}

/// The counters of one engine, its clones and the matrices that it has taken, and what its device can
/// hold.
#[derive(Debug)]
pub(crate) struct UsageCounter {
    pub(crate) limits: Limits,
    /// What multiplies, where the matrices are on the host for want of room on the device.
    pub(crate) tiles: Option<Tiles>,
    held_bytes: AtomicU64,
    peak_bytes: AtomicU64,
    uploaded_bytes: AtomicU64,
    downloaded_bytes: AtomicU64,
    synchronisations: AtomicU64,
    product_operations: AtomicU64,
}

impl UsageCounter {
    pub(crate) fn new(limits: Limits, tiles: Option<Tiles>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            tiles,
            held_bytes: AtomicU64::new(0),
            peak_bytes: AtomicU64::new(0),
            uploaded_bytes: AtomicU64::new(0),
            downloaded_bytes: AtomicU64::new(0),
            synchronisations: AtomicU64::new(0),
            product_operations: AtomicU64::new(0),
        })
    }

    /// Takes room for a matrix of so many values, or unwinds with [`Shortage`] where there is none.
    ///
    /// Before burn is asked: what it leaves behind when an allocation fails answers later operations
    /// wrongly or not at all.
    pub(crate) fn reserve(self: &Arc<Self>, values: usize) -> Arc<Room> {
        let (bytes, Limits { most_bytes, room_bytes }) = (bytes(values), self.limits);
        if bytes > most_bytes {
            Shortage::OfOne { bytes, most_bytes }.unwind();
        }
        // Counted at once, so that what follows gives it back.
        let held = self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        let room = Arc::new(Room { usage: Arc::clone(self), bytes });
        if bytes > room_bytes.saturating_sub(held) {
            Shortage::OfAll { bytes, free_bytes: room_bytes.saturating_sub(held) }.unwind();
        }
        self.peak_bytes.fetch_max(held + bytes, Ordering::Relaxed);
        room
    }

    /// Counts `values` numbers of `f32` on their way to the device.
    pub(crate) fn uploaded(&self, values: usize) {
        self.uploaded_bytes.fetch_add(bytes(values), Ordering::Relaxed);
    }

    /// Counts `values` numbers of `f32` on their way to the host, which waits for them.
    pub(crate) fn downloaded(&self, values: usize) {
        self.downloaded_bytes.fetch_add(bytes(values), Ordering::Relaxed);
        self.synchronisations.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a product `[rows, inner] · [inner, cols]`.
    pub(crate) fn multiplied(&self, rows: usize, inner: usize, cols: usize) {
        let operations = 2 * rows as u64 * inner as u64 * cols as u64;
        self.product_operations.fetch_add(operations, Ordering::Relaxed);
    }

    /// Returns the counts.
    pub(crate) fn now(&self) -> Usage {
        Usage {
            uploaded_bytes: self.uploaded_bytes.load(Ordering::Relaxed),
            downloaded_bytes: self.downloaded_bytes.load(Ordering::Relaxed),
            synchronisations: self.synchronisations.load(Ordering::Relaxed),
            product_operations: self.product_operations.load(Ordering::Relaxed),
            peak_bytes: self.peak_bytes.load(Ordering::Relaxed),
        }
    }
}

/// The room of one matrix, given back when the last of its clones and views is gone.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) usage: Arc<UsageCounter>,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.usage.held_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn bytes(values: usize) -> u64 {
    (values * size_of::<f32>()) as u64
}
