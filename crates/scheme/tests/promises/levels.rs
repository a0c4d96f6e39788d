//! 4-bit codes stand for levels of INT8 rows.

use proptest::prelude::*;
use roundwise_scheme::{
    CODEBOOK, LEVEL_GROUP, Levels, QuantizedMatrix, ScaleRule, Scheme, SchemeError, Weight,
    WeightKind, measure, nearest_error,
};
use roundwise_testkit::weights::{Matrix, gaussian, with_outliers, with_zero_rows};

fn nearest(matrix: &Matrix, scheme: Scheme, rule: ScaleRule) -> QuantizedMatrix {
    let bytes = matrix.bytes();
    let weight = Weight::new(matrix.rows, matrix.cols, WeightKind::F32, &bytes).unwrap();
    QuantizedMatrix::nearest(&weight, scheme, rule).unwrap()
}

fn any_weight() -> impl Strategy<Value = Matrix> {
    (1usize..7, 1usize..9, 0..4, any::<u64>()).prop_map(|(rows, groups, generator, seed)| {
        let cols = LEVEL_GROUP * groups;
        match generator {
            0 => with_outliers(rows, cols, seed),
            1 => with_zero_rows(rows, cols, seed),
            2 => gaussian(rows, cols, seed).map(|row, _, value| if row == 0 { value } else { 0.0 }),
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
    fn what_is_stored_decodes_to_the_same_levels(matrix in any_weight()) {
        let quantized = nearest(&matrix, Scheme::INT4_LEVELS, ScaleRule::Absmax);
        let (codes, levels) = quantized.leveled_codes().unwrap();
        prop_assert!(codes.iter().all(|code| *code < 16));
        let levels = Levels::new(Some(*levels.table()), levels.group_scales().to_vec()).unwrap();
        let scales = quantized.scales().to_vec();
        let read =
            QuantizedMatrix::from_leveled(quantized.scheme(), quantized.shape(), codes, scales, levels);
        prop_assert_eq!(read.unwrap(), quantized);
    }

    #[test]
    fn every_level_is_the_nearest_of_its_group(matrix in any_weight()) {
        let bytes = matrix.bytes();
        let weight = Weight::new(matrix.rows, matrix.cols, WeightKind::F32, &bytes).unwrap();
        let quantized = nearest(&matrix, Scheme::INT4_LEVELS, ScaleRule::Absmax);
        // The error is measured on the rotated weight, as the nearest one is.
        let found = measure(&weight, &quantized).error_squared;
        let least = nearest_error(&weight, &quantized);
        prop_assert!((found - least).abs() <= 1e-5 * least, "{} {}", found, least);
    }

    #[test]
    fn the_searched_scales_are_never_worse(matrix in any_weight()) {
        let bytes = matrix.bytes();
        let weight = Weight::new(matrix.rows, matrix.cols, WeightKind::F32, &bytes).unwrap();
        let [fitted, searched] = [ScaleRule::Absmax, ScaleRule::Mse]
            .map(|rule| measure(&weight, &nearest(&matrix, Scheme::INT4_LEVELS, rule)));
        prop_assert!(searched.error_squared <= fitted.error_squared * (1.0 + 1e-5));
    }
}

#[test]
fn normal_weights_lose_about_a_fourteenth() {
    let matrix = gaussian(32, 256, 3);
    let bytes = matrix.bytes();
    let weight = Weight::new(32, 256, WeightKind::F32, &bytes).unwrap();
    let error = measure(&weight, &nearest(&matrix, Scheme::INT4_LEVELS, ScaleRule::Absmax));
    assert!((0.06..0.08).contains(&error.relative()), "{}", error.relative());
}

#[test]
fn evenly_spaced_levels_are_read() {
    let levels = Levels::new(None, vec![0x38]).unwrap();
    let codes = (0..16).collect();
    let scheme: Scheme = "int4-asym-4".parse().unwrap();
    let read = QuantizedMatrix::from_leveled(scheme, [1, 16], codes, vec![2.0], levels).unwrap();
    let found: Vec<i8> = read.codes().iter().map(|code| *code as i8).collect();
    assert_eq!(found, (-8..8).collect::<Vec<i8>>());
}

#[test]
fn what_is_no_table_is_refused() {
    let mut descending = CODEBOOK;
    descending.reverse();
    assert!(Levels::new(Some(descending), vec![]).is_err());
    assert!(Levels::new(Some([f32::NAN; 16]), vec![]).is_err());
    assert!(Levels::new(None, vec![0x7F]).is_err());
    assert!(Levels::new(None, vec![0xB8]).is_err());
}

#[test]
fn ragged_groups_and_lost_scales_are_refused() {
    let scheme = Scheme::INT4_LEVELS;
    assert!(matches!(scheme.covers(3, 24), Err(SchemeError::Ragged { block: 16, .. })));
    let levels = Levels::new(None, vec![0x38]).unwrap();
    let read = QuantizedMatrix::from_leveled(scheme, [1, 32], vec![0; 32], vec![1.0], levels);
    assert!(matches!(read, Err(SchemeError::PartLength { .. })));
    let parts = QuantizedMatrix::from_parts(scheme, [1, 16], vec![0; 16], vec![1.0]);
    assert!(matches!(parts, Err(SchemeError::PartLength { .. })));
}
