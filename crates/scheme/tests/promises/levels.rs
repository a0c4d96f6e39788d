//! 4-bit codes stand for levels of INT8 rows.

use proptest::prelude::*;
use roundwise_scheme::{
    CODEBOOK, FloatDtype, LEVEL_GROUP, QuantizedMatrix, ScaleRole, ScaleRule, Scheme, SchemeError,
    StoredScales, Weight, measure, nearest_error,
};
use roundwise_testkit::files::f32_bytes;
use roundwise_testkit::weights::{Matrix, gaussian, with_outliers, with_zero_rows};

fn nearest(matrix: &Matrix, scheme: Scheme, rule: ScaleRule) -> QuantizedMatrix {
    let bytes = matrix.bytes();
    let weight = Weight::new(matrix.rows, matrix.cols, FloatDtype::F32, &bytes).unwrap();
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
        let scales = quantized.stored_scales().into_iter().collect();
        let codes = quantized.clone().into_stored_codes();
        prop_assert!(codes.iter().all(|code| *code < 16));
        let (scheme, shape) = (quantized.scheme(), quantized.shape());
        let read = QuantizedMatrix::from_stored(scheme, shape, codes, &scales);
        prop_assert_eq!(read.unwrap(), quantized);
    }

    #[test]
    fn every_level_is_the_nearest_of_its_group(matrix in any_weight()) {
        let bytes = matrix.bytes();
        let weight = Weight::new(matrix.rows, matrix.cols, FloatDtype::F32, &bytes).unwrap();
        let quantized = nearest(&matrix, Scheme::INT4_LEVELS, ScaleRule::Absmax);
        // The error is measured on the rotated weight, as the nearest one is.
        let found = measure(&weight, &quantized).error_squared;
        let least = nearest_error(&weight, &quantized);
        prop_assert!((found - least).abs() <= 1e-5 * least, "{} {}", found, least);
    }

    #[test]
    fn the_searched_scales_are_never_worse(matrix in any_weight()) {
        let bytes = matrix.bytes();
        let weight = Weight::new(matrix.rows, matrix.cols, FloatDtype::F32, &bytes).unwrap();
        let [fitted, searched] = [ScaleRule::Absmax, ScaleRule::Mse]
            .map(|rule| measure(&weight, &nearest(&matrix, Scheme::INT4_LEVELS, rule)));
        prop_assert!(searched.error_squared <= fitted.error_squared * (1.0 + 1e-5));
    }
}

#[test]
fn normal_weights_lose_about_a_fourteenth() {
    let matrix = gaussian(32, 256, 3);
    let bytes = matrix.bytes();
    let weight = Weight::new(32, 256, FloatDtype::F32, &bytes).unwrap();
    let error = measure(&weight, &nearest(&matrix, Scheme::INT4_LEVELS, ScaleRule::Absmax));
    assert!((0.06..0.08).contains(&error.relative()), "{}", error.relative());
}

/// Scales of one row with one group, maybe with a table.
fn stored(table: Option<[f32; 16]>, group_scale: u8) -> StoredScales {
    let mut scales = StoredScales::from([
        (ScaleRole::Rows, f32_bytes(&[2.0])),
        (ScaleRole::Groups, vec![group_scale]),
    ]);
    scales.extend(table.map(|table| (ScaleRole::Levels, f32_bytes(&table))));
    scales
}

fn read(cols: usize, scales: &StoredScales) -> Result<QuantizedMatrix, SchemeError> {
    let codes = (0..cols).map(|at| (at % 16) as u8).collect();
    QuantizedMatrix::from_stored("int4-asym-4".parse().unwrap(), [1, cols], codes, scales)
}

#[test]
fn evenly_spaced_levels_are_read() {
    let read = read(16, &stored(None, 0x38)).unwrap();
    let found: Vec<i8> = read.codes().iter().map(|code| *code as i8).collect();
    assert_eq!(found, (-8..8).collect::<Vec<i8>>());
}

#[test]
fn tables_and_scales_that_stand_for_no_levels_are_refused() {
    let mut descending = CODEBOOK;
    descending.reverse();
    for scales in [
        stored(Some(descending), 0x38),
        stored(Some([f32::NAN; 16]), 0x38),
        stored(None, 0x7F),
        stored(None, 0xB8),
    ] {
        assert!(matches!(read(16, &scales), Err(SchemeError::Levels { .. })));
    }
    let mut short = stored(Some(CODEBOOK), 0x38);
    short.get_mut(&ScaleRole::Levels).unwrap().truncate(60);
    assert!(matches!(read(16, &short), Err(SchemeError::Levels { .. })));
}

#[test]
fn ragged_groups_and_lost_scales_are_refused() {
    let scheme = Scheme::INT4_LEVELS;
    assert!(matches!(scheme.covers(3, 24), Err(SchemeError::Ragged { block: 16, .. })));
    assert!(matches!(read(24, &stored(None, 0x38)), Err(SchemeError::Ragged { block: 16, .. })));
    assert!(matches!(read(32, &stored(None, 0x38)), Err(SchemeError::PartLength { .. })));
    assert!(matches!(read(16, &StoredScales::new()), Err(SchemeError::PartLength { .. })));
    let parts = QuantizedMatrix::from_parts(scheme, [1, 16], vec![0; 16], vec![1.0]);
    assert!(matches!(parts, Err(SchemeError::PartLength { .. })));
}
