//! Weight generators, small tensor files and byte comparisons for tests.
//!
//! For tests only. Nothing here uses a crate under test, so that a defect there cannot hide here:
//! the tensor files are put together by hand, the numbers come from an own generator whose output
//! never changes.
//!
//! Functions of this crate panic when a check fails; that is what a test wants.
//!
//! ```
//! use roundwise_testkit::files::{Tensor, safetensors};
//! use roundwise_testkit::tolerance::Tolerance;
//! use roundwise_testkit::weights::gaussian;
//!
//! let matrix = gaussian(32, 64, 7);
//! let file = safetensors(&[Tensor::bf16("blocks.0.ff.weight", &matrix)]);
//! assert_eq!(&file[file.len() - 4096..], Tensor::bf16("", &matrix).bytes);
//! let mean = matrix.values.iter().sum::<f32>() / 2048.0;
//! let four_standard_errors = Tolerance { reason: "chance", relative: 0.0, absolute: 0.09 };
//! four_standard_errors.assert_close(f64::from(mean), 0.0);
//! ```

pub mod bytes;
pub mod cases;
pub mod files;
pub mod random;
pub mod tolerance;
pub mod weights;
