use std::ops::Range;

use rayon::prelude::*;
use roundwise_compute::{
    ComputeError, DeviceMatrix, Engine, Gaussian, Matrix, Svd, SvdOptions, elementwise,
    truncated_svd, upper_factor,
};

use crate::cells::Cells;
use crate::layer::Layer;
use crate::solve::blocks;
use crate::{Effort, Inputs, Objective, RoundingError, SecondMoment};

/// The projected part of an objective, `‖LᵀER‖² + Σ penalty_l ‖e_l‖²`. Lines are columns of W in
/// descending order of the energy of their row of R, their leverage; ties in the order of the matrix.
///
/// Everything is turned: with `Eᵀ` `[n, m]`, the state of a solver is `K = RᵀEᵀL`.
pub(crate) struct Projection {
    /// L, `[m, k]`; `None` stands for the identity.
    pub(crate) left: Option<DeviceMatrix>,
    /// R, `[n, k]`, rows in the order of the lines.
    pub(crate) right: DeviceMatrix,
    /// `‖l_i‖²` of every row of the matrix.
    pub(crate) left_energies: Vec<f32>,
    /// `‖r_l‖²` of every line.
    pub(crate) right_energies: Vec<f32>,
    /// Cost of the error of every line beside R; below 0 where R holds more than there is.
    pub(crate) penalties: Vec<f64>,
    /// What solvers add to every penalty, so that a small sample is not taken too seriously.
    pub(crate) damping: f64,
    /// Whether R is upper triangular, and lines can be rounded one after the other by it.
    pub(crate) is_triangular: bool,
    /// Model units of the objective per unit of this projection.
    pub(crate) unit: f64,
    /// Column of every line.
    pub(crate) order: Vec<usize>,
    /// Measure for λ: about the largest eigenvalue of `RRᵀ`, twice that without L.
    pub(crate) strength: f64,
}

/// The error of some codes as a projection sees it.
pub(crate) struct Projected {
    /// `K = RᵀEᵀL`.
    pub(crate) state: DeviceMatrix,
    /// `‖ER‖²`.
    pub(crate) input_energy: f64,
    /// `‖E‖²` of every line.
    pub(crate) line_energies: Vec<f64>,
}

impl Projection {
    /// Returns the projection that an objective asks for.
    ///
    /// # Errors
    /// As [`truncated_svd`], and where statistics of inputs are missing or do not fit.
    pub(crate) fn of(
        objective: Objective,
        layer: &Layer<'_>,
        inputs: Option<&Inputs>,
        effort: Effort,
        engine: &Engine,
        seed: u64,
    ) -> Result<Self, RoundingError> {
        let [_, cols] = layer.nearest.shape();
        let vectors = |rank: crate::Rank| leading_vectors(layer, rank, effort, engine, seed);
        match objective {
            Objective::None | Objective::Weight => {
                // No directions: R has no columns, and all that is left is ‖E‖².
                Self::new(layer, None, Matrix::zeros(cols, 0), engine)
            }
            Objective::Principal(rank) => {
                let svd = vectors(rank)?;
                Self::new(layer, Some(svd.u), svd.v, engine)
            }
            Objective::PrincipalInput(rank) => Self::new(layer, None, vectors(rank)?.v, engine),
            Objective::Sampled { samples } => {
                let mut inputs = Gaussian::new(seed).matrix(cols, samples);
                // So that `‖EX‖²` is a mean over the samples, whose expectation is `‖E‖²`.
                elementwise::scale(inputs.values_mut(), (samples as f32).sqrt().recip());
                let projection = Self::new(layer, None, inputs, engine)?;
                // The largest eigenvalue for random columns (Marchenko and Pastur).
                let strength = (1.0 + (cols as f64 / samples as f64).sqrt()).powi(2);
                Ok(Self { strength: projection.strength * strength, ..projection })
            }
            Objective::Activations { damping } => {
                let found = inputs.map_or(0, Inputs::columns);
                let inputs = inputs.filter(|inputs| inputs.columns() == cols);
                let inputs = inputs.ok_or(RoundingError::InputColumns { found, expected: cols })?;
                Self::of_inputs(inputs, damping, layer, engine)
            }
        }
    }

    fn new(
        layer: &Layer<'_>,
        left: Option<Matrix>,
        right: Matrix,
        engine: &Engine,
    ) -> Result<Self, RoundingError> {
        let [rows, cols] = layer.nearest.shape();
        let energies = energies(&right);
        let order = descending(&energies);
        // One-sided objectives take in more of every error, so that weight error is paid sooner:
        // measured, a budget of 3 % ends the first pass, and twice the λ is 15 % lower at its end.
        let strength = if left.is_none() { 2.0 } else { 1.0 };
        Ok(Self {
            left_energies: left.as_ref().map_or_else(|| vec![1.0; rows], self::energies),
            right_energies: order.iter().map(|&col| energies[col]).collect(),
            penalties: vec![0.0; cols],
            damping: 0.0,
            is_triangular: false,
            unit: 1.0,
            left: left.map(|left| engine.upload(left)),
            right: engine.upload(in_order(&right, &order)?),
            order,
            strength,
        })
    }

