//! A soft choice `h = clamp(1.2 · σ(v) − 0.1, 0, 1)` between two codes, by its logit v.
//!
//! Kernels are structures, not closures: a closure of this length would not be inlined into the
//! code for wide vectors.

use pulp::{Arch, Simd, WithSimd};

use crate::smooth::{exp, ln, power};

/// The sigmoid is stretched to −0.1 … 1.1 and clamped, so that choices reach 0 and 1.
const LOW: f32 = -0.1;
const STRETCH: f32 = 1.2;

/// Cells whose terms wait on the stack: a running sum would keep the loop over them from vectorising.
const PIECE: usize = 256;
/// Sums that terms are added to in turn.
const LANES: usize = 16;

/// Grid values on both sides of the weights of a line, in grid units.
#[derive(Clone, Copy)]
pub(crate) struct Ends<'a> {
    pub(crate) below: &'a [f32],
    pub(crate) above: &'a [f32],
}

/// Returns the logit whose value is `target`; 0 where there is no choice.
#[inline(always)]
pub(crate) fn first_logit(target: f32, below: f32, above: f32) -> f32 {
    // At the ends of the grid both values are one, and the quotient would be 0 / 0.
    let share = ((target - below) / (above - below).max(f32::MIN_POSITIVE)).clamp(0.0, 1.0);
    // The inverse of the stretched sigmoid; a share of 0 or 1 is still a finite logit, 11 to 1.
    let sigmoid = (share - LOW) / STRETCH;
    if above > below { ln(sigmoid) - ln(1.0 - sigmoid) } else { 0.0 }
}

/// Returns `σ(v)` and h before it is clamped.
#[inline(always)]
fn soft(logit: f32) -> (f32, f32) {
    let sigmoid = 1.0 / (1.0 + exp(-logit));
    (sigmoid, sigmoid * STRETCH + LOW)
}

/// Sets `values ← below + h · (above − below)`.
pub(crate) fn interpolate(logits: &[f32], ends: Ends<'_>, values: &mut [f32]) {
    Arch::new().dispatch(Interpolate { logits, ends, values });
}

struct Interpolate<'a> {
    logits: &'a [f32],
    ends: Ends<'a>,
    values: &'a mut [f32],
}

impl WithSimd for Interpolate<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Self { logits, ends, values } = self;
        let ends = ends.below.iter().zip(ends.above);
        for ((value, logit), (below, above)) in values.iter_mut().zip(logits).zip(ends) {
            *value = below + soft(*logit).1.clamp(0.0, 1.0) * (above - below);
        }
    }
}

/// Factors of the loss `objective · J + regularizer · Σ (1 − |2h − 1|^β)`.
#[derive(Clone, Copy)]
pub(crate) struct Loss {
    pub(crate) objective: f64,
    pub(crate) regularizer: f64,
    pub(crate) beta: f64,
}

/// Computes the gradient of the loss by the logits of a line; `push` is half the slope of J by the
/// weights, `scales` are theirs. Returns `Σ (1 − |2h − 1|^β)`.
pub(crate) fn gradient_and_undecided(
    logits: &[f32],
    ends: Ends<'_>,
    [push, scales]: [&[f32]; 2],
    loss: Loss,
    gradient: &mut [f32],
) -> f64 {
    Arch::new().dispatch(Slope { logits, ends, push, scales, factors: loss.factors(), gradient })
}

impl Loss {
    /// Returns the factor of half the slope of J, that of the regularizer's slope, and its
    /// exponent.
    fn factors(self) -> [f32; 3] {
        let Self { objective, regularizer, beta } = self;
        [2.0 * objective, -2.0 * regularizer * beta, beta - 1.0].map(|factor| factor as f32)
    }
}

struct Slope<'a> {
    logits: &'a [f32],
    ends: Ends<'a>,
    push: &'a [f32],
    scales: &'a [f32],
    factors: [f32; 3],
    gradient: &'a mut [f32],
}

