use std::cell::Cell;

use roundwise_compute::Matrix;
use roundwise_grid::Grid;
use roundwise_optim::Objective;

use crate::iterate::{Iterate, for_lines, sum_lines, walk};
use crate::neighbours::neighbours;
use crate::smooth::{exp, ln, power};
use crate::solve::State;
use crate::{AdaRound, Limit, RoundingError, Watch};

/// The sigmoid is stretched to −0.1 … 1.1 and clamped, so that choices reach 0 and 1.
const LOW: f32 = -0.1;
const STRETCH: f32 = 1.2;

/// A soft choice `h` from 0 to 1 between the two codes next to every weight, learned by gradients.
///
/// The variable is the logit of h, `h = clamp(1.2 · σ(v) − 0.1, 0, 1)`; it starts where the value
/// `below + h · (above − below)` is the weight itself. Minimised is
/// `mn · J / J_nearest + regularizer · Σ (1 − |2h − 1|^β)`, β falling linearly. A choice is made for
/// the code above where `v ≥ 0`; every iterate is scored on codes chosen so, and the best choice is
/// what stays in the cells. Returns the evaluations.
///
/// # Errors
/// As [`walk`].
pub(crate) fn adaround<G: Grid>(
    state: &mut State<'_>,
    options: &AdaRound,
    limit: Limit,
    watch: &mut dyn Watch,
) -> Result<usize, RoundingError> {
    let worth = state.scored();
    let latest = Cell::new(worth);
    let cells = &state.cells;
    let rows = cells.rows;
    let mut above = vec![0.0; cells.values.len()];
    let mut below = cells.values.clone();
    let mut start = Matrix::zeros(cells.order.len(), rows);
    for_lines(&mut below, rows, |line, below| {
        let weights = &cells.weights[line * rows..(line + 1) * rows];
        let parts = weights.iter().zip(cells.scales(line));
        below.iter_mut().zip(parts).for_each(|(below, (weight, scale))| {
            *below = neighbours::<G>(weight / scale).0;
        });
    });
    for_lines(&mut above, rows, |line, above| {
        let below = &below[line * rows..(line + 1) * rows];
        above.iter_mut().zip(below).for_each(|(above, below)| *above = G::above(*below));
    });
    for_lines(start.values_mut(), rows, |line, logits| {
        let places = line * rows..(line + 1) * rows;
        let ends = below[places.clone()].iter().zip(&above[places.clone()]);
        let targets = cells.weights[places].iter().zip(cells.scales(line));
        for ((logit, (below, above)), (weight, scale)) in logits.iter_mut().zip(ends).zip(targets) {
            *logit = first_logit(weight / scale, *below, *above);
        }
    });

    let weights = start.values().len() as f64;
    let mut choices = Choices {
        iterate: Iterate::new(state, &latest, limit),
        below,
        above,
        options: *options,
        objective_factor: weights / worth.objective(limit),
        evaluations: 0,
    };
    let outcome = walk(&mut choices, start, &options.descent, &latest, watch)?;
    let Choices { iterate, below, above, .. } = choices;
    for_lines(&mut iterate.state.cells.values, rows, |line, values| {
        let places = line * rows..(line + 1) * rows;
        let ends = [&below[places.clone()], &above[places.clone()]];
        choose(&outcome.best.values()[places], ends, values);
    });
    Ok(outcome.steps)
}

/// The logit whose value is `target`; 0 where there is no choice.
#[inline(always)]
fn first_logit(target: f32, below: f32, above: f32) -> f32 {
    let share = ((target - below) / (above - below).max(f32::MIN_POSITIVE)).clamp(0.0, 1.0);
    let sigmoid = (share - LOW) / STRETCH;
    if above > below { ln(sigmoid) - ln(1.0 - sigmoid) } else { 0.0 }
}

/// `σ(v)` and h.
#[inline(always)]
fn soft(logit: f32) -> (f32, f32) {
    let sigmoid = 1.0 / (1.0 + exp(-logit));
    (sigmoid, sigmoid * STRETCH + LOW)
}

/// The code above where `v ≥ 0`.
fn choose(logits: &[f32], [below, above]: [&[f32]; 2], values: &mut [f32]) {
    for ((value, logit), (below, above)) in
        values.iter_mut().zip(logits).zip(below.iter().zip(above))
    {
        *value = if *logit >= 0.0 { *above } else { *below };
    }
}

struct Choices<'a, 's> {
    iterate: Iterate<'a, 's>,
    /// Grid values on both sides of every weight.
    below: Vec<f32>,
    above: Vec<f32>,
    options: AdaRound,
    /// `mn / J_nearest`.
    objective_factor: f64,
    evaluations: usize,
}

impl Choices<'_, '_> {
    /// β of the next evaluation.
    fn next_beta(&mut self) -> f64 {
        let AdaRound { first_beta, last_beta, descent, .. } = self.options;
        let last = descent.stop.iterations.saturating_sub(1).max(1);
        let part = self.evaluations as f64 / last as f64;
        self.evaluations += 1;
        first_beta + (last_beta - first_beta) * part.min(1.0)
    }

