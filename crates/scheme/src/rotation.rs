use std::num::NonZeroUsize;

use roundwise_grid::vectorized;

/// The regular Hadamard rotation of groups of columns: `W̃ = W·R`, `R = Rᵀ = R⁻¹`.
///
/// `R_4 = ½·[[1,1,1,−1],[1,1,−1,1],[1,−1,1,1],[−1,1,1,1]]`, `R_{4m} = R_m ⊗ R_4`: every row has the
/// same sum, unlike Sylvester's matrices. Applying it twice gives the matrix back, within rounding.
/// It spreads outliers over their group, so that rows are covered by finer steps.
///
/// # Source
/// ConvRot, as ComfyUI implements it (`convrot`, comfy-kitchen).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rotation {
    /// Never 0, which keeps schemes small: decisions hold several of them.
    most: NonZeroUsize,
}

impl Rotation {
    /// The largest group up to 256 that divides the columns: what kernels are fastest with.
    pub const DEFAULT: Rotation = Rotation { most: NonZeroUsize::new(256).unwrap() };

    /// Makes the rotation of groups of at most `most` columns; `None` unless that is a power of
    /// four from 4 on.
    #[must_use]
    pub fn up_to(most: usize) -> Option<Self> {
        let is_power_of_4 = most.is_power_of_two() && most.trailing_zeros().is_multiple_of(2);
        let most = NonZeroUsize::new(most).filter(|most| most.get() >= 4 && is_power_of_4)?;
        Some(Self { most })
    }

    /// Makes the rotation that rotates groups of just `group` of `cols` columns:
    /// [`Rotation::DEFAULT`] where it does. `None` where no group of that size divides them.
    #[must_use]
    pub fn of_group(group: usize, cols: usize) -> Option<Self> {
        if Self::DEFAULT.group(cols) == Some(group) {
            return Some(Self::DEFAULT);
        }
        Self::up_to(group).filter(|rotation| rotation.group(cols) == Some(group))
    }

    /// Returns the columns of the largest group that may be.
    #[must_use]
    pub fn most(self) -> usize {
        self.most.get()
    }

    /// Returns the columns per group of a matrix with `cols` columns: the largest power of four up
    /// to [`most`](Self::most) that divides them. `None` where 4 does not.
    #[must_use]
    pub fn group(self, cols: usize) -> Option<usize> {
        // Smaller groups where the largest does not divide: 2560 columns have groups of 256, 3080
        // columns groups of 4.
        let mut group = self.most.get();
        while group >= 4 && !cols.is_multiple_of(group) {
            group /= 4;
        }
        (group >= 4).then_some(group)
    }
}

/// Returns one value of R for a group: the definition that [`rotate`] is a fast form of.
///
/// Every base-4 digit of row and column contributes a factor ½, negative where the two digits add
/// up to 3.
#[must_use]
pub fn rotation_at(group: usize, row: usize, col: usize) -> f32 {
    let mut value = 1.0;
    let mut place = 1;
    while place < group {
        let is_negative = row / place % 4 + col / place % 4 == 3;
        value *= if is_negative { -0.5 } else { 0.5 };
        place *= 4;
    }
    value
}

/// Rotates groups of `group` values in place, in `f32`; values beyond the last whole group stay.
///
/// One butterfly per base-4 digit: four values a distance apart become half their sum minus their
/// mirror image. `2·log₄(group)` operations per value instead of `group`.
pub fn rotate(group: usize, values: &mut [f32]) {
    let whole = values.len() / group.max(1) * group;
    vectorized(
        #[inline(always)]
        || {
            for part in values[..whole].chunks_mut(group.max(PART)) {
                rotate_part(group, part);
            }
        },
    );
}

/// Values whose butterflies of neighbours are computed together: a few whole vectors.
const PART: usize = 64;

/// Rotates whole groups, in the order of operations of each group by itself.
#[inline(always)]
fn rotate_part(group: usize, values: &mut [f32]) {
    let in_parts = values.len() / PART * PART;
    let mut distance = 1;
    while distance < group {
        let (parts, rest) = values.split_at_mut(in_parts);
        // Values 1 and 4 apart lie in one vector; those farther apart are loads of whole vectors
        // already.
        match distance {
            1 => parts.as_chunks_mut().0.iter_mut().for_each(neighbours::<1>),
            4 => parts.as_chunks_mut().0.iter_mut().for_each(neighbours::<4>),
            _ => distant(distance, parts),
        }
        distant(distance, rest);
        distance *= 4;
    }
}

/// Computes butterflies of values less than a vector apart: they are sorted by their place in the
/// butterfly first.
#[inline(always)]
fn neighbours<const DISTANCE: usize>(values: &mut [f32; PART]) {
    let mut sorted = [[0.0; PART / 4]; 4];
    for (place, sorted) in sorted.iter_mut().enumerate() {
        for (at, value) in sorted.iter_mut().enumerate() {
            *value = values[index::<DISTANCE>(at, place)];
        }
    }
    for at in 0..PART / 4 {
        let four = butterfly([sorted[0][at], sorted[1][at], sorted[2][at], sorted[3][at]]);
        for (sorted, value) in sorted.iter_mut().zip(four) {
            sorted[at] = value;
        }
    }
    for (place, sorted) in sorted.iter().enumerate() {
        for (at, value) in sorted.iter().enumerate() {
            values[index::<DISTANCE>(at, place)] = *value;
        }
    }
}

#[inline(always)]
const fn index<const DISTANCE: usize>(at: usize, place: usize) -> usize {
    at / DISTANCE * 4 * DISTANCE + at % DISTANCE + place * DISTANCE
}

#[inline(always)]
fn distant(distance: usize, values: &mut [f32]) {
    for block in values.chunks_exact_mut(4 * distance) {
        let (first_half, second_half) = block.split_at_mut(2 * distance);
        let (a, b) = first_half.split_at_mut(distance);
        let (c, d) = second_half.split_at_mut(distance);
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            [*a, *b, *c, *d] = butterfly([*a, *b, *c, *d]);
        }
    }
}

#[inline(always)]
fn butterfly([a, b, c, d]: [f32; 4]) -> [f32; 4] {
    // Half the sum less the mirror image, for row i of R₄ has its −1 at 3 − i. Files hold codes of
    // these sums: another order of additions would move last bits.
    let half = ((a + b) + (c + d)) * 0.5;
    [half - d, half - c, half - b, half - a]
}
