//! The 16-bit encoders agree with the `half` crate.

use roundwise_testkit::files::{bf16_bits, f16_bits, f16_bytes};
use roundwise_testkit::random::Random;

#[test]
fn every_value_and_every_tie() {
    for bits in 0..=u16::MAX {
        for tie in [0, 0x7FFF, 0x8000, 0x8001, 0x0FFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x3001] {
            check(f32::from_bits(u32::from(bits) << 16 | tie));
        }
    }
}

#[test]
fn random_values() {
    let mut random = Random::new(9);
    for _ in 0..1_000_000 {
        check(random.finite_f32());
    }
}

#[test]
fn bytes_are_little_endian() {
    assert_eq!(f16_bytes(&[1.0, -2.0]), [0x00, 0x3C, 0x00, 0xC0]);
}

fn check(value: f32) {
    if value.is_nan() {
        assert!(half::f16::from_bits(f16_bits(value)).is_nan());
        assert!(half::bf16::from_bits(bf16_bits(value)).is_nan());
        return;
    }
    assert_eq!(f16_bits(value), half::f16::from_f32(value).to_bits(), "{value:e}");
    assert_eq!(bf16_bits(value), half::bf16::from_f32(value).to_bits(), "{value:e}");
}
