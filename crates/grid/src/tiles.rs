use std::marker::PhantomData;

use pulp::NullaryFnOnce;

use crate::{Grid, vectors};

/// Finds the largest magnitude of each tile: `maxima[i] = max |v|` over the `i`-th `width` values,
/// the last of which may be fewer; NaN and infinity as in [`absmax`](crate::absmax).
///
/// For tiles of a few values each, where a call per tile would cost more than the tile.
///
/// # Panics
/// When `width` is 0 or there are not as many maxima as tiles.
pub fn absmax_tiles(values: &[f32], width: usize, maxima: &mut [f32]) {
    assert_eq!(values.len().div_ceil(width), maxima.len(), "one maximum per tile");
    vectors::run(AbsmaxTiles { values, width, maxima });
}

/// Encodes each value over its scale, `codes[i] = G::encode(values[i] / scales[i])`:
/// [`encode_scaled`](crate::encode_scaled) with a scale for every value.
///
/// # Panics
/// When the lengths differ.
pub fn encode_each<G: Grid>(values: &[f32], scales: &[f32], codes: &mut [G::Code]) {
    assert!(values.len() == scales.len() && values.len() == codes.len(), "a scale per value");
    vectors::run(EncodeEach::<G> { values, scales, codes });
}

/// Decodes each code times its scale: `values[i] = G::decode(codes[i]) · scales[i]`, in f32.
///
/// # Panics
/// When the lengths differ.
pub fn decode_each<G: Grid>(codes: &[G::Code], scales: &[f32], values: &mut [f32]) {
    assert!(codes.len() == scales.len() && codes.len() == values.len(), "a scale per code");
    vectors::run(DecodeEach::<G> { codes, scales, values });
}

/// Rounds each value to what its nearest code decodes to: [`encode_each`], then [`decode_each`].
///
/// # Panics
/// When the lengths differ.
pub fn round_each<G: Grid>(values: &[f32], scales: &[f32], rounded: &mut [f32]) {
    assert!(values.len() == scales.len() && values.len() == rounded.len(), "a scale per value");
    vectors::run(RoundEach::<G> { values, scales, rounded, grid: PhantomData });
}

struct AbsmaxTiles<'a> {
    values: &'a [f32],
    width: usize,
    maxima: &'a mut [f32],
}

impl NullaryFnOnce for AbsmaxTiles<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { values, width, maxima } = self;
        let (whole, rest) = values.split_at(values.len() / width * width);
        let (first, last) = maxima.split_at_mut(whole.len() / width);
        // The widths of NVFP4 and MX blocks; other narrow tiles are rare.
        match width {
            16 | 32 => by_halving(whole, width, first),
            _ => whole.chunks_exact(width).zip(first).for_each(|(t, m)| *m = largest(t)),
        }
        if let [last] = last {
            *last = largest(rest);
        }
    }
}

/// Values whose maxima are halved in the first-level cache.
const HALVED: usize = 1024;

/// Finds the maxima of tiles of 16 or 32 values, by halving: each step takes the larger ones of
/// neighbours, which vectors do at once. A loop over tiles gathers their values one by one instead,
/// and takes longer than encoding them.
#[inline(always)]
fn by_halving(values: &[f32], width: usize, maxima: &mut [f32]) {
    let mut magnitudes = [0; HALVED];
    // Arrays of their own, not parts of one: vectors are only made of what cannot overlap.
    let mut of_2 = [0; HALVED / 2];
    let mut of_4 = [0; HALVED / 4];
    let mut of_8 = [0; HALVED / 8];
    let mut of_16 = [0; HALVED / 16];
    let mut of_32 = [0; HALVED / 32];
    for (values, maxima) in values.chunks(HALVED).zip(maxima.chunks_mut(HALVED / width)) {
        // Values that an earlier chunk left behind lie in tiles past the last maximum.
        for (magnitude, value) in magnitudes.iter_mut().zip(values) {
            *magnitude = magnitude_bits(*value);
        }
        halve(&magnitudes, &mut of_2);
        halve(&of_2, &mut of_4);
        halve(&of_4, &mut of_8);
        halve(&of_8, &mut of_16);
        halve(&of_16, &mut of_32);
        let of_tiles = if width == 16 { &of_16[..] } else { &of_32[..] };
        maxima.iter_mut().zip(of_tiles).for_each(|(m, bits)| *m = f32::from_bits(*bits));
    }
}

#[inline(always)]
fn halve<const FROM: usize, const TO: usize>(from: &[u32; FROM], to: &mut [u32; TO]) {
    for (larger, pair) in to.iter_mut().zip(from.as_chunks::<2>().0) {
        *larger = pair[0].max(pair[1]);
    }
}

#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    f32::from_bits(values.iter().map(|value| magnitude_bits(*value)).fold(0, u32::max))
}

/// Returns the bits without the sign. They order as whole numbers: finite, then infinity, then NaN.
#[inline(always)]
fn magnitude_bits(value: f32) -> u32 {
    value.to_bits() & !(1 << 31)
}

struct EncodeEach<'a, G: Grid> {
    values: &'a [f32],
    scales: &'a [f32],
    codes: &'a mut [G::Code],
}

impl<G: Grid> NullaryFnOnce for EncodeEach<'_, G> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for ((&value, &scale), code) in self.values.iter().zip(self.scales).zip(self.codes) {
            *code = G::encode(value / scale);
        }
    }
}

struct RoundEach<'a, G> {
    values: &'a [f32],
    scales: &'a [f32],
    rounded: &'a mut [f32],
    grid: PhantomData<G>,
}

impl<G: Grid> NullaryFnOnce for RoundEach<'_, G> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for ((value, scale), rounded) in self.values.iter().zip(self.scales).zip(self.rounded) {
            *rounded = G::round(value / scale) * scale;
        }
    }
}

struct DecodeEach<'a, G: Grid> {
    codes: &'a [G::Code],
    scales: &'a [f32],
    values: &'a mut [f32],
}

impl<G: Grid> NullaryFnOnce for DecodeEach<'_, G> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for ((&code, &scale), value) in self.codes.iter().zip(self.scales).zip(self.values) {
            *value = G::decode(code) * scale;
        }
    }
}
