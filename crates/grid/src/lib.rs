//! Values that a 4-, 8- or 16-bit code can stand for: nearest, neighbours, decode.
//!
//! - [`Grid`] is a set of values as a type, so that inner loops are compiled for one grid:
//!   [`E2m1`], [`E4m3`], [`E5m2`], [`Int4`], [`Int8`], [`F16`], [`Bf16`].
//! - [`GridKind`] is the same set as a value; [`GridKind::visit`] is the one place where kinds
//!   become types.
//! - [`E8m0`] are the powers of two that scales can be stored as.
//! - The slice functions ([`encode_slice`], [`encode_scaled`], [`encode_bf16_slice`],
//!   [`decode_scaled`], [`encode_measured`], [`measure`], [`absmax`], their relatives with a scale
//!   for [each](encode_each) value or [tile](absmax_tiles), and the `widen_…` family) use
//!   the widest vectors that the CPU offers and give the same bits on every CPU.
//!
//! ```
//! use roundwise_grid::{E4m3, Grid, GridKind, decode_scaled, encode_scaled};
//!
//! assert_eq!((E4m3::encode(1.07), E4m3::decode(0x39)), (0x39, 1.125));
//! assert_eq!((E4m3::below(1.125), E4m3::above(1.125)), (1.0, 1.25));
//! assert_eq!((E4m3::round(1.0625), E4m3::round(1e6)), (1.0, GridKind::E4m3.max()));
//!
//! let (mut codes, mut values) = ([0; 3], [0.0; 3]);
//! encode_scaled::<E4m3>(&[0.5, -1.0, 2.1], 0.5, &mut codes);
//! decode_scaled::<E4m3>(&codes, 0.5, &mut values);
//! assert_eq!((codes, values), ([0x38, 0xC0, 0x48], [0.5, -1.0, 2.0]));
//! ```
//!
//! Three rules hold for every grid and every encoder: codes saturate at ±`MAX`, ties go to the
//! even code, and neither NaN, infinity, −0 nor the −128 of INT8 and the −8 of INT4 is ever written.

mod absmax;
mod bf16;
mod code;
mod codes;
mod e2m1;
mod e4m3;
mod e5m2;
mod e8m0;
mod f16;
mod grid;
mod int4;
mod int8;
mod kind;
mod map;
mod small_float;
mod squares;
mod tiles;
mod vectors;
mod widen;

pub use absmax::absmax;
pub use bf16::Bf16;
pub use code::Code;
pub use codes::{count_codes, decode_scaled, encode_bf16_slice, encode_scaled, encode_slice};
pub use e2m1::E2m1;
pub use e4m3::E4m3;
pub use e5m2::E5m2;
pub use e8m0::E8m0;
pub use f16::F16;
pub use grid::Grid;
pub use int4::Int4;
pub use int8::Int8;
pub use kind::{GridKind, GridVisitor};
pub use squares::{Squares, encode_measured, encode_measured_each, measure, measure_each};
pub use tiles::{absmax_tiles, decode_each, encode_each, round_each};
pub use vectors::vectorized;
pub use widen::{widen_bf16, widen_f16, widen_f32, widen_f64};
