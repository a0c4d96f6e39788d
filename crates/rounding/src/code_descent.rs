use std::cell::Cell;
use std::marker::PhantomData;

use roundwise_compute::Matrix;
use roundwise_grid::Grid;
use roundwise_optim::{Objective, Optimizer, optimizer::Original};

use crate::iterate::{Iterate, for_lines, walk};
use crate::solve::State;
use crate::{CodeDescent, Limit, Loss, RoundingError, Watch};

/// Descends by gradients on the offset of every value from its nearest code, in grid units.
///
/// With `J = ‖LᵀER‖² + λ‖E‖²` the gradient of `√J` by an offset is `(R K Lᵀ + λE) · scale / √J`:
/// decoding multiplies by the scale, and so does the chain rule. Every iterate is cast to codes and
/// scored as such, and the best cast is what stays in the cells. Returns the evaluations.
///
/// # Errors
/// As [`walk`].
pub(crate) fn code_descent<G: Grid>(
    state: &mut State<'_>,
    options: &CodeDescent,
    limit: Limit,
    watch: &mut dyn Watch,
) -> Result<usize, RoundingError> {
    let latest = Cell::new(state.scored());
    let nearest = state.cells.values.clone();
    let start = Matrix::zeros(state.cells.order.len(), state.cells.rows);
    let mut descent = options.descent;
    if let Optimizer::Original(Original { step_scale }) = &mut descent.optimizer {
        // Its steps have a length in weights; the variable is in codes.
        *step_scale /= f64::from(state.cells.largest_scale()) * state.unit;
    }
    let iterate = Iterate::new(state, &latest, limit);
    let mut offsets = Offsets::<G> { iterate, nearest, loss: options.loss, grid: PhantomData };
    let outcome = walk(&mut offsets, start, &descent, &latest, watch)?;
    let Offsets { iterate, nearest, .. } = offsets;
    // The cells hold the values of the last iterate; those of the best one are cast again from its
    // offsets.
    let cells = &mut iterate.state.cells;
    for_lines(&mut cells.values, cells.rows, |line, values| {
        let places = line * values.len()..(line + 1) * values.len();
        cast::<G>(&nearest[places.clone()], &outcome.best.values()[places], values);
    });
    Ok(outcome.steps)
}

struct Offsets<'a, 's, G> {
    iterate: Iterate<'a, 's>,
    /// Grid values of nearest codes.
    nearest: Vec<f32>,
    loss: Loss,
    grid: PhantomData<G>,
}

impl<G: Grid> Objective for Offsets<'_, '_, G> {
    fn evaluate(&mut self, offsets: &Matrix, gradient: &mut Matrix) -> f64 {
        let cells = &mut self.iterate.state.cells;
        let rows = cells.rows;
        for_lines(&mut cells.values, rows, |line, values| {
            let places = line * rows..(line + 1) * rows;
            let parts = self.nearest[places.clone()].iter().zip(&offsets.values()[places]);
            values.iter_mut().zip(parts).for_each(|(value, (a, b))| *value = a + b);
        });
        let (objective, push) = self.iterate.slope(None);
        let unit = self.iterate.state.unit;
        // The loss is in units of the model, in which stop rules are; the gradient is in those of
        // the layer, whose largest weight is about 1, so that rates mean the same for all layers.
        let (loss, factor) = match self.loss {
            // At 0 the root has no finite slope.
            Loss::Root => {
                (objective.sqrt() * unit, objective.max(f64::MIN_POSITIVE).sqrt().recip())
            }
            Loss::Half => (0.5 * objective * unit * unit, 1.0),
        };
        let cells = &self.iterate.state.cells;
        push.read(|push| {
            for_lines(gradient.values_mut(), rows, |line, gradient| {
                let push = &push[line * rows..(line + 1) * rows];
                let parts = push.iter().zip(cells.scales(line));
                gradient.iter_mut().zip(parts).for_each(|(gradient, (push, scale))| {
                    *gradient = push * (factor as f32) * scale;
                });
            });
        });
        loss
    }

    fn score(&mut self, offsets: &Matrix, _loss: f64) -> f64 {
        let rows = self.iterate.state.cells.rows;
        let nearest = &self.nearest;
        self.iterate.score(offsets, |line, offsets, values| {
            cast::<G>(&nearest[line * rows..(line + 1) * rows], offsets, values);
        })
    }
}

/// Sets `value ← round(nearest + offset)`, saturating.
fn cast<G: Grid>(nearest: &[f32], offsets: &[f32], values: &mut [f32]) {
    for ((value, nearest), offset) in values.iter_mut().zip(nearest).zip(offsets) {
        // The offset has no bounds: one that runs away saturates, costs weight error, and is not kept
        // as the best.
        *value = G::round(nearest + offset);
    }
}
