use roundwise_grid::{E4m3, Grid, Int8, absmax};

use crate::level_table::table_for;
use crate::{QuantizedMatrix, ScaleRule, Scales, Scheme, SchemeError, Weight};

/// Weights of a row that share a scale relative to the row's.
pub const LEVEL_GROUP: usize = 16;

/// Levels that a 4-bit code chooses from.
pub(crate) const LEVELS: usize = 16;

/// Smallest scale of a group or a row that holds more than zeros.
pub(crate) const SMALLEST_SCALE: f32 = 1e-8;

/// Times that the scale of a group is fitted to its codes, and its codes to the scale.
const FITS: usize = 2;

/// Codes of group scales that [`ScaleRule::Mse`] tries below and above the fitted one.
const GROUP_STEPS: [i32; 6] = [-1, 1, -2, 2, -3, 3];

/// Which 8-bit levels the 4-bit codes of a matrix stand for.
///
/// `level = nearest_even(clamp(table[code] · group_scale, −127, 127))`; the weight is the level
/// times the scale of its row.
#[derive(Clone, Debug, PartialEq)]
pub struct Levels {
    table: [f32; LEVELS],
    /// E4M3 codes, `[rows, cols / LEVEL_GROUP]`.
    group_scales: Vec<u8>,
}

/// The levels of one group, ascending; several may be the same.
type GroupLevels = [f32; LEVELS];

impl Levels {
    /// - `table`: what the codes stand for before scaling; `None` for `code − 8`
    /// - `group_scales`: E4M3 codes, row-major
    ///
    /// # Errors
    /// One line, when a table does not ascend from −1 to 1 or less, or a scale is negative or NaN.
    pub fn new(table: Option<[f32; LEVELS]>, group_scales: Vec<u8>) -> Result<Self, String> {
        let table = table.unwrap_or(std::array::from_fn(|code| code as f32 - 8.0));
        if table.iter().any(|level| !level.is_finite()) || !table.is_sorted() {
            return Err("its table of levels does not ascend".to_owned());
        }
        let largest = E4m3::encode(E4m3::MAX);
        match group_scales.iter().any(|scale| *scale > largest) {
            true => Err("a scale of a group is negative or no number".to_owned()),
            false => Ok(Self { table, group_scales }),
        }
    }

    /// What the codes stand for before scaling.
    #[must_use]
    pub fn table(&self) -> &[f32; LEVELS] {
        &self.table
    }

    /// E4M3 codes of the groups' scales, `[rows, cols / LEVEL_GROUP]`.
    #[must_use]
    pub fn group_scales(&self) -> &[u8] {
        &self.group_scales
    }

    fn of_group(&self, group: usize) -> GroupLevels {
        levels(&self.table, E4m3::decode(self.group_scales[group]))
    }

    /// The INT8 codes of 4-bit ones, `[rows, cols]` with whole groups; bits above the fourth are
    /// not looked at.
    fn decode(&self, codes: &mut [u8]) {
        for (group, codes) in codes.chunks_mut(LEVEL_GROUP).enumerate() {
            let levels = self.of_group(group).map(Int8::encode);
            codes.iter_mut().for_each(|code| *code = levels[usize::from(*code) % LEVELS]);
        }
    }

    /// The 4-bit codes of INT8 ones, the lowest where several stand for the same level.
    fn encode(&self, codes: &mut [u8]) {
        for (group, codes) in codes.chunks_mut(LEVEL_GROUP).enumerate() {
            let levels = self.of_group(group);
            codes.iter_mut().for_each(|code| *code = nearest(&levels, Int8::decode(*code)) as u8);
        }
    }

    /// `‖E‖²` of the nearest levels.
    ///
    /// - `weight`: as its scheme sees it
    pub(crate) fn nearest_error(&self, weight: &Weight<'_>, row_scales: &[f32]) -> f64 {
        let mut values = vec![0.0; weight.cols()];
        let groups = weight.cols() / LEVEL_GROUP;
        let mut error = 0.0;
        for (row, &scale) in row_scales.iter().enumerate() {
            weight.widen_row(row, &mut values);
            for (group, values) in values.chunks(LEVEL_GROUP).enumerate() {
                let levels = self.of_group(row * groups + group);
                error += squared_error(values, &levels, scale);
            }
        }
        error
    }
}

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
        if largest < crate::ZERO_ABSMAX {
            codes.fill(0);
            continue;
        }
        let group_scales = &mut group_scales[row * groups..][..groups];
        scales[row] = quantize_row(table, &values, rule, group_scales, codes);
    }
    let levels = Levels { table: *table, group_scales };
    QuantizedMatrix::from_levels(scheme, shape, codes, Scales::from(scales), levels)
}

