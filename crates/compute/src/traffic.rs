use std::sync::atomic::{AtomicU64, Ordering};

/// What has been moved between the host and a device, and how often the host has waited for it.
///
/// Calls are counted, not copies: on a CPU, where a matrix is handed over without a copy, the numbers
/// are those of the same work on a device with memory of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes of matrices that were moved to the device.
    pub uploaded_bytes: u64,
    /// Bytes of matrices and sums that were moved to the host.
    pub downloaded_bytes: u64,
    /// How often the host needed a result, and so waited for everything that the device had to do.
    pub synchronisations: u64,
}

impl Traffic {
    /// Returns what has come to it since an earlier count.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            uploaded_bytes: self.uploaded_bytes - earlier.uploaded_bytes,
            downloaded_bytes: self.downloaded_bytes - earlier.downloaded_bytes,
            synchronisations: self.synchronisations - earlier.synchronisations,
        }
    }

    /// Returns the bytes in both directions.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.uploaded_bytes + self.downloaded_bytes
    }
}

/// The counters of one engine, its clones and the matrices that it has taken.
#[derive(Debug, Default)]
pub(crate) struct TrafficCounter {
    uploaded_bytes: AtomicU64,
    downloaded_bytes: AtomicU64,
    synchronisations: AtomicU64,
}

impl TrafficCounter {
    /// Counts `values` numbers of `f32` on their way to the device.
    pub(crate) fn uploaded(&self, values: usize) {
        self.uploaded_bytes.fetch_add(bytes(values), Ordering::Relaxed);
    }

    /// Counts `values` numbers of `f32` on their way to the host, which waits for them.
    pub(crate) fn downloaded(&self, values: usize) {
        self.downloaded_bytes.fetch_add(bytes(values), Ordering::Relaxed);
        self.synchronisations.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the counts.
    pub(crate) fn now(&self) -> Traffic {
        Traffic {
            uploaded_bytes: self.uploaded_bytes.load(Ordering::Relaxed),
            downloaded_bytes: self.downloaded_bytes.load(Ordering::Relaxed),
            synchronisations: self.synchronisations.load(Ordering::Relaxed),
        }
    }
}

fn bytes(values: usize) -> u64 {
    (values * size_of::<f32>()) as u64
}