impl WithSimd for Slope<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> f64 {
        let Self { logits, ends, push, scales, factors, gradient } = self;
        let mut terms = [0.0_f32; PIECE];
        let mut undecided = [0.0_f32; LANES];
        let cells = gradient.chunks_mut(PIECE).zip(logits.chunks(PIECE));
        let ends = ends.below.chunks(PIECE).zip(ends.above.chunks(PIECE));
        let pushes = push.chunks(PIECE).zip(scales.chunks(PIECE));
        for (((gradient, logits), (below, above)), (push, scales)) in cells.zip(ends).zip(pushes) {
            // The last piece may be shorter: zeros leave the sums as they are.
            terms[gradient.len()..].fill(0.0);
            let cells = gradient.iter_mut().zip(logits).zip(below.iter().zip(above));
            let cells = cells.zip(push.iter().zip(scales)).zip(&mut terms);
            for ((((gradient, logit), (below, above)), (push, scale)), term) in cells {
                let by_choice = push * scale * (above - below);
                (*gradient, *term) = slope_of(*logit, by_choice, factors);
            }
            for terms in terms.as_chunks::<LANES>().0 {
                undecided.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
            }
        }
        undecided.into_iter().map(f64::from).sum()
    }
}

/// Returns the gradient of the loss by one logit, and `1 − |2h − 1|^β`; `by_choice` is half the
/// slope of J by h.
#[inline(always)]
fn slope_of(
    logit: f32,
    by_choice: f32,
    [objective, regularizer, exponent]: [f32; 3],
) -> (f32, f32) {
    let (sigmoid, stretched) = soft(logit);
    let centred = 2.0 * stretched.clamp(0.0, 1.0) - 1.0;
    let hardness = power(centred.abs(), exponent);
    let hardening = regularizer * hardness.copysign(centred);
    // Past 0 and 1 the clamp is flat, and a choice that is made gets no gradient.
    let is_free = (0.0..=1.0).contains(&stretched);
    let of_logit = if is_free { STRETCH * sigmoid * (1.0 - sigmoid) } else { 0.0 };
    ((objective * by_choice + hardening) * of_logit, 1.0 - hardness * centred.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soft_choice_starts_at_its_weight() {
        for (target, below, above) in
            [(0.3, 0.0, 1.0), (-17.25, -18.0, -16.0), (448.0, 416.0, 448.0)]
        {
            let logit = first_logit(target, below, above);
            let mut value = [0.0];
            interpolate(&[logit], Ends { below: &[below], above: &[above] }, &mut value);
            assert!((value[0] - target).abs() < 1e-5 * (above - below));
        }
        assert_eq!(first_logit(500.0, 448.0, 448.0), 0.0);
    }

    #[test]
    fn what_is_undecided_is_summed_over_every_cell() {
        for count in [1, 15, 16, 17, 256, 300] {
            let logits: Vec<f32> = (0..count).map(|i| i as f32 * 0.02 - 3.0).collect();
            let (below, above) = (vec![1.0; count], vec![3.0; count]);
            let mut values = vec![0.0; count];
            let ends = Ends { below: &below, above: &above };
            interpolate(&logits, ends, &mut values);
            let expected: f64 =
                values.iter().map(|value| 1.0 - (f64::from(*value) - 2.0).abs().powi(3)).sum();
            let loss = Loss { objective: 1.0, regularizer: 1.0, beta: 3.0 };
            let found = gradient_and_undecided(&logits, ends, [&below, &below], loss, &mut values);
            assert!((found - expected).abs() < 1e-5 * count as f64, "{found}, {expected}");
        }
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
        let slope_at = |logit: f64| {
            let push = (a * choice(logit) - b) as f32;
            let loss = Loss { objective: 5.0, regularizer: weight, beta };
            let mut gradient = [0.0];
            let ends = Ends { below: &[0.0], above: &[1.0] };
            gradient_and_undecided(
                &[logit as f32],
                ends,
                [&[push], &[a as f32]],
                loss,
                &mut gradient,
            );
            f64::from(gradient[0])
        };
        for logit in [-2.0, -0.7, 0.1, 1.3, 2.2] {
            let expected = (loss(logit + 1e-5) - loss(logit - 1e-5)) / 2e-5;
            let found = slope_at(logit);
            assert!((found - expected).abs() < 1e-3, "{logit}: {found}, {expected}");
        }
        assert_eq!(slope_at(9.0), 0.0);
    }
}
