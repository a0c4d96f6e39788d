use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
}

impl Usage {
    /// Returns what has come to it since an earlier count.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            uploaded_bytes: self.uploaded_bytes - earlier.uploaded_bytes,
            downloaded_bytes: self.downloaded_bytes - earlier.downloaded_bytes,
            synchronisations: self.synchronisations - earlier.synchronisations,
            product_operations: self.product_operations - earlier.product_operations,
        }
    }
}

/// A matrix that was to be larger than the device holds in one piece: what such a computation unwinds
/// with.
pub(crate) struct TooLarge {
    pub(crate) bytes: u64,
    pub(crate) most_bytes: u64,
}

/// The counters of one engine, its clones and the matrices that it has taken, and what its device can
/// hold.
#[derive(Debug)]
pub(crate) struct UsageCounter {
    /// The largest matrix.
    most_bytes: u64,
    /// Whether an operation on the device has failed.
    is_lost: AtomicBool,
    uploaded_bytes: AtomicU64,
    downloaded_bytes: AtomicU64,
    synchronisations: AtomicU64,
    product_operations: AtomicU64,
}

impl UsageCounter {
    pub(crate) fn new(most_bytes: u64) -> Self {
        Self {
            most_bytes,
            is_lost: AtomicBool::new(false),
            uploaded_bytes: AtomicU64::new(0),
            downloaded_bytes: AtomicU64::new(0),
            synchronisations: AtomicU64::new(0),
            product_operations: AtomicU64::new(0),
        }
    }

    /// Returns whether an operation on the device has failed.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Notes that an operation on the device has failed.
    pub(crate) fn lose(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
    }

    /// Unwinds with [`TooLarge`] where the device cannot hold a matrix of so many values.
    ///
    /// Before burn is asked: what it leaves behind when an allocation fails answers later operations
    /// wrongly or not at all. Not as a panic, which would print a message of its own.
    fn check(&self, values: usize) {
        let (bytes, most_bytes) = (bytes(values), self.most_bytes);
        if bytes > most_bytes {
            resume_unwind(Box::new(TooLarge { bytes, most_bytes }));
        }
    }

    /// Counts `values` numbers of `f32` on their way to the device.
    pub(crate) fn uploaded(&self, values: usize) {
        self.check(values);
        self.uploaded_bytes.fetch_add(bytes(values), Ordering::Relaxed);
    }

    /// Counts `values` numbers of `f32` on their way to the host, which waits for them.
    pub(crate) fn downloaded(&self, values: usize) {
        self.downloaded_bytes.fetch_add(bytes(values), Ordering::Relaxed);
        self.synchronisations.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a product `[rows, inner] · [inner, cols]`.
    pub(crate) fn multiplied(&self, rows: usize, inner: usize, cols: usize) {
        self.check(rows * cols);
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
        }
    }
}

fn bytes(values: usize) -> u64 {
    (values * size_of::<f32>()) as u64
}
