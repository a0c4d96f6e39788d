use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use burn_flex::FlexDevice;
use burn_ndarray::NdArrayDevice;

use crate::backend::Handle;
use crate::traffic::{Traffic, TrafficCounter};
use crate::{Choice, ComputeError, Device, DeviceMatrix, Matrix, NoDiscreteGpu};

/// An open device, ready to compute. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    device: Device,
    handle: Handle,
    choice: Option<Choice>,
    traffic: Arc<TrafficCounter>,
}

/// A GPU that was looked for and is there.
pub(crate) struct Gpu {
    /// What burn calls it.
    pub(crate) handle: Handle,
    /// What its driver calls it.
    pub(crate) name: String,
    /// Whether it has memory of its own.
    pub(crate) is_discrete: bool,
}

impl Engine {
    /// Opens a device for [`Device::resolve`].
    pub(crate) fn open(device: Device) -> Result<Self, ComputeError> {
        match device {
            Device::Auto => Ok(Self::chosen()),
            Device::Cpu => Ok(Self::of(device, Handle::Flex(FlexDevice))),
            Device::NdArray => Ok(Self::of(device, Handle::NdArray(NdArrayDevice::Cpu))),
            Device::Cuda(_) | Device::Vulkan(_) | Device::Metal(_) => {
                Self::of(device, find(device)?.handle).proven()
            }
        }
    }

    fn of(device: Device, handle: Handle) -> Self {
        Self { device, handle, choice: None, traffic: Arc::default() }
    }

    /// Opens the device that [`Device::Auto`] stands for.
    fn chosen() -> Self {
        let because = |engine: Self, choice| Self { choice: Some(choice), ..engine };
        let cuda = match Self::open(Device::Cuda(0)) {
            Ok(engine) => return because(engine, Choice::Cuda),
            Err(error) => error,
        };
        match Self::discrete() {
            Ok((engine, name)) => because(engine, Choice::DiscreteGpu { name, cuda }),
            Err(graphics) => {
                let cpu = Self::of(Device::Cpu, Handle::Flex(FlexDevice));
                because(cpu, Choice::Cpu { cuda, graphics })
            }
        }
    }

    /// Opens the first GPU of the system's graphics library where that is a discrete one.
    fn discrete() -> Result<(Self, String), NoDiscreteGpu> {
        let device = if cfg!(target_os = "macos") { Device::Metal(0) } else { Device::Vulkan(0) };
        let Gpu { handle, name, is_discrete } = find(device).map_err(NoDiscreteGpu::Unusable)?;
        if !is_discrete {
            return Err(NoDiscreteGpu::Other { device, name });
        }
        let engine = Self::of(device, handle).proven().map_err(NoDiscreteGpu::Unusable)?;
        Ok((engine, name))
    }

    /// Multiplies once: only that shows what a driver or compiler lacks.
    fn proven(self) -> Result<Self, ComputeError> {
        let device = self.device;
        let of = |value| self.upload(Matrix::from_fn(1, 1, |_, _| value));
        let product = || of(2.0).multiply(&of(3.0)).download().at(0, 0);
        let unusable = |reason| Err(ComputeError::Unusable { device, reason });
        match (catch_unwind(AssertUnwindSafe(product)), device) {
            (Ok(6.0), _) => Ok(self),
            (Ok(other), _) => unusable(format!("2 · 3 gave {other}")),
            // What the first kernel lacks, after all that is asked for before it, are the headers.
            (Err(_panic), Device::Cuda(_)) => {
                let missing = "include/cuda_runtime.h";
                Err(ComputeError::CudaToolkitIncomplete { device, missing })
            }
            (Err(panic), _) => unusable(message(&*panic).to_owned()),
        }
    }

    /// Returns the device that was opened, which is never [`Device::Auto`].
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// Returns why it is this device, where [`Device::Auto`] was asked for.
    #[must_use]
    pub fn choice(&self) -> Option<&Choice> {
        self.choice.as_ref()
    }

    /// Returns what this engine, its clones and its matrices have moved so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic.now()
    }

    /// Moves a matrix to the device. Copies nothing on a CPU.
    #[must_use]
    pub fn upload(&self, matrix: Matrix) -> DeviceMatrix {
        self.traffic.uploaded(matrix.values().len());
        DeviceMatrix::of(self.handle.upload(matrix), Arc::clone(&self.traffic))
    }
}

/// Looks for a GPU, as far as that can be done without a computation.
fn find(device: Device) -> Result<Gpu, ComputeError> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(index) => crate::cuda::find(index),
        #[cfg(not(feature = "cuda"))]
        Device::Cuda(_) => Err(ComputeError::NotBuilt { device }),
        #[cfg(feature = "vulkan")]
        Device::Vulkan(_) | Device::Metal(_) => crate::vulkan::find(device),
        #[cfg(not(feature = "vulkan"))]
        Device::Vulkan(_) | Device::Metal(_) => Err(ComputeError::NotBuilt { device }),
        Device::Auto | Device::Cpu | Device::NdArray => unreachable!("{device} is no GPU"),
    }
}

/// Returns the text of a panic.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("an operation on it failed")
}
