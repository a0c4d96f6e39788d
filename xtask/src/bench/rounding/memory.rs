use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::trade_off::{make, matrix_of};
use super::{Bench, Figure, show};
use crate::goal::{Goal, rounding as goals};
use crate::measured_run::MeasuredRun;

/// Shape, rank and budget; what is searched for and moved decides the memory, not the scheme.
const CASES: [([usize; 2], usize, &str, Goal); 2] = [
    ([3072, 3072], 614, "0.03", goals::SQUARE_MEMORY),
    ([3072, 12288], 64, "0.03", goals::WIDE_MEMORY),
];

/// So small that what it takes is the program itself and its threads.
const BASELINE: ([usize; 2], usize, &str) = ([64, 64], 8, "0.03");

pub(super) fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let binary = bench.workspace.release_example("trade_off")?;
    let (shape, rank, budget) = BASELINE;
    let baseline = peak_bytes(&binary, &bench.folder, shape, rank, budget)?;
    let mut figures = Vec::new();
    for (shape, rank, budget, goal) in &CASES {
        let peak = peak_bytes(&binary, &bench.folder, *shape, *rank, budget)?;
        let taken = peak.saturating_sub(baseline) as f64;
        let copy = (4 * shape[0] * shape[1]) as f64;
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        let remark = format!(
            "{:.0} MiB over {:.0} MiB for a matrix of 64 × 64; one copy is {:.0} MiB; the BF16 input, \
             half a copy, is counted",
            mib(taken),
            mib(baseline as f64),
            mib(copy)
        );
        let figure = Figure::of(goal, taken / copy, None, remark);
        show(goal, &figure);
        figures.push(figure);
    }
    Ok(figures)
}

fn peak_bytes(
    binary: &Path,
    folder: &Path,
    shape: [usize; 2],
    rank: usize,
    budget: &str,
) -> Result<u64> {
    let matrix = matrix_of(folder, shape, rank);
    make(binary, &matrix)?;
    let mut round = Command::new(binary);
    round.arg("memory").args(&matrix).args(["fp8", budget, "normal"]);
    Ok(MeasuredRun::of(&mut round)?.peak_bytes)
}
