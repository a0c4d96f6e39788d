use crate::small_float::{self, SmallFloat};
use crate::{Grid, GridKind};

/// 8-bit float with 5 exponent bits (bias 15) and 2 mantissa bits, `F8_E5M2` in safetensors.
///
/// Largest value 57344 = 0x7B, smallest normal value 2⁻¹⁴, step below it 2⁻¹⁶. 0x7C is infinity and
/// 0x7D to 0x7F are NaN.
///
/// # Source
/// OCP 8-bit floating point specification, revision 1.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct E5m2;

impl SmallFloat for E5m2 {
    const MAX: f32 = 57344.0;
    const MANTISSA_BITS: u32 = 2;
    const MIN_NORMAL_FIELD: u32 = 127 - 14;
    const FIRST_SPECIAL: u32 = 0x7C;
    const SIGN_BIT: u32 = 7;
}

impl Grid for E5m2 {
    type Code = u8;

    const KIND: GridKind = GridKind::E5m2;
    const MAX: f32 = <E5m2 as SmallFloat>::MAX;

    #[inline(always)]
    fn encode(value: f32) -> u8 {
        small_float::encode::<E5m2>(value) as u8
    }

    #[inline(always)]
    fn encode_bf16(bits: u16) -> u8 {
        Self::encode(f32::from_bits(u32::from(bits) << 16))
    }

    #[inline(always)]
    fn decode(code: u8) -> f32 {
        small_float::decode::<E5m2>(u32::from(code))
    }

    #[inline(always)]
    fn round(value: f32) -> f32 {
        small_float::round::<E5m2>(value)
    }

    #[inline(always)]
    fn encode_round(value: f32) -> (Self::Code, f32) {
        let (code, rounded) = small_float::encode_round::<E5m2>(value);
        (code as u8, rounded)
    }

    #[inline(always)]
    fn above(value: f32) -> f32 {
        small_float::above::<E5m2>(value)
    }

    #[inline(always)]
    fn below(value: f32) -> f32 {
        small_float::below::<E5m2>(value)
    }

    #[inline(always)]
    fn step(value: f32) -> f32 {
        small_float::step::<E5m2>(value)
    }

    #[inline(always)]
    fn is_finite_code(code: u8) -> bool {
        u32::from(code) & ((1 << E5m2::SIGN_BIT) - 1) < E5m2::FIRST_SPECIAL
    }
}
