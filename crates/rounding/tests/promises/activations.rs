//! Statistics of real inputs lower the error of a layer's outputs, and it is the true error that is
//! reported.

use std::ops::{ControlFlow, Range};

use roundwise_compute::{Gaussian, Matrix};
use roundwise_rounding::{
    Feedback, Inputs, Limit, Linear, Objective, Options, Progress, Rounded, RoundingError,
    RowInputs, SecondMoment, Solver, relative_output_error, round,
};
use roundwise_scheme::{FloatDtype, QuantizedMatrix, ScaleRule, Scheme, Weight, rotate};
use roundwise_testkit::weights;

use crate::common::{SEED, cpu, method, nearest, searchable};

const COLS: usize = 128;

/// Inputs `[samples, n]` of strongly correlated columns, about a mean that is not 0.
fn samples(count: usize) -> Matrix {
    let mixing = Gaussian::new(3).matrix(12, COLS);
    let hidden = Gaussian::new(4).matrix(count, 12);
    let noise = Gaussian::new(5).matrix(count, COLS);
    Matrix::from_fn(count, COLS, |sample, col| {
        let mixed: f32 = (0..12).map(|i| hidden.at(sample, i) * mixing.at(i, col)).sum();
        mixed + 0.3 * noise.at(sample, col) + (col % 5) as f32 * 0.2
    })
}

fn moment(samples: &Matrix) -> Matrix {
    let count = samples.rows() as f64;
    Matrix::from_fn(COLS, COLS, |i, j| {
        let products = (0..samples.rows())
            .map(|row| f64::from(samples.at(row, i)) * f64::from(samples.at(row, j)));
        (products.sum::<f64>() / count) as f32
    })
}

fn mean(samples: &Matrix) -> Vec<f32> {
    let count = samples.rows() as f32;
    (0..COLS)
        .map(|col| (0..samples.rows()).map(|row| samples.at(row, col)).sum::<f32>() / count)
        .collect()
}

fn full(count: usize) -> Inputs {
    let samples = samples(count);
    let second_moment = SecondMoment::Full(moment(&samples));
    Inputs::new(mean(&samples), second_moment, count as u64).unwrap()
}

/// The mixing matrix is known here, so that 12 columns and a diagonal say nearly all.
fn low_rank() -> Inputs {
    let factor = Gaussian::new(3).matrix(12, COLS).transposed();
    let residual = vec![0.09; COLS];
    let mean = vec![0.0; COLS];
    Inputs::new(mean, SecondMoment::LowRank { factor, residual }, 5000).unwrap()
}

fn diagonal() -> Inputs {
    let samples = samples(400);
    let of_samples = moment(&samples);
    let diagonal: Vec<f32> = (0..COLS).map(|i| of_samples.at(i, i)).collect();
    let mean = mean(&samples);
    let second_moment = SecondMoment::of_diagonal(&mean, &diagonal);
    Inputs::new(mean, second_moment, 400).unwrap()
}

/// `H[i, j]`, as these statistics describe it.
fn dense(inputs: &Inputs) -> Matrix {
    match inputs.second_moment() {
        SecondMoment::Full(matrix) => matrix.clone(),
        SecondMoment::LowRank { factor, residual } => Matrix::from_fn(COLS, COLS, |i, j| {
            let product: f32 = factor.row(i).iter().zip(factor.row(j)).map(|(a, b)| a * b).sum();
            product + if i == j { residual[i] } else { 0.0 }
        }),
    }
}

/// `tr(MHMᵀ)`, the long way.
fn energy(rows: &[f32], second_moment: &Matrix) -> f64 {
    let mut sum = 0.0;
    for row in rows.chunks_exact(COLS) {
        for (i, a) in row.iter().enumerate() {
            let pulled: f64 = row
                .iter()
                .zip(second_moment.row(i))
                .map(|(b, h)| f64::from(*b) * f64::from(*h))
                .sum();
            sum += f64::from(*a) * pulled;
        }
    }
    sum
}

