use std::fmt;

use roundwise_grid::{F16, Grid, vectorized};
use roundwise_scheme::{GridKind, QuantizedMatrix, Scheme};
use roundwise_tensor_file::Dtype;

/// Numbers that a program reads without scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlainDtype {
    /// 8 bits of exponent, 7 of fraction.
    Bf16,
    /// 5 bits of exponent, 10 of fraction.
    F16,
    /// 8 bits of exponent, 23 of fraction: whatever is decoded, exactly.
    F32,
}

impl PlainDtype {
    /// Every dtype by its name.
    pub const NAMES: [(&str, Self); 3] =
        [("bf16", Self::Bf16), ("f16", Self::F16), ("f32", Self::F32)];

    /// Returns the name that recipes have for it.
    pub fn name(self) -> &'static str {
        let named = Self::NAMES.iter().find(|(_, dtype)| *dtype == self);
        named.expect("every dtype has a name").0
    }

    pub(crate) fn dtype(self) -> Dtype {
        match self {
            PlainDtype::Bf16 => Dtype::BF16,
            PlainDtype::F16 => Dtype::F16,
            PlainDtype::F32 => Dtype::F32,
        }
    }

    /// Returns what a dtype is among these.
    pub(crate) fn of(dtype: Dtype) -> Option<Self> {
        Self::NAMES.into_iter().map(|(_, it)| it).find(|it| it.dtype() == dtype)
    }

    /// Returns the dtype that numbers had before they became codes, BF16 where nobody knows.
    pub(crate) fn of_numbers(dtype: Option<Dtype>) -> Self {
        match dtype {
            Some(Dtype::F16) => PlainDtype::F16,
            Some(Dtype::F32) => PlainDtype::F32,
            _ => PlainDtype::Bf16,
        }
    }

    /// Returns the dtype of what is kept beside weights in a scheme: its own where it stores plain numbers.
    pub(crate) fn beside(scheme: Scheme) -> Self {
        match scheme == Scheme::unscaled(GridKind::F16) {
            true => PlainDtype::F16,
            false => PlainDtype::Bf16,
        }
    }

    /// Returns the number of bytes of one number.
    pub(crate) fn width(self) -> usize {
        match self {
            PlainDtype::Bf16 | PlainDtype::F16 => 2,
            PlainDtype::F32 => 4,
        }
    }

    /// Decodes codes into bytes, row-major, in `memory` of any length and content.
    ///
    /// # Cost
    /// A row is decoded in the cache and stored once.
    pub(crate) fn decoded(self, matrix: &QuantizedMatrix, memory: Vec<u8>) -> Vec<u8> {
        let [rows, cols] = matrix.shape();
        let row_bytes = cols * self.width();
        let mut bytes = memory;
        // What is left of the memory's content is overwritten, row by row.
        bytes.resize(rows * row_bytes, 0);
        let mut values = vec![0.0; cols];
        for row in 0..rows {
            matrix.decode_row(row, &mut values);
            self.store(&values, &mut bytes[row * row_bytes..][..row_bytes]);
        }
        bytes
    }

    /// Converts numbers into bytes, in `memory` of any length and content.
    pub(crate) fn stored(self, values: &[f32], memory: Vec<u8>) -> Vec<u8> {
        let mut bytes = memory;
        bytes.resize(values.len() * self.width(), 0);
        self.store(values, &mut bytes);
        bytes
    }

    /// Writes numbers, little-endian, rounded to nearest, ties to even. What is too large for F16
    /// becomes ±65504; what was a NaN or an infinity stays one.
    ///
    /// - `bytes`: [`width`](Self::width) for each
    fn store(self, values: &[f32], bytes: &mut [u8]) {
        #[inline(always)]
        fn each<const WIDTH: usize>(
            values: &[f32],
            bytes: &mut [u8],
            store: impl Fn(f32) -> [u8; WIDTH],
        ) {
            let (places, _) = bytes.as_chunks_mut::<WIDTH>();
            places.iter_mut().zip(values).for_each(|(place, value)| *place = store(*value));
        }
        vectorized(
            #[inline(always)]
            || match self {
                PlainDtype::Bf16 => each(values, bytes, |value| narrow_bf16(value).to_le_bytes()),
                PlainDtype::F16 => each(values, bytes, |value| narrow_f16(value).to_le_bytes()),
                PlainDtype::F32 => each(values, bytes, f32::to_le_bytes),
            },
        );
    }
}

/// Rounds as the grid does, which saturates, but keeps the sign of zero, NaNs and infinities.
#[inline(always)]
fn narrow_f16(value: f32) -> u16 {
    let sign = (value.to_bits() >> 16) as u16 & 0x8000;
    // A quiet NaN and infinity, without their sign.
    let special = if value.is_nan() { 0x7E00 } else { 0x7C00 };
    sign | if value.is_finite() { F16::encode(value.abs()) } else { special }
}

/// Rounds as `bf16::from_f32`, without its branch, which keeps a compiler from using vectors.
#[inline(always)]
fn narrow_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    // Half of what is cut off, and one more where the last bit that stays is set: ties go to even.
    let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16;
    // A NaN whose payload is cut off would become an infinity.
    let quiet_nan = bits >> 16 | 0x40;
    (if value.is_nan() { quiet_nan } else { rounded }) as u16
}

impl fmt::Display for PlainDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.dtype().name())
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    #[test]
    fn numbers_are_rounded_and_stay_finite() {
        let values = [1.0, -65504.0, 65520.0, -1e30, f32::INFINITY, f32::NAN];
        let narrowed = |dtype: PlainDtype| {
            let mut bytes = vec![0; values.len() * dtype.width()];
            dtype.store(&values, &mut bytes);
            bytes
        };
        let halves = narrowed(PlainDtype::F16);
        let halves: Vec<f32> =
            halves.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect();
        assert_eq!(halves[..5], [1.0, -65504.0, 65504.0, -65504.0, f32::INFINITY]);
        assert!(halves[5].is_nan());
        let exact: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(narrowed(PlainDtype::F32), exact);
        assert_eq!(narrowed(PlainDtype::Bf16)[..2], bf16::ONE.to_le_bytes());
    }

    #[test]
    fn f16_is_what_everybody_rounds_to_within_its_range() {
        let ties = (0..=u16::MAX).flat_map(|high| {
            [0, 1, 0x0FFF, 0x1000, 0x1001, 0xFFFF].map(|low| u32::from(high) << 16 | low)
        });
        for value in ties.map(f32::from_bits).filter(|value| !value.is_nan()) {
            let largest = f16::MAX.copysign(f16::from_f32(value));
            let expected = match f16::from_f32(value) {
                rounded if rounded.is_infinite() && value.is_finite() => largest,
                rounded => rounded,
            };
            assert_eq!(narrow_f16(value), expected.to_bits(), "{value:e}");
        }
    }

    #[test]
    fn bf16_is_what_everybody_rounds_to() {
        let ties = (0..=u16::MAX).flat_map(|high| {
            [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF].map(|low| u32::from(high) << 16 | low)
        });
        for value in ties.map(f32::from_bits) {
            let expected = bf16::from_f32(value);
            assert_eq!(narrow_bf16(value), expected.to_bits(), "{value:e}");
        }
    }
}
