use roundwise_grid::absmax;

use super::levels::nearest;
use super::{LEVEL_GROUP, LEVELS, SMALLEST_SCALE};
use crate::weight::Weight;

/// The 16 levels of least squared error for normally distributed weights, as comfy-kitchen has them.
///
/// # Source
/// Lloyd and Max: levels of least squared error.
pub const CODEBOOK: [f32; LEVELS] = [
    f32::from_bits(0xBF7B_08BC),
    f32::from_bits(0xBF4B_6641),
    f32::from_bits(0xBF23_5EC8),
    f32::from_bits(0xBF00_409E),
    f32::from_bits(0xBEC1_3038),
    f32::from_bits(0xBE86_C072),
    f32::from_bits(0xBE1E_EF5F),
    f32::from_bits(0xBD4F_BFC6),
    f32::from_bits(0x3D57_353B),
    f32::from_bits(0x3E20_C0AD),
    f32::from_bits(0x3E87_D34E),
    f32::from_bits(0x3EC2_5226),
    f32::from_bits(0x3F00_ACC1),
    f32::from_bits(0x3F23_926C),
    f32::from_bits(0x3F4B_7CFE),
    f32::from_bits(0x3F7B_0D41),
];

/// Excess kurtosis of weights over the largest of their group above which comfy-kitchen fits a table
/// to them; normally distributed ones have −0.5.
const HEAVY_TAILED: f64 = -0.1;

/// Weights that decide about the table of a matrix, in whole rows: as many as comfy-kitchen takes.
const TABLE_WEIGHTS: usize = 300_000;

/// Times that levels are moved to the mean of the weights next to them.
const TABLE_STEPS: usize = 25;

/// Returns [`CODEBOOK`], or a table fitted to the weights where these have heavier tails than normally
/// distributed ones.
///
/// - `weight`: as its scheme sees it
pub(super) fn table_for(weight: &Weight<'_>) -> [f32; LEVELS] {
    let weights = normalised_weights(weight);
    let mean = weights.iter().map(|value| f64::from(*value)).sum::<f64>() / weights.len() as f64;
    let moment = |power| weights.iter().map(|value| (f64::from(*value) - mean).powi(power)).sum();
    let (squares, fourths): (f64, f64) = (moment(2), moment(4));
    let variance = squares / (weights.len() as f64 - 1.0);
    let excess_kurtosis = fourths / weights.len() as f64 / variance.powi(2) - 3.0;
    // A NaN, of no weights or of equal ones, compares false and takes the common table.
    match excess_kurtosis > HEAVY_TAILED {
        true => fitted_table(&weights),
        false => CODEBOOK,
    }
}

/// Returns some rows of a matrix, every weight divided by the largest of its group.
fn normalised_weights(weight: &Weight<'_>) -> Vec<f32> {
    let (rows, cols) = (weight.rows(), weight.cols());
    let n_rows = (TABLE_WEIGHTS / cols.max(1)).max(1).min(rows);
    let mut weights = Vec::with_capacity(n_rows * cols);
    let mut values = vec![0.0; cols];
    // Rows at equal distances, so that no part of the matrix decides alone.
    for row in (0..n_rows).map(|index| index * rows / n_rows) {
        weight.widen_row(row, &mut values);
        for group in values.as_chunks::<LEVEL_GROUP>().0 {
            let largest = absmax(group).max(SMALLEST_SCALE);
            weights.extend(group.map(|value| value / largest));
        }
    }
    weights
}