    /// Returns the projection for `tr(EHEᵀ)`, in units in which the mean of H's diagonal is 1.
    ///
    /// A full H is taken with its damping as `UUᵀ`, U upper triangular, and the penalty of every line
    /// takes the damping back. Where H is too far from positive definite for that, damping is raised
    /// until it is not.
    fn of_inputs(
        inputs: &Inputs,
        damping: Option<f64>,
        layer: &Layer<'_>,
        engine: &Engine,
    ) -> Result<Self, RoundingError> {
        let diagonal = inputs.second_moment().diagonal();
        let cols = diagonal.len();
        let sum: f64 = diagonal.iter().map(|square| f64::from(*square)).sum();
        // In units of the mean, damping and λ mean the same for layers whose inputs differ by orders of magnitude.
        let unit = sum / cols.max(1) as f64;
        // Inputs of zeros: all codes give the same outputs.
        if unit <= 0.0 {
            return Self::new(layer, None, Matrix::zeros(cols, 0), engine);
        }
        let damping = damping.unwrap_or_else(|| usual_damping(inputs));
        match inputs.second_moment() {
            SecondMoment::LowRank { factor, residual } => {
                let mut factor = factor.clone();
                elementwise::scale(factor.values_mut(), unit.sqrt().recip() as f32);
                let projection = Self::new(layer, None, factor, engine)?;
                // What a factor leaves of the diagonal is a λ of each column's own.
                let penalties = projection.order.iter().map(|&col| f64::from(residual[col]) / unit);
                let penalties = penalties.collect();
                Ok(Self { penalties, damping, unit, ..projection })
            }
            SecondMoment::Full(second_moment) => {
                let order = descending(&diagonal);
                let (right, damping) = damped_factor(second_moment, &order, unit, damping)?;
                Ok(Self {
                    left: None,
                    left_energies: vec![1.0; layer.nearest.shape()[0]],
                    right_energies: energies(&right),
                    right: engine.upload(right),
                    // Solvers work with the damping inside `UUᵀ`; what is reported and compared is H alone.
                    penalties: vec![-damping; cols],
                    damping,
                    is_triangular: true,
                    unit,
                    order,
                    strength: 1.0,
                })
            }
        }
    }

    /// Returns the number of columns of R.
    pub(crate) fn rank(&self) -> usize {
        self.right.cols()
    }

    /// Returns rows of R without their leading zeros, and the first column that is left.
    pub(crate) fn rows_of(&self, lines: Range<usize>) -> (usize, DeviceMatrix) {
        // Row l of an upper triangular R is 0 before column l: a block of lines takes half the work
        // on average.
        let first = if self.is_triangular { lines.start } else { 0 };
        (first, self.right.row_block(lines).column_block(first..self.rank()))
    }

    /// Returns the cost of the errors of lines beside R.
    pub(crate) fn penalty(&self, line_energies: &[f64]) -> f64 {
        self.penalties.iter().zip(line_energies).map(|(penalty, energy)| penalty * energy).sum()
    }

    /// Returns the penalty of a line that solvers work with.
    pub(crate) fn damped_penalty(&self, line: usize) -> f64 {
        self.penalties[line] + self.damping
    }

    /// Computes all there is to know about the error of some codes, without a whole copy of it.
    pub(crate) fn project(&self, cells: &Cells, engine: &Engine) -> Projected {
        self.project_errors(cells, engine, |lines| cells.errors(lines))
    }

    /// Computes the projection of anything in the place of E; `errors` gives some of its lines,
    /// `[b, m]`.
    pub(crate) fn project_errors(
        &self,
        cells: &Cells,
        engine: &Engine,
        errors: impl Fn(Range<usize>) -> Matrix,
    ) -> Projected {
        /// Lines of `Eᵀ` that exist at once: enough for products at full speed, and few enough for
        /// these to be added in place.
        const BLOCK: usize = 256;
        let mut input = None;
        let mut line_energies = Vec::with_capacity(cells.order.len());
        for lines in blocks(cells.order.len(), BLOCK) {
            let errors = errors(lines.clone());
            let of_lines = errors.values().par_chunks(cells.rows.max(1));
            line_energies.par_extend(of_lines.map(elementwise::squared_norm));
            let (first, right) = self.rows_of(lines);
            let errors = engine.upload(errors);
            match &mut input {
                // The first block begins at line 0, with all columns of R.
                None => input = Some(right.transposed_multiply(&errors)),
                Some(input) => input.add_transposed_product(first, &right, &errors),
            }
        }
        let input = input.unwrap_or_else(|| engine.upload(Matrix::zeros(self.rank(), cells.rows)));
        let input_energy = input.squared_norm();
        let state = match &self.left {
            Some(left) => input.multiply(left),
            None => input,
        };
        Projected { state, input_energy, line_energies }
    }

