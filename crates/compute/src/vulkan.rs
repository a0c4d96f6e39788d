use std::pin::pin;
use std::task::{Context, Poll, Waker};

use burn_wgpu::WgpuDevice;
use wgpu::{Backends, DeviceType, Instance, InstanceDescriptor};

use crate::backend::Handle;
use crate::engine::Gpu;
use crate::usage::Limits;
use crate::{ComputeError, Device};

/// Looks for the device that is named: [`Device::Vulkan`] or [`Device::Metal`].
///
/// burn answers a device that is not there with a panic, so that the devices are listed first, by
/// the list that burn itself chooses from.
pub(crate) fn find(device: Device) -> Result<Gpu, ComputeError> {
    let (index, is_metal) = match device {
        Device::Vulkan(index) => (index, false),
        Device::Metal(index) => (index, true),
        Device::Auto | Device::Cpu | Device::NdArray | Device::Cuda(_) => {
            unreachable!("{device} is of no graphics library")
        }
    };
    // burn takes Metal on macOS and Vulkan everywhere else.
    if is_metal != cfg!(target_os = "macos") {
        return Err(ComputeError::WrongSystem { device });
    }
    let mut adapters = adapters(if is_metal { Backends::METAL } else { Backends::VULKAN });
    match adapters.len() {
        0 => Err(ComputeError::NoDriver { device }),
        found if index >= found => Err(ComputeError::NoSuchDevice { device, found }),
        _ => Ok(adapters.swap_remove(index)),
    }
}

/// Lists the devices: discrete GPUs, integrated ones, virtual ones, and the first that is a CPU.
fn adapters(backends: Backends) -> Vec<Gpu> {
    let instance = Instance::new(InstanceDescriptor {
        backends,
        ..InstanceDescriptor::new_without_display_handle()
    });
    let found = match pin!(instance.enumerate_adapters(backends))
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(found) => found,
        // Only browsers have to be waited for.
        Poll::Pending => vec![],
    };
    let found: Vec<_> =
        found.iter().map(|adapter| (adapter.get_info(), most_bytes(&adapter.limits()))).collect();
    let of_kind = |kind: DeviceType, handle: fn(usize) -> WgpuDevice| {
        let of_kind = found.iter().filter(move |(adapter, _)| adapter.device_type == kind);
        of_kind.enumerate().map(move |(index, (adapter, most_bytes))| Gpu {
            handle: Handle::Wgpu(handle(index)),
            name: adapter.name.clone(),
            is_discrete: kind == DeviceType::DiscreteGpu,
            // How much memory there is wgpu does not tell.
            limits: Limits { most_bytes: *most_bytes, ..Limits::NONE },
        })
    };
    of_kind(DeviceType::DiscreteGpu, WgpuDevice::DiscreteGpu)
        .chain(of_kind(DeviceType::IntegratedGpu, WgpuDevice::IntegratedGpu))
        .chain(of_kind(DeviceType::VirtualGpu, WgpuDevice::VirtualGpu))
        .chain(of_kind(DeviceType::Cpu, |_| WgpuDevice::Cpu).take(1))
        .collect()
}

/// Returns the bytes that one buffer can have and one kernel can see.
fn most_bytes(limits: &wgpu::Limits) -> u64 {
    limits.max_buffer_size.min(limits.max_storage_buffer_binding_size)
}
