use crate::map::map;
use crate::{Bf16, F16, Grid};

/// Widens little-endian BF16 bytes to f32, exactly. The bytes need no alignment.
///
/// # Panics
/// When `bytes` is not twice as long as `values`.
pub fn widen_bf16(bytes: &[u8], values: &mut [f32]) {
    widen(bytes, values, |bytes| Bf16::decode(u16::from_le_bytes(bytes)));
}

/// Widens little-endian F16 bytes to f32, exactly; infinities and NaN stay what they are. The bytes
/// need no alignment.
///
/// # Panics
/// When `bytes` is not twice as long as `values`.
pub fn widen_f16(bytes: &[u8], values: &mut [f32]) {
    widen(bytes, values, |bytes| F16::decode(u16::from_le_bytes(bytes)));
}

/// Reads little-endian F32 bytes as f32. The bytes need no alignment.
///
/// # Panics
/// When `bytes` is not four times as long as `values`.
pub fn widen_f32(bytes: &[u8], values: &mut [f32]) {
    widen(bytes, values, f32::from_le_bytes);
}

/// Rounds little-endian F64 bytes to the nearest f32, ties to even; past f32's range it is
/// infinity, which [`absmax`](crate::absmax) shows. The bytes need no alignment.
///
/// # Panics
/// When `bytes` is not eight times as long as `values`.
pub fn widen_f64(bytes: &[u8], values: &mut [f32]) {
    widen(bytes, values, |bytes| f64::from_le_bytes(bytes) as f32);
}

fn widen<const N: usize>(bytes: &[u8], values: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    let (encoded, rest) = bytes.as_chunks::<N>();
    assert!(rest.is_empty() && encoded.len() == values.len(), "{N} bytes per value");
    map(encoded, values, decode);
}
