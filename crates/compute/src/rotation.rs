use pulp::Arch;
use rayon::prelude::*;

use crate::{ComputeError, Matrix};

/// The regular Hadamard rotation of groups of columns: `W̃ = W·R`, `R = Rᵀ = R⁻¹`.
///
/// `R_4 = ½·[[1,1,1,−1],[1,1,−1,1],[1,−1,1,1],[−1,1,1,1]]`, `R_{4m} = R_m ⊗ R_4`: every row has the
/// same sum, unlike Sylvester's matrices. Applying it twice gives the matrix back, within rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    group: usize,
}

impl Rotation {
    /// Rotates groups of this many columns.
    ///
    /// # Errors
    /// [`ComputeError::RotationGroup`] unless it is a power of four from 4 on.
    pub fn new(group: usize) -> Result<Self, ComputeError> {
        let is_power_of_4 = group.is_power_of_two() && group.trailing_zeros().is_multiple_of(2);
        if group < 4 || !is_power_of_4 {
            return Err(ComputeError::RotationGroup { group });
        }
        Ok(Self { group })
    }

    /// Columns per group.
    #[must_use]
    pub fn group(self) -> usize {
        self.group
    }

    /// One value of R: the definition that [`apply`](Self::apply) is a fast form of.
    ///
    /// Every base-4 digit of row and column contributes a factor ½, negative where the two digits
    /// add up to 3.
    #[must_use]
    pub fn at(self, row: usize, col: usize) -> f32 {
        let mut value = 1.0;
        let mut place = 1;
        while place < self.group {
            let is_negative = row / place % 4 + col / place % 4 == 3;
            value *= if is_negative { -0.5 } else { 0.5 };
            place *= 4;
        }
        value
    }

    /// Rotates every group of columns of every row in place, in `f32`.
    ///
    /// One butterfly per base-4 digit: four values a distance apart become half their sum minus
    /// their mirror image. `2·log₄(group)` operations per value instead of `group`.
    ///
    /// # Errors
    /// [`ComputeError::RotationColumns`] when the columns are no whole number of groups.
    pub fn apply(self, matrix: &mut Matrix) -> Result<(), ComputeError> {
        let cols = matrix.cols();
        if !cols.is_multiple_of(self.group) {
            return Err(ComputeError::RotationColumns { cols, group: self.group });
        }
        if cols == 0 {
            return Ok(());
        }
        let arch = Arch::new();
        matrix.values_mut().par_chunks_mut(cols).for_each(|row| {
            arch.dispatch(|| row.chunks_exact_mut(self.group).for_each(rotate));
        });
        Ok(())
    }
}

#[inline(always)]
fn rotate(group: &mut [f32]) {
    for four in group.as_chunks_mut::<4>().0 {
        *four = butterfly(*four);
    }
    let mut distance = 4;
    while distance < group.len() {
        for block in group.chunks_exact_mut(4 * distance) {
            let (first_half, second_half) = block.split_at_mut(2 * distance);
            let (a, b) = first_half.split_at_mut(distance);
            let (c, d) = second_half.split_at_mut(distance);
            for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
                [*a, *b, *c, *d] = butterfly([*a, *b, *c, *d]);
            }
        }
        distance *= 4;
    }
}

#[inline(always)]
fn butterfly([a, b, c, d]: [f32; 4]) -> [f32; 4] {
    let half = ((a + b) + (c + d)) * 0.5;
    [half - d, half - c, half - b, half - a]
}