/// Fits ascending levels to weights, at least one: each is moved to the mean of the values
/// nearest to it, again and again.
///
/// # Source
/// Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28, 1982; begun
/// at quantiles, as comfy-kitchen does.
fn fitted_table(weights: &[f32]) -> [f32; LEVELS] {
    let mut sorted = weights.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let last = weights.len() - 1;
    let mut table: [f32; LEVELS] = std::array::from_fn(|level| {
        // In f32, as torch has it, for the same bits.
        let place = last as f32 * (level as f32 / (LEVELS - 1) as f32);
        let (below, share) = (place.floor(), place.fract());
        let [low, high] = [below, place.ceil()].map(|index| sorted[(index as usize).min(last)]);
        low + share * (high - low)
    });
    // A fixed number of steps, as comfy-kitchen has it: the bytes of the table are to be the same.
    for _ in 0..TABLE_STEPS {
        let mut nearest_values: [Vec<f32>; LEVELS] = Default::default();
        weights.iter().for_each(|value| nearest_values[nearest(&table, *value)].push(*value));
        for (level, values) in table.iter_mut().zip(nearest_values) {
            if !values.is_empty() {
                *level = mean(&values);
            }
        }
    }
    // Quantiles that were the same, of many zeros, may have overtaken each other.
    table.sort_unstable_by(f32::total_cmp);
    table
}

/// Adds in the order of torch on a CPU with vectors of 8, for the same last bits.
fn mean(values: &[f32]) -> f32 {
    let add = |sum: [f32; 8], more: &[f32; 8]| std::array::from_fn(|lane| sum[lane] + more[lane]);
    let (vectors, rest) = values.as_chunks::<8>();
    let (quads, last) = vectors.as_chunks::<4>();
    let mut sums = [[0.0; 8]; 4];
    for quad in quads {
        sums = std::array::from_fn(|index| add(sums[index], &quad[index]));
    }
    sums[0] = last.iter().fold(sums[0], add);
    let lanes = sums[1..].iter().fold(sums[0], add);
    let sum = lanes.iter().fold(rest.iter().sum::<f32>(), |sum, lane| sum + lane);
    sum / values.len() as f32
}

#[cfg(test)]
mod tests {
    use roundwise_testkit::weights::{Matrix, gaussian};

    use super::*;
    use crate::weight::FloatDtype;

    fn heavy_tailed(rows: usize, cols: usize) -> Matrix {
        gaussian(rows, cols, 1).map(|_, _, value| value.powi(3))
    }

    fn table_of(matrix: &Matrix) -> [f32; LEVELS] {
        let bytes = matrix.bytes();
        table_for(&Weight::new(matrix.rows, matrix.cols, FloatDtype::F32, &bytes).unwrap())
    }

    #[test]
    fn normal_weights_take_the_common_table_and_heavy_tails_one_of_their_own() {
        assert_eq!(table_of(&gaussian(64, 256, 1)), CODEBOOK);
        let own = table_of(&heavy_tailed(64, 256));
        assert!(own != CODEBOOK && own.is_sorted(), "{own:?}");
        assert!(own[0] >= -1.0 && own[LEVELS - 1] <= 1.0, "{own:?}");
        // Nothing, and nothing but zeros.
        assert_eq!(table_of(&gaussian(0, 16, 1)), CODEBOOK);
        assert_eq!(table_of(&gaussian(2, 16, 1).map(|_, _, _| 0.0)), CODEBOOK);
    }

    /// Most of them are 0, so that most quantiles are the same.
    #[test]
    fn a_table_of_sparse_weights_ascends() {
        for kept in [2, 4, 8, 16] {
            let sparse =
                gaussian(32, 64, 5).map(|row, _, value| if row % kept == 0 { value } else { 0.0 });
            let table = table_of(&sparse);
            assert!(table != CODEBOOK && table.is_sorted(), "{table:?}");
        }
    }

    #[test]
    fn a_table_of_its_own_is_better_for_its_weights() {
        let bytes = heavy_tailed(600, 1024).bytes();
        let weight = Weight::new(600, 1024, FloatDtype::F32, &bytes).unwrap();
        let weights = normalised_weights(&weight);
        assert!(weights.len() < 600 * 1024 && weights.len() > TABLE_WEIGHTS / 2);
        let error = |table: &[f32; LEVELS]| {
            let errors =
                weights.iter().map(|value| f64::from(table[nearest(table, *value)] - value));
            errors.map(|error| error * error).sum::<f64>()
        };
        assert!(error(&table_for(&weight)) < 0.9 * error(&CODEBOOK));
    }
}