    /// Returns `‖K‖²` and `R K Lᵀ` `[n, m]`, from `Eᵀ`; `batch` columns of R at once, `None` for
    /// all.
    pub(crate) fn pull(&self, errors: &DeviceMatrix, batch: Option<usize>) -> (f64, DeviceMatrix) {
        let rank = self.rank();
        let parts = blocks(rank, batch.unwrap_or(rank).max(1)).map(|columns| {
            let right = self.right.column_block(columns);
            let state = self.gather(right.transposed_multiply(errors));
            (state.squared_norm(), self.spread(&right.multiply(&state)))
        });
        let sum = parts
            .reduce(|(energy, pull), (more, part)| (energy + more, pull.add_scaled(1.0, &part)));
        // R without columns pulls at nothing.
        sum.unwrap_or_else(|| (0.0, errors.clone().scale(0.0)))
    }

    /// Returns rows of `factor · K · Lᵀ`: `[b, k] → [b, m]`.
    pub(crate) fn spread(&self, state: &DeviceMatrix) -> DeviceMatrix {
        match &self.left {
            Some(left) => state.multiply_transposed(left),
            None => state.clone(),
        }
    }

    /// Returns `Dᵀ L`: `[b, m] → [b, k]`.
    pub(crate) fn gather(&self, moves: DeviceMatrix) -> DeviceMatrix {
        match &self.left {
            Some(left) => moves.multiply(left),
            None => moves,
        }
    }
}

/// Finds the leading vectors of a weight. Parts of the true vectors that are not found are not
/// minimised, so the search decides how far the projected error can fall.
///
/// Measured on a power-law spectrum, rank 614 of 3072: with 3 passes the true projected error fell to
/// 0.59 of that of nearest codes; with 4 passes the error that could be seen
/// fell to 0.12 and the true one to 0.49; with 8, to 0.04 and 0.24; with 20, to 0.067 and 0.067. At a
/// small rank a pass costs little and the gaps between the values are what takes long.
fn leading_vectors(
    layer: &Layer<'_>,
    rank: crate::Rank,
    effort: Effort,
    engine: &Engine,
    seed: u64,
) -> Result<Svd, RoundingError> {
    const FEW: usize = 256;
    let [rows, cols] = layer.nearest.shape();
    let rank = rank.for_shape(rows, cols);
    let passes = match (effort, rank <= FEW) {
        (Effort::Fast, true) => 8,
        (Effort::Fast, false) => 3,
        (Effort::Normal, true) => 20,
        (Effort::Normal, false) => 10,
        (Effort::High, true) => 32,
        (Effort::High, false) => 20,
    };
    let oversampling = effort.oversampling(rank);
    let options = SvdOptions { passes, oversampling, ..SvdOptions::new(rank, seed) };
    Ok(truncated_svd(engine, layer.values(), &options)?)
}

/// Returns the default damping, as a share of the mean of H's diagonal: the error of a second moment falls with
/// the samples for each of its columns.
///
/// Measured on a language model with 24 to 78 samples for each column, 10 % beats 1 % in every scheme: the
/// divergence is 0.92 to 0.96 of it.
fn usual_damping(inputs: &Inputs) -> f64 {
    const OF_ONE_SAMPLE: f64 = 5.0;
    let samples_per_column = inputs.samples() as f64 / inputs.columns().max(1) as f64;
    (OF_ONE_SAMPLE / samples_per_column).clamp(0.01, 0.1)
}

/// Returns U with `UUᵀ = H / unit + damping · I`, rows and columns of H in this order, and the
/// damping that it took.
fn damped_factor(
    second_moment: &Matrix,
    order: &[usize],
    unit: f64,
    damping: f64,
) -> Result<(Matrix, f64), RoundingError> {
    /// Above 0, so that raising it gets somewhere.
    const LEAST: f64 = 1e-4;
    // By Gershgorin an H this damped is positive definite whatever else is wrong with it.
    let most = order.len().max(1) as f64;
    let mut damping = damping;
    loop {
        let damped = |i: usize, j: usize| {
            let found = f64::from(second_moment.at(order[i], order[j])) / unit;
            f64::from(if i == j { found + damping } else { found } as f32)
        };
        match upper_factor(order.len(), damped) {
            Ok(factor) => return Ok((factor, damping)),
            Err(ComputeError::NotPositiveDefinite { .. }) if damping < most => {
                // An H of fewer samples than columns does not have full rank, and in F32 its
                // smallest eigenvalues lie on either side of 0.
                damping = (damping * 10.0).max(LEAST);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns columns by descending energy; ties in the order of the matrix.
fn descending(energies: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..energies.len()).collect();
    order.sort_by(|&a, &b| energies[b].total_cmp(&energies[a]).then(a.cmp(&b)));
    order
}

/// Returns the rows of a matrix in this order.
fn in_order(matrix: &Matrix, order: &[usize]) -> Result<Matrix, ComputeError> {
    let mut values = Vec::with_capacity(matrix.values().len());
    order.iter().for_each(|&row| values.extend_from_slice(matrix.row(row)));
    Matrix::new(matrix.rows(), matrix.cols(), values)
}

/// Returns the squared length of every row.
fn energies(matrix: &Matrix) -> Vec<f32> {
    let energy = |row| matrix.row(row).iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    (0..matrix.rows()).into_par_iter().map(|row| energy(row) as f32).collect()
}
