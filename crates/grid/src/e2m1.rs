use crate::small_float::{self, SmallFloat};
use crate::{Grid, GridKind};

/// 4-bit float with 2 exponent bits (bias 1) and 1 mantissa bit: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and
/// their negatives.
///
/// A code is a nibble in a byte of its own, sign in bit 3; packing two into a byte is a matter of
/// layouts. There are no infinities and no NaN, so bytes from 16 on stand for nothing and decode to
/// NaN.
///
/// # Source
/// OCP microscaling specification, revision 1.0, section 5.3.3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct E2m1;

/// Codes of a nibble.
const CODES: u8 = 16;

impl SmallFloat for E2m1 {
    const MAX: f32 = 6.0;
    const MANTISSA_BITS: u32 = 1;
    const MIN_NORMAL_FIELD: u32 = 127;
    const FIRST_SPECIAL: u32 = 8;
    const SIGN_BIT: u32 = 3;
}

impl Grid for E2m1 {
    type Code = u8;

    const KIND: GridKind = GridKind::E2m1;
    const MAX: f32 = <E2m1 as SmallFloat>::MAX;

    #[inline(always)]
    fn encode(value: f32) -> u8 {
        // The bits above a code are rubbish; cutting to `u8` leaves four of them.
        small_float::encode::<E2m1>(value) as u8 & (CODES - 1)
    }

    #[inline(always)]
    fn encode_bf16(bits: u16) -> u8 {
        Self::encode(f32::from_bits(u32::from(bits) << 16))
    }

    #[inline(always)]
    fn decode(code: u8) -> f32 {
        let value = small_float::decode::<E2m1>(u32::from(code & (CODES - 1)));
        if code < CODES { value } else { f32::NAN }
    }

    #[inline(always)]
    fn round(value: f32) -> f32 {
        small_float::round::<E2m1>(value)
    }

    #[inline(always)]
    fn encode_round(value: f32) -> (Self::Code, f32) {
        let (code, rounded) = small_float::encode_round::<E2m1>(value);
        (code as u8 & (CODES - 1), rounded)
    }

    #[inline(always)]
    fn above(value: f32) -> f32 {
        small_float::above::<E2m1>(value)
    }

    #[inline(always)]
    fn below(value: f32) -> f32 {
        small_float::below::<E2m1>(value)
    }

    #[inline(always)]
    fn step(value: f32) -> f32 {
        small_float::step::<E2m1>(value)
    }

    #[inline(always)]
    fn is_finite_code(code: u8) -> bool {
        code < CODES
    }
}
