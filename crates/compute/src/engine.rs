use burn_flex::{Flex, FlexDevice};
use burn_ndarray::{NdArray, NdArrayDevice};

use crate::device_matrix::Held;
use crate::{ComputeError, Device, DeviceMatrix, Matrix};

/// An open device, ready to compute. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    device: Device,
}

impl Engine {
    /// Opens a device for [`Device::resolve`].
    pub(crate) fn open(device: Device) -> Result<Self, ComputeError> {
        match device {
            Device::Auto => match Self::open(Device::Cuda(0)) {
                Ok(engine) => Ok(engine),
                // CUDA was not asked for, so the reason why it cannot be used is not reported.
                Err(_no_cuda) => Ok(Self { device: Device::Cpu }),
            },
            Device::Cpu | Device::NdArray => Ok(Self { device }),
            #[cfg(feature = "cuda")]
            Device::Cuda(index) => crate::cuda::probe(index).map(|()| Self { device }),
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => Err(ComputeError::CudaNotBuilt { device }),
        }
    }

    /// Returns the device that was opened, which is never [`Device::Auto`].
    #[must_use]
    pub fn device(&self) -> Device {
        self.device
    }

    /// Moves a matrix to the device. Copies nothing on a CPU.
    #[must_use]
    pub fn upload(&self, matrix: Matrix) -> DeviceMatrix {
        let held = match self.device {
            Device::NdArray => {
                Held::NdArray(crate::place::upload::<NdArray>(matrix, &NdArrayDevice::Cpu))
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(index) => Held::Cuda(crate::place::upload::<burn_cuda::Cuda>(
                matrix,
                &burn_cuda::CudaDevice::new(index),
            )),
            // `open` lets neither `Auto` nor, without the feature, `Cuda` through.
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => unreachable!("CUDA is not built in"),
            Device::Cpu | Device::Auto => {
                Held::Flex(crate::place::upload::<Flex>(matrix, &FlexDevice))
            }
        };
        DeviceMatrix::of(held)
    }
}
