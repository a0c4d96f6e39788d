//! Agreement with the crates `half` and `float8`, which know nothing of ours.

use crate::common::interesting_values;
use proptest::prelude::*;
use roundwise_grid::{Bf16, E4m3, E5m2, F16, Grid};

#[test]
fn decoding_agrees_for_every_code() {
    for code in 0..=u8::MAX {
        same(E4m3::decode(code), float8::F8E4M3::from_bits(code).to_f32());
        same(E5m2::decode(code), float8::F8E5M2::from_bits(code).to_f32());
    }
    for code in 0..=u16::MAX {
        same(F16::decode(code), half::f16::from_bits(code).to_f32());
        same(Bf16::decode(code), half::bf16::from_bits(code).to_f32());
    }
}

#[test]
fn encoding_agrees_at_every_boundary() {
    interesting_values::<E4m3>().into_iter().for_each(encodings_agree);
    interesting_values::<E5m2>().into_iter().for_each(encodings_agree);
    interesting_values::<F16>().into_iter().for_each(encodings_agree);
    interesting_values::<Bf16>().into_iter().for_each(encodings_agree);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn encoding_agrees_for_any_f32(bits: u32) {
        let value = f32::from_bits(bits);
        prop_assume!(value.is_finite());
        encodings_agree(value);
    }

    #[test]
    fn encoding_agrees_for_weights(value in -500.0f32..500.0) {
        encodings_agree(value);
        encodings_agree(value / 16384.0);
    }
}

fn encodings_agree(value: f32) {
    let clamped = |max: f32| value.clamp(-max, max);
    let e4m3 = float8::F8E4M3::from_f32(clamped(448.0)).to_bits();
    assert_eq!(E4m3::encode(value), u8::from_minus_zero(e4m3), "{value:e}");
    let e5m2 = float8::F8E5M2::from_f32(clamped(57344.0)).to_bits();
    assert_eq!(E5m2::encode(value), u8::from_minus_zero(e5m2), "{value:e}");
    let f16 = half::f16::from_f32(clamped(65504.0)).to_bits();
    assert_eq!(F16::encode(value), u16::from_minus_zero(f16), "{value:e}");
    let bf16 = half::bf16::from_f32(clamped(Bf16::MAX)).to_bits();
    assert_eq!(Bf16::encode(value), u16::from_minus_zero(bf16), "{value:e}");
}

/// The one difference: they keep −0, which we never write.
trait MinusZero {
    fn from_minus_zero(code: Self) -> Self;
}

impl MinusZero for u8 {
    fn from_minus_zero(code: u8) -> u8 {
        if code == 0x80 { 0 } else { code }
    }
}

impl MinusZero for u16 {
    fn from_minus_zero(code: u16) -> u16 {
        if code == 0x8000 { 0 } else { code }
    }
}

#[track_caller]
fn same(ours: f32, theirs: f32) {
    assert!(
        ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()),
        "{ours:e} {theirs:e}"
    );
}
