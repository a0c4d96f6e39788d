use roundwise_compute::{ComputeError, Engine, Matrix, solve_positive_definite};
use roundwise_scheme::rotate;

use crate::RoundingError;

/// Statistics of the inputs x `[n]` of a layer: their mean and their second moment `H = E[x xᵀ]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// μ, `[n]`.
    mean: Vec<f32>,
    second_moment: SecondMoment,
    /// Inputs that were seen.
    samples: u64,
}

/// H, whole or as far as it was kept.
#[derive(Clone, Debug, PartialEq)]
pub enum SecondMoment {
    /// All of it, `[n, n]`, symmetric.
    Full(Matrix),
    /// `H ≈ F·Fᵀ + diag(residual)`.
    LowRank {
        /// F, `[n, r]`; r may be 0.
        factor: Matrix,
        /// `[n]`, not negative.
        residual: Vec<f32>,
    },
}

impl SecondMoment {
    /// Returns `H = μμᵀ + diag(diagonal − μ²)`: all that follows from a mean and a diagonal.
    ///
    /// - `mean`, `diagonal`: `[n]`
    #[must_use]
    pub fn of_diagonal(mean: &[f32], diagonal: &[f32]) -> Self {
        let has_mean = mean.iter().any(|mean| *mean != 0.0);
        // A mean of 0 would be a column of zeros in every product to come.
        let factor = Matrix::from_fn(mean.len(), usize::from(has_mean), |col, _| mean[col]);
        let residual =
            diagonal.iter().zip(mean).map(|(square, mean)| (square - mean * mean).max(0.0));
        Self::LowRank { factor, residual: residual.collect() }
    }

    /// Returns the diagonal `H[j, j]`, `[n]`.
    #[must_use]
    pub fn diagonal(&self) -> Vec<f32> {
        match self {
            Self::Full(matrix) => (0..matrix.rows()).map(|i| matrix.at(i, i)).collect(),
            Self::LowRank { factor, residual } => {
                let energy = |row| squares(factor.row(row)) as f32;
                residual.iter().enumerate().map(|(row, rest)| energy(row) + rest).collect()
            }
        }
    }

    fn is_finite(&self) -> bool {
        match self {
            Self::Full(matrix) => matrix.check_finite().is_ok(),
            Self::LowRank { factor, residual } => {
                factor.check_finite().is_ok()
                    && residual.iter().all(|rest| *rest >= 0.0 && rest.is_finite())
            }
        }
    }

    fn columns(&self) -> Option<usize> {
        match self {
            Self::Full(matrix) => (matrix.rows() == matrix.cols()).then_some(matrix.rows()),
            Self::LowRank { factor, residual } => {
                (factor.rows() == residual.len()).then_some(residual.len())
            }
        }
    }
}

impl Inputs {
    /// Returns the statistics of `samples` inputs.
    ///
    /// # Errors
    /// [`RoundingError::Inputs`] when the parts differ in length, hold a NaN or an infinity, or a
    /// diagonal is negative.
    pub fn new(
        mean: Vec<f32>,
        second_moment: SecondMoment,
        samples: u64,
    ) -> Result<Self, RoundingError> {
        let found = second_moment.columns();
        if found != Some(mean.len()) {
            let problem = "mean and second moment are not of the same length";
            return Err(RoundingError::Inputs { problem });
        }
        let is_finite = mean.iter().all(|mean| mean.is_finite()) && second_moment.is_finite();
        if !is_finite || second_moment.diagonal().iter().any(|square| *square < 0.0) {
            let problem = "a number is not finite, or a mean square is negative";
            return Err(RoundingError::Inputs { problem });
        }
        Ok(Self { mean, second_moment, samples })
    }

    /// Returns the statistics of inputs that are all there.
    ///
    /// - `samples`: an input in each row, `[samples, n]`
    ///
    /// # Errors
    /// [`RoundingError::Inputs`] when there are none, or one holds a NaN or an infinity.
    pub fn of_samples(samples: Matrix, engine: &Engine) -> Result<Self, RoundingError> {
        let (count, columns) = (samples.rows(), samples.cols());
        if count == 0 {
            return Err(RoundingError::Inputs { problem: "there are no samples" });
        }
        let mut sums = vec![0.0_f64; columns];
        for row in 0..count {
            sums.iter_mut().zip(samples.row(row)).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        let mean = sums.iter().map(|sum| (sum / count as f64) as f32).collect();
        // `gram` sums over the columns of what it is given; samples lie in rows.
        let products = engine.upload(samples.transposed()).gram();
        let second_moment = SecondMoment::Full(products.scale(1.0 / count as f32).download());
        Self::new(mean, second_moment, count as u64)
    }

    /// Returns the mean μ, `[n]`.
    #[must_use]
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Returns the second moment H.
    #[must_use]
    pub fn second_moment(&self) -> &SecondMoment {
        &self.second_moment
    }

    /// Returns the number of inputs that were seen.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Returns n, the length of an input.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.mean.len()
    }

