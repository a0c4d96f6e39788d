use std::fmt;

use crate::{ComputeError, Device};

/// Why [`Device::Auto`] stands for the device that it stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// CUDA can be used, which is preferred.
    Cuda,
    /// CUDA cannot be used, a discrete GPU of another library can.
    DiscreteGpu {
        /// What its driver calls it.
        name: String,
        /// What keeps CUDA from being used.
        cuda: ComputeError,
    },
    /// No GPU can be used, or none that is taken without being named.
    Cpu {
        /// What keeps CUDA from being used.
        cuda: ComputeError,
        /// What keeps the GPU of another library from being used.
        graphics: NoDiscreteGpu,
    },
}

/// What keeps Vulkan or Metal from being taken without being named.
#[derive(Debug, Clone, PartialEq)]
pub enum NoDiscreteGpu {
    /// The first device cannot be used.
    Unusable(ComputeError),
    /// The first device is another: a GPU inside a processor has the memory of the CPU and is rarely
    /// faster, a driver that computes on the CPU never is.
    Other {
        /// The first device.
        device: Device,
        /// What its driver calls it.
        name: String,
    },
}

impl fmt::Display for Choice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cuda => formatter.write_str("a CUDA device can be used"),
            Self::DiscreteGpu { name, cuda } => write!(formatter, "{name} can be used; {cuda}"),
            Self::Cpu { cuda, graphics } => write!(formatter, "{cuda}; {graphics}"),
        }
    }
}

impl fmt::Display for NoDiscreteGpu {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(error) => error.fmt(formatter),
            Self::Other { device, name } => {
                write!(
                    formatter,
                    "{device}: {name} is no discrete GPU, which is used where it is named"
                )
            }
        }
    }
}
