use std::panic::catch_unwind;
use std::path::Path;

use cudarc::driver::CudaContext;
use cudarc::nvrtc::compile_ptx;

use crate::device_matrix::Held;
use crate::{ComputeError, Device, DeviceMatrix, Matrix, place};

/// Checks that the CUDA device of this index can be used.
///
/// burn's CUDA backend answers a missing driver, compiler or header with panics on threads of its
/// own, so each is asked for first. What a question itself panics about (cudarc has no safe one for
/// "can libcuda be loaded") is caught, and its message is printed by the panic hook all the same;
/// the look at the kernel driver keeps machines without CUDA from getting that far.
pub(crate) fn probe(index: usize) -> Result<(), ComputeError> {
    let device = Device::Cuda(index);
    // 1. The kernel driver, without which all below would end in a panic.
    if !has_kernel_driver() {
        return Err(ComputeError::NoCudaDriver { device });
    }
    // 2. libcuda and its devices.
    let found = match catch_unwind(CudaContext::device_count) {
        Ok(Ok(count)) => usize::try_from(count).unwrap_or(0),
        Ok(Err(error)) => {
            return Err(ComputeError::CudaUnusable { device, reason: error.to_string() });
        }
        Err(_no_library) => return Err(ComputeError::NoCudaDriver { device }),
    };
    if index >= found {
        return Err(ComputeError::NoSuchCudaDevice { device, found });
    }
    // 3. The run-time compiler.
    match catch_unwind(|| compile_ptx("extern \"C\" __global__ void nothing() {}")) {
        Ok(Ok(_ptx)) => {}
        Ok(Err(error)) => {
            return Err(ComputeError::CudaUnusable { device, reason: format!("{error:?}") });
        }
        Err(_no_library) => {
            return Err(ComputeError::CudaToolkitIncomplete { device, missing: "libnvrtc" });
        }
    }
    // 4. Its headers, which only a kernel of burn's asks for.
    match catch_unwind(|| multiply_once(index)) {
        Ok(6.0) => Ok(()),
        Ok(other) => {
            Err(ComputeError::CudaUnusable { device, reason: format!("2 · 3 gave {other}") })
        }
        Err(_panic) => {
            Err(ComputeError::CudaToolkitIncomplete { device, missing: "include/cuda_runtime.h" })
        }
    }
}

/// Looks for NVIDIA's kernel driver on Linux, in containers, under WSL and on Windows.
fn has_kernel_driver() -> bool {
    const TRACES: [&str; 5] = [
        "/proc/driver/nvidia/version",
        "/dev/nvidiactl",
        "/dev/nvidia0",
        "/dev/dxg",
        "C:\\Windows\\System32\\nvcuda.dll",
    ];
    TRACES.iter().any(|trace| Path::new(trace).exists())
}

fn multiply_once(index: usize) -> f32 {
    let device = burn_cuda::CudaDevice::new(index);
    let of = |value| {
        let matrix = Matrix::from_fn(1, 1, |_, _| value);
        DeviceMatrix::of(Held::Cuda(place::upload::<burn_cuda::Cuda>(matrix, &device)))
    };
    of(2.0).multiply(&of(3.0)).download().at(0, 0)
}
