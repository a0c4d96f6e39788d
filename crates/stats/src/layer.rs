use crate::StatsErrorKind as Kind;
use crate::parts::LARGEST;

/// Relative distance by which numbers of one file may contradict each other: they are sums rounded to
/// F32.
const CONTRADICTION: f32 = 1e-3;

/// Statistics of the inputs x of one layer, vectors of n columns.
///
/// Checked when it is made: lengths agree, every number is finite, no second moment is negative or
/// below the mean's square, a covariance is symmetric and belongs to mean and second moment.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerStatistics {
    count: u64,
    mean: Option<Vec<f32>>,
    diagonal: Vec<f32>,
    second: SecondMoment,
    largest: Option<f32>,
}

/// The second moment H = `E[x xᵀ]` beyond its diagonal.
#[derive(Clone, Debug, PartialEq)]
pub enum SecondMoment {
    /// The diagonal alone is known.
    Diagonal,
    /// A factor: `H ≈ F·Fᵀ + diag(residual)`, where the residual is what F leaves of the diagonal.
    Factor {
        /// Columns of F, 1 to n.
        rank: usize,
        /// F `[n, rank]`, row-major.
        values: Vec<f32>,
    },
    /// The whole matrix: `H = C + μ·μᵀ`.
    Full {
        /// Covariance C about the mean μ `[n, n]`.
        covariance: Vec<f32>,
    },
}

/// How much of the second moment is known, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Knowledge {
    /// The diagonal alone.
    Diagonal,
    /// A factor of this rank and the diagonal.
    Factor {
        /// Columns of the factor.
        rank: usize,
    },
    /// The whole matrix.
    Full,
}

impl LayerStatistics {
    /// Checks the numbers of a layer.
    ///
    /// - `count`: inputs that were seen, at least 1
    /// - `mean`: `E[x]`, where it is known; a full second moment needs it
    /// - `diagonal`: `E[x_j²]` for every column j, not about the mean
    ///
    /// # Errors
    /// The first contradiction that is found; see the type.
    pub fn new(
        count: u64,
        mean: Option<Vec<f32>>,
        diagonal: Vec<f32>,
        second: SecondMoment,
    ) -> Result<Self, Kind> {
        let layer = Self { count, mean, diagonal, second, largest: None };
        layer.check()?;
        Ok(layer)
    }

    /// Returns the statistics with the largest magnitude of any input, `max |x_j|`.
    ///
    /// # Errors
    /// When it is no number, or below the root mean square of a column.
    pub fn with_largest(self, largest: f32) -> Result<Self, Kind> {
        all_finite(LARGEST, &[largest])?;
        let rms = self.diagonal.iter().fold(0.0_f32, |a, &b| a.max(b)).sqrt();
        match largest >= rms * (1.0 - CONTRADICTION) {
            true => Ok(Self { largest: Some(largest), ..self }),
            false => Err(Kind::LargestTooSmall { largest, rms }),
        }
    }

    /// Returns the largest magnitude of any input, where it is known.
    pub fn largest(&self) -> Option<f32> {
        self.largest
    }

    /// Returns the number of inputs that were seen; a sample is one vector x, such as one token's.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns n.
    pub fn columns(&self) -> usize {
        self.diagonal.len()
    }

    /// Returns μ = `E[x]` `[n]`, which old importance matrices do not know.
    pub fn mean(&self) -> Option<&[f32]> {
        self.mean.as_deref()
    }

    /// Returns the diagonal of H, `E[x_j²]` `[n]`.
    pub fn diagonal(&self) -> &[f32] {
        &self.diagonal
    }

    /// Returns H beyond its diagonal.
    pub fn second(&self) -> &SecondMoment {
        &self.second
    }

    /// Returns how much is known of H.
    pub fn knowledge(&self) -> Knowledge {
        match self.second {
            SecondMoment::Diagonal => Knowledge::Diagonal,
            SecondMoment::Factor { rank, .. } => Knowledge::Factor { rank },
            SecondMoment::Full { .. } => Knowledge::Full,
        }
    }

    /// Returns `(n, rank, F)`, F `[n, rank]` row-major, where H is given as a factor.
    pub fn factor(&self) -> Option<(usize, usize, &[f32])> {
        match &self.second {
            SecondMoment::Factor { rank, values } => Some((self.columns(), *rank, values)),
            SecondMoment::Diagonal | SecondMoment::Full { .. } => None,
        }
    }

    /// Returns the covariance about the mean `[n, n]`, where all of it is known.
    pub fn covariance(&self) -> Option<&[f32]> {
        match &self.second {
            SecondMoment::Full { covariance } => Some(covariance),
            SecondMoment::Diagonal | SecondMoment::Factor { .. } => None,
        }
    }

    /// Computes what the factor leaves of the diagonal `[n]`: `max(0, E[x_j²] − Σ_r F[j, r]²)`; the diagonal
    /// itself without a factor.
    pub fn residual(&self) -> Vec<f32> {
        match self.factor() {
            None => self.diagonal.clone(),
            Some((_, rank, values)) => {
                let energies = values.chunks_exact(rank).map(energy);
                let pairs = self.diagonal.iter().zip(energies);
                pairs.map(|(&all, held)| (f64::from(all) - held).max(0.0) as f32).collect()
            }
        }
    }

