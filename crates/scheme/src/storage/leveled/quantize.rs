use roundwise_grid::{E4m3, Grid, Int8, absmax};

use super::levels::{Levels, levels, nearest, squared_error};
use super::table::table_for;
use super::{LEVEL_GROUP, LEVELS, SMALLEST_SCALE};
use crate::error::SchemeError;
use crate::quantized::{QuantizedMatrix, StoredMatrix};
use crate::scales::ScaleRule;
use crate::scheme::Scheme;
use crate::storage::ZERO_ABSMAX;
use crate::weight::Weight;

/// Times that the scale of a group is fitted to its codes, and its codes to the scale.
const FITS: usize = 2;

/// Codes of group scales that [`ScaleRule::Mse`] tries below and above the fitted one; E4M3 has 8
/// codes per factor of 2.
const GROUP_STEPS: [i32; 6] = [-1, 1, -2, 2, -3, 3];

/// Rounds every weight to the nearest level of its group, in a table that suits the weights: the one
/// for normally distributed weights, [`CODEBOOK`](crate::CODEBOOK), or where they have heavier tails
/// one fitted to them.
///
/// # Errors
/// As [`crate::choose_scales`].
pub(crate) fn quantize(
    weight: &Weight<'_>,
    scheme: Scheme,
    rule: ScaleRule,
    memory: Vec<u8>,
) -> Result<QuantizedMatrix, SchemeError> {
    scheme.covers(weight.rows(), weight.cols())?;
    let weight = weight.seen_by(scheme);
    quantize_to(&table_for(&weight), &weight, scheme, rule, memory)
}

/// Rounds every weight to the nearest level of its group in a table.
///
/// - `weight`: as its scheme sees it
///
/// The scale of a group is that of least squared error, found by turns with its levels in `FITS`
/// steps; the scale of a row maps its largest level to 127. A row below
/// [`ZERO_ABSMAX`](crate::ZERO_ABSMAX) has scale 1 and levels 0.
///
/// # Errors
/// As [`crate::choose_scales`].
fn quantize_to(
    table: &[f32; LEVELS],
    weight: &Weight<'_>,
    scheme: Scheme,
    rule: ScaleRule,
    memory: Vec<u8>,
) -> Result<QuantizedMatrix, SchemeError> {
    let shape @ [rows, cols] = [weight.rows(), weight.cols()];
    let groups = cols / LEVEL_GROUP;
    let mut codes = memory;
    // Reserved by a call that can fail, as by nearest rounding.
    codes
        .try_reserve_exact((rows * cols).saturating_sub(codes.len()))
        .map_err(|_| SchemeError::OutOfMemory { bytes: rows * cols })?;
    codes.resize(rows * cols, 0);
    let mut group_scales = vec![0; rows * groups];
    let mut scales = vec![1.0; rows];
    let mut values = vec![0.0; cols];
    for row in 0..rows {
        weight.widen_row(row, &mut values);
        let largest = absmax(&values);
        if !largest.is_finite() {
            return Err(SchemeError::NotFinite { row });
        }
        let codes = &mut codes[row * cols..][..cols];
        if largest < ZERO_ABSMAX {
            codes.fill(0);
            continue;
        }
        let group_scales = &mut group_scales[row * groups..][..groups];
        scales[row] = quantize_row(table, &values, rule, group_scales, codes);
    }
    let levels = Some(Levels { table: *table, group_scales });
    let stored = StoredMatrix { codes, scales: scales.into(), levels };
    QuantizedMatrix::from_stored_matrix(scheme, shape, stored)
}

