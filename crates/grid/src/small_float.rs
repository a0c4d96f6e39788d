//! Arithmetic of the float grids whose range lies well inside f32's: E2M1, E4M3, E5M2, F16.
//!
//! Rounding adds a number so large that f32's own rounding (nearest, ties to even) happens at the
//! grid's step. In the binade 2^e the step is 2^(e − mantissa bits), below the smallest normal
//! value it stays constant, and f32 has that step as its last place around 1.5 · 2^23 steps. This
//! costs the same for normal and subnormal values: no branch, no table, no slow f32 subnormals.

/// Constants of one float grid.
pub(crate) trait SmallFloat {
    /// Largest finite value.
    const MAX: f32;
    /// Stored mantissa bits.
    const MANTISSA_BITS: u32;
    /// Exponent field, in f32's bias of 127, of the smallest normal value.
    const MIN_NORMAL_FIELD: u32;
    /// Smallest magnitude code that is not finite: all codes from here on are NaN or infinity.
    const FIRST_SPECIAL: u32;
    /// Position of the sign bit in the code.
    const SIGN_BIT: u32;
}

const F32_SIGN: u32 = 1 << 31;
const F32_EXPONENT: u32 = 0xFF << 23;
const F32_MAGNITUDE: u32 = F32_SIGN - 1;

/// Returns the exponent bits of the binade whose step applies to the f32 `bits`.
#[inline(always)]
fn binade<F: SmallFloat>(bits: u32) -> u32 {
    (bits & F32_EXPONENT).max(F::MIN_NORMAL_FIELD << 23)
}

/// Returns 1.5 · 2^23 steps of a binade, as f32 bits. The half keeps sums with negative values in
/// the same f32 binade.
#[inline(always)]
fn rounder<F: SmallFloat>(binade: u32) -> u32 {
    binade + ((23 - F::MANTISSA_BITS) << 23) + (1 << 22)
}

/// Clamps `value` to ±MAX, NaN as 0. Comparisons in this order become two vector instructions.
#[inline(always)]
fn tamed(value: f32, max: f32) -> f32 {
    let value = if value.is_nan() { 0.0 } else { value };
    let value = if value < max { value } else { max };
    if value > -max { value } else { -max }
}

/// Implements [`Grid::round`](crate::Grid::round).
#[inline(always)]
pub(crate) fn round<F: SmallFloat>(value: f32) -> f32 {
    let value = tamed(value, F::MAX);
    // The step is that of the binade the value lies in. Where it rounds up to the next binade, it
    // reaches the first value of that, which both grids have.
    let rounder = f32::from_bits(rounder::<F>(binade::<F>(value.to_bits())));
    (value + rounder) - rounder // x − x is +0, so −0 cannot come out
}

/// Implements [`Grid::encode`](crate::Grid::encode), in the low bits of the result; the bits above
/// the code are rubbish that the caller cuts off.
///
/// After the addition the low bits of the sum count steps, and counting steps of the binades in
/// order is what a float code does; only the exponent has to be added in its place.
#[inline(always)]
pub(crate) fn encode<F: SmallFloat>(value: f32) -> u32 {
    encode_round::<F>(value).0
}

/// Implements [`Grid::encode_round`](crate::Grid::encode_round), with the code as [`encode`] returns it.
#[inline(always)]
pub(crate) fn encode_round<F: SmallFloat>(value: f32) -> (u32, f32) {
    let magnitude = tamed_magnitude(value, F::MAX);
    let binade = binade::<F>(magnitude.to_bits());
    let rounder = f32::from_bits(rounder::<F>(binade));
    let sum = magnitude + rounder;
    // The exponent field of the smallest normal value, in place, is not counted.
    let first = F::MIN_NORMAL_FIELD << F::MANTISSA_BITS;
    let exponent = (binade >> (23 - F::MANTISSA_BITS)).wrapping_sub(first);
    let code = sum.to_bits().wrapping_add(exponent);
    let rounded = (sum - rounder).to_bits();
    // Half the smallest step still goes to zero, by the tie rule, so these are all that stay
    // negative.
    let is_negative = value < -half_smallest_step::<F>();
    let code = if is_negative { code | 1 << F::SIGN_BIT } else { code };
    (code, f32::from_bits(if is_negative { rounded | F32_SIGN } else { rounded }))
}

/// Returns `|value|`, at most MAX, NaN as 0.
#[inline(always)]
fn tamed_magnitude(value: f32, max: f32) -> f32 {
    let magnitude = f32::from_bits(value.to_bits() & F32_MAGNITUDE);
    let magnitude = if value.is_nan() { 0.0 } else { magnitude };
    if magnitude < max { magnitude } else { max }
}

#[inline(always)]
fn half_smallest_step<F: SmallFloat>() -> f32 {
    f32::from_bits((F::MIN_NORMAL_FIELD - F::MANTISSA_BITS - 1) << 23)
}

/// Implements [`Grid::decode`](crate::Grid::decode) of a code in the low bits, zeros above.
#[inline(always)]
pub(crate) fn decode<F: SmallFloat>(code: u32) -> f32 {
    let magnitude = code & ((1 << F::SIGN_BIT) - 1);
    let sign = (code >> F::SIGN_BIT) << 31;
    let smallest_normal = f32::from_bits(F::MIN_NORMAL_FIELD << 23);

    let in_place = magnitude << (23 - F::MANTISSA_BITS);
    let normal = in_place + ((F::MIN_NORMAL_FIELD - 1) << 23);
    // With the exponent of the smallest normal value in front, a subnormal code is too large by
    // exactly that value.
    let shifted = f32::from_bits(in_place + (F::MIN_NORMAL_FIELD << 23));
    let subnormal = (shifted - smallest_normal).to_bits();

    let is_subnormal = magnitude < 1 << F::MANTISSA_BITS;
    let finite = if is_subnormal { subnormal } else { normal };
    // All exponent bits and the mantissa of the code: of IEEE grids the first special code is
    // infinity and the others are NaN; E4M3's only one has a mantissa.
    let bits = if magnitude >= F::FIRST_SPECIAL { finite | F32_EXPONENT } else { finite };
    f32::from_bits(bits | sign)
}

/// Implements [`Grid::above`](crate::Grid::above).
#[inline(always)]
pub(crate) fn above<F: SmallFloat>(value: f32) -> f32 {
    // Going up from −2^e one enters the smaller binade: its exponent is that of the f32 before it.
    let bits = value.to_bits().wrapping_sub(u32::from(value < 0.0));
    // Both are whole steps, so the sum is exact.
    let sum = value + step_of::<F>(binade::<F>(bits));
    if sum < F::MAX { sum } else { F::MAX }
}

/// Implements [`Grid::below`](crate::Grid::below).
#[inline(always)]
pub(crate) fn below<F: SmallFloat>(value: f32) -> f32 {
    let bits = value.to_bits().wrapping_sub(u32::from(value > 0.0));
    let difference = value - step_of::<F>(binade::<F>(bits));
    if difference > -F::MAX { difference } else { -F::MAX }
}

/// Implements [`Grid::step`](crate::Grid::step).
#[inline(always)]
pub(crate) fn step<F: SmallFloat>(value: f32) -> f32 {
    step_of::<F>(binade::<F>(tamed_magnitude(value, F::MAX).to_bits()))
}

#[inline(always)]
fn step_of<F: SmallFloat>(binade: u32) -> f32 {
    // A power of two that is normal in f32: the smallest step of all grids is F16's 2⁻²⁴.
    f32::from_bits(binade - (F::MANTISSA_BITS << 23))
}