    /// Computes H `[n, n]`, as well as it is known: `C + μμᵀ`, `FFᵀ + diag(residual)`, or the diagonal.
    ///
    /// About zero; the covariance is what a layer with a corrected bias needs.
    pub fn second_moment_matrix(&self) -> Vec<f32> {
        let n = self.columns();
        let mut matrix = match &self.second {
            SecondMoment::Diagonal => vec![0.0; n * n],
            SecondMoment::Factor { rank, values } => {
                let rows = || values.chunks_exact(*rank);
                rows().flat_map(|a| rows().map(move |b| dot(a, b))).collect()
            }
            SecondMoment::Full { covariance } => {
                let mut matrix = covariance.clone();
                let mean = self.mean().unwrap_or_default();
                for (row, &a) in matrix.chunks_exact_mut(n).zip(mean) {
                    for (value, &b) in row.iter_mut().zip(mean) {
                        *value += a * b;
                    }
                }
                matrix
            }
        };
        // Where the factor holds more than the diagonal, its own sum stays, which keeps H positive
        // definite.
        for (j, &value) in self.diagonal.iter().enumerate() {
            let place = &mut matrix[j * n + j];
            *place = place.max(value);
        }
        matrix
    }

    /// Computes the share of H's trace that is known beyond the diagonal: `Σ F² / Σ E[x_j²]` of a factor, 1 of a
    /// whole matrix, 0 of a diagonal; 1 where every input was zero.
    pub fn rank_energy(&self) -> f64 {
        let trace: f64 = self.diagonal.iter().map(|&value| f64::from(value)).sum();
        match &self.second {
            SecondMoment::Diagonal => 0.0,
            SecondMoment::Factor { values, .. } if trace > 0.0 => (energy(values) / trace).min(1.0),
            SecondMoment::Factor { .. } | SecondMoment::Full { .. } => 1.0,
        }
    }

    fn check(&self) -> Result<(), Kind> {
        // A side-car stores counts as I64.
        if self.count == 0 || i64::try_from(self.count).is_err() {
            return Err(Kind::Count { found: i128::from(self.count) });
        }
        let n = self.columns();
        all_finite("second_moment", &self.diagonal)?;
        if let Some((column, &found)) = self.diagonal.iter().enumerate().find(|(_, v)| **v < 0.0) {
            return Err(Kind::Negative { part: "second_moment", column, found });
        }
        if let Some(mean) = &self.mean {
            has_length("mean", mean, n)?;
            all_finite("mean", mean)?;
            self.check_mean(mean)?;
        }
        match &self.second {
            SecondMoment::Diagonal => Ok(()),
            SecondMoment::Factor { rank, values } => {
                if *rank == 0 || *rank > n {
                    return Err(Kind::Rank { rank: *rank as u64, columns: n as u64 });
                }
                has_length("factor", values, n.saturating_mul(*rank))?;
                all_finite("factor", values)
            }
            SecondMoment::Full { covariance } => {
                has_length("covariance", covariance, n.saturating_mul(n))?;
                all_finite("covariance", covariance)?;
                self.check_covariance(covariance, n)
            }
        }
    }

    /// Checks that `E[x²]` ≥ `E[x]`².
    fn check_mean(&self, mean: &[f32]) -> Result<(), Kind> {
        let slack = CONTRADICTION * self.diagonal.iter().fold(0.0_f32, |a, &b| a.max(b)) * 1e-3;
        for (column, (&mean, &second_moment)) in mean.iter().zip(&self.diagonal).enumerate() {
            if mean * mean > second_moment * (1.0 + CONTRADICTION) + slack {
                return Err(Kind::MeanTooLarge { column, mean, second_moment });
            }
        }
        Ok(())
    }

    fn check_covariance(&self, covariance: &[f32], n: usize) -> Result<(), Kind> {
        let mean = self.mean().ok_or(Kind::CovarianceWithoutMean)?;
        let largest = self.diagonal.iter().fold(0.0_f32, |a, &b| a.max(b));
        let slack = CONTRADICTION * largest;
        for column in 0..n {
            let found = covariance[column * n + column];
            if found < 0.0 {
                return Err(Kind::Negative { part: "covariance", column, found });
            }
            let found = found + mean[column] * mean[column];
            let expected = self.diagonal[column];
            if (found - expected).abs() > slack {
                return Err(Kind::CovarianceDisagrees { column, found, expected });
            }
        }
        // In tiles, or one of the two sides would miss the cache at every step.
        const TILE: usize = 64;
        for top in (0..n).step_by(TILE) {
            for left in (0..=top).step_by(TILE) {
                for row in top..n.min(top + TILE) {
                    for column in left..row.min(left + TILE) {
                        let found = covariance[row * n + column];
                        let expected = covariance[column * n + row];
                        if (found - expected).abs() > slack {
                            return Err(Kind::NotSymmetric { row, column, found, expected });
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn has_length(part: &'static str, values: &[f32], expected: usize) -> Result<(), Kind> {
    let found = values.len();
    if found == expected { Ok(()) } else { Err(Kind::Length { part, found, expected }) }
}

fn all_finite(part: &'static str, values: &[f32]) -> Result<(), Kind> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(Kind::NotFinite { part, index, found: values[index] }),
    }
}

/// Computes a sum of squares.
pub(crate) fn energy(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value) * f64::from(value)).sum()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() as f32
}
