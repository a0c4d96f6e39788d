//! Matrices on a CPU or a GPU: products and leading singular vectors.
//!
//! The only crate that names burn; no burn type leaves it. A [`Device`] resolves to an [`Engine`];
//! an engine takes a [`Matrix`] and gives a [`DeviceMatrix`], whose methods multiply. On a CPU
//! neither direction copies. Everything here gives the same bits for any number of threads, except
//! on GPUs: those of CUDA may multiply as TF32 (relative error about 1e-3), and all may vary from run to
//! run.
//!
//! ```
//! use roundwise_compute::{Device, Matrix, SvdOptions, truncated_svd};
//!
//! let engine = Device::Auto.resolve()?;
//! let weight = Matrix::from_fn(300, 200, |row, col| ((row + 1) * (col + 1)) as f32);
//! let svd = truncated_svd(&engine, weight.clone(), &SvdOptions::new(1, 0))?;
//!
//! // Of rank one, the matrix is its first singular vectors times their value.
//! let u = engine.upload(svd.u).scale(svd.singular_values[0]);
//! let rest = engine.upload(weight).add_scaled(-1.0, &u.multiply_transposed(&engine.upload(svd.v)));
//! assert!(rest.squared_norm().sqrt() < 1e-4 * f64::from(svd.singular_values[0]));
//! # Ok::<(), roundwise_compute::ComputeError>(())
//! ```

mod backend;
mod choice;
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
mod tiles;
mod usage;
#[cfg(feature = "vulkan")]
mod vulkan;

pub use choice::{Choice, NoDiscreteGpu};
pub use device::Device;
pub use device_matrix::DeviceMatrix;
pub use devices::{Devices, Engines, Lease};
pub use engine::{Engine, Venue};
pub use error::ComputeError;
pub use factor::{solve_positive_definite, upper_factor};
pub use gaussian::{Gaussian, random_bits};
pub use matrix::Matrix;
pub use orthonormal::orthonormalised;
pub use svd::{Svd, SvdOptions, truncated_svd};
pub use usage::Usage;
