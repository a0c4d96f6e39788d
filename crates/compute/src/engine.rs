use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use burn_flex::FlexDevice;
use burn_ndarray::NdArrayDevice;

use crate::backend::Handle;
use crate::tiles::Tiles;
use crate::usage::{Limits, Shortage, Usage, UsageCounter};
use crate::{Choice, ComputeError, Device, DeviceMatrix, Matrix, NoDiscreteGpu};

/// An open device, ready to compute. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    device: Device,
    handle: Handle,
    name: String,
    choice: Option<Choice>,
    usage: Arc<UsageCounter>,
    /// Whether an operation on the device has failed.
    is_lost: Arc<AtomicBool>,
    substitutes: Arc<Substitutes>,
}

/// What computes in an engine's place, opened when it is first needed. One for all clones, so that matrices of one
/// computation serve the next, and all that are on the device are counted together.
#[derive(Debug, Default)]
struct Substitutes {
    tiles: OnceLock<Engine>,
    cpu: OnceLock<Engine>,
}

/// Where a computation was made that was asked of a device.
#[derive(Debug, Clone, PartialEq)]
pub enum Venue {
    /// On the device.
    Device,
    /// On the device in tiles, each sent there and back, and the rest on the CPU: the matrices had no room.
    Tiles(ComputeError),
    /// On the CPU, because the device failed.
    Cpu(ComputeError),
}

/// What computes for [`Device::Cpu`].
const CPU: &str = "burn-flex and faer";

/// A GPU that was looked for and is there.
pub(crate) struct Gpu {
    /// What burn calls it.
    pub(crate) handle: Handle,
    /// What its driver calls it.
    pub(crate) name: String,
    /// Whether it has memory of its own.
    pub(crate) is_discrete: bool,
    pub(crate) limits: Limits,
}

impl Engine {
    /// Opens a device for [`Device::resolve`].
    pub(crate) fn open(device: Device) -> Result<Self, ComputeError> {
        match device {
            // A build without GPUs leaves no choice that somebody would have to be told of.
            Device::Auto if !cfg!(any(feature = "cuda", feature = "vulkan")) => {
                Self::open(Device::Cpu)
            }
            Device::Auto => Ok(Self::chosen()),
            Device::Cpu => Ok(Self::cpu()),
            Device::NdArray => {
                Ok(Self::of(device, Handle::NdArray(NdArrayDevice::Cpu), "burn-ndarray"))
            }
            Device::Cuda(_) | Device::Vulkan(_) | Device::Metal(_) => {
                Self::of_gpu(device, find(device)?).proven()
            }
        }
    }

    fn of(device: Device, handle: Handle, name: &str) -> Self {
        Self {
            device,
            handle,
            name: name.to_owned(),
            choice: None,
            usage: UsageCounter::new(Limits::NONE, None),
            is_lost: Arc::default(),
            substitutes: Arc::default(),
        }
    }

    fn cpu() -> Self {
        Self::of(Device::Cpu, Handle::Flex(FlexDevice), CPU)
    }

    fn of_gpu(device: Device, gpu: Gpu) -> Self {
        let usage = UsageCounter::new(gpu.limits, None);
        Self { usage, ..Self::of(device, gpu.handle, &gpu.name) }
    }

    /// Opens the device that [`Device::Auto`] stands for.
    fn chosen() -> Self {
        let because = |engine: Self, choice| Self { choice: Some(choice), ..engine };
        let cuda = match Self::open(Device::Cuda(0)) {
            Ok(engine) => return because(engine, Choice::Cuda),
            Err(error) => error,
        };
        match Self::discrete() {
            Ok(engine) => {
                let name = engine.name.clone();
                because(engine, Choice::DiscreteGpu { name, cuda })
            }
            Err(graphics) => because(Self::cpu(), Choice::Cpu { cuda, graphics }),
        }
    }

