//! Matrices as codes and scales.
//!
//! A [`Scheme`] is a grid (which values a code can stand for), a way of storing scales (which weights
//! share one, and which values it can have) and maybe a [`Rotation`] of the columns. [`CATALOG`] lists
//! those with a name. Decoding always multiplies: `weight ≈ decode(code) · scale`.
//!
//! ```
//! use roundwise_scheme::{measure, QuantizedMatrix, ScaleRule, Scheme, Weight, FloatDtype};
//!
//! let bytes: Vec<u8> = [0.5f32, -1.0, 0.25, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
//! let weight = Weight::new(2, 2, FloatDtype::F32, &bytes)?;
//! let scheme: Scheme = "int8-row".parse()?;
//! let quantized = QuantizedMatrix::nearest(&weight, scheme, ScaleRule::Absmax)?;
//! assert_eq!(quantized.scales(), [1.0 / 127.0, 2.0 / 127.0]);
//! assert!(measure(&weight, &quantized).relative() < 0.01);
//! # Ok::<(), roundwise_scheme::SchemeError>(())
//! ```

mod catalog;
mod closest;
mod error;
mod family;
mod linear;
mod measure;
mod name;
mod narrow_tiles;
mod nearest;
mod quantized;
mod rotation;
mod row_search;
mod scales;
mod scheme;
mod storage;
mod tiling;
mod weight;

pub use catalog::{CATALOG, CatalogEntry};
pub use closest::is_meant;
pub use error::SchemeError;
pub use family::{FAMILIES, FamilyNumber, SchemeFamily};
pub use linear::{Activations, PlainTensors};
pub use measure::{LargestStep, WeightError, Zeroed, largest_step, measure, nearest_error, zeroed};
pub use quantized::QuantizedMatrix;
pub use rotation::{Rotation, rotate, rotation_at};
pub use roundwise_grid::GridKind;
pub use scales::{ScaleRule, Scales, choose_scales, largest_magnitude};
pub use scheme::Scheme;
pub use storage::{
    CODEBOOK, LEVEL_GROUP, LogRange, MSE_MULTIPLES, ScaleNumbers, ScalePart, ScaleRole,
    StoredScales, ZERO_ABSMAX,
};
pub use tiling::Tiling;
pub use weight::{FloatDtype, Weight};
