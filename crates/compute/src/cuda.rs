use std::panic::catch_unwind;
use std::path::Path;

use burn_cuda::CudaDevice;
use cudarc::driver::CudaContext;
use cudarc::nvrtc::compile_ptx;

use crate::backend::Handle;
use crate::engine::Gpu;
use crate::usage::Limits;
use crate::{ComputeError, Device};

/// Checks that the driver, the device of this index and the run-time compiler are there.
///
/// burn's CUDA backend answers a missing driver, compiler or header with panics on threads of its
/// own, so each is asked for first. What a question itself panics about (cudarc has no safe one for
/// "can libcuda be loaded") is caught, and its message is printed by the panic hook all the same;
/// the look at the kernel driver keeps machines without CUDA from getting that far.
pub(crate) fn find(index: usize) -> Result<Gpu, ComputeError> {
    let device = Device::Cuda(index);
    // 1. The kernel driver, without which all below would end in a panic.
    if !has_kernel_driver() {
        return Err(ComputeError::NoDriver { device });
    }
    // 2. libcuda and its devices.
    let found = match catch_unwind(CudaContext::device_count) {
        Ok(Ok(count)) => usize::try_from(count).unwrap_or(0),
        Ok(Err(error)) => {
            return Err(ComputeError::Unusable { device, reason: error.to_string() });
        }
        Err(_no_library) => return Err(ComputeError::NoDriver { device }),
    };
    if index >= found {
        return Err(ComputeError::NoSuchDevice { device, found });
    }
    // 3. The run-time compiler.
    match catch_unwind(|| compile_ptx("extern \"C\" __global__ void nothing() {}")) {
        Ok(Ok(_ptx)) => Ok(Gpu {
            handle: Handle::Cuda(CudaDevice::new(index)),
            name: device.to_string(),
            is_discrete: true,
            limits: limits(index),
        }),
        Ok(Err(error)) => Err(ComputeError::Unusable { device, reason: format!("{error:?}") }),
        Err(_no_library) => {
            Err(ComputeError::CudaToolkitIncomplete { device, missing: "libnvrtc" })
        }
    }
}

/// Returns what other programs leave of the device's memory. One matrix may take all of it.
fn limits(index: usize) -> Limits {
    let free = CudaContext::new(index).and_then(|context| context.mem_get_info());
    match free {
        // A quarter is for tiles and for what burn needs beside matrices.
        Ok((free_bytes, _all)) => Limits { room_bytes: free_bytes as u64 / 4 * 3, ..Limits::NONE },
        // burn will say what is wrong with the device.
        Err(_) => Limits::NONE,
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
