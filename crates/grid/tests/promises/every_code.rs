//! Every code decodes and comes back; every value goes to the nearest code.

use crate::common::{AnyCode, Check, for_every_grid, interesting_values, nearest, table, visited};
use roundwise_grid::{Bf16, Code, E2m1, E4m3, E5m2, E8m0, F16, Grid, GridKind, Int4, Int8};

#[test]
fn every_finite_code_decodes_and_comes_back() {
    struct ComesBack;
    impl Check for ComesBack {
        fn check<G: Grid<Code: AnyCode>>(&self) {
            for code in G::Code::all() {
                let value = G::decode(code);
                if value == 0.0 {
                    assert_eq!(G::encode(value), G::Code::default(), "−0 becomes +0");
                } else if G::is_finite_code(code) {
                    assert_eq!(G::encode(value), code, "{:?} {value}", G::KIND);
                    assert_eq!(G::round(value), value, "{:?}", G::KIND);
                } else {
                    assert!(
                        value.is_nan() || value.abs() > G::MAX,
                        "{:?} {code:?} {value}",
                        G::KIND
                    );
                }
            }
        }
    }
    for_every_grid(&ComesBack);
}

#[test]
fn encode_is_nearest_with_ties_to_even() {
    struct Nearest;
    impl Check for Nearest {
        fn check<G: Grid<Code: AnyCode>>(&self) {
            let table = table::<G>();
            for value in interesting_values::<G>() {
                let expected = nearest(&table, value);
                let code = G::encode(value);
                assert_eq!(code.number(), expected.code, "{:?} {value:e}", G::KIND);
                assert!(G::is_finite_code(code), "{:?} {value:e}", G::KIND);
                let rounded = G::round(value);
                assert_eq!(rounded.to_bits(), expected.value.to_bits(), "{:?} {value:e}", G::KIND);
                assert_eq!(rounded.to_bits(), G::decode(code).to_bits(), "{:?} {value:e}", G::KIND);
            }
        }
    }
    for_every_grid(&Nearest);
}

#[test]
fn encode_bf16_is_encode_of_the_value() {
    struct Same;
    impl Check for Same {
        fn check<G: Grid<Code: AnyCode>>(&self) {
            for bits in 0..=u16::MAX {
                let expected = G::encode(f32::from_bits(u32::from(bits) << 16));
                assert_eq!(G::encode_bf16(bits), expected, "{:?} {bits:#06x}", G::KIND);
            }
        }
    }
    for_every_grid(&Same);
}

#[test]
fn rounding_is_symmetric() {
    struct Symmetric;
    impl Check for Symmetric {
        fn check<G: Grid<Code: AnyCode>>(&self) {
            for value in interesting_values::<G>() {
                assert_eq!(G::round(-value), -G::round(value), "{:?} {value:e}", G::KIND);
                assert_eq!(G::step(-value), G::step(value), "{:?} {value:e}", G::KIND);
            }
        }
    }
    for_every_grid(&Symmetric);
}

#[test]
fn what_cannot_be_stored_saturates_or_becomes_zero() {
    struct Edges;
    impl Check for Edges {
        fn check<G: Grid<Code: AnyCode>>(&self) {
            for huge in [f32::INFINITY, f32::MAX, G::MAX] {
                assert_eq!(G::decode(G::encode(huge)), G::MAX, "{:?}", G::KIND);
                assert_eq!(G::decode(G::encode(-huge)), -G::MAX, "{:?}", G::KIND);
                assert_eq!((G::round(huge), G::round(-huge)), (G::MAX, -G::MAX), "{:?}", G::KIND);
            }
            for nothing in [0.0, -0.0, 1e-45, -1e-45, f32::NAN, -f32::NAN] {
                assert_eq!(G::encode(nothing), G::Code::default(), "{:?} {nothing:e}", G::KIND);
                assert_eq!(G::round(nothing).to_bits(), 0, "{:?} {nothing:e}", G::KIND);
            }
        }
    }
    for_every_grid(&Edges);
}

#[test]
fn above_and_below_are_the_neighbours() {
    struct Neighbours;
    impl Check for Neighbours {
        fn check<G: Grid<Code: AnyCode>>(&self) {
            let table = table::<G>();
            for (at, entry) in table.iter().enumerate() {
                let above = table[(at + 1).min(table.len() - 1)].value;
                let below = table[at.saturating_sub(1)].value;
                assert_eq!(
                    G::above(entry.value).to_bits(),
                    above.to_bits(),
                    "{:?} {entry:?}",
                    G::KIND
                );
                assert_eq!(
                    G::below(entry.value).to_bits(),
                    below.to_bits(),
                    "{:?} {entry:?}",
                    G::KIND
                );
            }
            assert_eq!(G::above(-0.0), G::above(0.0));
            assert_eq!(G::below(-0.0), G::below(0.0));
        }
    }
    for_every_grid(&Neighbours);
}

#[test]
fn step_is_the_distance_to_the_neighbour_away_from_zero() {
    struct Steps;
    impl Check for Steps {
        fn check<G: Grid<Code: AnyCode>>(&self) {
            let positive: Vec<f32> = table::<G>()
                .iter()
                .map(|entry| entry.value)
                .filter(|value| *value >= 0.0)
                .collect();
            for pair in positive.windows(2) {
                let step = pair[1] - pair[0];
                assert_eq!(G::step(pair[0]), step, "{:?} {}", G::KIND, pair[0]);
                assert_eq!(G::step(pair[1].next_down()), step, "{:?} {}", G::KIND, pair[1]);
            }
            assert_eq!(G::step(f32::MAX), G::step(G::MAX));
        }
    }
    for_every_grid(&Steps);
}

