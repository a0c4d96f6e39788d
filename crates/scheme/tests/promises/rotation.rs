//! The butterfly is the matrix, the matrix is the contract's, and twice is nothing.

use roundwise_scheme::{FloatDtype, Rotation, Weight, rotate, rotation_at};
use roundwise_testkit::files::f32_bytes;
use roundwise_testkit::weights::gaussian;

#[test]
fn the_matrix_is_the_regular_hadamard_matrix() {
    let signs = [
        "+++-+++-+++----+",
        "++-+++-+++-+--+-",
        "+-+++-+++-++-+--",
        "-+++-+++-++++---",
        "+++-+++----++++-",
        "++-+++-+--+-++-+",
        "+-+++-++-+--+-++",
        "-+++-++++----+++",
        "+++----++++-+++-",
        "++-+--+-++-+++-+",
        "+-++-+--+-+++-++",
        "-++++----+++-+++",
        "---++++-+++-+++-",
        "--+-++-+++-+++-+",
        "-+--+-+++-+++-++",
        "+----+++-+++-+++",
    ];
    for (row, signs) in signs.iter().enumerate() {
        for (col, sign) in signs.bytes().enumerate() {
            let expected = if sign == b'+' { 0.25 } else { -0.25 };
            assert_eq!(rotation_at(16, row, col), expected, "({row}, {col})");
        }
    }
}

#[test]
fn the_butterfly_follows_the_matrix() {
    for group in [4, 16, 64, 256] {
        let weight = gaussian(5, 2 * group, group as u64);
        let mut rotated = weight.values.clone();
        rotate(group, &mut rotated);
        for row in 0..5 {
            for col in 0..2 * group {
                let start = col / group * group;
                let term = |k: usize| {
                    f64::from(weight.at(row, start + k))
                        * f64::from(rotation_at(group, k, col - start))
                };
                let expected: f64 = (0..group).map(term).sum();
                // Values near 1, rounded twice per base-4 digit.
                let found = rotated[row * 2 * group + col];
                assert!((f64::from(found) - expected).abs() < 2e-6);
            }
        }
        rotate(group, &mut rotated);
        for (back, value) in rotated.iter().zip(&weight.values) {
            assert!((back - value).abs() < 4e-6);
        }
    }
}

#[test]
fn whole_numbers_rotate_exactly() {
    let mut weight = [1.0, 2.0, 3.0, 4.0];
    rotate(4, &mut weight);
    assert_eq!(weight, [1.0, 2.0, 3.0, 4.0]);
    let mut unit = [0.0, 0.0, 0.0, 2.0];
    rotate(4, &mut unit);
    assert_eq!(unit, [-1.0, 1.0, 1.0, 1.0]);
}

#[test]
fn the_largest_group_that_divides_the_columns_is_taken() {
    let group = |most, cols| Rotation::up_to(most).unwrap().group(cols);
    assert_eq!(Rotation::DEFAULT, Rotation::up_to(256).unwrap());
    let cases = [(1024, 256), (384, 64), (1536, 256), (48, 16), (4, 4)];
    assert_eq!(cases.map(|(cols, _)| group(256, cols)), cases.map(|(_, group)| Some(group)));
    assert_eq!([group(16, 1024), group(1024, 1024), group(256, 257)], [Some(16), Some(1024), None]);
    for most in [0, 1, 2, 3, 8, 32, 100, 128] {
        assert_eq!(Rotation::up_to(most), None, "{most}");
    }
    assert_eq!(Rotation::of_group(64, 384), Some(Rotation::DEFAULT));
    assert_eq!(Rotation::of_group(16, 384), Rotation::up_to(16));
    assert_eq!([Rotation::of_group(256, 384), Rotation::of_group(8, 384)], [None; 2]);
}

/// Every part of a row has the numbers of the whole row.
#[test]
fn parts_of_a_rotated_row_are_those_of_the_whole() {
    let (rows, cols) = (3, 128);
    let matrix = gaussian(rows, cols, 5);
    let bytes = f32_bytes(&matrix.values);
    let weight = Weight::new(rows, cols, FloatDtype::F32, &bytes).unwrap();
    let rotated = weight.seen_by("int8-row-convrot-16".parse().unwrap());
    for row in 0..rows {
        let mut whole = matrix.values[row * cols..][..cols].to_vec();
        rotate(16, &mut whole);
        for part in [0..128, 0..16, 16..64, 3..4, 15..17, 100..128, 7..7] {
            let mut values = vec![0.0; part.len()];
            rotated.widen_part(row, part.clone(), &mut values);
            assert_eq!(values, whole[part]);
        }
    }
    let plain = rotated.seen_by("int8-row".parse().unwrap());
    assert_eq!(plain.to_f32(), matrix.values);
}
