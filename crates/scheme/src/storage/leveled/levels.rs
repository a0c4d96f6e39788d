use roundwise_grid::{E4m3, Grid, Int8};

use super::{LEVEL_GROUP, LEVELS};
use crate::error::SchemeError;
use crate::weight::Weight;

/// Which 8-bit levels the 4-bit codes of a matrix stand for.
///
/// `level = nearest_even(clamp(table[code] · group_scale, −127, 127))`; the weight is the level
/// times the scale of its row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Levels {
    /// The values that codes stand for before scaling.
    pub(super) table: [f32; LEVELS],
    /// E4M3 codes, `[rows, cols / LEVEL_GROUP]`.
    pub(super) group_scales: Vec<u8>,
}

/// The levels of one group, ascending; several may be the same.
type GroupLevels = [f32; LEVELS];

impl Levels {
    /// Checks what a file holds for a matrix of this shape.
    ///
    /// - `table`: what the codes stand for before scaling; `None` for `code − 8`
    /// - `group_scales`: E4M3 codes, row-major
    ///
    /// # Errors
    /// [`SchemeError::Levels`] when a table does not ascend, or a scale is negative or NaN;
    /// [`SchemeError::PartLength`] when there is not one scale per group.
    pub(super) fn new(
        table: Option<[f32; LEVELS]>,
        group_scales: Vec<u8>,
        [rows, cols]: [usize; 2],
    ) -> Result<Self, SchemeError> {
        // The default of a file without a table: kitchen's uniform levels.
        let table = table.unwrap_or(std::array::from_fn(|code| code as f32 - 8.0));
        if table.iter().any(|level| !level.is_finite()) || !table.is_sorted() {
            return Err(SchemeError::Levels { problem: "its table of levels does not ascend" });
        }
        let largest = E4m3::encode(E4m3::MAX);
        // As bytes: every E4M3 code above the largest number is a NaN or has the sign bit.
        if group_scales.iter().any(|scale| *scale > largest) {
            let problem = "a scale of a group is negative or no number";
            return Err(SchemeError::Levels { problem });
        }
        let (found, expected) = (group_scales.len(), rows.saturating_mul(cols / LEVEL_GROUP));
        match found == expected {
            true => Ok(Self { table, group_scales }),
            false => Err(SchemeError::PartLength { what: "scales of groups", found, expected }),
        }
    }

    fn group_levels(&self, group: usize) -> GroupLevels {
        levels(&self.table, E4m3::decode(self.group_scales[group]))
    }

    /// Turns 4-bit codes of whole groups into the INT8 codes of their levels. Bits above the fourth
    /// are ignored.
    pub(super) fn decode(&self, codes: &mut [u8]) {
        for (group, codes) in codes.chunks_mut(LEVEL_GROUP).enumerate() {
            let levels = self.group_levels(group).map(Int8::encode);
            codes.iter_mut().for_each(|code| *code = levels[usize::from(*code) % LEVELS]);
        }
    }

    /// Turns INT8 codes into the 4-bit codes of their levels, the lowest where several stand for
    /// one level.
    pub(super) fn encode(&self, codes: &mut [u8]) {
        for (group, codes) in codes.chunks_mut(LEVEL_GROUP).enumerate() {
            let levels = self.group_levels(group);
            codes.iter_mut().for_each(|code| *code = nearest(&levels, Int8::decode(*code)) as u8);
        }
    }

    /// Returns `‖E‖²` of the nearest levels.
    ///
    /// - `weight`: as its scheme sees it
    pub(crate) fn nearest_error(&self, weight: &Weight<'_>, row_scales: &[f32]) -> f64 {
        let mut values = vec![0.0; weight.cols()];
        let groups = weight.cols() / LEVEL_GROUP;
        let mut error = 0.0;
        for (row, &scale) in row_scales.iter().enumerate() {
            weight.widen_row(row, &mut values);
            for (group, values) in values.chunks(LEVEL_GROUP).enumerate() {
                let levels = self.group_levels(row * groups + group);
                error += squared_error(values, &levels, scale);
            }
        }
        error
    }
}

/// Returns the levels of a group with this scale.
pub(super) fn levels(table: &[f32; LEVELS], scale: f32) -> GroupLevels {
    // Rounded to INT8 before the row's scale: kernels multiply by these numbers, and a weight
    // decodes to no others.
    table.map(|level| (level * scale).clamp(-Int8::MAX, Int8::MAX).round_ties_even())
}

/// Returns `‖E‖²` of the nearest levels of one group.
pub(super) fn squared_error(values: &[f32], levels: &GroupLevels, scale: f32) -> f64 {
    let error = |&value: &f32| {
        let decoded = levels[nearest(levels, value / scale)] * scale;
        f64::from(decoded) - f64::from(value)
    };
    values.iter().map(|value| error(value).powi(2)).sum()
}

/// Returns the index of the nearest of ascending levels, the lowest of several.
pub(super) fn nearest(levels: &GroupLevels, value: f32) -> usize {
    let mut best = 0;
    // All sixteen, and no search by halves: equal levels stand beside each other, and the lowest of them has
    // to win so that codes come back as they were.
    for index in 1..LEVELS {
        if (levels[index] - value).abs() < (levels[best] - value).abs() {
            best = index;
        }
    }
    best
}
