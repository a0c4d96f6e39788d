//! Every method keeps the promises of rounding, whatever the matrix and the scheme.

use std::ops::ControlFlow;

use crate::common::{METHOD_CASES, SEED, assert_promises, cpu, method, rounded, searchable};
use roundwise_compute::Gaussian;
use roundwise_rounding::{
    Limit, METHODS, Objective, Options, Progress, Rounded, RoundingError, Solver, round,
};
use roundwise_scheme::{CatalogEntry, FloatDtype, ScaleRule, SchemeError, Weight};
use roundwise_testkit::cases::test_each;
use roundwise_testkit::weights::{self, Matrix};

fn usual_matrices() -> Vec<(&'static str, Matrix)> {
    vec![
        ("power law", weights::power_law_spectrum(64, 64, 1)),
        ("whole blocks", weights::power_law_spectrum(128, 128, 2)),
        ("outliers", weights::with_outliers(48, 64, 3)),
        ("odd", weights::gaussian(37, 53, 12)),
    ]
}

fn odd_matrices() -> Vec<(&'static str, Matrix)> {
    vec![
        ("zero tiles", weights::with_zero_tiles(64, 64, 32, 4)),
        ("all zero", weights::all_zero(64, 64)),
        ("rank one", weights::rank_one(64, 64, 6)),
        ("one huge", weights::one_huge(64, 64, 7)),
        ("subnormals", weights::subnormals(64, 64, 8)),
        ("one row", weights::gaussian(1, 256, 9)),
        ("one column", weights::gaussian(256, 1, 10)),
        ("one cell", weights::gaussian(1, 1, 11)),
    ]
}

struct Case<'a> {
    matrix: (&'static str, &'a Matrix),
    scheme: &'static CatalogEntry,
    method: (&'static str, &'static str),
}

impl std::fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}, {:?}", self.matrix.0, self.scheme.name, self.method)
    }
}

fn no_method_does_worse_on(matrices: &[(&'static str, Matrix)]) {
    no_method_does_worse_with(|_| true, matrices);
}

fn no_method_does_worse_with(
    is_asked: fn(&CatalogEntry) -> bool,
    matrices: &[(&'static str, Matrix)],
) {
    let mut cases = Vec::new();
    for (name, matrix) in matrices {
        for scheme in searchable().filter(|entry| is_asked(entry)) {
            if scheme.scheme.covers(matrix.rows, matrix.cols).is_ok() {
                let case = |method| Case { matrix: (*name, matrix), scheme, method };
                cases.extend(METHOD_CASES.map(case));
            }
        }
    }
    test_each(cases, |case| {
        let options = method(case.method.0, case.method.1);
        assert_promises(case.matrix.1, case.scheme.scheme, &options);
    });
}

#[test]
fn no_method_does_worse_than_nearest_on_a_decaying_spectrum() {
    no_method_does_worse_on(&usual_matrices()[..1]);
}

#[test]
fn no_method_does_worse_than_nearest_on_whole_blocks() {
    // Those whose blocks the smaller matrices have no room for.
    let is_larger = |entry: &CatalogEntry| entry.scheme.covers(64, 64).is_err();
    no_method_does_worse_with(is_larger, &usual_matrices()[1..2]);
}

#[test]
fn no_method_does_worse_than_nearest_on_outliers_and_ragged_blocks() {
    no_method_does_worse_on(&usual_matrices()[2..]);
}

#[test]
fn no_method_does_worse_than_nearest_on_zeros() {
    no_method_does_worse_on(&odd_matrices()[..2]);
}

#[test]
fn no_method_does_worse_than_nearest_where_one_direction_is_all() {
    no_method_does_worse_on(&odd_matrices()[2..4]);
}

#[test]
fn no_method_does_worse_than_nearest_on_tiny_numbers_and_thin_matrices() {
    no_method_does_worse_on(&odd_matrices()[4..]);
}

#[test]
fn every_learned_method_helps_where_it_can() {
    let matrix = weights::power_law_spectrum(128, 128, 1);
    for (name, keys, schemes, at_most) in [
        ("principal", "top_k = 25", &["fp8", "int8-row", "int8-block-64"][..], 0.4),
        ("principal", "top_k = 25\noptimizer = 'original'\niterations = 200", &["fp8"], 0.9),
        ("principal", "top_k = 25\noptimizer = 'adamw'\niterations = 200", &["fp8"], 0.97),
        ("principal", "top_k = 25\noptimizer = 'prodigy'\niterations = 200", &["fp8"], 0.9),
        ("principal-input", "top_k = 25", &["fp8", "int8-row", "int8-block-64"], 0.7),
        ("sampled", "calibration_rows = 32", &["fp8", "int8-row", "int8-block-64"], 0.7),
        (
            "adaround",
            "calibration_rows = 64\niterations = 128",
            &["fp8", "int8-row", "int8-block-64"],
            0.999,
        ),
        ("adaround-fast", "iterations = 100", &["fp8", "int8-row", "int8-block-64"], 0.999),
        ("tpec", "", &["fp8", "int8-row", "int8-block-64"], 1e-2),
        ("tpec-fast", "top_k = 25", &["fp8"], 0.9),
    ] {
        for scheme in schemes {
            let options = method(name, keys);
            let report = rounded(&matrix, scheme.parse().unwrap(), &options).unwrap().report;
            let ratio = (report.stored.objective / report.nearest.objective).sqrt();
            assert!(ratio < at_most, "{name} {keys} {scheme}: {ratio}");
            assert!(!report.kept_nearest && report.changed > 0.0 && report.changed < 0.5);
        }
    }
}

#[test]
fn random_rows_score_the_stored_codes() {
    let matrix = weights::power_law_spectrum(64, 48, 1);
    for (name, keys) in [("sampled", ""), ("adaround", "iterations = 20"), ("adaround-fast", "")] {
        let options = method(name, keys);
        let Objective::Sampled { samples } = options.objective else { panic!("{options:?}") };
        let Rounded { matrix: stored, report } =
            rounded(&matrix, "fp8".parse().unwrap(), &options).unwrap();
        let inputs = Gaussian::new(SEED).matrix(48, samples);
        let decoded = stored.to_f32();
        let mut expected = 0.0;
        for row in 0..64 {
            for sample in 0..samples {
                let output: f64 = (0..48)
                    .map(|col| {
                        let place = row * 48 + col;
                        let error = f64::from(decoded[place]) - f64::from(matrix.values[place]);
                        error * f64::from(inputs.at(col, sample))
                    })
                    .sum();
                expected += output * output / samples as f64;
            }
        }
        assert!((report.stored.objective / expected - 1.0).abs() < 1e-5, "{report:?}");
    }
}

#[test]
fn stochastic_codes_are_neighbours_and_right_on_average() {
    let matrix = weights::gaussian(128, 128, 5);
    let scheme = "int8-row".parse().unwrap();
    let Rounded { matrix: stored, report } =
        rounded(&matrix, scheme, &method("stochastic", "")).unwrap();
    assert_eq!((report.objective, report.kept_nearest), ("none", false));
    // With uniformly distributed weights every fourth code is the farther one of the two, and the
    // error is √2 times that of nearest codes.
    assert!((report.changed - 0.25).abs() < 0.02, "{report:?}");
    let ratio = (report.stored.weight_error / report.nearest.weight_error).sqrt();
    assert!((ratio - 2_f64.sqrt()).abs() < 0.05, "{ratio}");
    let errors = stored.to_f32().into_iter().zip(&matrix.values).map(|(a, b)| f64::from(a - b));
    // Four standard errors of the sum.
    assert!(errors.sum::<f64>().abs() < 4.0 * report.stored.weight_error.sqrt());
}

#[test]
fn threads_do_not_choose_the_bytes_of_any_method() {
    let matrix = weights::power_law_spectrum(150, 210, 3);
    test_each(METHOD_CASES, |(name, keys)| {
        let options = method(name, keys);
        let with_threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| rounded(&matrix, "fp8-row".parse().unwrap(), &options).unwrap())
        };
        let one = with_threads(1);
        assert_eq!(one, with_threads(4));
        assert_eq!(one, with_threads(1));
    });
}

#[test]
fn no_method_takes_what_is_not_a_number() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut matrix = weights::gaussian(8, 8, 1);
        matrix.values[19] = bad;
        for entry in METHODS {
            let result = rounded(&matrix, "fp8".parse().unwrap(), &entry.options());
            let expected = RoundingError::Scheme(SchemeError::NotFinite { row: 2 });
            assert_eq!(result.unwrap_err(), expected, "{}", entry.name);
        }
    }
}

