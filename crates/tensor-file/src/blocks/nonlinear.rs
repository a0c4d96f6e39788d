//! Codes of 4 bits that stand for sixteen uneven values.

use std::array::from_fn;

use super::fields::{Fields, nibble};

/// Value of each code, finer near zero.
const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

fn value(code: u8) -> f32 {
    f32::from(VALUES[usize::from(code)])
}

/// `weight = scale · value`, 32 weights.
#[allow(non_camel_case_types, reason = "the name is that of the format")]
pub(super) struct IQ4_NL<'a> {
    scale: f32,
    codes: &'a [u8; 16],
}

impl<'a> IQ4_NL<'a> {
    pub(super) fn read(block: &'a [u8; 18]) -> Self {
        let mut fields = Fields(block);
        Self { scale: fields.f16(), codes: fields.bytes() }
    }

    pub(super) fn weights(&self) -> [f32; 32] {
        from_fn(|at| self.scale * value(nibble(self.codes, at)))
    }
}

/// `weight = scale · (s − 32) · value`, 256 weights, with `s` of 6 bits for 32 of them.
#[allow(non_camel_case_types, reason = "the name is that of the format")]
pub(super) struct IQ4_XS<'a> {
    scale: f32,
    /// High 2 bits of each `s`.
    high: u16,
    /// Low 4 bits of each `s`.
    low: &'a [u8; 4],
    /// Codes of eight sub-blocks, each as in [`IQ4_NL`].
    codes: &'a [u8; 128],
}

impl<'a> IQ4_XS<'a> {
    pub(super) fn read(block: &'a [u8; 136]) -> Self {
        let mut fields = Fields(block);
        let (scale, high) = (fields.f16(), fields.u16());
        Self { scale, high, low: fields.bytes(), codes: fields.bytes() }
    }

    pub(super) fn weights(&self) -> [f32; 256] {
        let (codes, _) = self.codes.as_chunks::<16>();
        from_fn(|at| {
            let scale = self.scale * f32::from(self.part(at / 32));
            scale * value(nibble(&codes[at / 32], at % 32))
        })
    }

    fn part(&self, group: usize) -> i8 {
        let low = self.low[group / 2] >> (4 * (group % 2)) & 0xf;
        let high = (self.high >> (2 * group) & 3) as u8;
        (low | high << 4) as i8 - 32
    }
}