fn activations(
    matrix: &weights::Matrix,
    scheme: &str,
    inputs: &Inputs,
    options: &Options,
) -> Rounded {
    let bytes = matrix.bytes();
    let weight = Weight::new(matrix.rows, matrix.cols, FloatDtype::F32, &bytes).unwrap();
    let layer = Linear::from(&weight).with_inputs(Some(inputs));
    let scheme = scheme.parse().unwrap();
    round(layer, scheme, ScaleRule::Absmax, options, &cpu(), SEED, &mut ()).unwrap()
}

#[test]
fn outputs_get_better_by_full_statistics_and_the_report_is_true() {
    outputs_get_better(&full(2000), 0.35);
}

#[test]
fn outputs_get_better_by_factors_and_the_report_is_true() {
    outputs_get_better(&low_rank(), 0.35);
}

#[test]
fn outputs_get_no_worse_by_diagonals_and_the_report_is_true() {
    outputs_get_better(&diagonal(), 1.0);
}

/// In every scheme and with every effort.
///
/// - `most`: most error of outputs that may be left, as a share of that of nearest codes
fn outputs_get_better(inputs: &Inputs, most: f64) {
    let matrix = weights::gaussian(128, COLS, 21);
    for entry in searchable() {
        for keys in ["", "effort = 'fast'", "effort = 'high'"] {
            let found = activations(&matrix, entry.name, inputs, &method("activations", keys));
            let (report, stored) = (&found.report, found.matrix.to_f32());
            let second_moment = dense(inputs);
            let errors = |decoded: &[f32]| -> Vec<f32> {
                decoded.iter().zip(&matrix.values).map(|(a, b)| a - b).collect()
            };
            let at_nearest = nearest(&matrix, entry.scheme).to_f32();
            let output = energy(&matrix.values, &second_moment);
            let expected =
                [&stored, &at_nearest].map(|codes| energy(&errors(codes), &second_moment));
            let [stored, nearest] = report.output_errors.unwrap();
            // Sums of f32 products; a full H is taken with damping that is taken back.
            const SLACK: f64 = 1e-4;
            for (reported, expected) in [stored, nearest].into_iter().zip(expected) {
                let expected = expected / output;
                let is_close = (reported / expected - 1.0).abs() < SLACK;
                assert!(is_close, "{} {keys}: {reported} {expected}", entry.name);
            }
            assert!(stored <= most * nearest, "{} {keys}: {}", entry.name, stored / nearest);
        }
    }
}

#[test]
fn the_search_for_scales_knows_which_columns_matter() {
    let matrix = weights::gaussian(128, COLS, 25);
    let bytes = matrix.bytes();
    let weight = Weight::new(128, COLS, FloatDtype::F32, &bytes).unwrap();
    let diagonal: Vec<f32> = (0..COLS).map(|col| [0.01, 100.0, 1.0][col % 3]).collect();
    let second_moment = SecondMoment::of_diagonal(&[0.0; COLS], &diagonal);
    let inputs = Inputs::new(vec![0.0; COLS], second_moment, 5000).unwrap();
    let metric = dense(&inputs);
    // Where inputs are only known one by one, nearest codes are the minimum, and only scales are left
    // to choose.
    let options = method("activations", "");
    for entry in searchable().filter(|entry| entry.scheme.rotation().is_none()) {
        let [absmax, blind, seeing] = [
            (ScaleRule::Absmax, Some(&inputs)),
            (ScaleRule::Mse, None),
            (ScaleRule::Mse, Some(&inputs)),
        ]
        .map(|(rule, inputs)| {
            let codes = match inputs {
                None => QuantizedMatrix::nearest(&weight, entry.scheme, rule).unwrap(),
                Some(_) => {
                    let layer = Linear::from(&weight).with_inputs(inputs);
                    let (scheme, seed) = (entry.scheme, SEED);
                    round(layer, scheme, rule, &options, &cpu(), seed, &mut ()).unwrap().matrix
                }
            };
            let errors = codes.to_f32().into_iter().zip(&matrix.values).map(|(a, b)| a - b);
            energy(&errors.collect::<Vec<f32>>(), &metric)
        });
        let slack = 1.0 + 1e-5;
        assert!(seeing <= absmax * slack && seeing <= blind * slack, "{}", entry.name);
        if entry.scheme.code_bits() == 4 {
            // Powers of two leave less to choose.
            let most = if entry.name == "mxfp4" { 0.97 } else { 0.95 };
            assert!(
                seeing < 0.9 * absmax && seeing < most * blind,
                "{} {absmax} {blind} {seeing}",
                entry.name
            );
        }
    }
}

