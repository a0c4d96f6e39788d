use roundwise_grid::absmax;
use roundwise_rounding::LARGEST_ERROR_RATIO;
use roundwise_scheme::{
    GridKind, LargestStep, QuantizedMatrix, ScaleRule, Weight, WeightError, ZERO_ABSMAX,
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
    let LargestWeights { whole, faded } = LargestWeights::of(weight, matrix);
    if is_faded(whole) {
        let [expected, found] = whole;
        return Err(format!("its largest weight is {found:e}, in the original {expected:e}"));
    }
    let largest_step = largest_step(weight, matrix);
    let most_steps = match matrix.scheme().grid() {
        GridKind::Int4 => MOST_STEPS_OF_INT4,
        _ => MOST_STEPS,
    };
    let problem = not_a_rounding(largest_step, most_steps, error, nearest_error(weight, matrix))
        .or_else(|| lost_block(weight, matrix, &faded));
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
///
/// - `faded`: of these codes
fn lost_block(
    weight: &Weight<'_>,
    matrix: &QuantizedMatrix,
    faded: &[FadedBlock],
) -> Option<String> {
    faded.first()?;
    // A block may be too small for the scales that a scheme can store.
    let nearest = QuantizedMatrix::nearest(weight, matrix.scheme(), ScaleRule::Absmax).ok()?;
    let too_small = LargestWeights::of(weight, &nearest).faded;
    let is_lost = |block: &&FadedBlock| too_small.iter().all(|other| other.place != block.place);
    let FadedBlock { place: [row, col], largest: [expected, found] } =
        faded.iter().find(is_lost)?;
    Some(format!(
        "the largest weight of the block at row {row}, column {col} is {found:e}, in the original {expected:e}"
    ))
}

/// A block whose decoded codes do not reach a share of its largest weight.
struct FadedBlock {
    /// First row and column.
    place: [usize; 2],
    /// Magnitudes in the original and in the codes.
    largest: [f32; 2],
}

/// The largest magnitudes of a weight and of its decoded codes.
struct LargestWeights {
    whole: [f32; 2],
    faded: Vec<FadedBlock>,
}

impl LargestWeights {
    fn of(weight: &Weight<'_>, matrix: &QuantizedMatrix) -> Self {
        let [rows, cols] = matrix.shape();
        let [high, wide] = matrix.scheme().tiling().tile_shape(rows, cols);
        let (mut before, mut after) = (vec![0.0; cols], vec![0.0; cols]);
        let mut found = Self { whole: [0.0; 2], faded: vec![] };
        for top in (0..rows).step_by(high) {
            let mut blocks = vec![[0.0; 2]; cols.div_ceil(wide)];
            for row in top..rows.min(top + high) {
                weight.widen_row(row, &mut before);
                matrix.decode_row(row, &mut after);
                let pieces = before.chunks(wide).zip(after.chunks(wide));
                for (largest, (before, after)) in blocks.iter_mut().zip(pieces) {
                    raise(largest, [absmax(before), absmax(after)]);
                }
            }
            for (block, largest) in blocks.into_iter().enumerate() {
                raise(&mut found.whole, largest);
                if is_faded(largest) {
                    found.faded.push(FadedBlock { place: [top, block * wide], largest });
                }
            }
        }
        found
    }
}

/// Raises numbers to others. `max` would pass over a NaN, but none gets here: numbers and codes have been checked.
fn raise(largest: &mut [f32; 2], others: [f32; 2]) {
    largest.iter_mut().zip(others).for_each(|(largest, other)| *largest = largest.max(other));
}

/// Returns whether codes do not reach a share of the largest weight. Below [`ZERO_ABSMAX`] a tile is stored as zeros,
/// and has nothing to reach.
fn is_faded([expected, found]: [f32; 2]) -> bool {
    expected >= ZERO_ABSMAX && found < LEAST_REACH * expected
}
