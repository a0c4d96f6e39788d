use roundwise_compute::{Matrix, solve_positive_definite};
use roundwise_grid::Grid;

use crate::kernel;
use crate::solve::{State, blocks};
use crate::{Feedback, RoundingError, Watch};

/// A shift reaches so many steps of its cell at most.
const REACH_STEPS: f32 = 3.0;

/// One pass of column error feedback, and more with a larger λ while the budget does not allow it.
///
/// A larger λ pays less weight error; past 10, in units of the projection, nothing is left to pay
/// for. Returns the passes and the last λ.
///
/// # Errors
/// [`RoundingError::Stopped`], and as [`feedback`].
pub(crate) fn feedback_within<G: Grid>(
    state: &mut State<'_>,
    mut options: Feedback,
    largest_energy: f64,
    watch: &mut dyn Watch,
) -> Result<(usize, f64), RoundingError> {
    let largest_lambda = 10.0 * state.projection.strength;
    let nearest = state.worth();
    let mut pass = 0;
    loop {
        pass += 1;
        feedback::<G>(state, &options)?;
        let worth = state.worth();
        if watch.notice(worth.progress(&nearest, pass, pass + 1)).is_break() {
            return Err(RoundingError::Stopped);
        }
        if worth.weight_error <= largest_energy || options.lambda > largest_lambda {
            return Ok((pass, options.lambda));
        }
        options.lambda *= 4.0;
    }
}

/// One pass of column error feedback: every block of lines is shifted, before it is rounded, so
/// that the lines after it can best cancel what is left.
///
/// With `B = (λI + Σ r_l r_lᵀ)⁻¹` over the lines from the block J on, the shift is `−R_J B K Lᵀ`, K
/// the projected error of the lines before it. That is the published `X = −P A V_Jᵀ(λI + V_J A
/// V_Jᵀ)⁻¹` with the block itself moved into the inverse, and B follows from block to block by a
/// b×b solution: `B ← B + B R_Jᵀ (I − R_J B R_Jᵀ)⁻¹ R_J B`. About 4mnk operations.
///
/// # Errors
/// When the first k×k matrix cannot be inverted.
fn feedback<G: Grid>(state: &mut State<'_>, options: &Feedback) -> Result<(), RoundingError> {
    let right = &state.projection.right;
    let rank = right.cols();
    let mut gram = right.transposed_multiply(right).download();
    (0..rank).for_each(|i| gram.row_mut(i)[i] += options.lambda as f32);
    let inverse = solve_positive_definite(&gram, &Matrix::identity(rank))?;
    let mut inverse = state.engine.upload(inverse);

    state.projected = state.projected.clone().scale(0.0);
    for lines in blocks(state.cells.order.len(), options.block) {
        let right = state.projection.right.row_block(lines.clone());
        let turned = right.multiply(&inverse);
        let push = state.projection.spread(&turned.multiply(&state.projected).scale(-1.0));
        let mut energies = Vec::new();
        let errors = push.changed(|push| {
            energies = state.on_lines(lines.clone(), push, [0.0, 1.0], |line| {
                kernel::shift::<G>(line, REACH_STEPS)
            });
        });
        state.line_energies[lines.clone()].copy_from_slice(&energies);
        state.absorb(lines.clone(), errors);

        let mut core = turned.multiply_transposed(&right).scale(-1.0).download();
        (0..lines.len()).for_each(|i| core.row_mut(i)[i] += 1.0);
        // Without a solution the lines to come are taken to repair a little more than they can.
        if let Ok(solved) = solve_positive_definite(&core, &turned.clone().download()) {
            let change = turned.transposed_multiply(&state.engine.upload(solved));
            inverse = inverse.add_scaled(1.0, &change);
        }
    }
    Ok(())
}
