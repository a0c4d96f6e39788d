use half::f16;

/// Cuts a block into its fields, in order.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// Takes the next `N` bytes.
    pub(super) fn bytes<const N: usize>(&mut self) -> &'a [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("fields add up to their block");
        self.0 = rest;
        field
    }

    /// Takes the next F16.
    pub(super) fn f16(&mut self) -> f32 {
        f16::from_le_bytes(*self.bytes()).to_f32()
    }

    /// Takes the next 16-bit number.
    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(*self.bytes())
    }

    /// Takes the next 32-bit number.
    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(*self.bytes())
    }
}

/// Returns code `index` of 32 codes of 4 bits: low halves of 16 bytes first, then the high halves.
pub(super) fn nibble(codes: &[u8; 16], index: usize) -> u8 {
    // ggml's order: weights 0 to 15 in the low halves, 16 to 31 in the high ones, so that a vector
    // of bytes gives a vector of weights.
    codes[index % 16] >> (4 * (index / 16)) & 0xf
}
