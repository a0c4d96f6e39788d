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
        let [exponent, spread] = spectrum(part);
        let mut make = Command::new(&binary);
        command::run(make.arg("make").args(matrix_of(bench, case)).args([exponent, spread]))?;
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

/// Returns the exponent of the singular values, and the spread of the rows' sizes.
fn spectrum(part: Measurement) -> [&'static str; 2] {
    match part {
        Measurement::Scaled => ["0.7", "0.3"],
        _ => ["0.75", "0"],
    }
}

/// Returns the folder of the matrices of a part.
fn folder_of(bench: &Bench, part: Measurement) -> PathBuf {
    match part {
        Measurement::Scaled => bench.folder.join("scaled"),
        _ => bench.folder.clone(),
    }
}

/// Returns a matrix as the example's arguments.
fn matrix_of(bench: &Bench, case: &Case) -> [PathBuf; 4] {
    let [rows, cols] = case.shape.map(|side| side.to_string().into());
    [folder_of(bench, case.part), rows, cols, case.rank.to_string().into()]
}

/// Runs ours; the time is the median of all runs, and the rest is equal in each.
fn our_runs(bench: &Bench, binary: &Path, case: &Case) -> Result<Scored> {
    let runs: Vec<Scored> = (0..bench.runs.max(1))
        .map(|_| {
            let mut round = Command::new(binary);
            round.arg("round").args(matrix_of(bench, case));
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
    let folder = folder_of(bench, case.part);
    let weight = folder.join(format!("{rows}x{cols}-{}-weight.f32", case.rank));
    let (codes, scales) = (bench.folder.join("peer.codes"), bench.folder.join("peer.scales"));
    let script = bench.workspace.path("crates/rounding/examples/trade_off_peer.py");

    let mut convert = python.command(&[]);
    convert.arg(script).arg(weight);
    convert.args([rows, cols, case.rank].map(|size| size.to_string()));
    convert.args([case.scheme, PEER_ITERATIONS]).arg(&codes).arg(&scales);
    let Timed { seconds } = line(&mut convert)?;

    let mut judge = Command::new(binary);
    judge.arg("judge").args(matrix_of(bench, case));
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
