use pulp::Arch;
use rayon::prelude::*;
use roundwise_compute::Matrix;

use super::{Update, zeros};
use crate::error::{OptimError, check_beta, check_positive, check_size};

/// Adam that estimates its own rate d, from d₀ up. With g the gradient, x₀ the start and λ = rate · d:
///
/// ```text
/// v ← β₂ v + (1 − β₂) d² g²              by rows and columns from 32 on, see below
/// m ← β₁ m + (1 − β₁) d g
/// u = m / (√v + d ε),  u ← u / √max(1, rms(u))
/// s ← β₃ s + d²/√d₀ · g                  β₃ = √β₂
/// a ← β₃ a + d²/√d₀ · ⟨g, x₀ − x⟩        a negative addend waits until d > d₀
/// x ← x · (1 − λ · weight_decay) − λ u
/// d ← max(d, d_coefficient · min(a / ‖s‖₁, 2^¼ d))
/// ```
///
/// When either side has 32 or more values, v is kept as the means of d²g² over rows and over columns:
/// `v[r, c] = row[r] · col[c] / mean(row)`. s, x₀ and the inner product look at every 11th value only,
/// and s and x₀ are rounded to bf16: both decide d, so they are kept as the reference has them.
///
/// Two programs are called Prodigy. This is ProdigyPlusScheduleFree 2.0.1 without its schedule-free
/// half, the one that convert_to_quant 1.3.4 runs; the paper's own has no division by rms(u), no
/// limit 2^¼, no factored v and β = (0.9, 0.999).
///
/// # Source
/// Mishchenko, Defazio, "Prodigy: an expeditiously adaptive parameter-free learner", ICML 2024.
/// PyPI `prodigy-plus-schedule-free` 2.0.1 (Apache-2.0), `use_schedulefree=False`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prodigy {
    /// β₁, memory of the gradient, 0 to below 1. Default 0.9.
    pub beta_1: f64,
    /// β₂, memory of its square, 0 to below 1. Default 0.99.
    pub beta_2: f64,
    /// ε, added to the root, above 0. Default 1e-8.
    pub epsilon: f64,
    /// The first estimate, above 0. Default 1e-6.
    pub first_d: f64,
    /// Factor on the estimate, above 0. Default 1.
    pub d_coefficient: f64,
    /// Decoupled pull towards zero, 0 on. Default 0.
    pub weight_decay: f64,
}

impl Default for Prodigy {
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.99,
            epsilon: 1e-8,
            first_d: 1e-6,
            d_coefficient: 1.0,
            weight_decay: 0.0,
        }
    }
}

/// Distance between the values that the estimate of d looks at.
const STRIDE: usize = 11;
/// From this many rows or columns on, the second moment is factored.
const FACTORED_FROM: usize = 32;
/// Rows per piece of work, for any number of threads.
const BAND: usize = 32;

impl Prodigy {
    pub(super) fn start(self, start: &Matrix) -> Result<Box<dyn Update>, OptimError> {
        check_beta("prodigy beta 1", self.beta_1)?;
        check_beta("prodigy beta 2", self.beta_2)?;
        check_positive("prodigy epsilon", self.epsilon)?;
        check_positive("prodigy first d", self.first_d)?;
        check_positive("prodigy d coefficient", self.d_coefficient)?;
        check_size("prodigy weight decay", self.weight_decay)?;
        let seen: Vec<f32> = start.values().iter().step_by(STRIDE).map(|x| to_bf16(*x)).collect();
        Ok(Box::new(State {
            options: self,
            mean: zeros(start),
            square: Square::zeros(start.rows(), start.cols()),
            pull: vec![0.0; seen.len()],
            start: seen,
            d: self.first_d,
            progress: 0.0,
        }))
    }
}

struct State {
    options: Prodigy,
    mean: Vec<f32>,
    square: Square,
    /// s and x₀ at every 11th value.
    pull: Vec<f32>,
    start: Vec<f32>,
    d: f64,
    /// a.
    progress: f64,
}

impl Update for State {
    fn step(&mut self, variable: &mut Matrix, gradient: &Matrix, learning_rate: f64) {
        let cols = variable.cols();
        // Pieces of 0 values cannot be cut, and a mean over none is no number.
        if variable.values().is_empty() {
            return;
        }
        let Prodigy { beta_1, beta_2, epsilon, weight_decay, .. } = self.options;
        // 1. v, then m and rms(u): the step is divided by the length of the whole.
        let rate = self.d * learning_rate;
        self.square.take_in(gradient, beta_2, self.d);

        let (old, new) = (beta_1 as f32, ((1.0 - beta_1) * self.d) as f32);
        let floor = (self.d * epsilon) as f32;
        let arch = Arch::new();
        let square = &self.square;
        // Bands have one height, so that sums are added in one order whatever the threads.
        let bands = self.mean.par_chunks_mut(BAND * cols);
        let lengths: Vec<f64> = bands
            .zip(gradient.values().par_chunks(BAND * cols))
            .enumerate()
            .map(|(band, (mean, gradient))| {
                let rows = mean.chunks_exact_mut(cols).zip(gradient.chunks_exact(cols)).enumerate();
                arch.dispatch(|| {
                    let mut length = 0.0;
                    for (row, (mean, gradient)) in rows {
                        let (factor, square) = square.row(band * BAND + row);
                        for ((m, &g), v) in mean.iter_mut().zip(gradient).zip(square) {
                            *m = old * *m + new * g;
                            let u = f64::from(*m / ((factor * v).sqrt() + floor));
                            length += u * u;
                        }
                    }
                    length
                })
            })
            .collect();
        let rms = (lengths.iter().sum::<f64>() / self.mean.len() as f64).sqrt();

        // 2. s and the addend to a, with x before it moves.
        let addend = self.look(variable, gradient);

        // 3. x; u is computed again instead of being stored.
        let size = (rate / rms.max(1.0).sqrt()) as f32;
        let kept = (1.0 - rate * weight_decay) as f32;
        let (mean, square) = (&self.mean, &self.square);
        variable.values_mut().par_chunks_mut(BAND * cols).enumerate().for_each(|(band, values)| {
            let start = band * BAND * cols;
            let means = mean[start..start + values.len()].chunks_exact(cols);
            let rows = values.chunks_exact_mut(cols).zip(means).enumerate();
            arch.dispatch(|| {
                for (row, (values, mean)) in rows {
                    let (factor, square) = square.row(band * BAND + row);
                    for ((x, &m), v) in values.iter_mut().zip(mean).zip(square) {
                        *x = *x * kept - size * (m / ((factor * v).sqrt() + floor));
                    }
                }
            });
        });
        // 4. d for the next step.
        self.estimate(addend);
    }
}

