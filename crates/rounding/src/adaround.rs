use std::cell::Cell;

use roundwise_compute::Matrix;
use roundwise_grid::Grid;
use roundwise_optim::Objective;

use crate::iterate::{Iterate, for_lines, sum_lines, walk};
use crate::neighbours::neighbours;
use crate::soft_choice::{self, Ends, first_logit};
use crate::solve::State;
use crate::{AdaRound, Limit, RoundingError, Watch};

/// Learns, by gradients, a [soft choice](soft_choice) `h` between the two codes next to every
/// weight.
///
/// The variable is the logit of h; it starts where the value `below + h · (above − below)` is the
/// weight itself. It minimises `mn · J / J_nearest + regularizer · Σ (1 − |2h − 1|^β)`, β falling
/// linearly. A choice is made for the code above where `v ≥ 0`; every iterate is scored on codes
/// chosen so, and the best choice is what stays in the cells. Returns the evaluations.
///
/// # Errors
/// As [`walk`].
pub(crate) fn adaround<G: Grid>(
    state: &mut State<'_>,
    options: &AdaRound,
    limit: Limit,
    watch: &mut dyn Watch,
) -> Result<usize, RoundingError> {
    let losses = state.scored();
    let latest = Cell::new(losses);
    let neighbourhood = Neighbourhood::new::<G>(state);
    let start = neighbourhood.start(state);
    let weights = start.values().len() as f64;
    let mut choices = Choices {
        iterate: Iterate::new(state, &latest, limit),
        neighbourhood,
        options: *options,
        // J differs between layers by orders of magnitude, the regularizer does not. Over that of
        // nearest codes and times the number of weights, both are sums of terms of about 1, and one
        // `regularizer` serves all layers.
        objective_factor: weights / losses.objective(limit.lambda()),
        evaluations: 0,
    };
    // Gradients are of the soft values that `evaluate` leaves in the cells. Losses that are compared,
    // kept and reported are those of hard choices.
    let outcome = walk(&mut choices, start, &options.descent, &latest, watch)?;
    let Choices { iterate, neighbourhood, .. } = choices;
    let rows = neighbourhood.rows;
    for_lines(&mut iterate.state.cells.values, rows, |line, values| {
        let logits = &outcome.best.values()[line * rows..(line + 1) * rows];
        choose(logits, neighbourhood.ends(line), values);
    });
    Ok(outcome.steps)
}

/// Grid values on both sides of every weight.
struct Neighbourhood {
    below: Vec<f32>,
    above: Vec<f32>,
    rows: usize,
}

impl Neighbourhood {
    fn new<G: Grid>(state: &State<'_>) -> Self {
        let cells = &state.cells;
        let rows = cells.rows;
        let mut below = vec![0.0; cells.values.len()];
        // Neighbours in grid units, where every binade has its own step. The published step is 2⁻⁶
        // everywhere, which is less than E4M3's from 0.25 on, so that its final cast decides
        // instead of the choice.
        for_lines(&mut below, rows, |line, below| {
            let weights = &cells.weights[line * rows..(line + 1) * rows];
            let parts = weights.iter().zip(cells.scales(line));
            below.iter_mut().zip(parts).for_each(|(below, (weight, scale))| {
                *below = neighbours::<G>(weight / scale).0;
            });
        });
        let mut above = below.clone();
        for_lines(&mut above, rows, |_, above| {
            // At the ends of the grid both are one value, and whichever is chosen is the same code.
            above.iter_mut().for_each(|value| *value = G::above(*value));
        });
        Self { below, above, rows }
    }

    /// Returns the logits whose soft values are the weights.
    fn start(&self, state: &State<'_>) -> Matrix {
        let cells = &state.cells;
        let mut start = Matrix::zeros(cells.order.len(), self.rows);
        for_lines(start.values_mut(), self.rows, |line, logits| {
            let Ends { below, above } = self.ends(line);
            let weights = &cells.weights[line * self.rows..(line + 1) * self.rows];
            let targets = weights.iter().zip(cells.scales(line));
            for ((logit, (weight, scale)), (below, above)) in
                logits.iter_mut().zip(targets).zip(below.iter().zip(above))
            {
                *logit = first_logit(weight / scale, *below, *above);
            }
        });
        start
    }

    fn ends(&self, line: usize) -> Ends<'_> {
        let places = line * self.rows..(line + 1) * self.rows;
        Ends { below: &self.below[places.clone()], above: &self.above[places] }
    }
}

/// Chooses the code above where `v ≥ 0`.
fn choose(logits: &[f32], ends: Ends<'_>, values: &mut [f32]) {
    for ((value, logit), (below, above)) in
        values.iter_mut().zip(logits).zip(ends.below.iter().zip(ends.above))
    {
        // h is ½ at v = 0, so the sign of v names the end that the soft value is nearer to.
        *value = if *logit >= 0.0 { *above } else { *below };
    }
}

struct Choices<'a, 's> {
    iterate: Iterate<'a, 's>,
    neighbourhood: Neighbourhood,
    options: AdaRound,
    /// `mn / J_nearest`.
    objective_factor: f64,
    evaluations: usize,
}

impl Choices<'_, '_> {
    /// Returns β of the next evaluation.
    fn next_beta(&mut self) -> f64 {
        let AdaRound { first_beta, last_beta, descent, .. } = self.options;
        // One less than the iterations, so that the last of them sees `last_beta` itself.
        let last = descent.stop.iterations.saturating_sub(1).max(1);
        // Falling β, 20 to 2 as published: first nearly flat, so that the objective decides, then steep towards 0
        // and 1.
        let part = self.evaluations as f64 / last as f64;
        self.evaluations += 1;
        first_beta + (last_beta - first_beta) * part.min(1.0)
    }
}

impl Objective for Choices<'_, '_> {
    fn evaluate(&mut self, logits: &Matrix, gradient: &mut Matrix) -> f64 {
        let loss = soft_choice::Loss {
            objective: self.objective_factor,
            regularizer: self.options.regularizer,
            beta: self.next_beta(),
        };
        let neighbourhood = &self.neighbourhood;
        let rows = neighbourhood.rows;
        let places = |line: usize| line * rows..(line + 1) * rows;
        for_lines(&mut self.iterate.state.cells.values, rows, |line, values| {
            soft_choice::interpolate(
                &logits.values()[places(line)],
                neighbourhood.ends(line),
                values,
            );
        });
        // At the soft values: codes do not change with a small step of v, so hard ones have no
        // slope.
        let (objective, push) = self.iterate.slope(self.options.batch);
        let cells = &self.iterate.state.cells;
        let undecided = push.read(|push| {
            sum_lines(gradient.values_mut(), rows, |line, gradient| {
                let pushes = [&push[places(line)], cells.scales(line)];
                let logits = &logits.values()[places(line)];
                let ends = neighbourhood.ends(line);
                soft_choice::gradient_and_undecided(logits, ends, pushes, loss, gradient)
            })
        });
        loss.objective * objective + loss.regularizer * undecided
    }

    fn score(&mut self, logits: &Matrix, _loss: f64) -> f64 {
        let neighbourhood = &self.neighbourhood;
        self.iterate.score(logits, |line, logits, values| {
            choose(logits, neighbourhood.ends(line), values);
        })
    }
}
