//! Matrices in codes are multiplied and turned as their decoded numbers are.

use proptest::prelude::*;
use roundwise_scheme::{
    Activations, CATALOG, FloatDtype, QuantizedMatrix, ScaleRule, Scheme, SchemeError, Tiling,
    Weight,
};
use roundwise_testkit::weights::{Matrix, gaussian};

/// Rows, columns that every scheme covers with two tiles or more.
const SHAPE: [usize; 2] = [128, 256];

fn nearest(matrix: &Matrix, scheme: Scheme) -> QuantizedMatrix {
    let bytes = matrix.bytes();
    let weight = Weight::new(matrix.rows, matrix.cols, FloatDtype::F32, &bytes).unwrap();
    QuantizedMatrix::nearest(&weight, scheme, ScaleRule::Absmax).unwrap()
}

/// `x Wᵀ` of decoded numbers.
fn expected(matrix: &QuantizedMatrix, x: &Matrix) -> Vec<f64> {
    let [rows, cols] = matrix.shape();
    let weight = matrix.dequantize();
    let product = |token: usize, row: usize| -> f64 {
        (0..cols).map(|c| f64::from(x.at(token, c)) * f64::from(weight[row * cols + c])).sum()
    };
    (0..x.rows)
        .flat_map(|token| (0..rows).map(move |row| (token, row)))
        .map(|(t, r)| product(t, r))
        .collect()
}

/// `‖found − expected‖ / ‖expected‖`.
fn distance(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let error: f64 =
        found.iter().zip(expected).map(|(found, it)| (f64::from(*found) - it).powi(2)).sum();
    (error / expected.iter().map(|it| it * it).sum::<f64>()).sqrt()
}

/// A few roundings of F32.
const ROUNDING: f64 = 1e-6;

/// Half a step of 127 of activations whose largest is about 3 of their deviations.
const OF_INT8_ACTIVATIONS: f64 = 0.02;

#[test]
fn every_scheme_multiplies_as_it_decodes() {
    let weight = gaussian(SHAPE[0], SHAPE[1], 1);
    let x = gaussian(3, SHAPE[1], 2);
    for entry in CATALOG {
        let matrix = nearest(&weight, entry.scheme);
        let expected = expected(&matrix, &x);
        let linear = |activations| matrix.linear(&x.values, activations).unwrap();
        assert!(distance(&linear(Activations::Exact), &expected) < ROUNDING, "{}", entry.name);
        for activations in [Activations::PerToken, Activations::PerBlock(64)] {
            let found = distance(&linear(activations), &expected);
            assert!(found < OF_INT8_ACTIVATIONS, "{} {activations:?}: {found}", entry.name);
        }
    }
}

#[test]
fn inputs_on_the_grid_are_multiplied_exactly() {
    let weight = gaussian(SHAPE[0], SHAPE[1], 1);
    let x = Matrix::from_fn(2, SHAPE[1], |row, col| ((row + 7 * col) % 255) as f32 - 127.0);
    for name in ["int8", "int8-row", "int8-block-64", "fp8", "mxfp8"] {
        let matrix = nearest(&weight, name.parse().unwrap());
        let found = matrix.linear(&x.values, Activations::PerToken).unwrap();
        assert!(distance(&found, &expected(&matrix, &x)) < ROUNDING, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_turned_matrix_decodes_to_the_turned_numbers(
        down in 1usize..5, across in 1usize..5, height in 1usize..4, width in 1usize..4,
        kind in 0..4, seed in any::<u64>(),
    ) {
        let [rows, cols] = [down * height, across * width];
        let grid = ["int8", "fp8", "fp8-e5m2"][seed as usize % 3].parse::<Scheme>().unwrap().grid();
        let scheme = match kind {
            0 => Scheme::scaled(grid, Tiling::Tensor),
            1 => Scheme::scaled(grid, Tiling::Row),
            2 => Scheme::scaled(grid, Tiling::Block { rows: height, cols: width }),
            _ => "bf16".parse().unwrap(),
        };
        let matrix = nearest(&gaussian(rows, cols, seed), scheme);
        let turned = matrix.transpose().unwrap();
        prop_assert_eq!(turned.shape(), [cols, rows]);
        let [numbers, turned_numbers] = [matrix.dequantize(), turned.dequantize()];
        for row in 0..rows {
            for col in 0..cols {
                prop_assert_eq!(numbers[row * cols + col], turned_numbers[col * rows + row]);
            }
        }
        prop_assert_eq!(turned.transpose().unwrap().dequantize(), numbers);
    }
}

#[test]
fn what_cannot_be_turned_or_multiplied_says_so() {
    let weight = gaussian(SHAPE[0], SHAPE[1], 1);
    for entry in CATALOG {
        let can_turn = entry.scheme.rotation().is_none()
            && !entry.scheme.has_block_scales()
            && !entry.scheme.has_zero_points();
        let turned = nearest(&weight, entry.scheme).transpose();
        assert_eq!(turned.is_ok(), can_turn, "{}", entry.name);
    }
    let matrix = nearest(&weight, "int8-row".parse().unwrap());
    let linear = |x: &[f32], activations| matrix.linear(x, activations).unwrap_err();
    assert!(matches!(linear(&[1.0; 100], Activations::Exact), SchemeError::PartLength { .. }));
    let x = [1.0; SHAPE[1]];
    for block in [0, 100] {
        assert!(matches!(linear(&x, Activations::PerBlock(block)), SchemeError::Ragged { .. }));
    }
    let x = [f32::NAN; SHAPE[1]];
    assert!(matches!(linear(&x, Activations::PerToken), SchemeError::NotFinite { row: 0 }));
}

#[test]
fn plain_tensors_are_all_that_decoding_needs() {
    let weight = gaussian(6, 8, 1);
    let scheme: Scheme = "int8-block-2".parse().unwrap();
    let matrix = nearest(&weight, scheme);
    let plain = matrix.plain_tensors();
    assert_eq!(
        (&plain.scale_shape[..], plain.tile, plain.rotation_group),
        (&[3, 4][..], [2, 2], 0)
    );
    let decoded = (0..48).map(|at| {
        let [row, col] = [at / 8, at % 8];
        f32::from(plain.codes[at] as i8) * plain.scales[row / 2 * 4 + col / 2]
    });
    assert_eq!(decoded.collect::<Vec<_>>(), matrix.dequantize());
}
