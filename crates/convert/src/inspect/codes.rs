use roundwise_grid::absmax;
use roundwise_rounding::LARGEST_ERROR_RATIO;
use roundwise_scheme::{
    LargestStep, QuantizedMatrix, Weight, WeightError, ZERO_ABSMAX, largest_step, measure,
    nearest_error,
};

/// Least share of a weight's largest magnitude that its decoded codes reach: a scale that clips more does
/// not belong to these codes. A search for the best scale clips to 0.7 at most.
const LEAST_REACH: f32 = 0.25;

/// Learned rounding moves weights by about a step of the large ones; further off, it is another
/// weight.
const MOST_STEPS: f32 = 2.0;

/// The problem of an original that no codes can be compared with.
pub(super) const NOT_FINITE: &str =
    "the original holds a NaN or an infinity, which no code stands for";

/// Codes that could be a rounding of a weight, and how far they are from it.
pub(super) struct Judged {
    pub(super) error: WeightError,
    pub(super) largest_step: LargestStep,
    /// Why they cannot be a rounding of the weight after all.
    pub(super) problem: Option<String>,
}

/// Returns what makes codes or scales invalid by themselves, if anything.
pub(super) fn invalid(matrix: &QuantizedMatrix) -> Option<String> {
    if let Some(row) = matrix.first_invalid_row() {
        return Some(format!("row {row} holds a code that stands for no number"));
    }
    let is_invalid = |scale: &f32| !scale.is_finite() || *scale <= 0.0;
    matrix.scales().iter().any(is_invalid).then(|| "a scale is not a positive number".to_owned())
}

/// Compares codes with the weight they are to stand for.
///
/// # Errors
/// A reason why the two cannot be compared.
pub(super) fn judge(weight: &Weight<'_>, matrix: &QuantizedMatrix) -> Result<Judged, String> {
    let error = measure(weight, matrix);
    if !error.weight_squared.is_finite() {
        return Err(NOT_FINITE.into());
    }
    let [expected, found] = largest_weights(weight, matrix);
    // Below that a tile is stored as zeros, and has nothing to reach.
    if expected >= ZERO_ABSMAX && found < LEAST_REACH * expected {
        return Err(format!("its largest weight is {found:e}, in the original {expected:e}"));
    }
    let largest_step = largest_step(weight, matrix);
    let problem = not_a_rounding(largest_step, error, nearest_error(weight, matrix));
    Ok(Judged { error, largest_step, problem })
}

/// Returns why codes cannot be a rounding of the original, if they cannot.
fn not_a_rounding(step: LargestStep, error: WeightError, nearest_error: f64) -> Option<String> {
    if step.at_largest > MOST_STEPS {
        return Some(format!(
            "a weight is {:.1} steps of the largest ones off, more than {MOST_STEPS}: this is not a \
             rounding of the original",
            step.at_largest
        ));
    }
    // Both errors are sums of the same terms; the slack is a few roundings.
    const MOST_ERROR: f64 = LARGEST_ERROR_RATIO * (1.0 + 1e-6);
    // Where nearest codes are exact, any error is too much; 0 / 0 is a NaN, which is no more than
    // anything.
    let ratio = (error.error_squared / nearest_error).sqrt();
    (ratio > MOST_ERROR).then(|| {
        format!(
            "its error is {ratio:.1} times that of nearest codes, more than {LARGEST_ERROR_RATIO}: this is \
             not a rounding of the original"
        )
    })
}

/// Returns the largest magnitude of a weight and of its decoded codes.
fn largest_weights(weight: &Weight<'_>, matrix: &QuantizedMatrix) -> [f32; 2] {
    let mut values = vec![0.0; weight.cols()];
    // `max` would pass over a NaN, but none gets here: numbers and codes have been checked.
    let mut largest = [0.0; 2];
    for row in 0..weight.rows() {
        weight.widen_row(row, &mut values);
        largest[0] = absmax(&values).max(largest[0]);
        matrix.decode_row(row, &mut values);
        largest[1] = absmax(&values).max(largest[1]);
    }
    largest
}
