use roundwise_compute::{Matrix, solve_positive_definite};
use roundwise_grid::Grid;

use crate::kernel;
use crate::outputs::RowCoupling;
use crate::polish::polish;
use crate::solve::{State, blocks};
use crate::{Feedback, RoundingError, Watch};

/// Most steps of its cell that a shift reaches.
const REACH_STEPS: f32 = 3.0;

/// The first λ above 0 that a budget asks for where damping alone did not keep it.
const LEAST_LAMBDA: f64 = 1e-3;

/// Makes one pass of column error feedback, and more with a larger λ while the budget is exceeded.
///
/// A larger λ pays less weight error; past 10, in units of the projection, nothing is left to pay
/// for. Then the polish. Returns the passes of both and the last λ.
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
    let nearest = state.losses();
    let mut pass = 0;
    loop {
        pass += 1;
        feedback::<G>(state, &options)?;
        let losses = state.losses();
        if watch.notice(losses.progress(&nearest, pass, pass + options.polish)).is_break() {
            return Err(RoundingError::Stopped);
        }
        if losses.weight_error <= largest_energy || options.lambda > largest_lambda {
            let Feedback { polish: passes, lambda, .. } = options;
            let so_far = (&nearest, pass);
            // A polish by columns knows nothing of the coupling of rows, and would undo it.
            let passes = if state.coupling.is_some() { 0 } else { passes };
            let sweeps = polish::<G>(state, passes, lambda, largest_energy, so_far, watch)?;
            return Ok((pass + sweeps, lambda));
        }
        // In large steps: a pass costs about two thin products, and every λ that keeps the budget will do. The walk
        // along the trade-off, where the best λ counts, is the work of `anneal`.
        options.lambda = (4.0 * options.lambda).max(LEAST_LAMBDA);
    }
}

/// Makes one pass over the lines.
///
/// # Errors
/// As [`in_blocks`].
fn feedback<G: Grid>(state: &mut State<'_>, options: &Feedback) -> Result<(), RoundingError> {
    // With no line rounded there is no error yet; K of nearest codes, or of a former pass, is void.
    state.projected.clear();
    match state.projection.is_triangular {
        true => {
            in_turn::<G>(state, options);
            Ok(())
        }
        false => in_blocks::<G>(state, options),
    }
}

/// Makes one pass of column error feedback by a triangular R. Line l alone can still change its own
/// row of K, so it is shifted by `−K_l r_ll / (r_ll² + λ)`, which cancels what the lines before it
/// left there. This is GPTQ without the inverse.
fn in_turn<G: Grid>(state: &mut State<'_>, options: &Feedback) {
    /// Lines between two updates of K as a whole.
    const BLOCK: usize = 128;
    let coupling_of_rows = state.coupling;
    for lines in blocks(state.cells.order.len(), BLOCK) {
        let right = state.projection.right.row_block(lines.clone());
        let own = right.column_block(lines.clone()).download();
        // Line i adds its error times R[i, j] to row j of K.
        let coupling = own.transposed();
        let push = state.projected.row_block(lines.clone());
        let mut energies = Vec::new();
        // `push` comes back as the errors of these lines, which is what K takes in.
        let errors = push.changed(|push| {
            energies = state.on_lines_in_turn(
                lines.clone(),
                push,
                options.lambda,
                &coupling,
                |index, line| {
                    let diagonal = own.at(index, index);
                    let factor = -diagonal / (diagonal * diagonal + line.lambda);
                    match coupling_of_rows {
                        Some(rows) => coupled_shift::<G>(line, factor, rows),
                        None => kernel::shift::<G>(line, factor, REACH_STEPS),
                    }
                },
            );
        });
        state.line_energies[lines.clone()].copy_from_slice(&energies);
        state.absorb(lines, errors);
    }
}