#[test]
fn more_effort_never_costs_output_error() {
    let matrix = weights::gaussian(64, COLS, 22);
    for inputs in [full(2000), low_rank()] {
        for scheme in ["fp8", "int8-row", "int8-block-64"] {
            let error = |keys| {
                let options = method("activations", keys);
                activations(&matrix, scheme, &inputs, &options).report.stored.projected
            };
            let [fast, normal, high] =
                ["effort = 'fast'", "effort = 'normal'", "effort = 'high'"].map(error);
            assert!(normal < fast && high <= 1.001 * normal, "{scheme}: {fast} {normal} {high}");
        }
    }
}

#[test]
fn gradients_work_towards_outputs_too() {
    let matrix = weights::gaussian(48, COLS, 23);
    for inputs in [full(2000), low_rank()] {
        let options = method("activations", "solver = 'adaround'\nlearning_rate = 0.05");
        let report = activations(&matrix, "int8-row", &inputs, &options).report;
        let ratio = report.stored.projected / report.nearest.projected;
        assert!(ratio < 0.9, "{ratio}");
    }
}

/// A diagonal about a mean of 0 leaves nothing for R, and nearest codes are the best ones.
#[test]
fn no_solver_needs_more_than_a_diagonal() {
    let matrix = weights::gaussian(48, COLS, 23);
    let squares: Vec<f32> = (0..COLS).map(|col| 0.5 + col as f32).collect();
    let diagonal = SecondMoment::of_diagonal(&[0.0; COLS], &squares);
    let inputs = Inputs::new(vec![0.0; COLS], diagonal, 1000).unwrap();
    for keys in ["", "solver = 'adaround'", "optimizer = 'adamw'"] {
        let options = method("activations", keys);
        let report = activations(&matrix, "int8-row", &inputs, &options).report;
        assert!(report.nearest.projected > 0.0 && report.kept_nearest, "{keys} {report:?}");
    }
}

#[test]
fn progress_is_over_nearest_codes_to_the_end() {
    let matrix = weights::gaussian(48, COLS, 24);
    let inputs = full(2000);
    let bytes = matrix.bytes();
    let weight = Weight::new(48, COLS, FloatDtype::F32, &bytes).unwrap();
    let layer = Linear::from(&weight).with_inputs(Some(&inputs));
    let mut seen = Vec::new();
    let mut watch = |progress: Progress| {
        seen.push(progress);
        ControlFlow::Continue(())
    };
    let options = method("activations", "effort = 'high'");
    let scheme = "int8-row".parse().unwrap();
    round(layer, scheme, ScaleRule::Absmax, &options, &cpu(), SEED, &mut watch).unwrap();
    assert!(seen.len() > 2 && seen[0].projected_ratio < 1.0, "{seen:?}");
    for pair in seen.windows(2) {
        assert_eq!(pair[1].step, pair[0].step + 1);
        assert!(pair[1].step <= pair[1].steps, "{seen:?}");
        assert!(pair[1].projected_ratio <= pair[0].projected_ratio * (1.0 + 1e-6), "{seen:?}");
    }
}

