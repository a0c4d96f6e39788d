//! Matrices on a CPU or a CUDA device: products and leading singular vectors.
//!
//! The only crate that names burn; no burn type leaves it. A [`Device`] resolves to an [`Engine`];
//! an engine takes a [`Matrix`] and gives a [`DeviceMatrix`], whose methods multiply. On a CPU
//! neither direction copies. Everything here gives the same bits for any number of threads, except
//! on CUDA, where products may run as TF32 (relative error about 1e-3) and vary from run to run.

#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod device_matrix;
mod devices;
pub mod elementwise;
mod engine;
mod error;
mod factor;
mod gaussian;
mod host_product;
mod matrix;
mod orthonormal;
mod place;
mod small;
mod svd;

pub use device::Device;
pub use device_matrix::DeviceMatrix;
pub use devices::{Devices, Engines, Lease};
pub use engine::Engine;
pub use error::ComputeError;
pub use factor::{solve_positive_definite, upper_factor};
pub use gaussian::{Gaussian, random_bits};
pub use matrix::Matrix;
pub use orthonormal::orthonormalised;
pub use svd::{Svd, SvdOptions, truncated_svd};