impl State {
    /// Takes the gradient into s and returns the addend to a.
    fn look(&mut self, variable: &Matrix, gradient: &Matrix) -> f64 {
        let weight = self.d * self.d / self.options.first_d.sqrt();
        let beta_3 = self.options.beta_2.sqrt() as f32;
        let mut product = 0.0;
        let seen = variable.values().iter().zip(gradient.values()).step_by(STRIDE);
        for ((x, g), (pull, start)) in seen.zip(self.pull.iter_mut().zip(&self.start)) {
            product += f64::from(*g) * f64::from(start - x);
            // Two roundings, as two operations on a bf16 tensor have.
            *pull = to_bf16(to_bf16(*pull * beta_3) + weight as f32 * g);
        }
        weight * product
    }

    fn estimate(&mut self, addend: f64) {
        let Prodigy { beta_2, first_d, d_coefficient, .. } = self.options;
        self.progress *= beta_2.sqrt();
        if self.d > first_d || addend > 0.0 {
            self.progress += addend;
        }
        let sum: f64 = self.pull.iter().map(|s| f64::from(s.abs())).sum();
        // The sum of a bf16 tensor is bf16.
        let pull = f64::from(to_bf16(sum as f32));
        if pull > 0.0 {
            let reached = (self.progress / pull).min(self.d * 2.0_f64.powf(0.25));
            self.d = self.d.max(reached * d_coefficient);
        }
    }
}

/// The running mean of d²g², whole or by rows and columns.
struct Square {
    rows: Vec<f32>,
    cols: Vec<f32>,
    /// Empty when factored.
    whole: Vec<f32>,
    width: usize,
    /// Mean of `rows`.
    mean: f32,
}

impl Square {
    fn zeros(rows: usize, cols: usize) -> Self {
        let is_factored = rows >= FACTORED_FROM || cols >= FACTORED_FROM;
        let whole = if is_factored { Vec::new() } else { vec![0.0; rows * cols] };
        Self { rows: vec![0.0; rows], cols: vec![0.0; cols], whole, width: cols, mean: 0.0 }
    }

    fn take_in(&mut self, gradient: &Matrix, beta_2: f64, d: f64) {
        let (old, new) = (beta_2 as f32, ((1.0 - beta_2) * d * d) as f32);
        if !self.whole.is_empty() {
            for (v, g) in self.whole.iter_mut().zip(gradient.values()) {
                *v = old * *v + new * g * g;
            }
            return;
        }
        let width = self.width;
        let bands: Vec<(Vec<f64>, Vec<f64>)> = gradient
            .values()
            .par_chunks(BAND * width)
            .map(|band| {
                let mut of_cols = vec![0.0; width];
                let of_rows = band.chunks_exact(width).map(|row| {
                    let mut of_row = 0.0;
                    for (of_col, g) in of_cols.iter_mut().zip(row) {
                        let square = f64::from(*g) * f64::from(*g);
                        *of_col += square;
                        of_row += square;
                    }
                    of_row
                });
                let of_rows = of_rows.collect();
                (of_rows, of_cols)
            })
            .collect();
        let mut of_cols = vec![0.0; width];
        // Bands are added in order: the same bits for any number of threads.
        for (_, of_band) in &bands {
            of_cols.iter_mut().zip(of_band).for_each(|(total, part)| *total += part);
        }
        let of_rows = bands.iter().flat_map(|(of_rows, _)| of_rows);
        let height = self.rows.len() as f64;
        for (v, sum) in self.rows.iter_mut().zip(of_rows) {
            *v = old * *v + new * (sum / width as f64) as f32;
        }
        for (v, sum) in self.cols.iter_mut().zip(&of_cols) {
            *v = old * *v + new * (sum / height) as f32;
        }
        self.mean = (self.rows.iter().copied().map(f64::from).sum::<f64>() / height) as f32;
    }

    /// Returns a factor and a row whose product is v along that row.
    fn row(&self, row: usize) -> (f32, &[f32]) {
        if self.whole.is_empty() {
            // Rows that have seen no gradient yet must not divide 0 by 0.
            (self.rows[row] / (self.mean + 1e-30), &self.cols)
        } else {
            (1.0, &self.whole[row * self.width..][..self.width])
        }
    }
}

/// Rounds to the nearest bf16, ties to even.
fn to_bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    let tie = (bits >> 16) & 1;
    f32::from_bits(bits.wrapping_add(0x7FFF + tie) & 0xFFFF_0000)
}
