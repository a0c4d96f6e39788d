//! Encoding keeps its promises for matrices of any shape, size of numbers and storage type.

use crate::common::{Case, any_case, any_covered_shape, any_kind, any_ordinary_case};
use proptest::prelude::*;
use roundwise_scheme::{
    FloatDtype, GridKind, QuantizedMatrix, ScaleRule, Scheme, SchemeError, Tiling, Weight,
    WeightError, ZERO_ABSMAX, choose_scales, largest_magnitude, largest_step, measure,
};
use roundwise_testkit::tolerance::Tolerance;
use roundwise_testkit::weights::{Matrix, gaussian};

const SUM_ORDER: Tolerance = Tolerance {
    reason: "sums of up to 40,000 squares in f64, taken in another order",
    relative: 1e-11,
    absolute: 0.0,
};

const SCALE_AGAIN: Tolerance = Tolerance {
    reason: "the largest decoded value is an f32 product, divided again: two roundings",
    relative: 2.0 / (1 << 24) as f64,
    absolute: 0.0,
};

const ROTATED: Tolerance = Tolerance {
    reason: "norms of the rotated numbers; a rotation is exact to a few roundings of the largest",
    relative: 1e-5,
    absolute: 0.0,
};

/// Rounding `weight / scale` and `code · scale` to f32 can turn a near tie.
const NEAR_TIE: f64 = 4.0 / (1 << 24) as f64;

/// The value of each of the 256 codes, `None` for those that stand for no number.
fn decoded_codes(scheme: Scheme) -> Vec<Option<f64>> {
    let scheme = Scheme::scaled(scheme.grid(), Tiling::Tensor);
    let codes: Vec<u8> = (0..=255).collect();
    let all = QuantizedMatrix::from_parts(scheme, [256, 1], codes, vec![1.0]).unwrap();
    let one_by_one = |(code, value): (u8, f32)| {
        let one = QuantizedMatrix::from_parts(scheme, [1, 1], vec![code], vec![1.0]).unwrap();
        one.first_invalid_row().is_none().then_some(f64::from(value))
    };
    (0..=255).zip(all.to_f32()).map(one_by_one).collect()
}

/// The first row with a NaN or an infinity, as everybody would look for it.
fn first_not_finite(matrix: &Matrix) -> Option<usize> {
    (0..matrix.rows).find(|&row| (0..matrix.cols).any(|col| !matrix.at(row, col).is_finite()))
}

fn permuted(matrix: &Matrix, first: usize) -> Matrix {
    Matrix::from_fn(matrix.rows, matrix.cols, |row, col| {
        matrix.at((row + first) % matrix.rows, col)
    })
}

