use std::fmt::Debug;

/// Bits of one grid value, little-endian in files. A 4-bit code has a byte of its own; layouts pack
/// two into one.
pub trait Code: Copy + Default + Send + Sync + PartialEq + Debug + 'static {
    /// Bytes of one code.
    const BYTES: usize;

    /// Writes `codes` as `codes.len() · BYTES` bytes.
    ///
    /// # Panics
    /// When `bytes` has another length.
    fn write_le(codes: &[Self], bytes: &mut [u8]);

    /// Reads what [`write_le`](Code::write_le) wrote.
    ///
    /// # Panics
    /// When `bytes` has another length.
    fn read_le(bytes: &[u8], codes: &mut [Self]);
}

impl Code for u8 {
    const BYTES: usize = 1;

    fn write_le(codes: &[u8], bytes: &mut [u8]) {
        bytes.copy_from_slice(codes);
    }

    fn read_le(bytes: &[u8], codes: &mut [u8]) {
        codes.copy_from_slice(bytes);
    }
}

impl Code for u16 {
    const BYTES: usize = 2;

    fn write_le(codes: &[u16], bytes: &mut [u8]) {
        assert_eq!(bytes.len(), codes.len() * 2, "two bytes per code");
        for (code, bytes) in codes.iter().zip(bytes.as_chunks_mut::<2>().0) {
            *bytes = code.to_le_bytes();
        }
    }

    fn read_le(bytes: &[u8], codes: &mut [u16]) {
        assert_eq!(bytes.len(), codes.len() * 2, "two bytes per code");
        for (code, bytes) in codes.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *code = u16::from_le_bytes(*bytes);
        }
    }
}
