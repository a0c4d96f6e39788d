//! Generated matrices are what their names say, and the same for ever.

use roundwise_testkit::bytes::to_hex;
use roundwise_testkit::cases::test_each;
use roundwise_testkit::weights::*;
use sha2::{Digest, Sha256};

type Generator = fn(usize, usize, u64) -> Matrix;

const SEEDED: [(&str, Generator); 7] = [
    ("gaussian", gaussian),
    ("power_law_spectrum", power_law_spectrum),
    ("rank_one", rank_one),
    ("with_outliers", with_outliers),
    ("with_zero_rows", with_zero_rows),
    ("subnormals", subnormals),
    ("one_huge", one_huge),
];

#[test]
fn seeds_decide_everything() {
    test_each(SEEDED, |(_, generate)| {
        assert_eq!(generate(7, 12, 3), generate(7, 12, 3));
        assert_ne!(generate(7, 12, 3), generate(7, 12, 4));
    });
}

/// Golden bytes elsewhere are made from these matrices: a change here breaks them all.
#[test]
fn bytes_never_change() {
    let hash = |generate: Generator| to_hex(&Sha256::digest(generate(7, 12, 3).bytes())[..8]);
    let actual = SEEDED.map(|(name, generate)| (name, hash(generate)));
    let expected = GOLDEN.map(|(name, hash)| (name, hash.to_string()));
    assert_eq!(actual, expected);
}

const GOLDEN: [(&str, &str); 7] = [
    ("gaussian", "f8cfabc134137410"),
    ("power_law_spectrum", "2844cf8a0f8d59aa"),
    ("rank_one", "a5c850fb8cf3ce8b"),
    ("with_outliers", "42dc510bb2d4652b"),
    ("with_zero_rows", "5b1a30b62f48381c"),
    ("subnormals", "e368816329695bef"),
    ("one_huge", "257a7776098f78a3"),
];

#[test]
fn shapes_hold_and_values_are_finite() {
    let shapes = [(1, 1), (1, 9), (9, 1), (16, 33), (0, 4), (4, 0), (0, 0)];
    test_each(shapes, |&(rows, cols)| {
        for (name, generate) in SEEDED {
            let matrix = generate(rows, cols, 5);
            assert_eq!(matrix.shape(), [rows, cols], "{name}");
            assert_eq!(matrix.values.len(), rows * cols, "{name}");
            assert!(matrix.values.iter().all(|value| value.is_finite()), "{name}");
        }
    });
}

#[test]
fn ordinary_weights_have_the_size_of_ordinary_weights() {
    for generate in [gaussian, power_law_spectrum] {
        let values = generate(200, 150, 1).values;
        let square: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
        let root_mean_square = (square / values.len() as f64).sqrt();
        assert!((0.018..0.022).contains(&root_mean_square), "{root_mean_square}");
    }
}

#[test]
fn a_power_law_has_leading_directions() {
    // tr(WWᵀWWᵀ) / tr(WWᵀ)² is 1 for one direction and about 1/m + 1/n for noise.
    let concentration = |matrix: &Matrix| {
        let rows: Vec<&[f32]> = matrix.values.chunks_exact(matrix.cols).collect();
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
        };
        let trace: f64 = rows.iter().map(|row| dot(row, row)).sum();
        let pairs = rows.iter().flat_map(|a| rows.iter().map(move |b| (a, b)));
        pairs.map(|(a, b)| dot(a, b).powi(2)).sum::<f64>() / (trace * trace)
    };
    assert!(concentration(&gaussian(100, 100, 2)) < 0.03);
    assert!(concentration(&power_law_spectrum(100, 100, 2)) > 0.06);
    assert!(concentration(&rank_one(100, 100, 2)) > 0.999);
}

#[test]
fn awkward_weights_are_awkward() {
    let outliers = with_outliers(40, 50, 1);
    let count = outliers.values.iter().filter(|value| value.abs() > 0.9).count();
    assert!((1..=10).contains(&count), "{count}");

    let rows = with_zero_rows(9, 5, 1);
    let is_zero = |row: usize| (0..5).all(|col| rows.at(row, col) == 0.0);
    assert_eq!((0..9).filter(|&row| is_zero(row)).collect::<Vec<_>>(), [0, 3, 6]);
    assert!(rows.at(3, 0).is_sign_negative() && rows.at(0, 0).is_sign_positive());

    let tiles = with_zero_tiles(8, 8, 4, 1);
    assert_eq!((tiles.at(3, 3), tiles.at(4, 4)), (0.0, 0.0));
    assert!(tiles.at(3, 4) != 0.0 && tiles.at(4, 3) != 0.0);

    let small = subnormals(20, 20, 1);
    assert!(small.values.iter().all(|value| value.abs() < f32::MIN_POSITIVE));
    assert!(small.values.iter().any(|value| *value > 0.0 && value.to_bits() < 64));

    assert_eq!(one_huge(5, 7, 1).at(2, 3), -3e38);
    assert_eq!(all_zero(2, 3), constant(2, 3, 0.0));
}
