use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use crate::{Choice, ComputeError, Device, Engine};

/// One device, or several GPUs of one machine and one library that share the work: `cuda:0,cuda:1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Devices(Vec<Device>);

impl Devices {
    /// Describes the texts that [`FromStr`] reads.
    #[must_use]
    pub fn forms() -> String {
        format!("{}, or several: cuda:0,cuda:1", Device::forms())
    }

    /// Returns the devices that were named, at least one.
    #[must_use]
    pub fn named(&self) -> &[Device] {
        &self.0
    }

    /// Opens every device.
    ///
    /// # Errors
    /// The error of [`Device::resolve`] for the first device that cannot be used.
    pub fn resolve(&self) -> Result<Engines, ComputeError> {
        let engines = self.0.iter().map(|device| device.resolve()).collect::<Result<_, _>>()?;
        Ok(Engines::of(engines))
    }
}

impl Default for Devices {
    fn default() -> Self {
        Device::default().into()
    }
}

impl From<Device> for Devices {
    fn from(device: Device) -> Self {
        Self(vec![device])
    }
}

impl FromStr for Devices {
    type Err = ComputeError;

    fn from_str(text: &str) -> Result<Self, ComputeError> {
        let devices = text.split(',').map(str::parse).collect::<Result<Vec<Device>, _>>()?;
        let wrong = |problem| ComputeError::DeviceList { found: text.to_owned(), problem };
        let is_like_first =
            |device: &Device| device.is_gpu() && device.backend() == devices[0].backend();
        if devices.len() > 1 && !devices.iter().all(is_like_first) {
            return Err(wrong("only GPUs of one kind share the work"));
        }
        match (1..devices.len()).any(|at| devices[..at].contains(&devices[at])) {
            true => Err(wrong("a device is named twice")),
            false => Ok(Self(devices)),
        }
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(Device::to_string).collect();
        formatter.write_str(&names.join(","))
    }
}

/// Open devices, and the number of matrices that each of them works on.
#[derive(Debug)]
pub struct Engines {
    engines: Vec<Engine>,
    in_use: Mutex<Vec<usize>>,
}

impl Engines {
    fn of(engines: Vec<Engine>) -> Self {
        let in_use = Mutex::new(vec![0; engines.len()]);
        Self { engines, in_use }
    }

    /// Returns the devices. [`Device::Auto`] has become the one that it stands for here.
    #[must_use]
    pub fn devices(&self) -> Devices {
        Devices(self.engines.iter().map(Engine::device).collect())
    }

    /// Returns why it is this device, where [`Device::Auto`] was asked for and the build has a library
    /// for GPUs to choose.
    #[must_use]
    pub fn choice(&self) -> Option<&Choice> {
        self.engines[0].choice()
    }

    /// Returns the backend that computes: `cpu`, `ndarray`, `cuda`, `vulkan` or `metal`.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.engines[0].device().backend()
    }

    /// Returns whether equal matrices give equal bits in every run.
    #[must_use]
    pub fn is_reproducible(&self) -> bool {
        !self.engines.iter().any(|engine| engine.device().is_gpu())
    }

    /// Lends the engine that works on the fewest matrices; of several such, the first.
    #[must_use]
    pub fn lease(&self) -> Lease<'_> {
        // Nothing can panic while it is held, so the counts are right even if it is called
        // poisoned.
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        // Among equals `min_by_key` returns the first.
        let least = in_use.iter().enumerate().min_by_key(|(_, count)| **count);
        let number = least.map_or(0, |(number, _)| number);
        in_use[number] += 1;
        Lease { engines: self, number }
    }
}

/// An engine that is lent for one matrix, until the lease is dropped.
#[derive(Debug)]
pub struct Lease<'a> {
    engines: &'a Engines,
    number: usize,
}

impl Lease<'_> {
    /// Returns the engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engines.engines[self.number]
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut in_use = self.engines.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        in_use[self.number] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_matrix_goes_to_the_device_that_has_the_fewest() {
        let engines = [Device::Cpu, Device::NdArray].map(|device| device.resolve().unwrap());
        let engines = Engines::of(engines.to_vec());
        let leases: Vec<Lease<'_>> = (0..5).map(|_| engines.lease()).collect();
        let numbers = leases.iter().map(|lease| lease.number);
        assert_eq!(numbers.collect::<Vec<_>>(), [0, 1, 0, 1, 0]);
        let mut leases = leases.into_iter();
        assert_eq!(leases.next().unwrap().engine().device(), Device::Cpu);
        drop(leases.next());
        // Of five, one of each is back: two on the first, one on the second.
        assert_eq!(engines.lease().engine().device(), Device::NdArray);
        drop(leases);
        assert_eq!(*engines.in_use.lock().unwrap(), [0, 0]);
    }
}