#[test]
fn no_layer_gets_worse() {
    let inputs = full(2000);
    for (name, matrix) in [
        ("power law", weights::power_law_spectrum(96, COLS, 1)),
        ("outliers", weights::with_outliers(128, COLS, 3)),
        ("zero rows", weights::with_zero_rows(64, COLS, 4)),
        ("all zero", weights::all_zero(64, COLS)),
        ("constant", weights::constant(64, COLS, -0.3)),
        ("one huge", weights::one_huge(64, COLS, 7)),
        ("subnormals", weights::subnormals(64, COLS, 8)),
        ("one row", weights::gaussian(1, COLS, 9)),
    ] {
        for entry in searchable() {
            if entry.scheme.covers(matrix.rows, matrix.cols).is_err() {
                continue;
            }
            for keys in ["", "lambda = 0.3", "weight_error_budget = 0.02"] {
                let report =
                    activations(&matrix, entry.name, &inputs, &method("activations", keys)).report;
                let case = format!("{name} {} {keys}", entry.name);
                assert!(report.stored.objective <= report.nearest.objective, "{case}");
                if keys.starts_with("weight") {
                    let limit = report.nearest.weight_error * 1.02 * 1.02 * (1.0 + 1e-6);
                    assert!(report.stored.weight_error <= limit, "{case}");
                }
            }
        }
    }
}

#[test]
fn one_thread_and_many_give_the_same_codes() {
    let matrix = weights::gaussian(300, COLS, 24);
    let inputs = full(500);
    let options = method("activations", "");
    let rounded = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| activations(&matrix, "fp8", &inputs, &options).matrix)
    };
    assert_eq!(rounded(1), rounded(3));
}

#[test]
fn inputs_about_their_mean_are_the_covariance() {
    let inputs = full(700);
    let centred = dense(&inputs.about_mean().unwrap());
    let (whole, mean) = (dense(&inputs), inputs.mean());
    for i in 0..COLS {
        for j in 0..COLS {
            let expected = whole.at(i, j) - mean[i] * mean[j];
            assert!((centred.at(i, j) - expected).abs() < 1e-5);
        }
    }
    // A factor that holds the mean gives it up; the rest leaves the diagonal.
    let mean: Vec<f32> = (0..COLS).map(|col| (col % 3) as f32).collect();
    let squares: Vec<f32> = mean.iter().map(|mean| mean * mean + 0.5).collect();
    let second_moment = SecondMoment::of_diagonal(&mean, &squares);
    let centred = Inputs::new(mean, second_moment, 10).unwrap().about_mean().unwrap();
    let found = dense(&centred);
    for i in 0..COLS {
        for j in 0..COLS {
            let expected = if i == j { 0.5 } else { 0.0 };
            // ‖c‖² is 1 but for the ridge of 1e-6, whose root is left of the mean.
            assert!((found.at(i, j) - expected).abs() < 1e-4, "{} {i} {j}", found.at(i, j));
        }
    }
}

#[test]
fn rotated_statistics_are_those_of_rotated_inputs() {
    let samples = samples(300);
    let mut turned = samples.clone();
    rotate(16, turned.values_mut());
    let (expected, found) = (moment(&turned), full(300).rotated(16));
    let found_matrix = dense(&found);
    for (a, b) in found_matrix.values().iter().zip(expected.values()) {
        assert!((a - b).abs() < 1e-4 * expected.at(0, 0).abs().max(1.0), "{a} {b}");
    }
    for (a, b) in found.mean().iter().zip(mean(&turned)) {
        assert!((a - b).abs() < 1e-5);
    }
    let before = low_rank();
    let after = before.rotated(16);
    let trace = |inputs: &Inputs| inputs.second_moment().diagonal().iter().sum::<f32>();
    assert!((trace(&before) / trace(&after) - 1.0).abs() < 1e-5);
}

