//! Whole numbers of 4 bits in groups, counted from a zero point.

use proptest::prelude::*;
use roundwise_scheme::{
    FloatDtype, QuantizedMatrix, ScaleRole, ScaleRule, Scheme, SchemeError, StoredScales, Weight,
    largest_step, measure, nearest_error,
};
use roundwise_testkit::files::f32_bytes;
use roundwise_testkit::weights::{Matrix, gaussian, with_outliers, with_zero_tiles};

const GROUP: usize = 16;
const SCHEME: Scheme = Scheme::with_zero_points(GROUP);

fn nearest(matrix: &Matrix, scheme: Scheme, rule: ScaleRule) -> QuantizedMatrix {
    QuantizedMatrix::nearest(&weight(matrix, &matrix.bytes()), scheme, rule).unwrap()
}

fn weight<'a>(matrix: &Matrix, bytes: &'a [u8]) -> Weight<'a> {
    Weight::new(matrix.rows, matrix.cols, FloatDtype::F32, bytes).unwrap()
}

fn any_weight() -> impl Strategy<Value = Matrix> {
    (1usize..20, 1usize..6, 0..5, any::<u64>()).prop_map(|(rows, groups, generator, seed)| {
        let cols = GROUP * groups;
        match generator {
            0 => with_outliers(rows, cols, seed),
            1 => with_zero_tiles(rows, cols, GROUP, seed),
            2 => gaussian(rows, cols, seed).map(|_, _, value| value.abs()),
            3 => gaussian(rows, cols, seed).map(|_, _, value| value - 2.0),
            _ => gaussian(rows, cols, seed),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_stored_comes_back(matrix in any_weight(), is_for_servers in any::<bool>()) {
        let scheme = if is_for_servers { SCHEME.for_servers() } else { SCHEME };
        let quantized = nearest(&matrix, scheme, ScaleRule::Mse);
        let scales = quantized.stored_scales().into_iter().collect();
        let codes = quantized.clone().into_stored_codes();
        prop_assert!(codes.iter().all(|code| *code < 16));
        let read = QuantizedMatrix::from_stored(scheme, quantized.shape(), codes, &scales);
        prop_assert_eq!(read.unwrap(), quantized);
    }

    #[test]
    fn every_code_is_the_nearest_that_its_group_can_store(matrix in any_weight()) {
        let bytes = matrix.bytes();
        let weight = weight(&matrix, &bytes);
        for rule in [ScaleRule::Absmax, ScaleRule::Mse] {
            let quantized = nearest(&matrix, SCHEME, rule);
            let found = measure(&weight, &quantized).error_squared;
            let least = nearest_error(&weight, &quantized);
            prop_assert!((found - least).abs() <= 1e-9 * least, "{} {}", found, least);
            prop_assert!(largest_step(&weight, &quantized).at_weight <= 0.5 + 1e-4);
        }
    }

    #[test]
    fn a_zero_stays_a_zero(matrix in any_weight()) {
        for rule in [ScaleRule::Absmax, ScaleRule::Mse] {
            let decoded = nearest(&matrix, SCHEME, rule).to_f32();
            for (decoded, value) in decoded.iter().zip(&matrix.values) {
                prop_assert!(*value != 0.0 || *decoded == 0.0, "{decoded}");
            }
        }
    }

    #[test]
    fn the_searched_groups_are_never_worse(matrix in any_weight()) {
        let bytes = matrix.bytes();
        let weight = weight(&matrix, &bytes);
        let [chosen, searched] = [ScaleRule::Absmax, ScaleRule::Mse]
            .map(|rule| measure(&weight, &nearest(&matrix, SCHEME, rule)).error_squared);
        prop_assert!(searched <= chosen * (1.0 + 1e-5), "{} {}", searched, chosen);
    }
}

/// Symmetric codes leave half of their values unused where weights have one sign.
#[test]
fn weights_to_one_side_of_zero_lose_half_as_much_as_without_zero_points() {
    let matrix = gaussian(32, 256, 3).map(|_, _, value| value.abs());
    let bytes = matrix.bytes();
    let weight = weight(&matrix, &bytes);
    let error = |name: &str| {
        measure(&weight, &nearest(&matrix, name.parse().unwrap(), ScaleRule::Absmax)).relative()
    };
    let [without, with] = [error("int4-group-64"), error("int4-group-64-asym")];
    assert!(with < 0.55 * without, "{with} {without}");
}

#[test]
fn importance_moves_the_scale_towards_the_columns_that_count() {
    let matrix = gaussian(16, 64, 5);
    let bytes = matrix.bytes();
    let weight = weight(&matrix, &bytes);
    let importance: Vec<f32> = (0..64).map(|col| if col % 4 == 0 { 100.0 } else { 0.01 }).collect();
    let weighed_error = |quantized: &QuantizedMatrix| -> f64 {
        let errors = quantized.to_f32().into_iter().zip(&matrix.values).enumerate();
        let weighed = errors.map(|(at, (decoded, value))| {
            f64::from(importance[at % 64]) * f64::from(decoded - value).powi(2)
        });
        weighed.sum()
    };
    let alike = QuantizedMatrix::nearest(&weight, SCHEME, ScaleRule::Mse).unwrap();
    let weighed = weight.with_importance(&importance);
    let weighed = QuantizedMatrix::nearest(&weighed, SCHEME, ScaleRule::Mse).unwrap();
    assert!(weighed_error(&weighed) < 0.9 * weighed_error(&alike));
}

fn read(shape: [usize; 2], zeros: Vec<u8>) -> Result<QuantizedMatrix, SchemeError> {
    let codes = (0..shape[0] * shape[1]).map(|at| (at % 16) as u8).collect();
    let scales = f32_bytes(&vec![0.5; shape[0] * shape[1] / GROUP]);
    let scales = StoredScales::from([(ScaleRole::Tiles, scales), (ScaleRole::ZeroPoints, zeros)]);
    QuantizedMatrix::from_stored(SCHEME, shape, codes, &scales)
}

#[test]
fn numbers_are_counted_from_the_zero_point() {
    // Nibble 11 is 3: that of the first row is the lowest.
    let matrix = read([1, GROUP], vec![0x0B, 0, 0, 0]).unwrap();
    let numbers = (0..8).chain(-8..0);
    let expected: Vec<f32> = numbers.map(|number: i8| f32::from(number - 3) * 0.5).collect();
    assert_eq!((matrix.to_f32(), matrix.zero_points()), (expected, &[3][..]));
    assert_eq!(matrix.code_range(0), Some([-11.0, 4.0]));
}

#[test]
fn ragged_groups_and_lost_zero_points_are_refused() {
    assert!(matches!(SCHEME.covers(3, 24), Err(SchemeError::Ragged { block: GROUP, .. })));
    for zeros in [vec![], vec![0; 4], vec![0; 12]] {
        assert!(matches!(read([9, GROUP], zeros), Err(SchemeError::PartLength { .. })));
    }
    assert!(read([9, GROUP], vec![0; 8]).is_ok());
    let parts = QuantizedMatrix::from_parts(SCHEME, [1, GROUP], vec![0; GROUP], vec![1.0]);
    assert!(matches!(parts, Err(SchemeError::PartLength { what: "zero points", .. })));
}

#[test]
fn weights_at_both_ends_of_all_numbers_stay_numbers() {
    let matrix = gaussian(4, 32, 7).map(|_, _, value| value.signum() * f32::MAX);
    for rule in [ScaleRule::Absmax, ScaleRule::Mse] {
        let decoded = nearest(&matrix, SCHEME, rule).to_f32();
        assert!(decoded.iter().all(|value| value.is_finite()));
    }
    let matrix = Matrix { values: vec![f32::NAN; 32], rows: 1, cols: 32 };
    let bytes = matrix.bytes();
    let found = QuantizedMatrix::nearest(&weight(&matrix, &bytes), SCHEME, ScaleRule::Absmax);
    assert!(matches!(found, Err(SchemeError::NotFinite { row: 0 })));
}