#[test]
fn the_contract_s_examples() {
    // Section 1.1, except that −0 is not written.
    let examples =
        [(1.0625, 0x38), (1.1875, 0x3A), (1.0 / 1024.0, 0), (3.0 / 1024.0, 2), (448.0, 0x7E)];
    for (value, code) in examples {
        assert_eq!(E4m3::encode(value), code, "{value}");
    }
    assert_eq!((E4m3::decode(1), E4m3::decode(8)), (1.0 / 512.0, 1.0 / 64.0));
    assert!(E4m3::decode(0x7F).is_nan() && E4m3::decode(0xFF).is_nan());
    assert_eq!(E5m2::encode(57344.0), 0x7B);
    assert_eq!((E5m2::decode(1), E5m2::decode(0x7C)), (1.0 / 65536.0, f32::INFINITY));
    assert_eq!(E5m2::encode(61440.0), 0x7B, "saturates where torch gives infinity");
    assert_eq!([Int8::encode(0.5), Int8::encode(1.5), Int8::encode(-200.0)], [0, 2, 0x81]);
    assert_eq!([Int4::encode(0.5), Int4::encode(-1.0), Int4::encode(-200.0)], [0, 0xF, 0x9]);
    assert_eq!((0..8).map(E2m1::decode).collect::<Vec<_>>(), [0., 0.5, 1., 1.5, 2., 3., 4., 6.]);
    let boundaries = [(0.25, 0.0), (0.75, 1.0), (1.25, 1.0), (1.75, 2.0), (2.5, 2.0), (3.5, 4.0)];
    for (value, nearest) in boundaries.into_iter().chain([(5.0, 4.0)]) {
        assert_eq!(E2m1::round(value), nearest, "{value}");
    }
}

#[test]
fn every_power_of_two_comes_back() {
    for code in 1..=E8m0::LARGEST {
        let value = E8m0::decode(code);
        assert_eq!(value.log2(), f32::from(code) - 127.0);
        assert_eq!((E8m0::encode(value), E8m0::encode(-value)), (Some(code), None));
        assert_eq!(E8m0::encode(value * 1.5), None);
    }
    assert_eq!((E8m0::decode(E8m0::ONE), E8m0::decode(0)), (1.0, 0.0));
    assert!(E8m0::decode(255).is_nan());
    for value in [0.0, 1e-40, f32::INFINITY, f32::NAN] {
        assert_eq!(E8m0::encode(value), None, "{value}");
    }
}

#[test]
fn at_least_is_the_smallest_power_of_two_that_is_not_below() {
    let powers: Vec<f32> = (0..=E8m0::LARGEST).map(E8m0::decode).collect();
    let around = |value: f32| [value.next_down(), value, value.next_up()];
    let all_bf16 = (0..0x7F80u16).map(|bits| f32::from_bits(u32::from(bits) << 16));
    for value in all_bf16.chain(powers[1..].iter().flat_map(|power| around(*power))) {
        let expected = powers.iter().position(|power| *power >= value).unwrap_or(254);
        let expected = (value >= f32::MIN_POSITIVE).then_some(expected as u8);
        assert_eq!(E8m0::at_least(value), expected, "{value:e}");
    }
    // Section 6.12: absmax 448, the next f32 above, and 1.75.
    let of_absmax = |absmax: f32| E8m0::at_least(absmax / 448.0).unwrap();
    assert_eq!([448.0, 448.00003, 1.75].map(of_absmax), [127, 128, 119]);
}

#[test]
fn kinds_know_their_types() {
    for kind in GridKind::ALL {
        assert_eq!(visited(kind), kind);
    }
    struct Sizes;
    impl Check for Sizes {
        fn check<G: Grid<Code: AnyCode>>(&self) {
            assert_eq!(G::KIND.code_bytes(), size_of::<G::Code>());
            let finite = G::Code::all().into_iter().filter(|code| G::is_finite_code(*code)).count();
            let codes = 1usize << G::KIND.code_bits();
            assert!(finite <= codes && finite > codes / 2, "{:?} {finite}", G::KIND);
            assert_eq!(G::KIND.max(), G::MAX);
            assert_eq!(table::<G>().last().unwrap().value, G::MAX);
            assert_eq!(G::KIND.name(), format!("{:?}", G::KIND).to_lowercase());
        }
    }
    for_every_grid(&Sizes);
    assert_eq!([E4m3::MAX, E5m2::MAX, Int8::MAX, F16::MAX], [448.0, 57344.0, 127.0, 65504.0]);
    assert_eq!([E2m1::MAX, Int4::MAX], [6.0, 7.0]);
    assert_eq!(Bf16::MAX, half::bf16::MAX.to_f32());
}

#[test]
fn codes_are_little_endian_bytes() {
    struct Bytes;
    impl Check for Bytes {
        fn check<G: Grid<Code: AnyCode>>(&self) {
            let codes = G::Code::all();
            let mut bytes = vec![0; codes.len() * G::Code::BYTES];
            G::Code::write_le(&codes, &mut bytes);
            let expected = codes
                .iter()
                .flat_map(|code| code.number().to_le_bytes()[..G::Code::BYTES].to_vec());
            assert!(bytes.iter().copied().eq(expected), "{:?}", G::KIND);
            let mut read = vec![G::Code::default(); codes.len()];
            G::Code::read_le(&bytes, &mut read);
            assert!(read == codes, "{:?}", G::KIND);
        }
    }
    for_every_grid(&Bytes);
}
