use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::case::{CASES, Case};
use super::{Bench, Figure, Measurement, show};
use crate::command;
use crate::measured_run::median;
use crate::python::Python;

/// Steps that the peer may take; it stops by itself earlier where its loss vanishes.
const PEER_ITERATIONS: &str = "500";

/// Codes as they are stored, scored with the true singular vectors.
#[derive(Clone, Deserialize)]
pub(super) struct Scored {
    pub(super) projected_ratio: f64,
    weight_error_ratio: f64,
    /// Share of the codes that are not the nearest ones.
    changed: f64,
    #[serde(default)]
    pub(super) seconds: f64,
    #[serde(default)]
    pub(super) bound_ratio: Option<f64>,
    #[serde(default)]
    solver: String,
    #[serde(default)]
    passes: usize,
}

/// Rounds and scores the cases of a part.
pub(super) fn measure(bench: &Bench, part: Measurement) -> Result<Vec<Figure>> {
    let binary = bench.workspace.release_example("trade_off")?;
    let mut peers = BTreeMap::new();
    let mut figures = Vec::new();
    for case in CASES.iter().filter(|case| case.part == part) {
        let matrix = matrix_of(&bench.folder, case.shape, case.rank);
        make(&binary, &matrix)?;
        let ours = our_runs(bench, &binary, case)?;
        if let (Some(python), false) = (&bench.peer, peers.contains_key(case.scheme)) {
            peers.insert(case.scheme, peer_run(bench, python, &binary, case)?);
        }
        let peer = peers.get(case.scheme);
        for (measure, goal) in case.goals {
            if let Some((reached, theirs)) = measure.compare(&ours, peer) {
                let figure = Figure::of(goal, reached, theirs, remark(&ours, peer));
                show(goal, &figure);
                figures.push(figure);
            }
        }
    }
    Ok(figures)
}

/// Returns a matrix as the example's arguments.
pub(super) fn matrix_of(folder: &Path, shape: [usize; 2], rank: usize) -> [PathBuf; 4] {
    let [rows, cols] = shape.map(|side| side.to_string().into());
    [folder.to_owned(), rows, cols, rank.to_string().into()]
}

/// Stores a matrix, unless it is there.
pub(super) fn make(binary: &Path, matrix: &[PathBuf]) -> Result<()> {
    command::run(Command::new(binary).arg("make").args(matrix))
}

/// Runs ours; the time is the median of all runs, and the rest is equal in each.
fn our_runs(bench: &Bench, binary: &Path, case: &Case) -> Result<Scored> {
    let runs: Vec<Scored> = (0..bench.runs.max(1))
        .map(|_| {
            let mut round = Command::new(binary);
            round.arg("round").args(matrix_of(&bench.folder, case.shape, case.rank));
            line(round.arg(case.scheme).arg(case.budget.to_string()).arg(case.effort))
        })
        .collect::<Result<_>>()?;
    let seconds = median(&runs.iter().map(|run| run.seconds).collect::<Vec<_>>());
    Ok(Scored { seconds, ..runs[0].clone() })
}

fn peer_run(bench: &Bench, python: &Python, binary: &Path, case: &Case) -> Result<Scored> {
    #[derive(Deserialize)]
    struct Timed {
        seconds: f64,
    }
    let [rows, cols] = case.shape;
    let weight = bench.folder.join(format!("{rows}x{cols}-{}-weight.f32", case.rank));
    let (codes, scales) = (bench.folder.join("peer.codes"), bench.folder.join("peer.scales"));
    let script = bench.workspace.path("crates/rounding/examples/trade_off_peer.py");

    let mut convert = python.command(&[]);
    convert.arg(script).arg(weight);
    convert.args([rows, cols, case.rank].map(|size| size.to_string()));
    convert.args([case.scheme, PEER_ITERATIONS]).arg(&codes).arg(&scales);
    let Timed { seconds } = line(&mut convert)?;

    let mut judge = Command::new(binary);
    judge.arg("judge").args(matrix_of(&bench.folder, case.shape, case.rank));
    let scored: Scored = line(judge.arg(case.scheme).arg(&codes).arg(&scales))?;
    Ok(Scored { seconds, ..scored })
}

/// Returns the output of a command, which is one line of JSON.
fn line<T: DeserializeOwned>(command: &mut Command) -> Result<T> {
    let text = command::output(command)?;
    serde_json::from_str(&text).with_context(|| format!("read {text}"))
}

fn remark(ours: &Scored, peer: Option<&Scored>) -> String {
    let of = |name: &str, scored: &Scored| {
        let error = (scored.weight_error_ratio - 1.0) * 100.0;
        let changed = scored.changed * 100.0;
        format!(
            "{name}: ‖E‖ {error:+.2} %, {changed:.1} % of codes changed, {:.2} s",
            scored.seconds
        )
    };
    let name = format!("{} × {}", ours.solver, ours.passes);
    let peer = peer.map(|peer| "; ".to_owned() + &of("convert-to-quant", peer));
    of(&name, ours) + &peer.unwrap_or_default()
}