    /// Returns the statistics of the inputs about their mean, with `H − μμᵀ` in place of H. They
    /// count where a bias takes up the mean error of the outputs.
    ///
    /// Of `F·Fᵀ + diag` μ is taken where the factor holds it: `F(I − βccᵀ)`, c the coordinates of μ
    /// in the columns of F and `β = (1 − √(1 − ‖c‖²)) / ‖c‖²`; the rest of μ² leaves the diagonal.
    ///
    /// # Errors
    /// [`RoundingError::Compute`] when the coordinates cannot be computed.
    pub fn about_mean(&self) -> Result<Self, RoundingError> {
        let second_moment = match &self.second_moment {
            SecondMoment::Full(matrix) => {
                SecondMoment::Full(Matrix::from_fn(matrix.rows(), matrix.cols(), |i, j| {
                    matrix.at(i, j) - self.mean[i] * self.mean[j]
                }))
            }
            SecondMoment::LowRank { factor, residual } => {
                // Only the part of μ that F spans can leave F; the rest of μ² was in the diagonal,
                // and leaves it there.
                without_mean(factor, residual, &self.mean)?
            }
        };
        Ok(Self { mean: vec![0.0; self.columns()], second_moment, samples: self.samples })
    }

    /// Returns the statistics of `Rᵀx`, for a weight `W·R` that is rotated in groups of `group`
    /// columns.
    ///
    /// Inputs that are only known one by one keep the mean of their squares in each group.
    ///
    /// # Panics
    /// When no whole number of groups covers the columns.
    #[must_use]
    pub fn rotated(&self, group: usize) -> Self {
        assert!(self.columns().is_multiple_of(group), "columns of whole groups");
        let rotated_rows = |mut matrix: Matrix| {
            rotate(group, matrix.values_mut());
            matrix
        };
        let mut mean = self.mean.clone();
        rotate(group, &mut mean);
        let second_moment = match &self.second_moment {
            // `RᵀHR`; R is symmetric, and so is H.
            SecondMoment::Full(matrix) => {
                SecondMoment::Full(rotated_rows(rotated_rows(matrix.clone()).transposed()))
            }
            SecondMoment::LowRank { factor, residual } => SecondMoment::LowRank {
                factor: rotated_rows(factor.transposed()).transposed(),
                // The squares of the entries of R are all 1 / group, so each entry of the rotated
                // diagonal is the mean of its group. What the rotation puts beside the diagonal is
                // left out, or every group would become a dense block.
                residual: residual.chunks(group).flat_map(group_mean).collect(),
            },
        };
        Self { mean, second_moment, samples: self.samples }
    }
}

/// Repeats the mean of a group as often as the group has members.
fn group_mean(group: &[f32]) -> impl Iterator<Item = f32> {
    let sum: f64 = group.iter().map(|value| f64::from(*value)).sum();
    std::iter::repeat_n((sum / group.len() as f64) as f32, group.len())
}

fn without_mean(
    factor: &Matrix,
    residual: &[f32],
    mean: &[f32],
) -> Result<SecondMoment, RoundingError> {
    let rank = factor.cols();
    let coordinates = coordinates(factor, mean)?;
    let mut length = squares(&coordinates);
    // A factor cannot hold more of the mean than all of it.
    let shrink = if length > 1.0 { length.sqrt().recip() } else { 1.0 };
    length = length.min(1.0);
    // The β for which F(I − βccᵀ) squared is F(I − ccᵀ)Fᵀ: 2β − β²‖c‖² = 1.
    let beta = if length > 0.0 { (1.0 - (1.0 - length).sqrt()) / length } else { 0.0 };
    let held = |row: usize| -> f64 {
        let parts = factor.row(row).iter().zip(&coordinates);
        parts.map(|(f, c)| f64::from(*f) * f64::from(*c) * shrink).sum()
    };
    let changed = Matrix::from_fn(factor.rows(), rank, |row, col| {
        let along = held(row) * beta * f64::from(coordinates[col]) * shrink;
        (f64::from(factor.at(row, col)) - along) as f32
    });
    let residual = residual.iter().enumerate().map(|(row, rest)| {
        let missed = f64::from(mean[row]) - held(row);
        (f64::from(*rest) - missed * missed).max(0.0) as f32
    });
    Ok(SecondMoment::LowRank { factor: changed, residual: residual.collect() })
}

/// Solves `Fc ≈ μ` for c by least squares: `(FᵀF)c = Fᵀμ`.
fn coordinates(factor: &Matrix, mean: &[f32]) -> Result<Vec<f32>, ComputeError> {
    /// Share of the mean eigenvalue that is added, for columns that depend on each other.
    const RIDGE: f64 = 1e-6;
    let turned = factor.transposed();
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let rank = factor.cols();
    // The sum of eigenvalues of FᵀF is the sum of squares of F.
    let mean_energy = squares(factor.values()) / rank.max(1) as f64;
    if mean_energy == 0.0 {
        return Ok(vec![0.0; rank]);
    }
    let gram = Matrix::from_fn(rank, rank, |i, j| {
        let ridge = if i == j { RIDGE * mean_energy } else { 0.0 };
        (dot(turned.row(i), turned.row(j)) + ridge) as f32
    });
    let right = Matrix::from_fn(rank, 1, |i, _| dot(turned.row(i), mean) as f32);
    Ok(solve_positive_definite(&gram, &right)?.into_values())
}

fn squares(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value) * f64::from(*value)).sum()
}