proptest! {
    #![proptest_config(crate::common::config())]

    #[test]
    fn every_code_is_the_nearest_and_stands_for_a_number(case in any_case()) {
        let quantized = case.nearest();
        let decoded = quantized.to_f32();
        let values = decoded_codes(case.scheme);
        prop_assert_eq!(quantized.shape(), [case.rows, case.cols]);
        prop_assert_eq!(quantized.first_invalid_row(), None);
        prop_assert!(largest_step(&case.weight(), &quantized).at_weight <= 0.5);
        for (index, (&code, weight)) in
            quantized.codes().iter().zip(case.seen().values).enumerate()
        {
            let tile = case.tile(index / case.cols, index % case.cols);
            let scale = f64::from(quantized.scales()[tile]);
            let value = values[usize::from(code)].expect("a code that stands for a number");
            let weight = f64::from(weight);
            let distance = (value * scale - weight).abs();
            let nearest = values
                .iter()
                .flatten()
                .map(|value| (value * scale - weight).abs())
                .fold(f64::INFINITY, f64::min);
            prop_assert!(
                distance <= nearest + NEAR_TIE * weight.abs(),
                "{weight:e} became {:e}, {distance:e} off instead of {nearest:e}",
                value * scale
            );
            prop_assert!(decoded[index].is_finite());
            if case.scheme.rotation().is_none() {
                prop_assert_eq!(decoded[index], value as f32 * scale as f32);
            }
        }
    }

    #[test]
    fn zero_tiles_are_zeros(case in any_case()) {
        let quantized = case.nearest();
        let decoded = quantized.to_f32();
        let mut maxima = vec![0.0f32; quantized.scales().len()];
        let weights = case.seen();
        for row in 0..case.rows {
            for col in 0..case.cols {
                let maximum = &mut maxima[case.tile(row, col)];
                *maximum = maximum.max(weights.at(row, col).abs());
            }
        }
        for (maximum, &scale) in maxima.iter().zip(quantized.scales()) {
            prop_assert!(scale.is_normal() && scale > 0.0);
            prop_assert!(*maximum >= ZERO_ABSMAX || scale == 1.0 || !case.has_free_scales());
        }
        // Scales that are no F32 numbers go further down.
        let zero = if case.has_free_scales() { ZERO_ABSMAX } else { f32::MIN_POSITIVE };
        for (index, value) in decoded.iter().enumerate() {
            let tile = case.tile(index / case.cols, index % case.cols);
            if maxima[tile] < zero {
                prop_assert!(*value == 0.0);
                prop_assert_eq!(quantized.codes()[index], 0);
            }
        }
    }

    #[test]
    fn decoded_weights_have_the_same_codes(case in any_ordinary_case()) {
        prop_assume!(case.has_free_scales() && case.scheme.rotation().is_none());
        let once = case.nearest();
        let decoded =
            Matrix { rows: case.rows, cols: case.cols, values: once.to_f32() };
        let twice = Case::new(case.scheme, FloatDtype::F32, &decoded).nearest();
        prop_assert_eq!(twice.codes(), once.codes());
        SCALE_AGAIN.assert_all_close(twice.scales(), once.scales());
    }

    #[test]
    fn signs_do_not_matter(case in any_case(), rule in any_rule()) {
        // A group that is wider than all numbers is covered from its smallest weight on.
        let is_wide = case.matrix().values.iter().any(|value| value.abs() > f32::MAX / 2.0);
        prop_assume!(!(is_wide && case.scheme.has_zero_points()));
        let negated = case.matrix().map(|_, _, value| -value);
        let negated = Case::new(case.scheme, case.kind, &negated).nearest_by(rule);
        let quantized = case.nearest_by(rule);
        prop_assert_eq!(negated.scales(), quantized.scales());
        let mirrored: Vec<f32> = quantized.to_f32().iter().map(|value| 0.0 - value).collect();
        prop_assert_eq!(negated.to_f32(), mirrored);
    }

    #[test]
    fn the_order_of_rows_does_not_matter(
        case in any_case(),
        tiling in prop::sample::select(vec![Tiling::Tensor, Tiling::Row]),
        first in 0usize..40,
    ) {
        let case = Case { scheme: Scheme::scaled(case.scheme.grid(), tiling), ..case };
        let first = first % case.rows;
        let moved = permuted(&case.matrix(), first);
        let moved = Case::new(case.scheme, case.kind, &moved).nearest();
        let quantized = case.nearest();
        let mut codes = quantized.codes().to_vec();
        codes.rotate_left(first * case.cols);
        let mut scales = quantized.scales().to_vec();
        if tiling == Tiling::Row {
            scales.rotate_left(first);
        }
        prop_assert_eq!(moved.codes(), codes);
        prop_assert_eq!(moved.scales(), scales);
    }

    #[test]
    fn a_power_of_two_goes_into_the_scales(
        case in any_ordinary_case(),
        power in -12i32..=60,
        rule in any_rule(),
    ) {
        // Logarithms of scales are no powers of two apart.
        prop_assume!(case.scheme.log_range().is_none());
        let factor = 2f32.powi(power);
        let larger = case.matrix().map(|_, _, value| value * factor);
        let larger = Case::new(case.scheme, FloatDtype::F32, &larger).nearest_by(rule);
        let quantized = case.nearest_by(rule);
        prop_assert_eq!(larger.codes(), quantized.codes());
        let mut is_zero = vec![true; quantized.scales().len()];
        for (index, &code) in quantized.codes().iter().enumerate() {
            is_zero[case.tile(index / case.cols, index % case.cols)] &= code == 0;
        }
        for (tile, (&found, &scale)) in larger.scales().iter().zip(quantized.scales()).enumerate() {
            let expected = if is_zero[tile] { 1.0 } else { scale * factor };
            // A zero tile has the tensor's scale where there is one.
            prop_assert!(found == expected || is_zero[tile] && found == larger.tensor_scale());
        }
    }

    #[test]
    fn the_searched_scale_is_never_worse(case in any_case()) {
        let [absmax, searched] = [ScaleRule::Absmax, ScaleRule::Mse].map(|rule| {
            let quantized = case.nearest_by(rule);
            (measure(&case.weight(), &quantized).error_squared, quantized)
        });
        prop_assert!(searched.0 <= absmax.0 * (1.0 + SUM_ORDER.relative));
        prop_assert_eq!(searched.1.first_invalid_row(), None);
        prop_assert!(searched.1.to_f32().iter().all(|value| value.is_finite()));
        prop_assert!(searched.1.scales().iter().all(|&scale| scale.is_normal() && scale > 0.0));
        prop_assert!(largest_step(&case.weight(), &searched.1).at_weight <= 0.5);
    }

    #[test]
    fn what_is_not_finite_is_refused_with_its_row(
        (scheme, [rows, cols]) in any_covered_shape(),
        kind in any_kind(),
        seed in any::<u64>(),
        places in prop::collection::vec((any::<prop::sample::Index>(), 0usize..3), 1..4),
    ) {
        let mut matrix = gaussian(rows, cols, seed);
        for (place, what) in places {
            let what = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][what];
            matrix.values[place.index(rows * cols)] = what;
        }
        let case = Case::new(scheme, kind, &matrix);
        let expected = Err(SchemeError::NotFinite { row: first_not_finite(&matrix).unwrap() });
        for rule in [ScaleRule::Absmax, ScaleRule::Mse] {
            let chosen = choose_scales(&case.weight(), scheme, rule);
            prop_assert_eq!(chosen.map(drop), expected.clone());
            let quantized = QuantizedMatrix::nearest(&case.weight(), scheme, rule);
            prop_assert_eq!(quantized.map(drop), expected.clone());
        }
    }

    #[test]
    fn the_error_is_the_sum_of_its_definition(case in any_case(), rule in any_rule()) {
        let quantized = case.nearest_by(rule);
        let (mut error_squared, mut weight_squared) = (0.0, 0.0);
        for (decoded, weight) in quantized.to_f32().into_iter().zip(case.matrix().values) {
            error_squared += (f64::from(decoded) - f64::from(weight)).powi(2);
            weight_squared += f64::from(weight).powi(2);
        }
        let measured = measure(&case.weight(), &quantized);
        if case.scheme.rotation().is_some() {
            // Numbers that are next to none are rotated in steps of the smallest one.
            let step = f64::from(f32::from_bits(1)) * (case.matrix().values.len() as f64).sqrt();
            let rotated = Tolerance { absolute: 1e-6 * weight_squared.sqrt() + step, ..ROTATED };
            rotated.assert_close(measured.error_squared.sqrt(), error_squared.sqrt());
            rotated.assert_close(measured.weight_squared.sqrt(), weight_squared.sqrt());
            return Ok(());
        }
        SUM_ORDER.assert_close(measured.error_squared, error_squared);
        SUM_ORDER.assert_close(measured.weight_squared, weight_squared);
        let is_exact = measured.error_squared == 0.0;
        prop_assert_eq!(measured.relative() == 0.0, is_exact);
    }

    #[test]
    fn one_block_for_all_is_one_scale_for_all(case in any_case(), rule in any_rule()) {
        let grid = case.scheme.grid();
        let with = |tiling| Case { scheme: Scheme::scaled(grid, tiling), ..case.clone() };
        let block = with(Tiling::Block { rows: case.rows, cols: case.cols }).nearest_by(rule);
        let tensor = with(Tiling::Tensor).nearest_by(rule);
        prop_assert_eq!(block.codes(), tensor.codes());
        prop_assert_eq!(block.scales(), tensor.scales());
        let rows = with(Tiling::Block { rows: 1, cols: case.cols }).nearest_by(rule);
        let row = with(Tiling::Row).nearest_by(rule);
        prop_assert_eq!(rows.codes(), row.codes());
        prop_assert_eq!(rows.scales(), row.scales());
    }

    #[test]
    fn ragged_blocks_are_refused_but_read(
        block in [1usize..9, 1usize..9],
        shape in [1usize..20, 1usize..20],
    ) {
        let tiling = Tiling::Block { rows: block[0], cols: block[1] };
        let case = Case::new(
            Scheme::scaled(GridKind::E4m3, tiling),
            FloatDtype::F32,
            &gaussian(shape[0], shape[1], 1),
        );
        let ragged = |dimension, axis: usize| {
            let (found, block) = (shape[axis], block[axis]);
            Err(SchemeError::Ragged { dimension, found, block, tiling })
        };
        let is_ragged = [0, 1].map(|axis| !shape[axis].is_multiple_of(block[axis]));
        let expected = match is_ragged {
            [true, _] => ragged("rows", 0),
            [false, true] => ragged("columns", 1),
            [false, false] => Ok(()),
        };
        let chosen = choose_scales(&case.weight(), case.scheme, ScaleRule::Absmax);
        prop_assert_eq!(chosen.map(|_| ()), expected);

        let [down, across] = [0, 1].map(|axis| shape[axis].div_ceil(block[axis]));
        let scales: Vec<f32> = (0..down * across).map(|tile| tile as f32).collect();
        let ones = vec![0x38; shape[0] * shape[1]];
        let read = QuantizedMatrix::from_parts(case.scheme, shape, ones, scales).unwrap();
        let expected = Matrix::from_fn(shape[0], shape[1], |row, col| {
            (row / block[0] * across + col / block[1]) as f32
        });
        prop_assert_eq!(read.to_f32(), expected.values);
    }

    #[test]
    fn memory_that_is_there_already_changes_nothing(
        case in any_case(),
        memory in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let weight = case.weight();
        let (reused, error) =
            QuantizedMatrix::nearest_measured(&weight, case.scheme, ScaleRule::Absmax, memory)
                .unwrap();
        prop_assert_eq!(&reused, &case.nearest());
        prop_assert_eq!(error, measure(&weight, &reused));
    }

    #[test]
    fn band_by_band_codes_and_sums_are_those_of_the_whole(case in any_case(), share in 0.0..1.0) {
        let [rows, cols] = [case.rows, case.cols];
        let [height, _] = case.scheme.tiling().tile_shape(rows, cols);
        let height = if case.scheme.tiling() == Tiling::Tensor { 1 } else { height };
        let first = (rows as f64 * share) as usize / height * height;
        prop_assume!(case.scheme.is_by_band(ScaleRule::Absmax) && first > 0);
        let weight = case.weight();
        let (whole, expected) =
            QuantizedMatrix::nearest_measured(&weight, case.scheme, ScaleRule::Absmax, vec![])
                .unwrap();
        let largest = match case.scheme.needs_largest() {
            true => largest_magnitude(&weight, case.scheme).unwrap(),
            false => f32::NAN,
        };
        let (above, below) = case.bytes.split_at(case.bytes.len() / rows * first);
        let mut error = WeightError::default();
        let mut codes = vec![];
        for (rows, bytes) in [(first, above), (rows - first, below)] {
            let band = Weight::new(rows, cols, case.kind, bytes).unwrap();
            let rule = ScaleRule::Absmax;
            let band = QuantizedMatrix::nearest_band(
                &band, case.scheme, rule, largest, vec![], &mut error,
            );
            codes.extend(band.unwrap().into_codes());
        }
        prop_assert_eq!(codes, whole.into_codes());
        prop_assert_eq!(error, expected);
    }
}

fn any_rule() -> impl Strategy<Value = ScaleRule> {
    prop::sample::select(vec![ScaleRule::Absmax, ScaleRule::Mse])
}
