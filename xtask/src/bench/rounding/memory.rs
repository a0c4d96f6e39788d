use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::{Bench, Figure, show};
use crate::goal::{Goal, rounding as goals};
use crate::measured_run::MeasuredRun;
use crate::random_model::RandomModel;

/// Shape and rank; what is searched for and moved decides the memory, not the scheme.
const CASES: [([usize; 2], usize, Goal); 2] =
    [([3072, 3072], 614, goals::SQUARE_MEMORY), ([3072, 12288], 64, goals::WIDE_MEMORY)];

/// So small that what it takes is the program itself and its threads.
const BASELINE: ([usize; 2], usize) = ([64, 64], 8);

/// Measures the program from file to file.
pub(super) fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let binary = bench.workspace.release_binary()?;
    let peak_of = |shape, rank| peak_bytes(&binary, &bench.folder, shape, rank);
    let (shape, rank) = BASELINE;
    let baseline = peak_of(shape, rank)?;
    let mut figures = Vec::new();
    for (shape, rank, goal) in &CASES {
        let taken = peak_of(*shape, *rank)?.saturating_sub(baseline) as f64;
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

fn peak_bytes(binary: &Path, folder: &Path, shape: [usize; 2], rank: usize) -> Result<u64> {
    let input = RandomModel::of_matrix(shape).file(folder)?;
    let mut convert = Command::new(binary);
    convert.arg("convert").arg(input).arg("-o").arg(folder.join("memory-out.safetensors"));
    convert.args(["--method", "principal", "--top-k"]).arg(rank.to_string());
    convert.args(["--scheme", "fp8", "--force", "--fresh", "--quiet"]);
    Ok(MeasuredRun::of(&mut convert)?.peak_bytes)
}
