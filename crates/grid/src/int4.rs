use crate::{Grid, GridKind};

/// Whole numbers from −7 to 7; the code is the two's complement nibble, in a byte of its own.
///
/// −8 (code 8) is left out, so that the grid is symmetric. Bytes from 16 on stand for nothing and
/// decode to NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Int4;

/// Around 1.5 · 2²³ the last place of an f32 is 1, so adding it rounds to whole numbers.
const ROUNDER: f32 = 12_582_912.0;

/// Codes of a nibble.
const CODES: u8 = 16;

impl Grid for Int4 {
    type Code = u8;

    const KIND: GridKind = GridKind::Int4;
    const MAX: f32 = 7.0;

    #[inline(always)]
    fn encode(value: f32) -> u8 {
        // The low bits of 1.5 · 2²³ are zeros, so those of the sum are the two's complement of the
        // rounded value.
        (tamed(value) + ROUNDER).to_bits() as u8 & (CODES - 1)
    }

    #[inline(always)]
    fn encode_bf16(bits: u16) -> u8 {
        Self::encode(f32::from_bits(u32::from(bits) << 16))
    }

    #[inline(always)]
    fn decode(code: u8) -> f32 {
        // To the top of the byte and back, so that the sign bit fills the upper half.
        let value = f32::from((code << 4) as i8 >> 4);
        if code < CODES { value } else { f32::NAN }
    }

    #[inline(always)]
    fn round(value: f32) -> f32 {
        // A difference of equal numbers is +0, so −0 cannot come out.
        (tamed(value) + ROUNDER) - ROUNDER
    }

    #[inline(always)]
    fn above(value: f32) -> f32 {
        let sum = value + 1.0;
        if sum < Self::MAX { sum } else { Self::MAX }
    }

    #[inline(always)]
    fn below(value: f32) -> f32 {
        let difference = value - 1.0;
        if difference > -Self::MAX { difference } else { -Self::MAX }
    }

    #[inline(always)]
    fn step(_value: f32) -> f32 {
        1.0
    }

    #[inline(always)]
    fn is_finite_code(code: u8) -> bool {
        code < CODES && code != 8
    }
}

/// Clamps `value` to ±7, NaN as 0.
#[inline(always)]
fn tamed(value: f32) -> f32 {
    let value = if value.is_nan() { 0.0 } else { value };
    // Comparisons in this order become two vector instructions.
    let value = if value < Int4::MAX { value } else { Int4::MAX };
    if value > -Int4::MAX { value } else { -Int4::MAX }
}
