use std::ops::Range;

use rayon::prelude::*;
use roundwise_compute::{DeviceMatrix, Engine, Matrix};
use roundwise_grid::Grid;

use crate::cells::Cells;
use crate::kernel::{self, Line};
use crate::losses::Losses;
use crate::outputs::RowCoupling;
use crate::projection::{Projected, Projection};

/// The codes that a solver works on, and their projected error.
pub(crate) struct State<'a> {
    pub(crate) engine: &'a Engine,
    /// Model units per unit of the cells.
    pub(crate) unit: f64,
    pub(crate) projection: &'a Projection,
    /// How rows are coupled, where they are.
    pub(crate) coupling: Option<&'a RowCoupling>,
    pub(crate) cells: Cells,
    /// `K = RᵀEᵀL`, kept up to date by every move.
    pub(crate) projected: DeviceMatrix,
    /// `‖E‖²` of every line.
    pub(crate) line_energies: Vec<f64>,
}

impl<'a> State<'a> {
    /// Starts from nearest codes and their projected error.
    pub(crate) fn new(
        engine: &'a Engine,
        projection: &'a Projection,
        cells: Cells,
        unit: f64,
        found: Projected,
    ) -> Self {
        let (projected, line_energies) = (found.state, found.line_energies);
        Self { engine, unit, projection, coupling: None, cells, projected, line_energies }
    }

    /// Returns `‖E‖²`.
    pub(crate) fn weight_error(&self) -> f64 {
        self.line_energies.iter().sum()
    }

    /// Returns the losses as moves have kept them up to date.
    pub(crate) fn losses(&self) -> Losses {
        Losses::of_lines(&self.projected, &self.line_energies, self.projection)
    }

    /// Computes the losses from the values in the cells.
    pub(crate) fn scored(&self) -> Losses {
        Losses::of(&self.projection.project(&self.cells, self.engine), self.projection)
    }

    /// Returns the error of the codes.
    ///
    /// - `is_tracked`: whether every move was added to K, and few enough that their rounding errors do not show.
    ///   Without L nothing has to be computed again then, which is a sixth of the work with a whole H.
    pub(crate) fn found(&self, is_tracked: bool) -> Projected {
        if !is_tracked || self.projection.left.is_some() {
            return self.projection.project(&self.cells, self.engine);
        }
        let (state, line_energies) = (self.projected.clone(), self.line_energies.clone());
        Projected { input_energy: state.squared_norm(), state, line_energies }
    }

    /// Returns `‖E‖²` if these lines had these energies.
    pub(crate) fn weight_error_with(&self, lines: Range<usize>, energies: &[f64]) -> f64 {
        // Summed anew in the order of the lines: a running sum would drift.
        let (before, after) =
            (&self.line_energies[..lines.start], &self.line_energies[lines.end..]);
        before.iter().sum::<f64>() + energies.iter().sum::<f64>() + after.iter().sum::<f64>()
    }

    /// Computes K again from the codes: thousands of small moves leave rounding errors in it.
    pub(crate) fn refresh(&mut self) {
        self.projected = self.projection.project(&self.cells, self.engine).state;
    }

    /// Returns `R_J K Lᵀ`, `[b, m]`, the push on a block of lines.
    pub(crate) fn push(&self, lines: Range<usize>) -> DeviceMatrix {
        let (first, right) = self.projection.rows_of(lines);
        // Before `first`, R has only zeros.
        let reached = self.projected.row_block(first..self.projected.rows());
        self.projection.spread(&right.multiply(&reached))
    }

    /// Adds a block of lines to the projected error: `K ← K + R_Jᵀ (D L)`.
    pub(crate) fn absorb(&mut self, lines: Range<usize>, moves: DeviceMatrix) {
        let (first, right) = self.projection.rows_of(lines);
        let gathered = self.projection.gather(moves);
        self.projected.add_transposed_product(first, &right, &gathered);
    }

