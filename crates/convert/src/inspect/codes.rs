use roundwise_grid::absmax;
use roundwise_rounding::LARGEST_ERROR_RATIO;
use roundwise_scheme::{
    GridKind, LargestStep, QuantizedMatrix, ScaleRule, Tiling, Weight, WeightError, ZERO_ABSMAX,
    largest_step, measure, nearest_error,
};

/// Least share of a weight's largest magnitude that its decoded codes reach: a scale that clips more does
/// not belong to these codes. A search for the best scale clips to 0.7 at most.
const LEAST_REACH: f32 = 0.25;

/// Learned rounding moves weights by about a step of the large ones; further off, it is another
/// weight.
const MOST_STEPS: f32 = 2.0;

/// The same for whole numbers of 4 bits, whose steps are a seventh of the largest weight: feedback hands on as much from
/// one to the next.
const MOST_STEPS_OF_INT4: f32 = 5.0;

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
    let most_steps = match matrix.scheme().grid() {
        GridKind::Int4 => MOST_STEPS_OF_INT4,
        _ => MOST_STEPS,
    };
    let problem = not_a_rounding(largest_step, most_steps, error, nearest_error(weight, matrix))
        .or_else(|| lost_block(weight, matrix));
    Ok(Judged { error, largest_step, problem })
}

/// Returns why codes cannot be a rounding of the original, if they cannot.
fn not_a_rounding(
    step: LargestStep,
    most_steps: f32,
    error: WeightError,
    nearest_error: f64,
) -> Option<String> {
    if step.at_largest > most_steps {
        return Some(format!(
            "a weight is {:.1} steps of the largest ones off, more than {most_steps}: this is not a \
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

/// Returns why the scale of a row or of a block is not of its codes, where a whole block is next to nothing that is
/// something in the original, and would be in nearest codes.
fn lost_block(weight: &Weight<'_>, matrix: &QuantizedMatrix) -> Option<String> {
    let lost = faded_blocks(weight, matrix);
    // A block may be too small for the scales that a scheme can store.
    let nearest = QuantizedMatrix::nearest(weight, matrix.scheme(), ScaleRule::Absmax);
    let faded = lost.first().and(nearest.ok()).map(|nearest| faded_blocks(weight, &nearest))?;
    let ([row, col], [expected, found]) =
        lost.into_iter().find(|block| faded.iter().all(|(place, _)| *place != block.0))?;
    Some(format!(
        "the largest weight of the block at row {row}, column {col} is {found:e}, in the original {expected:e}"
    ))
}

/// Returns the blocks whose decoded codes do not reach a share of their largest weight: the first row and column of
/// each, and both magnitudes.
fn faded_blocks(weight: &Weight<'_>, matrix: &QuantizedMatrix) -> Vec<([usize; 2], [f32; 2])> {
    let [rows, cols] = matrix.shape();
    let [high, wide] = match matrix.scheme().tiling() {
        // Of the whole there is one largest weight, which is compared before.
        Tiling::Tensor => return vec![],
        Tiling::Row => [1, cols],
        Tiling::Block { rows, cols } => [rows, cols],
    };
    let (mut before, mut after) = (vec![0.0; cols], vec![0.0; cols]);
    let mut faded = vec![];
    for top in (0..rows).step_by(high) {
        let mut largest = vec![[0.0_f32; 2]; cols.div_ceil(wide)];
        for row in top..rows.min(top + high) {
            weight.widen_row(row, &mut before);
            matrix.decode_row(row, &mut after);
            let pieces = before.chunks(wide).zip(after.chunks(wide));
            for ([expected, found], (before, after)) in largest.iter_mut().zip(pieces) {
                *expected = expected.max(absmax(before));
                *found = found.max(absmax(after));
            }
        }
        let is_faded = |[expected, found]: &[f32; 2]| {
            *expected >= ZERO_ABSMAX && *found < LEAST_REACH * *expected
        };
        let blocks = largest.into_iter().enumerate().filter(|(_, largest)| is_faded(largest));
        faded.extend(blocks.map(|(block, largest)| ([top, block * wide], largest)));
    }
    faded
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
