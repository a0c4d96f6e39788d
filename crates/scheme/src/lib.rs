//! Matrices as codes and scales.
//!
//! A [`Scheme`] is a grid (which values a code can stand for), a [`ScaleStorage`] (which weights share
//! a scale, and which scales there are) and maybe a [`Rotation`] of the columns. Decoding always
//! multiplies: `weight ≈ decode(code) · scale`.
//!
//! ```
//! use roundwise_scheme::{measure, QuantizedMatrix, ScaleRule, Scheme, Weight, WeightKind};
//!
//! let bytes: Vec<u8> = [0.5f32, -1.0, 0.25, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
//! let weight = Weight::new(2, 2, WeightKind::F32, &bytes)?;
//! let scheme: Scheme = "int8-row".parse()?;
//! let quantized = QuantizedMatrix::nearest(&weight, scheme, ScaleRule::Absmax)?;
//! assert_eq!(quantized.scales(), [1.0 / 127.0, 2.0 / 127.0]);
//! assert!(measure(&weight, &quantized).relative() < 0.01);
//! # Ok::<(), roundwise_scheme::SchemeError>(())
//! ```

mod catalog;
mod error;
mod level_table;
mod leveled;
mod linear;
mod log_scale;
mod measure;
mod quantized;
mod rotation;
mod scales;
mod scheme;
mod stored_scales;
mod tiling;
mod weight;

pub use catalog::{CATALOG, CatalogEntry};
pub use error::SchemeError;
pub use level_table::CODEBOOK;
pub use leveled::{LEVEL_GROUP, Levels};
pub use linear::{Activations, PlainTensors};
pub use log_scale::LogRange;
pub use measure::{LargestStep, WeightError, largest_step, measure, nearest_error};
pub use quantized::QuantizedMatrix;
pub use rotation::{Rotation, rotate, rotation_at};
pub use roundwise_grid::GridKind;
pub use scales::{MSE_MULTIPLES, ScaleRule, Scales, ZERO_ABSMAX, choose_scales, largest_magnitude};
pub use scheme::{ScaleStorage, Scheme};
pub use tiling::Tiling;
pub use weight::{Weight, WeightKind};