/// Returns the scale of the row.
fn quantize_row(
    table: &[f32; LEVELS],
    values: &[f32],
    rule: ScaleRule,
    group_scales: &mut [u8],
    codes: &mut [u8],
) -> f32 {
    let groups = || values.as_chunks::<LEVEL_GROUP>().0.iter();
    let fitted: Vec<(f32, f32)> = groups().map(|values| fit(table, values)).collect();
    let largest = fitted.iter().map(|(_, largest)| *largest).fold(0.0, f32::max);
    let row_scale = (largest / Int8::MAX).max(SMALLEST_SCALE);
    for (group, values) in groups().enumerate() {
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

/// The scale of a group, and the largest magnitude that it decodes to with it.
fn fit(table: &[f32; LEVELS], values: &[f32; LEVEL_GROUP]) -> (f32, f32) {
    let mut scale = absmax(values).max(SMALLEST_SCALE);
    let level = |value: f32, scale: f32| table[nearest(table, value / scale)];
    for _ in 0..FITS {
        let levels = values.map(|value| level(value, scale));
        let product = sum(std::array::from_fn(|at| values[at] * levels[at]));
        let energy = sum(levels.map(|level| level * level));
        scale = (product / energy.max(SMALLEST_SCALE)).max(SMALLEST_SCALE);
    }
    let decoded = values.map(|value| level(value, scale) * scale);
    (scale, absmax(&decoded))
}

/// In the order in which comfy-kitchen adds on a CPU with vectors of 8, for the same last bits.
fn sum(values: [f32; LEVEL_GROUP]) -> f32 {
    (0..LEVEL_GROUP / 2).map(|lane| values[lane] + values[lane + LEVEL_GROUP / 2]).sum()
}

/// The stored scale near `fitted` that leaves the least squared error; `fitted` wins ties.
fn best_group_scale(
    table: &[f32; LEVELS],
    values: &[f32; LEVEL_GROUP],
    fitted: u8,
    row_scale: f32,
) -> u8 {
    let error = |scale: u8| squared_error(values, &levels(table, E4m3::decode(scale)), row_scale);
    let largest = i32::from(E4m3::encode(E4m3::MAX));
    let mut best = (fitted, error(fitted));
    for step in GROUP_STEPS {
        let tried = (i32::from(fitted) + step).clamp(0, largest) as u8;
        let found = error(tried);
        if found < best.1 {
            best = (tried, found);
        }
    }
    best.0
}

fn levels(table: &[f32; LEVELS], scale: f32) -> GroupLevels {
    table.map(|level| (level * scale).clamp(-Int8::MAX, Int8::MAX).round_ties_even())
}

fn squared_error(values: &[f32], levels: &GroupLevels, scale: f32) -> f64 {
    let error = |&value: &f32| {
        let decoded = levels[nearest(levels, value / scale)] * scale;
        f64::from(decoded) - f64::from(value)
    };
    values.iter().map(|value| error(value).powi(2)).sum()
}

/// Index of the nearest of ascending levels; the lowest of several.
pub(crate) fn nearest(levels: &GroupLevels, value: f32) -> usize {
    let mut best = 0;
    for index in 1..LEVELS {
        if (levels[index] - value).abs() < (levels[best] - value).abs() {
            best = index;
        }
    }
    best
}

impl QuantizedMatrix {
    /// Takes 4-bit codes, `[rows, cols]` with a byte each, of levels that were stored.
    ///
    /// - `codes`: INT8 codes of the levels
    fn from_levels(
        scheme: Scheme,
        shape: [usize; 2],
        codes: Vec<u8>,
        scales: Scales,
        levels: Levels,
    ) -> Result<Self, SchemeError> {
        let expected = shape[0].saturating_mul(shape[1] / LEVEL_GROUP);
        let found = levels.group_scales.len();
        if found != expected {
            return Err(SchemeError::PartLength { what: "scales of groups", found, expected });
        }
        Self::from_all_parts(scheme, shape, codes, scales, Some(levels))
    }

    /// Takes codes and scales of a scheme of levels as they are stored.
    ///
    /// - `codes`: 4-bit ones, `[rows, cols]`, a byte each
    /// - `row_scales`: one per row
    ///
    /// # Errors
    /// As [`QuantizedMatrix::from_parts`].
    pub fn from_leveled(
        scheme: Scheme,
        shape: [usize; 2],
        mut codes: Vec<u8>,
        row_scales: Vec<f32>,
        levels: Levels,
    ) -> Result<Self, SchemeError> {
        scheme.covers(shape[0], shape[1])?;
        if codes.len() == shape[0] * shape[1]
            && levels.group_scales.len() == codes.len() / LEVEL_GROUP
        {
            levels.decode(&mut codes);
        }
        Self::from_levels(scheme, shape, codes, row_scales.into(), levels)
    }

    /// The 4-bit codes that stand for the levels of a scheme of levels, a byte each, and what they
    /// stand for; `None` of every other scheme.
    #[must_use]
    pub fn leveled_codes(&self) -> Option<(Vec<u8>, &Levels)> {
        let levels = self.levels()?;
        let mut codes = self.codes().to_vec();
        levels.encode(&mut codes);
        Some((codes, levels))
    }
}

#[cfg(test)]
mod tests {
    use roundwise_testkit::bytes::to_hex;
    use roundwise_testkit::weights::contract_i;

    use super::*;
    use crate::{CODEBOOK, WeightKind};

    /// comfy-kitchen's bytes where it is told to take the common table.
    #[test]
    fn the_common_table_gives_the_published_bytes() {
        let scheme: Scheme = "int4-asym-16".parse().unwrap();
        let bytes = contract_i(2, 64).bytes();
        let weight = Weight::new(2, 64, WeightKind::F32, &bytes).unwrap().seen_by(scheme);
        let rounded = quantize_to(&CODEBOOK, &weight, scheme, ScaleRule::Absmax, vec![]).unwrap();
        let (codes, levels) = rounded.leveled_codes().unwrap();
        let pairs: Vec<u8> = codes.chunks(2).map(|pair| pair[0] | pair[1] << 4).collect();
        assert_eq!(
            to_hex(&pairs),
            "893044d74428987d49a29df8c37b693619b78473d818afb60466d7aa92768c76\
             8855765598f79898a8a9536496c963068f8967677888678854884398ed76f1a8"
        );
        assert_eq!(to_hex(levels.group_scales()), "6f6e6f706d6b7069");
        let scales: Vec<u8> = rounded.scales().iter().flat_map(|s| s.to_le_bytes()).collect();
        assert_eq!(to_hex(&scales), "b6e20f3e93e2613e");
    }
}
