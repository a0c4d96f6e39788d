use crate::TensorFileErrorKind;

/// Storage type of a tensor's elements: every one that safetensors 0.8 knows.
///
/// `Ord` is the order of tensors in a file, first to last: the reference writer's descending
/// rank. Wide types come first, so that every tensor is aligned to its own element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are those of the format")]
pub enum Dtype {
    U64,
    I64,
    F64,
    /// Complex number of two F32.
    C64,
    F32,
    U32,
    I32,
    BF16,
    F16,
    U16,
    I16,
    F8E5M2Fnuz,
    F8E4M3Fnuz,
    F8E8M0,
    F8E4M3,
    F8E5M2,
    I8,
    U8,
    F6E3M2,
    F6E2M3,
    F4,
    Bool,
}

impl Dtype {
    /// Every dtype, in file order.
    pub const ALL: [Self; 22] = [
        Self::U64,
        Self::I64,
        Self::F64,
        Self::C64,
        Self::F32,
        Self::U32,
        Self::I32,
        Self::BF16,
        Self::F16,
        Self::U16,
        Self::I16,
        Self::F8E5M2Fnuz,
        Self::F8E4M3Fnuz,
        Self::F8E8M0,
        Self::F8E4M3,
        Self::F8E5M2,
        Self::I8,
        Self::U8,
        Self::F6E3M2,
        Self::F6E2M3,
        Self::F4,
        Self::Bool,
    ];

    /// Returns the spelling in a safetensors header, for example `F8_E4M3`.
    pub fn name(self) -> &'static str {
        match self {
            Self::U64 => "U64",
            Self::I64 => "I64",
            Self::F64 => "F64",
            Self::C64 => "C64",
            Self::F32 => "F32",
            Self::U32 => "U32",
            Self::I32 => "I32",
            Self::BF16 => "BF16",
            Self::F16 => "F16",
            Self::U16 => "U16",
            Self::I16 => "I16",
            Self::F8E5M2Fnuz => "F8_E5M2FNUZ",
            Self::F8E4M3Fnuz => "F8_E4M3FNUZ",
            Self::F8E8M0 => "F8_E8M0",
            Self::F8E4M3 => "F8_E4M3",
            Self::F8E5M2 => "F8_E5M2",
            Self::I8 => "I8",
            Self::U8 => "U8",
            Self::F6E3M2 => "F6_E3M2",
            Self::F6E2M3 => "F6_E2M3",
            Self::F4 => "F4",
            Self::Bool => "BOOL",
        }
    }

    /// Finds the dtype with this header spelling; `None` for any other text, including other cases.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Returns the bits of one element, as stored.
    pub fn bits(self) -> u64 {
        match self {
            Self::U64 | Self::I64 | Self::F64 | Self::C64 => 64,
            Self::F32 | Self::U32 | Self::I32 => 32,
            Self::BF16 | Self::F16 | Self::U16 | Self::I16 => 16,
            Self::F8E5M2Fnuz | Self::F8E4M3Fnuz | Self::F8E8M0 | Self::F8E4M3 | Self::F8E5M2 => 8,
            Self::I8 | Self::U8 | Self::Bool => 8,
            Self::F6E3M2 | Self::F6E2M3 => 6,
            Self::F4 => 4,
        }
    }

    /// Returns the bytes of a tensor of this shape (`[]` is one element); `None` when the count of bits
    /// overflows 64 bits or is not a multiple of 8.
    pub fn byte_len(self, shape: &[u64]) -> Option<u64> {
        self.checked_byte_len(shape).ok()
    }

    /// Returns [`Self::byte_len`], or the reason why there is none.
    pub(crate) fn checked_byte_len(self, shape: &[u64]) -> Result<u64, TensorFileErrorKind> {
        // In bits: several elements of F4 and F6 share a byte.
        let bits = shape
            .iter()
            .try_fold(1_u64, |count, &extent| count.checked_mul(extent))
            .and_then(|count| count.checked_mul(self.bits()))
            .ok_or_else(|| TensorFileErrorKind::ShapeOverflow { shape: shape.to_vec() })?;
        if bits.is_multiple_of(8) {
            Ok(bits / 8)
        } else {
            Err(TensorFileErrorKind::FractionalBytes { dtype: self, shape: shape.to_vec(), bits })
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::Dtype;

    #[test]
    fn every_name_comes_back() {
        for dtype in Dtype::ALL {
            assert_eq!(Dtype::from_name(dtype.name()), Some(dtype));
        }
        assert_eq!(Dtype::from_name("f32"), None);
    }

    #[test]
    fn all_is_the_file_order() {
        assert!(Dtype::ALL.is_sorted());
    }

    #[test]
    fn sizes_are_checked() {
        assert_eq!(Dtype::F32.byte_len(&[]), Some(4));
        assert_eq!(Dtype::F32.byte_len(&[2, 4]), Some(32));
        assert_eq!(Dtype::F32.byte_len(&[7, 0]), Some(0));
        assert_eq!(Dtype::F4.byte_len(&[3]), None);
        assert_eq!(Dtype::F6E2M3.byte_len(&[4]), Some(3));
        assert_eq!(Dtype::U8.byte_len(&[1 << 32, 1 << 32]), None);
        assert_eq!(Dtype::F64.byte_len(&[1 << 60]), None);
    }
}
