//! 256 weights in sub-blocks of 16 or 32, whose own scales are small whole numbers times the block's.

use std::array::from_fn;

use super::fields::Fields;

/// `weight = scale · s · code − minimum · m`, with `s` and `m` of 4 bits for 16 weights each.
#[allow(non_camel_case_types, reason = "the name is that of the format")]
pub(super) struct Q2_K<'a> {
    /// `s` in the low half of each byte, `m` in the high one.
    parts: &'a [u8; 16],
    /// Codes of 2 bits: byte `b` of each half holds the weights `b`, `b + 32`, `b + 64`, `b + 96`.
    codes: &'a [u8; 64],
    scale: f32,
    minimum: f32,
}

impl<'a> Q2_K<'a> {
    pub(super) fn read(block: &'a [u8; 84]) -> Self {
        let mut fields = Fields(block);
        let (parts, codes) = (fields.bytes(), fields.bytes());
        Self { parts, codes, scale: fields.f16(), minimum: fields.f16() }
    }

    pub(super) fn weights(&self) -> [f32; 256] {
        from_fn(|at| {
            let part = self.parts[at / 16];
            let scale = self.scale * f32::from(part & 0xf);
            let minimum = self.minimum * f32::from(part >> 4);
            scale * f32::from(two_bits(self.codes, at)) - minimum
        })
    }
}

/// `weight = scale · (s − 32) · code`, with `s` of 6 bits for 16 weights and codes of −4 to 3.
#[allow(non_camel_case_types, reason = "the name is that of the format")]
pub(super) struct Q3_K<'a> {
    /// Bit `i` of byte `b` is set where 4 is *not* taken off the code of weight `32 i + b`.
    third_bits: &'a [u8; 32],
    /// The bits below, placed as in [`Q2_K`].
    codes: &'a [u8; 64],
    /// Sixteen `s`: the low 4 bits in 8 bytes, then the high 2 bits in 4 bytes.
    parts: &'a [u8; 12],
    scale: f32,
}

impl<'a> Q3_K<'a> {
    pub(super) fn read(block: &'a [u8; 110]) -> Self {
        let mut fields = Fields(block);
        let (third_bits, codes, parts) = (fields.bytes(), fields.bytes(), fields.bytes());
        Self { third_bits, codes, parts, scale: fields.f16() }
    }

    pub(super) fn weights(&self) -> [f32; 256] {
        from_fn(|at| {
            let scale = self.scale * f32::from(self.part(at / 16));
            // A third bit that is not set stands for −4.
            let is_lowered = self.third_bits[at % 32] >> (at / 32) & 1 == 0;
            let code = two_bits(self.codes, at) as i8 - if is_lowered { 4 } else { 0 };
            scale * f32::from(code)
        })
    }

    fn part(&self, group: usize) -> i8 {
        let low = self.parts[group % 8] >> (4 * (group / 8)) & 0xf;
        let high = self.parts[8 + group % 4] >> (2 * (group / 4)) & 3;
        (low | high << 4) as i8 - 32
    }
}

/// `weight = scale · s · code − minimum · m`, with `s` and `m` of 6 bits for 32 weights each.
#[allow(non_camel_case_types, reason = "the name is that of the format")]
pub(super) struct Q4_K<'a> {
    scale: f32,
    minimum: f32,
    parts: SixBits<'a>,
    /// Codes of 4 bits: 32 bytes hold 32 weights in their low halves and the next 32 in the high ones.
    codes: &'a [u8; 128],
}

impl<'a> Q4_K<'a> {
    pub(super) fn read(block: &'a [u8; 144]) -> Self {
        let mut fields = Fields(block);
        let [scale, minimum] = [fields.f16(), fields.f16()];
        Self { scale, minimum, parts: SixBits(fields.bytes()), codes: fields.bytes() }
    }

    pub(super) fn weights(&self) -> [f32; 256] {
        from_fn(|at| {
            let (scale, minimum) = self.parts.scale_and_minimum(at / 32);
            let (scale, minimum) = (self.scale * scale, self.minimum * minimum);
            scale * f32::from(four_bits(self.codes, at)) - minimum
        })
    }
}

