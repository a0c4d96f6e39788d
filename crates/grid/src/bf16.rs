use crate::{Grid, GridKind};

/// The upper half of IEEE binary32, `BF16` in safetensors.
///
/// Brain floating point: the exponents are those of f32, so rounding works on the bits of the f32,
/// subnormals included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bf16;

const MAX_BITS: u32 = 0x7F7F_0000;
const SIGN: u32 = 1 << 31;
const EXPONENT: u32 = 0xFF << 23;

impl Grid for Bf16 {
    type Code = u16;

    const KIND: GridKind = GridKind::Bf16;
    const MAX: f32 = f32::from_bits(MAX_BITS);

    #[inline(always)]
    fn encode(value: f32) -> u16 {
        (rounded_bits(value.to_bits()) >> 16) as u16
    }

    #[inline(always)]
    fn encode_bf16(bits: u16) -> u16 {
        // Not passed through: −0, infinities and NaN are never written.
        Self::encode(Self::decode(bits))
    }

    #[inline(always)]
    fn decode(code: u16) -> f32 {
        f32::from_bits(u32::from(code) << 16)
    }

    #[inline(always)]
    fn round(value: f32) -> f32 {
        f32::from_bits(rounded_bits(value.to_bits()))
    }

    #[inline(always)]
    fn above(value: f32) -> f32 {
        let bits = value.to_bits();
        // Bits of a negative number grow away from 0. −0 counts as 0 here, and goes to the smallest
        // positive value.
        let next = if value < 0.0 { bits - (1 << 16) } else { (bits & !SIGN) + (1 << 16) };
        let next = f32::from_bits(next) + 0.0; // −0 + 0 is +0
        if next < Self::MAX { next } else { Self::MAX }
    }

    #[inline(always)]
    fn below(value: f32) -> f32 {
        0.0 - Self::above(-value) // 0 − 0 is +0
    }

    #[inline(always)]
    fn step(value: f32) -> f32 {
        let bits = (value.to_bits() & !SIGN).min(MAX_BITS) & EXPONENT;
        f32::from_bits(bits.max(1 << 23)) * (1.0 / 128.0) // a product, because it may be subnormal
    }

    #[inline(always)]
    fn is_finite_code(code: u16) -> bool {
        // All exponent bits set are infinity or NaN.
        code & 0x7FFF < 0x7F80
    }
}

/// Returns the bits of the nearest BF16 value as f32: the half below is 0.
#[inline(always)]
fn rounded_bits(bits: u32) -> u32 {
    let magnitude = bits & !SIGN;
    let magnitude = if magnitude > EXPONENT { 0 } else { magnitude }; // NaN
    let magnitude = magnitude.min(MAX_BITS);
    // Nearest, ties to even: half a step less one, and one more behind an odd code. The clamped
    // magnitude has zeros below, so that no carry makes it infinite.
    let nearest = (magnitude + 0x7FFF + ((magnitude >> 16) & 1)) & 0xFFFF_0000;
    if nearest == 0 { 0 } else { nearest | (bits & SIGN) }
}