/// Shifts every weight of a line as [`kernel::shift`] does, and by what makes up for the errors of the rows
/// before it, row by row; an error is that of a value beside the shifted weight.
///
/// # Source
/// Both sides of a Kronecker-factored curvature: the factor of the inputs acts between columns, that of
/// the outputs' gradients within one.
fn coupled_shift<G: Grid>(line: kernel::Line<'_>, factor: f32, rows: &RowCoupling) -> f64 {
    let mut errors = vec![0.0_f32; rows.order.len()];
    let mut sum = 0.0;
    for (place, &row) in rows.order.iter().enumerate() {
        let (weight, scale) = (line.weights[row], line.scales[row]);
        let target = weight / scale;
        let step = G::step(target) * REACH_STEPS;
        let shift = (factor * line.push[row] / scale).max(-step).min(step);
        let wanted = (target + shift) * scale;
        // The pull of other rows is held within the same reach as the shift: it comes in model
        // units, and a row of a coarse tile would push more into one of a fine tile than this can
        // take.
        let pull = (rows.pull(place, &errors) / scale).max(-step).min(step);
        line.values[row] = G::round(target + shift - pull);
        let stored = line.values[row] * scale;
        errors[place] = stored - wanted;
        let error = stored - weight;
        // Later lines make up for the whole error against the original weight, not only for that
        // against the shifted one.
        line.push[row] = error;
        sum += f64::from(error) * f64::from(error);
    }
    sum
}

/// Makes one pass of column error feedback: shifts every block of lines, before it is rounded, so
/// that the lines after it can best cancel what is left.
///
/// Rows of R are divided by the root of their penalty, `R̃ = Λ^-½R`. With `B = (I + Σ r̃_l r̃_lᵀ)⁻¹`
/// over the lines from the block J on, the shift is `−Λ^-½ R̃_J B K Lᵀ`, K the projected error of the
/// lines before it. For equal penalties λ that is the published `X = −P A V_Jᵀ(λI + V_J A V_Jᵀ)⁻¹`
/// with the block itself moved into the inverse, and B follows from block to block by a b×b solution:
/// `B ← B + B R̃_Jᵀ (I − R̃_J B R̃_Jᵀ)⁻¹ R̃_J B`. About 4mnk operations.
///
/// # Errors
/// When the first k×k matrix cannot be inverted.
fn in_blocks<G: Grid>(state: &mut State<'_>, options: &Feedback) -> Result<(), RoundingError> {
    // 1. Divide each row of R by the root of its penalty: one k×k state then serves lines whose
    // penalties differ.
    let projection = state.projection;
    let factors: Vec<f32> = (0..state.cells.order.len())
        .map(|line| (projection.damped_penalty(line) + options.lambda).sqrt().recip() as f32)
        .collect();
    let scaled = projection.right.clone().changed(|right| scale_rows(right, &factors));
    let rank = scaled.cols();
    // 2. The B of all lines, the only k×k matrix that is inverted.
    let mut gram = scaled.transposed_multiply(&scaled).download();
    (0..rank).for_each(|i| gram.row_mut(i)[i] += 1.0);
    let inverse = solve_positive_definite(&gram, &Matrix::identity(rank))?;
    let mut inverse = state.engine.upload(inverse);

    // Lines come in falling order of their leverage. Measured, the order of the matrix leaves 20 to 130 times
    // as much projected error.
    for lines in blocks(state.cells.order.len(), options.block) {
        let right = scaled.row_block(lines.clone());
        let turned = right.multiply(&inverse);
        let shift = turned.multiply(&state.projected).scale(-1.0);
        let shift = shift.changed(|shift| scale_rows(shift, &factors[lines.clone()]));
        // The shift is computed in the k×k state, and meets the rows of the matrix once, here.
        let push = projection.spread(&shift);
        let mut energies = Vec::new();
        let errors = push.changed(|push| {
            energies = state.on_lines(lines.clone(), push, [0.0, 1.0], |line| {
                kernel::shift::<G>(line, 1.0, REACH_STEPS)
            });
        });
        state.line_energies[lines.clone()].copy_from_slice(&energies);
        state.absorb(lines.clone(), errors);

        // Without these lines B changes by a product of rank b (Woodbury), so that solving a b×b system
        // is enough.
        let mut core = turned.multiply_transposed(&right).scale(-1.0).download();
        (0..lines.len()).for_each(|i| core.row_mut(i)[i] += 1.0);
        // Without a solution B stays: the lines to come are then taken to repair a little more than
        // they can.
        if let Ok(solved) = solve_positive_definite(&core, &turned.clone().download()) {
            inverse.add_transposed_product(0, &turned, &state.engine.upload(solved));
        }
    }
    Ok(())
}

/// Multiplies every row of a matrix by its factor.
fn scale_rows(values: &mut [f32], factors: &[f32]) {
    let cols = values.len() / factors.len().max(1);
    for (row, factor) in values.chunks_mut(cols.max(1)).zip(factors) {
        row.iter_mut().for_each(|value| *value *= factor);
    }
}
