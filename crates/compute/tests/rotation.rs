//! The butterfly is the matrix, the matrix is the contract's, and twice is nothing.

use roundwise_compute::{ComputeError, Gaussian, Matrix, Rotation};

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
    let rotation = Rotation::new(16).unwrap();
    for (row, signs) in signs.iter().enumerate() {
        for (col, sign) in signs.bytes().enumerate() {
            let expected = if sign == b'+' { 0.25 } else { -0.25 };
            assert_eq!(rotation.at(row, col), expected, "({row}, {col})");
        }
    }
}

#[test]
fn the_butterfly_follows_the_matrix() {
    for group in [4, 16, 64, 256] {
        let rotation = Rotation::new(group).unwrap();
        let weight = Gaussian::new(group as u64).matrix(5, 2 * group);
        let mut rotated = weight.clone();
        rotation.apply(&mut rotated).unwrap();
        for row in 0..5 {
            for col in 0..2 * group {
                let start = col / group * group;
                let expected: f64 = (0..group)
                    .map(|k| {
                        f64::from(weight.at(row, start + k))
                            * f64::from(rotation.at(k, col - start))
                    })
                    .sum();
                // Values near 1, rounded twice per base-4 digit.
                assert!((f64::from(rotated.at(row, col)) - expected).abs() < 2e-6);
            }
        }
        rotation.apply(&mut rotated).unwrap();
        for (back, value) in rotated.values().iter().zip(weight.values()) {
            assert!((back - value).abs() < 4e-6);
        }
    }
}

#[test]
fn whole_numbers_rotate_exactly() {
    let mut weight = Matrix::new(1, 4, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
    Rotation::new(4).unwrap().apply(&mut weight).unwrap();
    assert_eq!(weight.values(), [1.0, 2.0, 3.0, 4.0]);
    let mut unit = Matrix::new(1, 4, vec![0.0, 0.0, 0.0, 2.0]).unwrap();
    Rotation::new(4).unwrap().apply(&mut unit).unwrap();
    assert_eq!(unit.values(), [-1.0, 1.0, 1.0, 1.0]);
}

#[test]
fn other_groups_are_refused() {
    for group in [0, 1, 2, 3, 8, 32, 100, 128] {
        assert_eq!(Rotation::new(group), Err(ComputeError::RotationGroup { group }));
    }
    let mut weight = Matrix::zeros(2, 24);
    let error = Rotation::new(16).unwrap().apply(&mut weight).unwrap_err();
    assert_eq!(error, ComputeError::RotationColumns { cols: 24, group: 16 });
}