/// Chooses the scales and the codes of a row, and returns the scale of the whole row.
fn quantize_row(
    table: &[f32; LEVELS],
    values: &[f32],
    rule: ScaleRule,
    group_scales: &mut [u8],
    codes: &mut [u8],
) -> f32 {
    let groups = || values.as_chunks::<LEVEL_GROUP>().0.iter();
    // Two passes over the groups: the scale of the row depends on all of them, and the codes depend
    // on the scale of the row.
    let fitted: Vec<(f32, f32)> = groups().map(|values| fit(table, values)).collect();
    let largest = fitted.iter().map(|(_, largest)| *largest).fold(0.0, f32::max);
    // The largest level of the row becomes 127, so that its INT8 numbers use their whole range.
    let row_scale = (largest / Int8::MAX).max(SMALLEST_SCALE);
    for (group, values) in groups().enumerate() {
        // Levels follow from the scale as it is stored, so the codes are chosen after its rounding.
        let relative = E4m3::encode(fitted[group].0 / row_scale);
        let scale = match rule {
            ScaleRule::Absmax => relative,
            ScaleRule::Mse => best_group_scale(table, values, relative, row_scale),
        };
        let levels = levels(table, E4m3::decode(scale));
        group_scales[group] = scale;
        for (code, value) in codes[group * LEVEL_GROUP..].iter_mut().zip(values) {
            *code = Int8::encode(levels[nearest(&levels, value / row_scale)]);
        }
    }
    row_scale
}

/// Returns the scale of a group, and the largest magnitude that it decodes to with it.
fn fit(table: &[f32; LEVELS], values: &[f32; LEVEL_GROUP]) -> (f32, f32) {
    // Begins at the largest magnitude, as comfy-kitchen does: after two fits the result still
    // depends on where they began.
    let mut scale = absmax(values).max(SMALLEST_SCALE);
    let level = |value: f32, scale: f32| table[nearest(table, value / scale)];
    for _ in 0..FITS {
        let levels = values.map(|value| level(value, scale));
        let product = sum(std::array::from_fn(|at| values[at] * levels[at]));
        let energy = sum(levels.map(|level| level * level));
        // A group of zeros has a product of 0, and no energy either where the table has a level of
        // 0.
        scale = (product / energy.max(SMALLEST_SCALE)).max(SMALLEST_SCALE);
    }
    let decoded = values.map(|value| level(value, scale) * scale);
    (scale, absmax(&decoded))
}

/// Adds in the order of comfy-kitchen on a CPU with vectors of 8, for the same last bits.
fn sum(values: [f32; LEVEL_GROUP]) -> f32 {
    (0..LEVEL_GROUP / 2).map(|lane| values[lane] + values[lane + LEVEL_GROUP / 2]).sum()
}

/// Returns the stored scale near `fitted` that leaves the least squared error; `fitted` wins ties.
fn best_group_scale(
    table: &[f32; LEVELS],
    values: &[f32; LEVEL_GROUP],
    fitted: u8,
    row_scale: f32,
) -> u8 {
    let error = |scale: u8| squared_error(values, &levels(table, E4m3::decode(scale)), row_scale);
    let largest = i32::from(E4m3::encode(E4m3::MAX));
    let mut best = (fitted, error(fitted));
    // Nearest steps first, and only less error wins: of equals the one that is nearest to the fit stays.
    for step in GROUP_STEPS {
        let tried = (i32::from(fitted) + step).clamp(0, largest) as u8;
        let found = error(tried);
        if found < best.1 {
            best = (tried, found);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use roundwise_testkit::bytes::to_hex;
    use roundwise_testkit::weights::contract_i;

    use super::*;
    use crate::storage::CODEBOOK;
    use crate::weight::FloatDtype;

    /// The bytes are those of comfy-kitchen where it is told to take the common table.
    #[test]
    fn the_common_table_gives_the_published_bytes() {
        let scheme: Scheme = "int4-asym-16".parse().unwrap();
        let bytes = contract_i(2, 64).bytes();
        let weight = Weight::new(2, 64, FloatDtype::F32, &bytes).unwrap().seen_by(scheme);
        let rounded = quantize_to(&CODEBOOK, &weight, scheme, ScaleRule::Absmax, vec![]).unwrap();
        let scales: Vec<Vec<u8>> =
            rounded.stored_scales().into_iter().map(|(_, bytes)| bytes).collect();
        let codes = rounded.into_stored_codes();
        let pairs: Vec<u8> = codes.chunks(2).map(|pair| pair[0] | pair[1] << 4).collect();
        assert_eq!(
            to_hex(&pairs),
            "893044d74428987d49a29df8c37b693619b78473d818afb60466d7aa92768c76\
             8855765598f79898a8a9536496c963068f8967677888678854884398ed76f1a8"
        );
        assert_eq!(to_hex(&scales[1]), "6f6e6f706d6b7069");
        assert_eq!(to_hex(&scales[0]), "b6e20f3e93e2613e");
    }
}