    /// Puts the soft values into the cells; returns `Σ (1 − |2h − 1|^β)`.
    fn place(&mut self, logits: &Matrix, beta: f32) -> f64 {
        let cells = &mut self.iterate.state.cells;
        let rows = cells.rows;
        sum_lines(&mut cells.values, rows, |line, values| {
            let places = line * rows..(line + 1) * rows;
            let ends = self.below[places.clone()].iter().zip(&self.above[places.clone()]);
            let mut undecided = 0.0;
            for ((value, logit), (below, above)) in
                values.iter_mut().zip(&logits.values()[places]).zip(ends)
            {
                let choice = soft(*logit).1.clamp(0.0, 1.0);
                *value = below + choice * (above - below);
                undecided += f64::from(1.0 - power((2.0 * choice - 1.0).abs(), beta));
            }
            undecided
        })
    }
}

impl Objective for Choices<'_, '_> {
    fn evaluate(&mut self, logits: &Matrix, gradient: &mut Matrix) -> f64 {
        let beta = self.next_beta();
        let undecided = self.place(logits, beta as f32);
        let (objective, push) = self.iterate.slope(self.options.batch);
        let weight = self.options.regularizer;
        let factors = [2.0 * self.objective_factor, weight * -2.0 * beta, beta - 1.0];
        let factors = factors.map(|factor| factor as f32);
        let cells = &self.iterate.state.cells;
        let rows = cells.rows;
        push.read(|push| {
            for_lines(gradient.values_mut(), rows, |line, gradient| {
                let places = line * rows..(line + 1) * rows;
                let ends = self.below[places.clone()].iter().zip(&self.above[places.clone()]);
                let pushes = push[places.clone()].iter().zip(cells.scales(line));
                for (((gradient, logit), (below, above)), (push, scale)) in
                    gradient.iter_mut().zip(&logits.values()[places]).zip(ends).zip(pushes)
                {
                    let by_choice = push * scale * (above - below);
                    *gradient = slope(*logit, by_choice, factors);
                }
            });
        });
        self.objective_factor * objective + weight * undecided
    }

    fn score(&mut self, logits: &Matrix, _loss: f64) -> f64 {
        let rows = self.iterate.state.cells.rows;
        let (below, above) = (&self.below, &self.above);
        self.iterate.score(logits, |line, logits, values| {
            let places = line * rows..(line + 1) * rows;
            choose(logits, [&below[places.clone()], &above[places]], values);
        })
    }
}

/// The gradient of the loss by one logit; `by_choice` is half the slope of J by h.
#[inline(always)]
fn slope(logit: f32, by_choice: f32, [objective, regularizer, exponent]: [f32; 3]) -> f32 {
    let (sigmoid, stretched) = soft(logit);
    let centred = 2.0 * stretched.clamp(0.0, 1.0) - 1.0;
    let hardening = regularizer * power(centred.abs(), exponent).copysign(centred);
    let is_free = (0.0..=1.0).contains(&stretched);
    let of_logit = if is_free { STRETCH * sigmoid * (1.0 - sigmoid) } else { 0.0 };
    (objective * by_choice + hardening) * of_logit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soft_choice_starts_at_its_weight() {
        for (target, below, above) in
            [(0.3, 0.0, 1.0), (-17.25, -18.0, -16.0), (448.0, 416.0, 448.0)]
        {
            let choice = soft(first_logit(target, below, above)).1.clamp(0.0, 1.0);
            assert!((below + choice * (above - below) - target).abs() < 1e-5 * (above - below));
        }
        assert_eq!(first_logit(500.0, 448.0, 448.0), 0.0);
    }

    #[test]
    fn the_slope_is_that_of_the_loss() {
        // J = (a·h − b)², so half its slope by h is a·(a·h − b).
        let (a, b, beta, weight) = (3.0_f64, 1.2, 4.0, 0.7);
        let choice = |logit: f64| (1.2 / (1.0 + (-logit).exp()) - 0.1).clamp(0.0, 1.0);
        let loss = |logit: f64| {
            let h = choice(logit);
            5.0 * (a * h - b).powi(2) + weight * (1.0 - (2.0 * h - 1.0).abs().powf(beta))
        };
        let factors = [10.0, (weight * -2.0 * beta) as f32, (beta - 1.0) as f32];
        for logit in [-2.0, -0.7, 0.1, 1.3, 2.2] {
            let by_choice = (a * (a * choice(logit) - b)) as f32;
            let expected = (loss(logit + 1e-5) - loss(logit - 1e-5)) / 2e-5;
            let found = f64::from(slope(logit as f32, by_choice, factors));
            assert!((found - expected).abs() < 1e-3, "{logit}: {found}, {expected}");
        }
        assert_eq!(slope(9.0, 1.0, factors), 0.0);
    }
}