#[test]
fn batches_change_no_more_than_the_last_bits() {
    let matrix = weights::power_law_spectrum(64, 96, 1);
    let codes = |keys: &str| {
        let rounded = rounded(&matrix, "int8-row".parse().unwrap(), &method("adaround", keys));
        let Rounded { matrix: stored, report } = rounded.unwrap();
        assert!(report.changed > 0.01, "{report:?}");
        stored.codes().to_vec()
    };
    let whole = codes("iterations = 40");
    let batches = codes("iterations = 40\ncalibration_batch = 7");
    let others = whole.iter().zip(&batches).filter(|(a, b)| a != b).count();
    assert!(others * 1000 < whole.len(), "{others} of {}", whole.len());
}

#[test]
fn whoever_watches_a_learned_method_may_stop_it() {
    let matrix = weights::power_law_spectrum(64, 64, 1);
    let bytes = matrix.bytes();
    let weight = Weight::new(64, 64, FloatDtype::F32, &bytes).unwrap();
    for (name, keys) in METHOD_CASES {
        if matches!(name, "nearest" | "stochastic") {
            continue;
        }
        let mut seen = Vec::new();
        let mut watch = |progress: Progress| {
            seen.push(progress);
            if seen.len() < 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        // No budget, or one step may be all there is.
        let options = Options { limit: Limit::Lambda(0.1), ..method(name, keys) };
        let scheme = "fp8".parse().unwrap();
        let result = round(&weight, scheme, ScaleRule::Absmax, &options, &cpu(), SEED, &mut watch);
        if let Solver::Feedback(_) = options.solver {
            assert_eq!(seen.len(), 1, "feedback is one pass");
            continue;
        }
        assert_eq!(result.unwrap_err(), RoundingError::Stopped, "{name} {keys}");
        assert_eq!((seen[0].step, seen[1].step), (1, 2), "{name} {keys}");
        assert!(seen.iter().all(|progress| progress.projected_ratio.is_finite()));
    }
}

#[test]
fn a_matrix_without_weights_stays_so() {
    for (rows, cols) in [(0, 5), (5, 0), (0, 0)] {
        let matrix = Matrix { rows, cols, values: Vec::new() };
        for (name, keys) in METHOD_CASES {
            let report = rounded(&matrix, "int8-row".parse().unwrap(), &method(name, keys));
            assert!(report.unwrap().report.kept_nearest, "{name} {keys}");
        }
    }
}