#[test]
fn statistics_that_contradict_themselves_are_refused() {
    let full = |value: f32| {
        SecondMoment::Full(Matrix::from_fn(4, 4, |i, j| if i == j { value } else { 0.0 }))
    };
    assert!(Inputs::new(vec![0.0; 4], full(1.0), 1).is_ok());
    assert!(Inputs::new(vec![0.0; 5], full(1.0), 1).is_err());
    assert!(Inputs::new(vec![f32::NAN; 4], full(1.0), 1).is_err());
    assert!(Inputs::new(vec![0.0; 4], full(f32::INFINITY), 1).is_err());
    assert!(Inputs::new(vec![0.0; 4], full(-1.0), 1).is_err());
    let residual = vec![-0.1; 4];
    let second_moment = SecondMoment::LowRank { factor: Matrix::zeros(4, 1), residual };
    assert!(Inputs::new(vec![0.0; 4], second_moment, 1).is_err());
}

#[test]
fn inputs_of_another_layer_are_refused() {
    let matrix = weights::gaussian(8, 64, 1);
    let bytes = matrix.bytes();
    let weight = Weight::new(8, 64, FloatDtype::F32, &bytes).unwrap();
    let other = full(50);
    let options = method("activations", "");
    for (inputs, found) in [(None, 0), (Some(&other), COLS)] {
        let layer = Linear::from(&weight).with_inputs(inputs);
        let scheme = "fp8".parse().unwrap();
        let error = round(layer, scheme, ScaleRule::Absmax, &options, &cpu(), SEED, &mut ());
        assert_eq!(error.unwrap_err(), RoundingError::InputColumns { found, expected: 64 });
    }
}

#[test]
fn an_indefinite_second_moment_is_damped_until_it_is_not() {
    // Symmetric, and far from positive definite.
    let matrix = Matrix::from_fn(COLS, COLS, |i, j| if i == j { 1.0 } else { -0.1 });
    let inputs = Inputs::new(vec![0.0; COLS], SecondMoment::Full(matrix), 5000).unwrap();
    let report =
        activations(&weights::gaussian(32, COLS, 2), "fp8", &inputs, &method("activations", ""))
            .report;
    assert!(report.damping > 0.01);
    assert!(report.stored.objective <= report.nearest.objective);
}

#[test]
fn solvers_that_cannot_see_inputs_are_refused() {
    let options = Options {
        objective: Objective::PrincipalInput(roundwise_rounding::Rank::exactly(3)),
        solver: Solver::Feedback(Feedback { polish: 2, ..Feedback::default() }),
        ..Options::default()
    };
    let matrix = weights::power_law_spectrum(64, 64, 1);
    let polished =
        crate::common::rounded(&matrix, "fp8".parse().unwrap(), &options).unwrap().report;
    assert!(polished.stored.objective < polished.nearest.objective);
    let two_sided = Options {
        objective: Objective::Principal(roundwise_rounding::Rank::exactly(3)),
        ..options
    };
    assert!(crate::common::rounded(&matrix, "fp8".parse().unwrap(), &two_sided).is_err());
    for solver in ["greedy", "anneal"] {
        let asked = toml::from_str(&format!("solver = '{solver}'")).unwrap();
        let error = Options::of_method("activations", &asked).unwrap_err().to_string();
        assert!(error.contains(solver), "{error}");
    }
}