    /// Runs `kernel` on every line of a block; `push` `[b, m]` is changed in place. Returns `‖E‖²`
    /// of every line.
    pub(crate) fn on_lines(
        &mut self,
        lines: Range<usize>,
        push: &mut [f32],
        [lambda, damping]: [f32; 2],
        kernel: impl Fn(Line<'_>) -> f64 + Sync,
    ) -> Vec<f64> {
        let rows = self.cells.rows;
        let mut values = std::mem::take(&mut self.cells.values);
        let cells = &self.cells;
        let energies = values[lines.start * rows..lines.end * rows]
            .par_chunks_mut(rows)
            .zip(push.par_chunks_mut(rows))
            .zip(lines.into_par_iter())
            .map(|((values, push), line)| {
                kernel(Line {
                    values,
                    push,
                    weights: &cells.weights[line * rows..(line + 1) * rows],
                    scales: cells.scales(line),
                    left_energies: &self.projection.left_energies,
                    right_energy: self.projection.right_energies[line],
                    lambda: lambda + self.projection.damped_penalty(line) as f32,
                    damping,
                })
            })
            .collect();
        self.cells.values = values;
        energies
    }

    /// Runs `kernel` on the lines of a block, one after the other: the change that a line leaves in
    /// `push`, times its column of `coupling` `[b, b]`, is added to the push of the lines after it.
    /// Without L the rows of a matrix are independent, so stripes of them are worked on at once.
    pub(crate) fn on_lines_in_turn(
        &mut self,
        lines: Range<usize>,
        push: &mut [f32],
        lambda: f64,
        coupling: &Matrix,
        kernel: impl Fn(usize, Line<'_>) -> f64 + Sync,
    ) -> Vec<f64> {
        let rows = self.cells.rows;
        // Rows that are coupled are one stripe.
        let height = if self.coupling.is_some() { rows } else { ROW_STRIPE };
        let mut values = std::mem::take(&mut self.cells.values);
        let cells = &self.cells;
        // A stripe goes through all lines of the block, so that threads meet once per block.
        let energies_of = |(stripe, mut parts): (usize, Vec<[&mut [f32]; 2]>)| -> Vec<f64> {
            let first = stripe * height;
            let energies = lines.clone().enumerate().map(|(index, line)| {
                let (done, later) = parts.split_at_mut(index + 1);
                let [values, push] = &mut done[index];
                let of_stripe = first..first + values.len();
                let energy = kernel(
                    index,
                    Line {
                        values,
                        push,
                        weights: &cells.weights[line * rows..][of_stripe.clone()],
                        scales: &cells.scales(line)[of_stripe.clone()],
                        left_energies: &self.projection.left_energies[of_stripe],
                        right_energy: self.projection.right_energies[line],
                        lambda: (self.projection.damped_penalty(line) + lambda) as f32,
                        damping: 1.0,
                    },
                );
                for (offset, [_, later]) in later.iter_mut().enumerate() {
                    kernel::add_scaled(later, coupling.at(index + 1 + offset, index), push);
                }
                energy
            });
            energies.collect()
        };
        let of_stripes =
            stripes(&mut values[lines.start * rows..lines.end * rows], push, rows, height);
        let of_stripes: Vec<Vec<f64>> =
            of_stripes.into_par_iter().enumerate().map(energies_of).collect();
        self.cells.values = values;
        // Stripes are added in order: the same bits for any number of threads.
        (0..lines.len())
            .map(|line| of_stripes.iter().map(|energies| energies[line]).sum())
            .collect()
    }

    /// Takes moves `D` of a block of lines back.
    pub(crate) fn undo<G: Grid>(&mut self, lines: Range<usize>, moves: &DeviceMatrix) {
        let rows = self.cells.rows;
        let mut values = std::mem::take(&mut self.cells.values);
        moves.read(|moves| {
            for (index, line) in lines.enumerate() {
                let scales = self.cells.scales(line);
                let values = &mut values[line * rows..(line + 1) * rows];
                let moves = &moves[index * rows..(index + 1) * rows];
                for ((value, scale), moved) in values.iter_mut().zip(scales).zip(moves) {
                    *value = G::round(*value - moved / scale); // next to a grid value, so exact
                }
            }
        });
        self.cells.values = values;
    }
}

/// Rows of a stripe: with a block of lines it fits a second-level cache.
const ROW_STRIPE: usize = 256;

/// Pieces of the lines `[b, m]` of two matrices, stripe by stripe of their rows.
fn stripes<'a>(
    a: &'a mut [f32],
    b: &'a mut [f32],
    rows: usize,
    height: usize,
) -> Vec<Vec<[&'a mut [f32]; 2]>> {
    let mut stripes: Vec<Vec<_>> = (0..rows.div_ceil(height)).map(|_| Vec::new()).collect();
    for (a, b) in a.chunks_mut(rows).zip(b.chunks_mut(rows)) {
        let pieces = a.chunks_mut(height).zip(b.chunks_mut(height));
        for (stripe, (a, b)) in stripes.iter_mut().zip(pieces) {
            stripe.push([a, b]);
        }
    }
    stripes
}

/// Returns blocks of lines, the last one shorter.
pub(crate) fn blocks(lines: usize, block: usize) -> impl Iterator<Item = Range<usize>> {
    (0..lines).step_by(block).map(move |first| first..(first + block).min(lines))
}
