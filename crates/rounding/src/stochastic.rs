use rayon::prelude::*;
use roundwise_compute::random_bits;
use roundwise_grid::Grid;

use crate::neighbours::neighbours;
use crate::solve::State;

/// Rounds every weight up or down by chance, so that its expectation is the weight itself.
///
/// `P(up) = (w / scale − below) / (above − below)` between the two neighbouring grid values. Chance
/// is a number of the cell and the seed alone, so the order of the work does not matter.
pub(crate) fn stochastic<G: Grid>(state: &mut State<'_>, seed: u64) {
    let rows = state.cells.rows;
    let mut values = std::mem::take(&mut state.cells.values);
    let cells = &state.cells;
    values.par_chunks_mut(rows).zip(&mut state.line_energies).enumerate().for_each(
        |(line, (values, energy))| {
            // By the place in the matrix, not in the order of lines, which depends on the
            // objective.
            let column = (cells.order[line] * rows) as u64;
            let weights = &cells.weights[line * rows..(line + 1) * rows];
            *energy = 0.0;
            for (row, value) in values.iter_mut().enumerate() {
                let scale = cells.scales(line)[row];
                *value = chosen::<G>(weights[row] / scale, unit(seed, column + row as u64));
                *energy += f64::from(*value * scale - weights[row]).powi(2);
            }
        },
    );
    state.cells.values = values;
    // Its moves were not added to K one by one.
    state.refresh();
}

/// Returns the neighbour above `target` where `chance`, uniform in [0, 1), says so, else the one
/// below.
fn chosen<G: Grid>(target: f32, chance: f32) -> f32 {
    let (below, above) = neighbours::<G>(target);
    // At the ends of the grid both are equal: the quotient is no number, and the comparison false.
    if (target - below) / (above - below) > chance { above } else { below }
}

/// Returns a uniform number in [0, 1), by place and seed.
fn unit(seed: u64, place: u64) -> f32 {
    // An `f32` below 1 holds 24 bits evenly spaced.
    (random_bits(seed, place) >> 40) as f32 / (1u32 << 24) as f32
}

#[cfg(test)]
mod tests {
    use roundwise_grid::{E4m3, Int8};

    use super::*;

    #[test]
    fn the_mean_is_the_weight() {
        for target in [0.0, 0.3, -2.25, 17.3, 126.99, -127.0] {
            let sum: f32 = (0..4096).map(|i| chosen::<Int8>(target, unit(5, i))).sum();
            // Four standard errors of 4096 choices between neighbours that are 1 apart.
            assert!((sum / 4096.0 - target).abs() < 0.032, "{target} {}", sum / 4096.0);
        }
    }

    #[test]
    fn grid_values_and_the_ends_stay() {
        for value in [0.0, 1.125, -448.0, 448.0, 0.001953125] {
            for chance in [0.0, 0.5, 0.999] {
                assert_eq!(chosen::<E4m3>(value, chance), value);
            }
        }
        assert_eq!(chosen::<E4m3>(500.0, 0.0), 448.0);
    }
}
