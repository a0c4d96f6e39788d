//! Microscaling FP4: E2M1 codes and one power of two for 32 of them.

use std::array::from_fn;

use super::fields::{Fields, nibble};

/// Twice the value of each E2M1 code, which makes it whole. The halves are in the scale.
const DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// `weight = 2^(exponent − 128) · doubled value`.
pub(super) struct MXFP4<'a> {
    exponent: u8,
    codes: &'a [u8; 16],
}

impl<'a> MXFP4<'a> {
    pub(super) fn read(block: &'a [u8; 17]) -> Self {
        let mut fields = Fields(block);
        let [exponent] = *fields.bytes();
        Self { exponent, codes: fields.bytes() }
    }

    pub(super) fn weights(&self) -> [f32; 32] {
        let scale = self.half_scale();
        from_fn(|at| scale * f32::from(DOUBLED[usize::from(nibble(self.codes, at))]))
    }

    /// Returns `2^(exponent − 128)`; the first two are subnormal. E8M0's NaN, 255, is a number in
    /// GGUF.
    fn half_scale(&self) -> f32 {
        // F32 is normal from 2^−126 on. Below, bits 21 and 22 of the fraction are 2^−128 and
        // 2^−127.
        match self.exponent {
            0 => f32::from_bits(0x0020_0000),
            1 => f32::from_bits(0x0040_0000),
            exponent => f32::from_bits(u32::from(exponent - 1) << 23),
        }
    }
}
