use std::fmt;
use std::str::FromStr;

use crate::{ComputeError, Engine};

/// A place to compute products, as a user names it: `auto`, `cpu`, `ndarray`, `cuda`, `cuda:1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The first CUDA device when one can be used, else [`Device::Cpu`].
    #[default]
    Auto,
    /// burn-flex for what is held and faer for most products, with AVX-512 where the processor has it.
    Cpu,
    /// burn-ndarray: slower, written independently; the reference that tests compare with.
    NdArray,
    /// The CUDA device of this index (feature `cuda`).
    Cuda(usize),
}

impl Device {
    /// Every name and its device. `cuda:INDEX` names a device, too.
    pub const NAMES: [(&str, Self); 4] = [
        ("auto", Self::Auto),
        ("cpu", Self::Cpu),
        ("ndarray", Self::NdArray),
        ("cuda", Self::Cuda(0)),
    ];

    /// Lists the names that [`FromStr`] reads.
    #[must_use]
    pub fn forms() -> String {
        let names = Self::NAMES.map(|(name, _)| name);
        format!("{}, cuda:INDEX", names.join(", "))
    }

    /// Returns the name without an index.
    pub(crate) const fn backend(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::NdArray => "ndarray",
            Self::Cuda(_) => "cuda",
        }
    }

    /// Opens the device and returns an engine that is ready to compute.
    ///
    /// `Auto` never fails: it falls back to the CPU, whatever keeps CUDA from being used. Any other
    /// device is the one that was asked for, or an error that says what is missing.
    ///
    /// # Errors
    /// The `Cuda*` variants of [`ComputeError`].
    pub fn resolve(self) -> Result<Engine, ComputeError> {
        Engine::open(self)
    }
}

impl FromStr for Device {
    type Err = ComputeError;

    fn from_str(text: &str) -> Result<Self, ComputeError> {
        if let Some((_, device)) = Self::NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(*device);
        }
        let unknown = || ComputeError::UnknownDevice { found: text.to_owned() };
        let index = text.strip_prefix("cuda:").ok_or_else(unknown)?;
        // `parse` alone would take "+1".
        if !index.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(unknown());
        }
        Ok(Self::Cuda(index.parse().map_err(|_| unknown())?))
    }
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto | Self::Cpu | Self::NdArray => formatter.write_str(self.backend()),
            Self::Cuda(index) => write!(formatter, "{}:{index}", self.backend()),
        }
    }
}
