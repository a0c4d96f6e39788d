use std::fmt;
use std::str::FromStr;

use crate::{ComputeError, Engine};

/// A place to compute products, as a user names it: `auto`, `cpu`, `ndarray`, `cuda`, `vulkan:1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The first CUDA device when one can be used, else the first discrete GPU of Vulkan or Metal,
    /// else [`Device::Cpu`].
    #[default]
    Auto,
    /// burn-flex for what is held and faer for most products, with AVX-512 where the processor has it.
    Cpu,
    /// burn-ndarray: slower, written independently; the reference that tests compare with.
    NdArray,
    /// The CUDA device of this index (feature `cuda`).
    Cuda(usize),
    /// The Vulkan device of this index (feature `vulkan`): discrete GPUs first, then integrated ones,
    /// virtual ones and the first driver that computes on a CPU.
    Vulkan(usize),
    /// The Metal device of this index, in the order of [`Device::Vulkan`] (feature `metal`, macOS).
    Metal(usize),
}

impl Device {
    /// Every name and its device. `cuda:INDEX`, `vulkan:INDEX` and `metal:INDEX` name devices, too.
    pub const NAMES: [(&str, Self); 6] = [
        ("auto", Self::Auto),
        ("cpu", Self::Cpu),
        ("ndarray", Self::NdArray),
        ("cuda", Self::Cuda(0)),
        ("vulkan", Self::Vulkan(0)),
        ("metal", Self::Metal(0)),
    ];

    /// Lists the names that [`FromStr`] reads.
    #[must_use]
    pub fn forms() -> String {
        let plain = Self::NAMES.iter().map(|(name, _)| (*name).to_owned());
        let indexed = Self::NAMES.iter().filter(|(_, device)| device.is_gpu());
        let indexed = indexed.map(|(name, _)| format!("{name}:INDEX"));
        plain.chain(indexed).collect::<Vec<_>>().join(", ")
    }

    /// Returns whether a library for GPUs computes: CUDA, Vulkan or Metal.
    ///
    /// Such a library answers what it cannot do with a panic, and need not give the same last bits in
    /// every run.
    #[must_use]
    pub const fn is_gpu(self) -> bool {
        match self {
            Self::Auto | Self::Cpu | Self::NdArray => false,
            Self::Cuda(_) | Self::Vulkan(_) | Self::Metal(_) => true,
        }
    }

    /// Returns the name without an index.
    pub(crate) const fn backend(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::NdArray => "ndarray",
            Self::Cuda(_) => "cuda",
            Self::Vulkan(_) => "vulkan",
            Self::Metal(_) => "metal",
        }
    }

    /// Returns the same kind of GPU at another index.
    const fn at(self, index: usize) -> Self {
        match self {
            Self::Auto | Self::Cpu | Self::NdArray => self,
            Self::Cuda(_) => Self::Cuda(index),
            Self::Vulkan(_) => Self::Vulkan(index),
            Self::Metal(_) => Self::Metal(index),
        }
    }

    /// Opens the device and returns an engine that is ready to compute.
    ///
    /// `Auto` never fails: it falls back to the CPU, whatever keeps GPUs from being used, and
    /// [`Engine::choice`] says why. Any other device is the one that was asked for, or an error that
    /// says what is missing.
    ///
    /// # Errors
    /// The variants of [`ComputeError`] that name a device.
    pub fn resolve(self) -> Result<Engine, ComputeError> {
        Engine::open(self)
    }
}

impl FromStr for Device {
    type Err = ComputeError;

    fn from_str(text: &str) -> Result<Self, ComputeError> {
        let unknown = || ComputeError::UnknownDevice { found: text.to_owned() };
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, Some(index)),
            None => (text, None),
        };
        let known = Self::NAMES.iter().find(|(known, _)| *known == name);
        let (_, device) = known.ok_or_else(unknown)?;
        let Some(index) = index else { return Ok(*device) };
        // `parse` alone would take "+1".
        if !device.is_gpu() || !index.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(unknown());
        }
        Ok(device.at(index.parse().map_err(|_| unknown())?))
    }
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto | Self::Cpu | Self::NdArray => formatter.write_str(self.backend()),
            Self::Cuda(index) | Self::Vulkan(index) | Self::Metal(index) => {
                write!(formatter, "{}:{index}", self.backend())
            }
        }
    }
}
