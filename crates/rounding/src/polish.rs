use roundwise_grid::Grid;

use crate::kernel;
use crate::losses::Losses;
use crate::solve::{State, blocks};
use crate::{RoundingError, Watch};

/// Descends by coordinates on codes for `‖ER‖² + Σ (penalty_l + λ)‖e_l‖²`, line after line, each
/// line with the best codes that the others allow. Ends after `passes` passes, when a pass gains
/// less than a thousandth, or when `‖E‖²` would pass `largest_energy`. Returns the passes.
///
/// - `nearest`, `done`: the losses of nearest codes, and the passes before these, for `watch`
///
/// # Errors
/// [`RoundingError::Stopped`].
pub(crate) fn polish<G: Grid>(
    state: &mut State<'_>,
    passes: usize,
    lambda: f64,
    largest_energy: f64,
    (nearest, done): (&Losses, usize),
    watch: &mut dyn Watch,
) -> Result<usize, RoundingError> {
    /// Lines between two products with K.
    const BLOCK: usize = 128;
    const LEAST_GAIN: f64 = 1e-3;
    let mut before = state.losses();
    for pass in 1..=passes {
        for lines in blocks(state.cells.order.len(), BLOCK) {
            let (_, right) = state.projection.rows_of(lines.clone());
            // Lines of a block push each other by `RRᵀ` of the block, so that each sees the moves
            // before it without a product with K.
            let coupling = right.multiply_transposed(&right).download();
            let mut energies = Vec::new();
            let moves = state.push(lines.clone()).changed(|push| {
                energies =
                    state.on_lines_in_turn(lines.clone(), push, lambda, &coupling, |_, line| {
                        kernel::descend::<G>(line)
                    });
            });
            // It ends at the budget, where `anneal` goes on with the next block: a polish gains a
            // few per cent at most.
            if state.weight_error_with(lines.clone(), &energies) > largest_energy {
                state.undo::<G>(lines, &moves);
                return Ok(pass);
            }
            state.line_energies[lines.clone()].copy_from_slice(&energies);
            state.absorb(lines, moves);
        }
        let losses = state.losses();
        if watch.notice(losses.progress(nearest, done + pass, done + passes)).is_break() {
            return Err(RoundingError::Stopped);
        }
        let gained = before.objective(lambda) - losses.objective(lambda);
        if gained < LEAST_GAIN * before.projected {
            return Ok(pass);
        }
        before = losses;
    }
    Ok(passes)
}
