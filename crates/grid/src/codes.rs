use crate::map::map;
use crate::{Grid, vectorized};

/// Codes that are counted in bytes before a sum takes them: the most that a byte holds.
const COUNTED: usize = u8::MAX as usize;

/// Returns how many of some codes are equal to one.
pub fn count_codes<G: Grid>(codes: &[G::Code], code: G::Code) -> usize {
    vectorized(
        #[inline(always)]
        || {
            let equal =
                |codes: &[G::Code]| codes.iter().map(|it| u8::from(*it == code)).sum::<u8>();
            codes.chunks(COUNTED).map(|codes| usize::from(equal(codes))).sum()
        },
    )
}

/// Encodes each value: `codes[i] = G::encode(values[i])`.
///
/// # Panics
/// When the lengths differ.
pub fn encode_slice<G: Grid>(values: &[f32], codes: &mut [G::Code]) {
    map(values, codes, |value| G::encode(value));
}

/// Encodes each value over a scale: `codes[i] = G::encode(values[i] / scale)`, with a true
/// division.
///
/// - `scale`: model units per grid unit, finite and above 0 (an all-zero tile takes 1)
///
/// Multiplying by the inverse would be faster and would move some ties.
///
/// # Panics
/// When the lengths differ.
pub fn encode_scaled<G: Grid>(values: &[f32], scale: f32, codes: &mut [G::Code]) {
    map(values, codes, move |value| G::encode(value / scale));
}

/// Encodes each BF16 value, given as its bits: `codes[i] = G::encode_bf16(values[i])`.
///
/// # Panics
/// When the lengths differ.
pub fn encode_bf16_slice<G: Grid>(values: &[u16], codes: &mut [G::Code]) {
    map(values, codes, |bits| G::encode_bf16(bits));
}

/// Decodes each code times a scale: `values[i] = G::decode(codes[i]) · scale`, in f32.
///
/// # Panics
/// When the lengths differ.
pub fn decode_scaled<G: Grid>(codes: &[G::Code], scale: f32, values: &mut [f32]) {
    map(codes, values, move |code| G::decode(code) * scale);
}
