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
        encode_bf16(bits)
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
    fn encode_round(value: f32) -> (Self::Code, f32) {
        let (code, rounded) = small_float::encode_round::<E4m3>(value);
        (code as u8, rounded)
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

/// BF16 bits of 448, of the smallest normal value 2⁻⁶, of infinity, and of −2⁻¹⁰, the last negative
/// value that still goes to zero.
const BF16_MAX: u16 = 0x43E0;
const BF16_MIN_NORMAL: u16 = 0x3C80;
const BF16_INFINITY: u16 = 0x7F80;
const BF16_LAST_ZERO: u16 = 0xBA80;

/// Encodes a BF16 value in 16-bit whole numbers: twice as many fit in a vector as f32 values.
///
/// Steps are counted in 7.9 fixed point. A normal value only has to be moved there; a subnormal one
/// gets its hidden bit and is shifted down by what its exponent lacks. Shifts that lose bits are
/// those of values below a quarter step, which round to zero with and without them.
#[inline(always)]
fn encode_bf16(bits: u16) -> u8 {
    let magnitude = bits & 0x7FFF;
    let magnitude = if magnitude > BF16_INFINITY { 0 } else { magnitude }; // NaN
    let magnitude = magnitude.min(BF16_MAX);

    let moved = magnitude << 5;
    // The smallest normal value is code 8: eight steps of 2⁹. The difference is right modulo 2¹⁶,
    // whatever the shifts push out.
    let normal = moved.wrapping_sub((BF16_MIN_NORMAL << 5) - (1 << 12));
    let lacking = (BF16_MIN_NORMAL >> 7).saturating_sub(magnitude >> 7).min(15);
    let subnormal = (moved & 0x0FE0 | 0x1000) >> lacking;
    let steps = if magnitude < BF16_MIN_NORMAL { subnormal } else { normal };

    // Ties go to the even code: half a step of 2⁹ less one, and one more behind an odd code.
    let nearest = (steps + 0xFF + ((steps >> 9) & 1)) >> 9;
    // A sign stays on what does not round to zero, and on no NaN.
    let is_negative = bits > BF16_LAST_ZERO && bits <= BF16_INFINITY | 0x8000;
    nearest as u8 | if is_negative { 0x80 } else { 0 }
}
