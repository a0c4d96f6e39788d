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
    /// The build cannot use devices of this kind.
    #[error(
        "{device}: this build has no {}; build it with feature `{}`",
        library(*.device),
        device.backend()
    )]
    NotBuilt {
        /// The device that was asked for.
        device: Device,
    },
    /// Devices of this kind are of another operating system.
    #[error("{device}: {} is not used on this system; use {}", library(*.device), instead(*.device))]
    WrongSystem {
        /// The device that was asked for.
        device: Device,
    },
    /// The machine has no driver, or nothing that loads it.
    #[error("{device}: no {} driver was found{}", library(*.device), way_to_a_driver(*.device))]
    NoDriver {
        /// The device that was asked for.
        device: Device,
    },
    /// The driver has no device of that index.
    #[error("{device}: the {} driver has {found} device(s), counted from 0", library(*.device))]
    NoSuchDevice {
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
    /// The driver answered, but a computation failed.
    #[error("{device}: the device was found but cannot be used: {reason}")]
    Unusable {
        /// The device that was asked for.
        device: Device,
        /// The message of the driver or the backend.
        reason: String,
    },
    /// A matrix is larger than the device holds in one piece.
    #[error("{device}: a matrix of {bytes} bytes, where one has {most_bytes} at most")]
    TooLarge {
        /// The device.
        device: Device,
        /// Bytes of the matrix.
        bytes: u64,
        /// Bytes of the largest matrix.
        most_bytes: u64,
    },
    /// A matrix has no room beside the others.
    #[error("{device}: a matrix of {bytes} bytes, where the others leave {free_bytes}")]
    NoRoom {
        /// The device.
        device: Device,
        /// Bytes of the matrix.
        bytes: u64,
        /// Bytes that are free.
        free_bytes: u64,
    },
    /// An operation on the device has failed before.
    #[error("{device}: it has failed before, so that it is not trusted any more")]
    Lost {
        /// The device.
        device: Device,
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

impl ComputeError {
    /// Returns whether a device had no room for a matrix and can still be used.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::NoRoom { .. })
    }
}

/// Returns the library that computes on a GPU, as people call it.
fn library(device: Device) -> &'static str {
    match device {
        Device::Auto | Device::Cpu | Device::NdArray => "CPU",
        Device::Cuda(_) => "CUDA",
        Device::Vulkan(_) => "Vulkan",
        Device::Metal(_) => "Metal",
    }
}

/// Returns what stands for the device on the system that this is built for.
fn instead(device: Device) -> &'static str {
    match device {
        Device::Vulkan(_) => "metal or cpu",
        Device::Metal(_) => "vulkan, cuda or cpu",
        Device::Auto | Device::Cpu | Device::NdArray | Device::Cuda(_) => "cpu",
    }
}

fn way_to_a_driver(device: Device) -> &'static str {
    match device {
        Device::Cuda(_) => " (libcuda); install the NVIDIA driver or use cpu",
        Device::Vulkan(_) => {
            "; install the loader and the driver of the GPU (on Debian libvulkan1 with \
             mesa-vulkan-drivers, or NVIDIA's driver) or use cpu"
        }
        Device::Metal(_) | Device::Auto | Device::Cpu | Device::NdArray => "; use cpu",
    }
}