/// Rows with statistics of their own get the codes that they would have in a matrix by themselves, and the
/// other rows theirs.
/// Searches know of zero points only that the weight is moved: what they choose is what a group can store,
/// and the error that is told is that of what is stored.
#[test]
fn feedback_chooses_among_what_a_group_with_a_zero_point_can_store() {
    let weight = weights::gaussian(24, COLS, 9).map(|_, _, value| 0.3 * value + 0.2);
    let bytes = weight.bytes();
    let view = Weight::new(24, COLS, FloatDtype::F32, &bytes).unwrap();
    let (inputs, engine) = (full(400), cpu());
    let options = Options {
        objective: Objective::Activations { damping: None },
        limit: Limit::None,
        ..Options::default()
    };
    let errors = |scheme: &str| {
        let scheme: Scheme = scheme.parse().unwrap();
        let layer = Linear::from(&view).with_inputs(Some(&inputs));
        let found =
            round(layer, scheme, scheme.scale_rule_for_inputs(), &options, &engine, 7, &mut ());
        let Rounded { matrix, report } = found.unwrap();
        let [_, tile_cols] = scheme.tiling().tile_shape(24, COLS);
        for (tile, codes) in matrix.codes().chunks(tile_cols).enumerate() {
            let is_stored = |code: &u8| {
                let code = f32::from(*code as i8);
                matrix.code_range(tile).is_none_or(|[low, high]| (low..=high).contains(&code))
            };
            assert!(codes.iter().all(is_stored), "{scheme}: {:?}", matrix.code_range(tile));
        }
        let told = report.output_errors.unwrap();
        let found = relative_output_error(layer, &matrix, &engine).unwrap();
        assert!((found - told[0]).abs() <= 1e-3 * found, "{scheme}: {found} {told:?}");
        told
    };
    let [stored, nearest] = errors("int4-group-32-asym");
    assert!(stored < 0.3 * nearest, "{stored} {nearest}");
    let [symmetric, _] = errors("int4-group-32");
    assert!(stored < symmetric, "{stored} {symmetric}");
}

#[test]
fn rows_with_inputs_of_their_own_are_rounded_for_these() {
    let (weight, engine) = (weights::gaussian(48, 32, 3), cpu());
    let bytes = weight.bytes();
    let view = Weight::new(48, 32, FloatDtype::F32, &bytes).unwrap();
    let inputs = |seed| {
        let factor = weights::gaussian(32, 5, seed).values;
        let factor = Matrix::new(32, 5, factor).unwrap();
        let full = Matrix::from_fn(32, 32, |i, j| {
            let product: f32 = factor.row(i).iter().zip(factor.row(j)).map(|(a, b)| a * b).sum();
            // Gentle, so that no section meets the limit of ‖E‖, which is one of the whole.
            200.0 * product + if i == j { 0.5 } else { 0.0 }
        });
        Inputs::new(vec![0.0; 32], SecondMoment::Full(full), 1000).unwrap()
    };
    let (plain, mixed) = (inputs(5), inputs(6));
    let options = Options {
        objective: Objective::Activations { damping: None },
        limit: Limit::None,
        ..Options::default()
    };
    for scheme in ["int8-row", "int4-convrot-16", "int4-group-32-asym", "nvfp4", "mxfp8", "fp8"] {
        let scheme: Scheme = scheme.parse().unwrap();
        let rule = scheme.scale_rule_for_inputs();
        let rounded = |layer: Linear<'_>| {
            round(layer, scheme, rule, &options, &engine, 7, &mut ()).unwrap().matrix.to_f32()
        };
        let of_rows = [RowInputs { rows: 16..32, inputs: mixed.clone() }];
        let both = Linear::from(&view).with_inputs(Some(&plain)).with_row_inputs(&of_rows);
        let found = rounded(both);
        let by_plain = rounded(Linear::from(&view).with_inputs(Some(&plain)));
        let by_mixed = rounded(Linear::from(&view).with_inputs(Some(&mixed)));
        // Products of fewer rows may round the last bits of a shift differently.
        let differing = |other: &[f32], rows: Range<usize>| {
            let cells = rows.start * 32..rows.end * 32;
            found[cells.clone()].iter().zip(&other[cells]).filter(|(a, b)| a != b).count()
        };
        assert!(differing(&by_plain, 0..16) <= 4, "{scheme}");
        assert!(differing(&by_mixed, 16..32) <= 4, "{scheme}");
        assert!(differing(&by_plain, 32..48) <= 4, "{scheme}");
        assert!(by_plain != by_mixed, "{scheme}");
    }
}
