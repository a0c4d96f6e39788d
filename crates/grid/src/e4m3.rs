use crate::small_float::{self, SmallFloat};
use crate::{Grid, GridKind};

/// 8-bit float with 4 exponent bits (bias 7) and 3 mantissa bits, `F8_E4M3` in safetensors.
///
/// Largest value 448 = 0x7E, smallest normal value 2⁻⁶, step below it 2⁻⁹. 0x7F and 0xFF are NaN;
/// there are no infinities.
///
/// # Source
/// OCP 8-bit floating point specification, revision 1.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct E4m3;

impl SmallFloat for E4m3 {
    const MAX: f32 = 448.0;
    const MANTISSA_BITS: u32 = 3;
    const MIN_NORMAL_FIELD: u32 = 127 - 6;
    const FIRST_SPECIAL: u32 = 0x7F;
    const SIGN_BIT: u32 = 7;
}

impl Grid for E4m3 {
    type Code = u8;

    const KIND: GridKind = GridKind::E4m3;
    const MAX: f32 = <E4m3 as SmallFloat>::MAX;

    #[inline(always)]
    fn encode(value: f32) -> u8 {
        small_float::encode::<E4m3>(value) as u8
    }

    #[inline(always)]
    fn encode_bf16(bits: u16) -> u8 {
        Self::encode(f32::from_bits(u32::from(bits) << 16))
    }

    #[inline(always)]
    fn decode(code: u8) -> f32 {
        small_float::decode::<E4m3>(u32::from(code))
    }

    #[inline(always)]
    fn round(value: f32) -> f32 {
        small_float::round::<E4m3>(value)
    }

    #[inline(always)]
    fn above(value: f32) -> f32 {
        small_float::above::<E4m3>(value)
    }

    #[inline(always)]
    fn below(value: f32) -> f32 {
        small_float::below::<E4m3>(value)
    }

    #[inline(always)]
    fn step(value: f32) -> f32 {
        small_float::step::<E4m3>(value)
    }

    #[inline(always)]
    fn is_finite_code(code: u8) -> bool {
        u32::from(code) & ((1 << E4m3::SIGN_BIT) - 1) < E4m3::FIRST_SPECIAL
    }
}
