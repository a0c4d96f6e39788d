//! Slice functions give, for every length, what their one-line definitions give.

use crate::common::{AnyCode, Check, for_every_grid, interesting_values};
use proptest::prelude::*;
use roundwise_grid::*;

/// All values that matter, and a few more that fill no whole vector.
fn values<G: Grid<Code: AnyCode>>() -> Vec<f32> {
    let mut values = interesting_values::<G>();
    values.extend([f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -0.0, 1.0, 2.0, 3.0]);
    values
}

const SCALES: [f32; 5] = [1.0, 0.01, 0.002_455_357_2, 3.0, 1e-12];

#[test]
fn encoders_are_their_definitions() {
    struct Encoders;
    impl Check for Encoders {
        fn check<G: Grid<Code: AnyCode>>(&self) {
            let values = values::<G>();
            let mut codes = vec![G::Code::default(); values.len()];
            encode_slice::<G>(&values, &mut codes);
            let expected: Vec<G::Code> = values.iter().map(|&value| G::encode(value)).collect();
            assert!(codes == expected, "{:?}", G::KIND);
            for scale in SCALES {
                encode_scaled::<G>(&values, scale, &mut codes);
                let expected = values.iter().map(|&value| G::encode(value / scale));
                assert!(codes.iter().copied().eq(expected), "{:?} {scale}", G::KIND);
            }
            for value in &values {
                let (code, rounded) = G::encode_round(*value);
                let is_same = rounded.to_bits() == G::round(*value).to_bits();
                assert!(code == G::encode(*value) && is_same, "{:?} {value}", G::KIND);
                assert_eq!(rounded.to_bits(), G::decode(code).to_bits(), "{:?} {value}", G::KIND);
            }
            let all: Vec<u16> = (0..=u16::MAX).collect();
            let mut codes = vec![G::Code::default(); all.len()];
            encode_bf16_slice::<G>(&all, &mut codes);
            let expected = all.iter().map(|&bits| G::encode(f32::from_bits(u32::from(bits) << 16)));
            assert!(codes.iter().copied().eq(expected), "{:?}", G::KIND);
        }
    }
    for_every_grid(&Encoders);
}

#[test]
fn decoder_is_its_definition() {
    struct Decoder;
    impl Check for Decoder {
        fn check<G: Grid<Code: AnyCode>>(&self) {
            let codes = G::Code::all();
            let mut values = vec![0.0; codes.len()];
            for scale in SCALES {
                decode_scaled::<G>(&codes, scale, &mut values);
                for (&code, value) in codes.iter().zip(&values) {
                    let expected = G::decode(code) * scale;
                    let both_nan = value.is_nan() && expected.is_nan(); // in whatever way
                    let is_same = value.to_bits() == expected.to_bits() || both_nan;
                    assert!(is_same, "{:?} {code:?} {value}", G::KIND);
                }
            }
        }
    }
    for_every_grid(&Decoder);
}

#[test]
fn any_number_of_codes_is_counted() {
    for len in [0, 1, 255, 256, 10_000] {
        let codes: Vec<u8> = (0..len).map(|at| u8::from(at % 3 == 0)).collect();
        assert_eq!(count_codes::<E4m3>(&codes, 1), codes.iter().filter(|code| **code == 1).count());
        // More equal ones in a row than a byte can count.
        assert_eq!(count_codes::<F16>(&vec![7; len], 7), len);
    }
}

#[test]
fn grid_functions_are_the_same_inside_vectorized() {
    struct Functions;
    impl Check for Functions {
        fn check<G: Grid<Code: AnyCode>>(&self) {
            for function in [
                G::round,
                G::step,
                |value| G::above(G::round(value)),
                |value| G::below(G::round(value)),
            ] {
                let values = values::<G>();
                let mut results = values.clone();
                vectorized(|| results.iter_mut().for_each(|value| *value = function(*value)));
                for (value, result) in values.iter().zip(results) {
                    assert_eq!(
                        function(*value).to_bits(),
                        result.to_bits(),
                        "{:?} {value}",
                        G::KIND
                    );
                }
            }
        }
    }
    for_every_grid(&Functions);
}

#[test]
fn absmax_shows_what_cannot_be_encoded() {
    assert_eq!(absmax(&[]), 0.0);
    assert_eq!(absmax(&[-0.0]).to_bits(), 0);
    assert_eq!(absmax(&[1.0, -3.0, 2.0]), 3.0);
    for length in 1..100 {
        for place in 0..length {
            let mut values = vec![0.5; length];
            for special in [-7.0, f32::INFINITY, f32::NEG_INFINITY] {
                values[place] = special;
                assert_eq!(absmax(&values), special.abs());
            }
            values[length - 1 - place] = f32::INFINITY;
            values[place] = -f32::NAN;
            assert!(absmax(&values).is_nan(), "{length} {place}");
        }
    }
}

