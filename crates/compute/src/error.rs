use crate::Device;

/// A failure of an engine or a computation.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ComputeError {
    /// The text names no device.
    #[error("device `{found}` is not known: use one of {}", crate::Devices::forms())]
    UnknownDevice {
        /// The text that was given.
        found: String,
    },
    /// The devices cannot work together.
    #[error("devices `{found}`: {problem}; name each once, such as cuda:0,cuda:1")]
    DeviceList {
        /// The text that was given.
        found: String,
        /// The rule that it breaks.
        problem: &'static str,
    },
    /// The build has no CUDA.
    #[error("{device}: this build has no CUDA; build it with feature `cuda`")]
    CudaNotBuilt {
        /// The device that was asked for.
        device: Device,
    },
    /// The machine has no CUDA driver.
    #[error("{device}: no CUDA driver was found (libcuda); install the NVIDIA driver or use cpu")]
    NoCudaDriver {
        /// The device that was asked for.
        device: Device,
    },
    /// The driver has no device of that index.
    #[error("{device}: the CUDA driver has {found} device(s), counted from 0")]
    NoSuchCudaDevice {
        /// The device that was asked for.
        device: Device,
        /// Number of devices.
        found: usize,
    },
    /// The driver is there, but the run-time compiler or its headers are not.
    #[error(
        "{device}: {missing} was not found; install the CUDA toolkit (or its NVRTC and headers) \
         and point CUDA_PATH at it"
    )]
    CudaToolkitIncomplete {
        /// The device that was asked for.
        device: Device,
        /// The missing piece.
        missing: &'static str,
    },
    /// The driver answered, but the first product failed.
    #[error("{device}: the CUDA device was found but cannot be used: {reason}")]
    CudaUnusable {
        /// The device that was asked for.
        device: Device,
        /// The message of the driver or the backend.
        reason: String,
    },
    /// The number of values is not rows × columns.
    #[error("a {rows}×{cols} matrix was given {values} values")]
    Shape {
        /// Rows claimed.
        rows: usize,
        /// Columns claimed.
        cols: usize,
        /// Values given.
        values: usize,
    },
    /// A value is infinite or NaN.
    #[error("value at row {row}, column {col} is not finite")]
    NotFinite {
        /// Its row.
        row: usize,
        /// Its column.
        col: usize,
    },
    /// A symmetric matrix is not positive definite.
    #[error("the matrix is not positive definite (pivot {pivot} of {dimension})")]
    NotPositiveDefinite {
        /// Index of the first pivot that is not positive.
        pivot: usize,
        /// Rows of the matrix.
        dimension: usize,
    },
    /// The iteration for the singular values of a small matrix did not settle.
    #[error("the singular values of a {rows}×{cols} matrix did not converge")]
    NoConvergence {
        /// Its rows.
        rows: usize,
        /// Its columns.
        cols: usize,
    },
}
