//! Exponentials and powers that vectorise and have the same bits on every platform.

use std::f32::consts::{LN_2, LOG2_E};

/// Returns `eˣ`, relative error below 1e-6 for |x| ≤ 20 and below 4e-6 elsewhere; 2⁻¹²⁶ and 2¹²⁶ past these.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 · 2²³ leaves the nearest integer in the low bits.
    const SHIFT: f32 = 12_582_912.0;
    let turns = (x * LOG2_E).clamp(-126.0, 126.0);
    let shifted = turns + SHIFT;
    let exponent = shifted.to_bits() as i32 - SHIFT.to_bits() as i32;
    let y = (turns - (shifted - SHIFT)) * LN_2;
    // Taylor; |y| ≤ 0.347, so the next term is below 6e-9.
    let series = 1.0 / 120.0 + y * (1.0 / 720.0 + y * (1.0 / 5040.0));
    let series = 1.0 + y * (1.0 + y * (0.5 + y * (1.0 / 6.0 + y * (1.0 / 24.0 + y * series))));
    // `turns` is clamped, so that the exponent stays that of a normal number.
    f32::from_bits(((exponent + 127) << 23) as u32) * series
}

/// Returns the natural logarithm of a normal number above 0, absolute error below 1e-6 near 1.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    // The exponent that leaves a mantissa from √½ to √2.
    const ROOT_HALF: i32 = 0x3F35_04F3;
    let bits = x.to_bits() as i32;
    let exponent = (bits - ROOT_HALF) >> 23;
    let mantissa = f32::from_bits((bits - (exponent << 23)) as u32);
    // ln m = 2 artanh s; |s| ≤ 0.172, so the next term is below 1e-9.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let w = s * s;
    let series = 1.0 + w * (1.0 / 3.0 + w * (0.2 + w * (1.0 / 7.0 + w * (1.0 / 9.0))));
    exponent as f32 * LN_2 + 2.0 * s * series
}

/// Returns `xᵖ` for x from 0 to 1 and p from 0 on; 0 counts as the smallest normal number.
#[inline(always)]
pub(crate) fn power(x: f32, p: f32) -> f32 {
    exp(p * ln(x.max(f32::MIN_POSITIVE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_what_they_approximate() {
        for i in -2000..2000 {
            let x = i as f32 * 0.02;
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) / expected - 1.0).abs() < 4e-6, "exp({x})");
        }
        for i in 1..4000 {
            let x = i as f32 / 1024.0;
            let expected = f64::from(x).ln();
            assert!((f64::from(ln(x)) - expected).abs() < 1e-6, "ln({x})");
        }
        for p in [1.0, 2.0, 7.3, 19.0] {
            for i in 0..=256 {
                let x = i as f32 / 256.0;
                let expected = f64::from(x).powf(f64::from(p));
                assert!((f64::from(power(x, p)) - expected).abs() < 1e-5, "{x}^{p}");
            }
        }
    }
}