#[test]
fn widening_reads_unaligned_little_endian_bytes() {
    let every: Vec<u16> = (0..=u16::MAX).collect();
    let mut bytes = vec![0xFF]; // whatever the alignment of the buffer, what follows is odd
    bytes.extend(every.iter().flat_map(|bits| bits.to_le_bytes()));
    let mut values = vec![0.0; every.len()];

    widen_bf16(&bytes[1..], &mut values);
    assert!(values.iter().zip(&every).all(|(v, &c)| v.to_bits() == u32::from(c) << 16));

    widen_f16(&bytes[1..], &mut values);
    for (value, &code) in values.iter().zip(&every) {
        let expected = half::f16::from_bits(code).to_f32();
        assert!(value.to_bits() == expected.to_bits() || (value.is_nan() && expected.is_nan()));
    }

    let wide = [1.0f64, -1e300, 1e-300, 0.1, 16_777_217.0];
    let bytes: Vec<u8> = wide.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut values = [0.0; 5];
    widen_f64(&bytes, &mut values);
    assert_eq!(values, [1.0, f32::NEG_INFINITY, 0.0, 0.1, 16_777_216.0]);

    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut copied = [0.0; 5];
    widen_f32(&bytes, &mut copied);
    assert_eq!(copied, values);
}

#[test]
#[should_panic(expected = "2 bytes per value")]
fn widening_half_a_value_is_refused() {
    widen_bf16(&[0, 0, 0], &mut [0.0]);
}

#[test]
#[should_panic(expected = "as many results as values")]
fn lengths_must_agree() {
    encode_slice::<E4m3>(&[1.0, 2.0], &mut [0]);
}

/// The order of additions that the documentation of the sums fixes, without vectors.
fn sums_by_definition<G: Grid>(values: &[f32], scale: f32, codes: &[G::Code]) -> Squares {
    let mut lanes = [Squares::default(); 64];
    for (at, (&value, &code)) in values.iter().zip(codes).enumerate() {
        let error = f64::from(G::decode(code) * scale) - f64::from(value);
        lanes[at % 64].error += error * error;
        lanes[at % 64].value += f64::from(value) * f64::from(value);
    }
    for half in [32, 16, 8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane].error += lanes[lane + half].error;
            lanes[lane].value += lanes[lane + half].value;
        }
    }
    lanes[0]
}

proptest! {
    #[test]
    fn a_scale_for_every_value_is_a_scale_for_all(
        values in prop::collection::vec(-2.0f32..2.0, 0..2500),
        width in prop_oneof![1usize..40, Just(16), Just(32)],
    ) {
        let of_tile = |index: usize| 0.01 + 0.001 * (index / width) as f32;
        let scales: Vec<f32> = (0..values.len()).map(of_tile).collect();
        let mut codes = vec![0; values.len()];
        encode_each::<E2m1>(&values, &scales, &mut codes);
        let mut decoded = values.clone();
        decode_each::<E2m1>(&codes, &scales, &mut decoded);
        let mut rounded = values.clone();
        round_each::<E2m1>(&values, &scales, &mut rounded);
        prop_assert_eq!(&rounded, &decoded);
        let mut measured_codes = codes.clone();
        let measured = encode_measured_each::<E2m1>(&values, &scales, &mut measured_codes);
        prop_assert_eq!(measured, measure_each::<E2m1>(&values, &scales, &codes));
        prop_assert_eq!(&measured_codes, &codes);
        let mut maxima = vec![0.0; values.len().div_ceil(width)];
        absmax_tiles(&values, width, &mut maxima);
        for (tile, tile_values) in values.chunks(width).enumerate() {
            let range = tile * width..tile * width + tile_values.len();
            let scale = of_tile(range.start);
            prop_assert_eq!(maxima[tile], absmax(tile_values));
            let mut expected = vec![0; range.len()];
            encode_scaled::<E2m1>(tile_values, scale, &mut expected);
            prop_assert_eq!(&codes[range.clone()], &expected);
            let mut expected = vec![0.0; range.len()];
            decode_scaled::<E2m1>(&codes[range.clone()], scale, &mut expected);
            prop_assert_eq!(&decoded[range], &expected);
        }
        let same = vec![0.3; values.len()];
        let measured = measure_each::<E2m1>(&values, &same, &codes);
        prop_assert_eq!(measured, measure::<E2m1>(&values, 0.3, &codes));
    }

    #[test]
    fn measured_sums_have_the_fixed_order(values in prop::collection::vec(-2.0f32..2.0, 0..1200), scale in 1e-3f32..0.1) {
        let mut codes = vec![0; values.len()];
        let squares = encode_measured::<E4m3>(&values, scale, &mut codes);
        let mut expected_codes = vec![0; values.len()];
        encode_scaled::<E4m3>(&values, scale, &mut expected_codes);
        prop_assert_eq!(&codes, &expected_codes);

        let expected = sums_by_definition::<E4m3>(&values, scale, &codes);
        prop_assert_eq!(squares.error.to_bits(), expected.error.to_bits());
        prop_assert_eq!(squares.value.to_bits(), expected.value.to_bits());
        prop_assert_eq!(measure::<E4m3>(&values, scale, &codes), expected);
    }
}
