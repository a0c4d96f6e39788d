//! Helpers that the tests of this crate share.

use roundwise_compute::{Device, Engine};
use roundwise_rounding::{Limit, MethodOptions, Options, Rounded, RoundingError, round};
use roundwise_scheme::{
    CATALOG, CatalogEntry, FloatDtype, QuantizedMatrix, ScaleRule, Scheme, Weight,
};
use roundwise_testkit::weights::Matrix;

/// Seed of every rounding here.
pub(crate) const SEED: u64 = 11;

pub(crate) fn cpu() -> Engine {
    Device::Cpu.resolve().unwrap()
}

pub(crate) fn rounded(
    matrix: &Matrix,
    scheme: Scheme,
    options: &Options,
) -> Result<Rounded, RoundingError> {
    let bytes = matrix.bytes();
    let weight = Weight::new(matrix.rows, matrix.cols, FloatDtype::F32, &bytes)?;
    round(&weight, scheme, ScaleRule::Absmax, options, &cpu(), SEED, &mut ())
}

pub(crate) fn nearest(matrix: &Matrix, scheme: Scheme) -> QuantizedMatrix {
    let bytes = matrix.bytes();
    let weight = Weight::new(matrix.rows, matrix.cols, FloatDtype::F32, &bytes).unwrap();
    QuantizedMatrix::nearest(&weight, scheme, ScaleRule::Absmax).unwrap()
}

/// `‖E‖²` of stored codes, the long way.
pub(crate) fn weight_error(matrix: &Matrix, stored: &QuantizedMatrix) -> f64 {
    let decoded = stored.to_f32();
    let errors = decoded.iter().zip(&matrix.values).map(|(a, b)| f64::from(*a) - f64::from(*b));
    errors.map(|error| error * error).sum()
}

/// Stored codes are never worse than nearest ones in what is declared, keep their scales and the
/// budget, and are as good as the report says.
pub(crate) fn assert_promises(matrix: &Matrix, scheme: Scheme, options: &Options) {
    let Rounded { matrix: stored, report } = rounded(matrix, scheme, options).unwrap();
    let nearest = nearest(matrix, scheme);
    assert!(report.stored.objective <= report.nearest.objective, "{report:?}");
    assert_eq!(stored.scales(), nearest.scales());
    assert_eq!(stored.first_invalid_row(), None);
    let (found, plain) = (weight_error(matrix, &stored), weight_error(matrix, &nearest));
    // Sums over f32 errors that lost up to 2⁻²⁴ of the weight.
    let slack = 1e-5 * report.stored.weight_error + 1e-12 * report.weight_energy;
    assert!((found - report.stored.weight_error).abs() <= slack, "{scheme} {found} {report:?}");
    if let Limit::WeightErrorBudget(budget) = options.limit {
        assert!(found.sqrt() <= (1.0 + budget) * plain.sqrt() * (1.0 + 1e-5), "{report:?}");
    }
    assert_eq!(report.kept_nearest, stored == nearest, "{report:?}");
}

/// A method and what is asked of it, as a recipe would say it.
pub(crate) fn method(name: &str, keys: &str) -> Options {
    let asked: MethodOptions = toml::from_str(keys).unwrap();
    Options::of_method(name, &asked).unwrap()
}

/// Every method, every optimizer where there is one, with few iterations.
pub(crate) const METHOD_CASES: [(&str, &str); 26] = [
    ("nearest", ""),
    ("stochastic", ""),
    ("principal", ""),
    ("principal", "max_k = 5"),
    ("principal", "max_k = 5\nsolver = 'feedback'"),
    ("principal", "max_k = 5\nsolver = 'greedy'\niterations = 20\nlambda = 0.2"),
    ("principal", "max_k = 5\nsolver = 'adaround'\niterations = 6"),
    ("principal", "max_k = 5\noptimizer = 'original'\niterations = 6"),
    ("principal", "max_k = 5\noptimizer = 'sgd'\niterations = 6\nlambda = 0.5"),
    ("principal", "max_k = 5\noptimizer = 'adamw'\niterations = 6\nschedule = 'cosine'"),
    ("principal", "max_k = 5\noptimizer = 'radam'\niterations = 6\nlearning_rate = 3"),
    ("principal", "max_k = 5\noptimizer = 'prodigy'\niterations = 6"),
    ("principal-input", ""),
    ("principal-input", "top_k = 3\noptimizer = 'rmsprop'\niterations = 6"),
    ("principal-input", "top_k = 3\nsolver = 'greedy'\niterations = 20"),
    ("sampled", "calibration_rows = 16"),
    ("sampled", "calibration_rows = 16\noptimizer = 'gooddog'\niterations = 6"),
    ("sampled", "calibration_rows = 16\nsolver = 'greedy'\niterations = 20"),
    ("adaround", "calibration_rows = 16\niterations = 6"),
    ("adaround", "calibration_rows = 16\niterations = 6\noptimizer = 'adam'\nlambda = 0.3"),
    ("adaround", "calibration_rows = 16\niterations = 6\noptimizer = 'sgd'\nreg_lambda = 5"),
    ("adaround", "calibration_rows = 16\niterations = 6\noptimizer = 'gooddog'"),
    ("adaround-fast", "calibration_rows = 16\niterations = 6\ncalibration_batch = 5"),
    ("tpec", "iterations = 20"),
    ("tpec-fast", "iterations = 12"),
    ("tpec-fast", "iterations = 12\ntop_k = 4"),
];

/// Schemes whose codes a search may choose freely.
pub(crate) fn searchable() -> impl Iterator<Item = &'static CatalogEntry> {
    CATALOG.iter().filter(|entry| entry.scheme.has_free_codes())
}