    /// Opens the first GPU of the system's graphics library where that is a discrete one.
    fn discrete() -> Result<Self, NoDiscreteGpu> {
        let device = if cfg!(target_os = "macos") { Device::Metal(0) } else { Device::Vulkan(0) };
        let gpu = find(device).map_err(NoDiscreteGpu::Unusable)?;
        if !gpu.is_discrete {
            return Err(NoDiscreteGpu::Other { device, name: gpu.name });
        }
        Self::of_gpu(device, gpu).proven().map_err(NoDiscreteGpu::Unusable)
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

    /// Returns what the driver calls a GPU; on a CPU, the libraries that compute.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns why it is this device, where [`Device::Auto`] was asked for and the build has a library
    /// for GPUs to choose.
    #[must_use]
    pub fn choice(&self) -> Option<&Choice> {
        self.choice.as_ref()
    }

    /// Returns what this engine, its clones and its matrices have moved so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        match &self.usage.tiles {
            Some(tiles) => tiles.engine.usage(),
            None => self.usage.now(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.usage.limits
    }

    /// Returns whether a matrix can be multiplied with those of this engine.
    #[must_use]
    pub fn holds(&self, matrix: &DeviceMatrix) -> bool {
        Arc::ptr_eq(&self.usage, matrix.usage())
    }

    /// Returns the engine, without its matrices, on a device of so many bytes for all of them together.
    #[must_use]
    pub fn limited(&self, room_bytes: u64) -> Self {
        let limits = Limits { room_bytes, ..self.limits() };
        let usage = UsageCounter::new(limits, None);
        Self { usage, substitutes: Arc::default(), ..self.clone() }
    }

    /// Returns an engine that keeps matrices on the host and multiplies them on the device, a tile of each
    /// factor at a time. Products agree with those of whole matrices but for the order of sums.
    #[must_use]
    pub fn in_tiles(&self) -> Self {
        let tiles = Tiles::on(self.limited(self.limits().room_bytes));
        let usage = UsageCounter::new(Limits::NONE, Some(tiles));
        let handle = Handle::Flex(FlexDevice);
        Self { handle, usage, substitutes: Arc::default(), ..self.clone() }
    }

    /// Runs a computation on this device, and turns what it fails of into an error.
    ///
    /// Libraries of GPUs answer an allocation that fails, or a device that is gone, with a panic, and
    /// may compute wrongly afterwards: the device counts as lost from then on, for clones of this
    /// engine too. A panic on the CPU is a bug of ours and goes on.
    ///
    /// # Errors
    /// - [`ComputeError::TooLarge`] and [`ComputeError::NoRoom`] for a matrix that the device cannot hold,
    ///   which leave it usable;
    /// - [`ComputeError::Unusable`] when an operation fails;
    /// - [`ComputeError::Lost`] when one has failed before.
    pub fn attempt<R>(&self, compute: impl FnOnce() -> R) -> Result<R, ComputeError> {
        let device = self.device;
        if self.is_lost.load(Ordering::Relaxed) {
            return Err(ComputeError::Lost { device });
        }
        catch_unwind(AssertUnwindSafe(compute)).map_err(|payload| {
            match payload.downcast_ref::<Shortage>() {
                Some(shortage) => shortage.on(device),
                None if !device.is_gpu() => resume_unwind(payload),
                None => {
                    self.is_lost.store(true, Ordering::Relaxed);
                    ComputeError::Unusable { device, reason: message(&*payload).to_owned() }
                }
            }
        })
    }

    /// Runs a computation on this device; in tiles where the device has no room for its matrices; on the
    /// CPU where the device fails. Returns where it was made, too.
    ///
    /// # Errors
    /// Those of the computation.
    pub fn run<R, E: From<ComputeError>>(
        &self,
        mut compute: impl FnMut(&Self) -> Result<R, E>,
    ) -> Result<(R, Venue), E> {
        let failure = match self.attempt(|| compute(self)) {
            Ok(found) => return Ok((found?, Venue::Device)),
            Err(failure) => failure,
        };
        let failure = match failure.is_shortage() {
            false => failure,
            true => {
                let tiled = self.substitutes.tiles.get_or_init(|| self.in_tiles());
                match tiled.attempt(|| compute(tiled)) {
                    Ok(found) => return Ok((found?, Venue::Tiles(failure))),
                    Err(failure) => failure,
                }
            }
        };
        let cpu = self.substitutes.cpu.get_or_init(Self::cpu);
        Ok((compute(cpu)?, Venue::Cpu(failure)))
    }

    /// Moves a matrix to the device. Copies nothing on a CPU.
    #[must_use]
    pub fn upload(&self, matrix: Matrix) -> DeviceMatrix {
        let room = self.usage.reserve(matrix.values().len());
        self.usage.uploaded(matrix.values().len());
        DeviceMatrix::of(self.handle.upload(matrix), room)
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
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it ran out of memory, or an operation on it failed")
}
