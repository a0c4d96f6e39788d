use std::cell::Cell;

use pulp::Arch;
use rayon::prelude::*;
use roundwise_compute::{DeviceMatrix, Matrix, elementwise};
use roundwise_optim::{Descent, Objective, Outcome, StopReason, descend};

use crate::losses::Losses;
use crate::solve::State;
use crate::{Limit, RoundingError, Watch};

/// A descent whose variable stands for values between codes, and is scored on codes.
pub(crate) struct Iterate<'a, 's> {
    /// The values in its cells are those of the variable, on the grid or not.
    pub(crate) state: &'a mut State<'s>,
    /// The losses of the codes that were scored last.
    latest: &'a Cell<Losses>,
    /// Their grid values.
    cast: Vec<f32>,
    limit: Limit,
    largest_energy: f64,
}

impl<'a, 's> Iterate<'a, 's> {
    /// Starts from the codes in the cells; `latest` holds their losses.
    pub(crate) fn new(state: &'a mut State<'s>, latest: &'a Cell<Losses>, limit: Limit) -> Self {
        let cast = state.cells.values.clone();
        let largest_energy = latest.get().weight_error * limit.largest_energy_ratio();
        Self { state, latest, cast, limit, largest_energy }
    }

    /// Returns `J = ‖LᵀER‖² + Σ (penalty_l + λ)‖e_l‖²`, penalties damped, at the values in the
    /// cells, and half its gradient by Ŵ, `R K Lᵀ + (penalty_l + λ)E` `[n, m]`.
    ///
    /// - `batch`: columns of R that are multiplied at once; `None` for all
    pub(crate) fn slope(&self, batch: Option<usize>) -> (f64, DeviceMatrix) {
        let errors = self.state.engine.upload(self.state.cells.all_errors());
        let projection = self.state.projection;
        let (objective, push) = projection.pull(&errors, batch);
        let lambda = self.limit.lambda();
        let lines = 0..projection.penalties.len();
        let penalties: Vec<f64> =
            lines.map(|line| projection.damped_penalty(line) + lambda).collect();
        // Without penalties E is not needed again.
        if penalties.iter().all(|penalty| *penalty == 0.0) {
            return (objective, push);
        }
        let mut energies = vec![0.0; penalties.len()];
        let rows = self.state.cells.rows;
        let penalised = errors.changed(|errors| {
            let lines = errors.par_chunks_mut(rows).zip(&mut energies).zip(&penalties);
            lines.for_each(|((errors, energy), penalty)| {
                *energy = penalty * elementwise::squared_norm(errors);
                errors.iter_mut().for_each(|error| *error *= *penalty as f32);
            });
        });
        (objective + energies.iter().sum::<f64>(), push.add_scaled(1.0, &penalised))
    }

    /// Returns the declared objective at `cast(line, cells of the variable, values)`; infinite past
    /// the budget.
    pub(crate) fn score(
        &mut self,
        variable: &Matrix,
        cast: impl Fn(usize, &[f32], &mut [f32]) + Sync,
    ) -> f64 {
        let rows = self.state.cells.rows;
        let lines = self.cast.par_chunks_mut(rows).zip(variable.values().par_chunks(rows));
        let is_changed = lines
            .enumerate()
            .map_init(
                || vec![0.0; rows],
                |fresh, (line, (values, variable))| {
                    Arch::new().dispatch(|| cast(line, variable, fresh));
                    // Compared before it is written, with one line of memory for each thread
                    // instead of a second copy of all codes.
                    let is_changed = *values != **fresh;
                    values.copy_from_slice(fresh);
                    is_changed
                },
            )
            .reduce(|| false, |a, b| a | b);
        // Late in a descent most iterates are cast to the same codes; scoring them costs a product.
        if is_changed {
            // Scores read the cells, whose values are those of the variable: the cast takes their
            // place meanwhile, without a copy.
            std::mem::swap(&mut self.state.cells.values, &mut self.cast);
            self.latest.set(self.state.scored());
            std::mem::swap(&mut self.state.cells.values, &mut self.cast);
        }
        let losses = self.latest.get();
        // An iterate past the budget may still lead to a good one: the descent goes on, but never keeps
        // this one as the best.
        if losses.weight_error > self.largest_energy {
            return f64::INFINITY;
        }
        losses.objective(self.limit.lambda())
    }
}

/// Runs a descent, telling `watch` the losses of each iterate's codes.
///
/// # Errors
/// [`RoundingError::Stopped`], and options of the descent that are out of range.
pub(crate) fn walk(
    objective: &mut dyn Objective,
    start: Matrix,
    descent: &Descent,
    latest: &Cell<Losses>,
    watch: &mut dyn Watch,
) -> Result<Outcome, RoundingError> {
    let nearest = latest.get();
    let outcome = descend(objective, start, descent, |step| {
        let steps = descent.stop.iterations;
        watch.notice(latest.get().progress(&nearest, step.index + 1, steps))
    })?;
    match outcome.reason {
        StopReason::Asked => Err(RoundingError::Stopped),
        _ => Ok(outcome),
    }
}

/// Calls `work(line, its cells)` on every line of `rows` cells, vectorised.
pub(crate) fn for_lines(cells: &mut [f32], rows: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let lines = cells.par_chunks_mut(rows).enumerate();
    lines.for_each(|(line, cells)| Arch::new().dispatch(|| work(line, cells)));
}

/// Calls `work` as [`for_lines`] does, and adds its results in the order of the lines.
pub(crate) fn sum_lines(
    cells: &mut [f32],
    rows: usize,
    work: impl Fn(usize, &mut [f32]) -> f64 + Sync,
) -> f64 {
    let lines = cells.par_chunks_mut(rows).enumerate();
    let sums: Vec<f64> =
        lines.map(|(line, cells)| Arch::new().dispatch(|| work(line, cells))).collect();
    sums.iter().sum()
}
