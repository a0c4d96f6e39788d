use pulp::Arch;
use rayon::prelude::*;
use roundwise_compute::Matrix;
use roundwise_grid::Grid;

use crate::iterate::for_lines;
use crate::projection::Projection;
use crate::solve::State;
use crate::{Greedy, Limit, RoundingError, Watch};

/// Moves the one code whose step to the other side of its weight lowers
/// `J = ‖LᵀER‖² + λ‖E‖²` most, again and again.
///
/// A step is one of the grid, so that it is there in the file too. With `g = R K Lᵀ + λE` and
/// `c = ‖l_i‖²‖r_l‖² + λ`, a change d of a decoded weight changes J by `2dg + d²c`; afterwards g
/// changes by `d · (R r_l)(L l_i)ᵀ`, so that a step costs one pass over the matrix. Of equals the
/// first line and row wins. Ends when no step helps, the best one breaks the budget, or `√J` is
/// below 1e-8 in model units. Returns the steps.
///
/// # Errors
/// [`RoundingError::Stopped`].
pub(crate) fn greedy<G: Grid>(
    state: &mut State<'_>,
    options: Greedy,
    limit: Limit,
    watch: &mut dyn Watch,
) -> Result<usize, RoundingError> {
    const DONE: f64 = 1e-8;
    let nearest = state.scored();
    let largest_energy = nearest.weight_error * limit.largest_energy_ratio();
    let (mut losses, mut objective) = (nearest, nearest.objective(limit.lambda()));
    let mut search = Search::new::<G>(state, limit.lambda() as f32);
    for done in 0..options.moves {
        // Over all cells each time, as published: a step changes the gain of every other one.
        let Some([line, row]) = search.best() else { return Ok(done) };
        let place = line * state.cells.rows + row;
        let (scale, weight) = (state.cells.scales(line)[row], state.cells.weights[place]);
        let (step, error) = (search.steps[place], state.cells.values[place] * scale - weight);
        // (error + step)² − error², which costs no pass over the matrix.
        let energy = losses.weight_error + f64::from(step) * f64::from(2.0 * error + step);
        if energy > largest_energy || objective.sqrt() * state.unit < DONE {
            return Ok(done);
        }
        // J is quadratic, so the gain of a single step is exact, and no product is needed to know
        // J.
        objective = (objective + f64::from(search.gain(line, row))).max(0.0);
        // Rounded, since `weight + error + step` is a grid value but for the last bits of these sums.
        let value = G::round((weight + error + step) / scale);
        state.cells.values[place] = value;
        search.take(line, row, step_across::<G>(value, weight, scale));
        // Kept up to date by the step alone; the score of the stored codes is computed anew in the end.
        losses.weight_error = energy;
        // A difference of two sums, which rounding may take below 0.
        losses.projected = (objective - limit.lambda() * energy).max(0.0);
        if watch.notice(losses.progress(&nearest, done + 1, options.moves)).is_break() {
            return Err(RoundingError::Stopped);
        }
    }
    Ok(options.moves)
}

/// Returns the change of a decoded weight by the step of its code towards the weight; 0 where both
/// are equal, and at the ends of the grid.
#[inline(always)]
fn step_across<G: Grid>(value: f32, weight: f32, scale: f32) -> f32 {
    let target = if value * scale > weight { G::below(value) } else { G::above(value) };
    if value * scale == weight { 0.0 } else { (target - value) * scale }
}

/// Every possible step, and the change of J by it.
struct Search<'a> {
    projection: &'a Projection,
    rows: usize,
    lambda: f32,
    /// L, `[m, k]`, and R, `[n, k]`, on the host.
    left: Option<Matrix>,
    right: Matrix,
    /// d of every cell, `[n, m]`.
    steps: Vec<f32>,
    /// g of every cell before the last step.
    push: Vec<f32>,
    /// The change of g by the last step: a factor per line and one per row.
    by_line: Vec<f32>,
    by_row: Vec<f32>,
}

