use std::fmt;

use half::{bf16, f16};
use roundwise_tensor_file::Dtype;

/// Numbers that a program reads without scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    pub(crate) fn dtype(self) -> Dtype {
        match self {
            PlainDtype::Bf16 => Dtype::BF16,
            PlainDtype::F16 => Dtype::F16,
            PlainDtype::F32 => Dtype::F32,
        }
    }

    /// Bytes of one number.
    pub(crate) fn width(self) -> usize {
        match self {
            PlainDtype::Bf16 | PlainDtype::F16 => 2,
            PlainDtype::F32 => 4,
        }
    }

    /// Appends numbers, little-endian, rounded to nearest, ties to even. What is too large for F16
    /// becomes ±65504; what was a NaN or an infinity stays one.
    pub(crate) fn append(self, values: &[f32], bytes: &mut Vec<u8>) {
        let narrow = |value: f32| match f16::from_f32(value) {
            narrowed if narrowed.is_finite() || !value.is_finite() => narrowed,
            _ => f16::MAX.copysign(f16::from_f32(value)),
        };
        match self {
            PlainDtype::Bf16 => {
                bytes.extend(values.iter().flat_map(|&it| bf16::from_f32(it).to_le_bytes()));
            }
            PlainDtype::F16 => bytes.extend(values.iter().flat_map(|&it| narrow(it).to_le_bytes())),
            PlainDtype::F32 => bytes.extend(values.iter().flat_map(|it| it.to_le_bytes())),
        }
    }
}

impl fmt::Display for PlainDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.dtype().name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_and_stay_finite() {
        let values = [1.0, -65504.0, 65520.0, -1e30, f32::INFINITY, f32::NAN];
        let narrowed = |dtype: PlainDtype| {
            let mut bytes = vec![];
            dtype.append(&values, &mut bytes);
            assert_eq!(bytes.len(), values.len() * dtype.width());
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
}
