use crate::small_float::{self, SmallFloat};
use crate::{Grid, GridKind};

/// IEEE binary16, `F16` in safetensors.
///
/// Largest value 65504 = 0x7BFF, smallest normal value 2⁻¹⁴, step below it 2⁻²⁴.
///
/// # Source
/// IEEE 754-2019, binary16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct F16;

impl SmallFloat for F16 {
    const MAX: f32 = 65504.0;
    const MANTISSA_BITS: u32 = 10;
    const MIN_NORMAL_FIELD: u32 = 127 - 14;
    const FIRST_SPECIAL: u32 = 0x7C00;
    const SIGN_BIT: u32 = 15;
}

impl Grid for F16 {
    type Code = u16;

    const KIND: GridKind = GridKind::F16;
    const MAX: f32 = <F16 as SmallFloat>::MAX;

    #[inline(always)]
    fn encode(value: f32) -> u16 {
        small_float::encode::<F16>(value) as u16
    }

    #[inline(always)]
    fn encode_bf16(bits: u16) -> u16 {
        Self::encode(f32::from_bits(u32::from(bits) << 16))
    }

    #[inline(always)]
    fn decode(code: u16) -> f32 {
        small_float::decode::<F16>(u32::from(code))
    }

    #[inline(always)]
    fn round(value: f32) -> f32 {
        small_float::round::<F16>(value)
    }

    #[inline(always)]
    fn encode_round(value: f32) -> (Self::Code, f32) {
        let (code, rounded) = small_float::encode_round::<F16>(value);
        (code as u16, rounded)
    }

    #[inline(always)]
    fn above(value: f32) -> f32 {
        small_float::above::<F16>(value)
    }

    #[inline(always)]
    fn below(value: f32) -> f32 {
        small_float::below::<F16>(value)
    }

    #[inline(always)]
    fn step(value: f32) -> f32 {
        small_float::step::<F16>(value)
    }

    #[inline(always)]
    fn is_finite_code(code: u16) -> bool {
        u32::from(code) & ((1 << F16::SIGN_BIT) - 1) < F16::FIRST_SPECIAL
    }
}