impl<'a> Search<'a> {
    fn new<G: Grid>(state: &State<'a>, lambda: f32) -> Self {
        let (cells, projection) = (&state.cells, state.projection);
        let errors = state.engine.upload(cells.all_errors());
        let (_, push) = projection.pull(&errors, None);
        let push = push.add_scaled(lambda, &errors).download().into_values();
        let mut steps = vec![0.0; push.len()];
        for_lines(&mut steps, cells.rows, |line, steps| {
            let places = line * cells.rows..(line + 1) * cells.rows;
            let stored = cells.values[places.clone()].iter().zip(cells.scales(line));
            let parts = stored.zip(&cells.weights[places]);
            steps.iter_mut().zip(parts).for_each(|(step, ((value, scale), weight))| {
                *step = step_across::<G>(*value, *weight, *scale);
            });
        });
        Self {
            projection,
            rows: cells.rows,
            lambda,
            left: projection.left.clone().map(|left| left.download()),
            right: projection.right.clone().download(),
            steps,
            push,
            by_line: vec![0.0; cells.order.len()],
            by_row: vec![0.0; cells.rows],
        }
    }

    /// Returns line and row of the step that lowers J most; `None` where none does.
    fn best(&mut self) -> Option<[usize; 2]> {
        let Self { projection, rows, lambda, steps, push, by_line, by_row, .. } = self;
        let gains: Vec<f32> = push
            .par_chunks_mut(*rows)
            .zip(steps.par_chunks(*rows))
            .enumerate()
            .map(|(line, (push, steps))| {
                let factors = [by_line[line], projection.right_energies[line], *lambda];
                let rows = [&by_row[..], &projection.left_energies];
                Arch::new().dispatch(|| least_gain(push, steps, rows, factors))
            })
            .collect();
        let (line, gain) = gains
            .iter()
            .enumerate()
            .fold((0, 0.0), |best, (line, gain)| if *gain < best.1 { (line, *gain) } else { best });
        if gain >= 0.0 {
            return None;
        }
        // Only the least gain of each line is known. The same function computes the gains again, so
        // that the row is found by equality.
        let row = (0..self.rows).find(|row| self.gain(line, *row) == gain)?;
        Some([line, row])
    }

    /// Returns the change of J by the step of one cell.
    fn gain(&self, line: usize, row: usize) -> f32 {
        let place = line * self.rows + row;
        let energies = [self.projection.left_energies[row], self.projection.right_energies[line]];
        gain(self.steps[place], self.push[place], energies, self.lambda)
    }

    /// Takes the step of one cell, whose next one is `next`.
    fn take(&mut self, line: usize, row: usize, next: f32) {
        let place = line * self.rows + row;
        let step = std::mem::replace(&mut self.steps[place], next);
        // λ couples a cell with itself alone. What the step does to all others waits as two factors
        // for the next search, which reads every cell anyway.
        self.push[place] += self.lambda * step;
        let factors = self.right.row(line);
        for (line, by_line) in self.by_line.iter_mut().enumerate() {
            *by_line = step * dot(self.right.row(line), factors);
        }
        for (other, by_row) in self.by_row.iter_mut().enumerate() {
            *by_row = match &self.left {
                Some(left) => dot(left.row(other), left.row(row)),
                // Without L a step pushes its own row alone.
                None => f32::from(other == row),
            };
        }
    }
}

/// Returns `2dg + d²c`.
#[inline(always)]
fn gain(step: f32, push: f32, [left, right]: [f32; 2], lambda: f32) -> f32 {
    step * (2.0 * push + step * (left * right + lambda))
}

/// Brings g of a line up to date; returns the least gain in it.
#[inline(always)]
fn least_gain(
    push: &mut [f32],
    steps: &[f32],
    [by_row, left_energies]: [&[f32]; 2],
    [by_line, right_energy, lambda]: [f32; 3],
) -> f32 {
    const LANES: usize = 16;
    // Sixteen minima in turn, so that the loop becomes vectors; a minimum does not depend on the
    // order.
    let mut least = [0.0_f32; LANES];
    let cells = push.iter_mut().zip(steps).zip(by_row).zip(left_energies);
    for (index, (((push, step), by_row), energy)) in cells.enumerate() {
        *push += by_line * by_row;
        let lane = &mut least[index % LANES];
        *lane = lane.min(gain(*step, *push, [*energy, right_energy], lambda));
    }
    least.into_iter().fold(0.0, f32::min)
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32
}