/// [`Q4_K`] with codes of 5 bits.
#[allow(non_camel_case_types, reason = "the name is that of the format")]
pub(super) struct Q5_K<'a> {
    scale: f32,
    minimum: f32,
    parts: SixBits<'a>,
    /// Bit `i` of byte `b` is bit 4 of the code of weight `32 i + b`.
    fifth_bits: &'a [u8; 32],
    codes: &'a [u8; 128],
}

impl<'a> Q5_K<'a> {
    pub(super) fn read(block: &'a [u8; 176]) -> Self {
        let mut fields = Fields(block);
        let [scale, minimum] = [fields.f16(), fields.f16()];
        let parts = SixBits(fields.bytes());
        Self { scale, minimum, parts, fifth_bits: fields.bytes(), codes: fields.bytes() }
    }

    pub(super) fn weights(&self) -> [f32; 256] {
        from_fn(|at| {
            let (scale, minimum) = self.parts.scale_and_minimum(at / 32);
            let (scale, minimum) = (self.scale * scale, self.minimum * minimum);
            let high = self.fifth_bits[at % 32] >> (at / 32) & 1;
            scale * f32::from(four_bits(self.codes, at) | high << 4) - minimum
        })
    }
}

/// `weight = scale · s · (code − 32)`, with `s` of 8 bits, signed, for 16 weights and codes of 6 bits.
#[allow(non_camel_case_types, reason = "the name is that of the format")]
pub(super) struct Q6_K<'a> {
    /// Low 4 bits of the codes: in each half, 64 bytes hold 64 weights in their low halves and the next
    /// 64 in the high ones.
    low: &'a [u8; 128],
    /// High 2 bits, placed as the codes of [`Q2_K`].
    high: &'a [u8; 64],
    parts: &'a [u8; 16],
    scale: f32,
}

impl<'a> Q6_K<'a> {
    pub(super) fn read(block: &'a [u8; 210]) -> Self {
        let mut fields = Fields(block);
        Self {
            low: fields.bytes(),
            high: fields.bytes(),
            parts: fields.bytes(),
            scale: fields.f16(),
        }
    }

    pub(super) fn weights(&self) -> [f32; 256] {
        from_fn(|at| {
            let scale = self.scale * f32::from(self.parts[at / 16] as i8);
            let low = self.low[at / 128 * 64 + at % 64] >> (at % 128 / 64 * 4) & 0xf;
            // Six bits, at most 63, fit a signed byte.
            let code = (low | two_bits(self.high, at) << 4) as i8 - 32;
            scale * f32::from(code)
        })
    }
}

/// Eight scales and eight minima of 6 bits each. Of the first four, bytes 0 to 3 and 4 to 7 hold all
/// bits; of the last four, those bytes hold the high 2 bits, and bytes 8 to 11 the low 4 bits of the
/// scale and above them those of the minimum.
struct SixBits<'a>(&'a [u8; 12]);

impl SixBits<'_> {
    /// Returns scale and minimum of a sub-block.
    fn scale_and_minimum(&self, group: usize) -> (f32, f32) {
        let bytes = self.0;
        let (scale, minimum) = match group {
            0..4 => (bytes[group] & 0x3f, bytes[group + 4] & 0x3f),
            _ => {
                let low = bytes[group + 4];
                let [of_scale, of_minimum] = [bytes[group - 4] >> 6, bytes[group] >> 6];
                (low & 0xf | of_scale << 4, low >> 4 | of_minimum << 4)
            }
        };
        (f32::from(scale), f32::from(minimum))
    }
}

fn two_bits(codes: &[u8; 64], at: usize) -> u8 {
    // Each 32 bytes hold four runs of 32 weights, two bits of every byte for each run.
    codes[at / 128 * 32 + at % 32] >> (at % 128 / 32 * 2) & 3
}

fn four_bits(codes: &[u8; 128], at: usize) -> u8 {
    // Each 32 bytes hold two runs of 32 weights, the first in the low halves.
    codes[at / 64 * 32 + at % 32] >> (at % 64 / 32 * 4) & 0xf
}
