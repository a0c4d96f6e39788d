use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::command;
use crate::measured_run::{MeasuredRun, Runs, median};
use crate::python::{PEER, Python};
use crate::random_model::RandomModel;
use crate::record;
use crate::workspace::Workspace;

/// How often, and with which interpreter for the peer.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Runs of `cat` and of roundwise.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Runs of convert-to-quant; 0 leaves it out.
    #[arg(long, default_value_t = 3)]
    peer_runs: usize,
    /// Python with convert-to-quant [default: $ROUNDWISE_PYTHON, else a venv in target/].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

/// FP8, one scale per tensor, nearest rounding; input in the page cache.
#[derive(Serialize, Deserialize)]
pub(crate) struct ConvertBench {
    /// Size of the 1 GiB model.
    pub(crate) input_bytes: u64,
    pub(crate) cat: Runs,
    pub(crate) ours: Runs,
    /// Median over the same runs of the final sync, which `cat` and the peer do not do.
    pub(crate) sync_seconds: f64,
    pub(crate) threads: usize,
    pub(crate) peer: Option<Runs>,
    /// The largest matrix as F32.
    pub(crate) largest_f32_bytes: u64,
    /// Our run on the 2 GiB model.
    pub(crate) double: Runs,
}

/// Allowance of memory: a constant, and three F32 copies of the largest matrix per thread.
const BASE_BYTES: u64 = 200 << 20;
const COPIES_PER_THREAD: u64 = 3;

impl ConvertBench {
    /// Returns our time over that of `cat`.
    pub(crate) fn ratio_to_cat(&self) -> f64 {
        self.ours.median_seconds / self.cat.median_seconds
    }

    /// Returns our time without the final sync over that of `cat`.
    pub(crate) fn ratio_to_cat_without_sync(&self) -> f64 {
        (self.ours.median_seconds - self.sync_seconds) / self.cat.median_seconds
    }

    /// Returns the peer's time over ours.
    pub(crate) fn times_faster_than_peer(&self) -> Option<f64> {
        Some(self.peer.as_ref()?.median_seconds / self.ours.median_seconds)
    }

    /// Returns the memory that a run may use.
    pub(crate) fn allowed_bytes(&self) -> u64 {
        BASE_BYTES + COPIES_PER_THREAD * self.largest_f32_bytes * self.threads as u64
    }

    /// Returns peak memory on twice the model over peak memory on the model.
    pub(crate) fn memory_growth(&self) -> f64 {
        self.double.peak_bytes as f64 / self.ours.peak_bytes as f64
    }
}

/// The part of `roundwise convert --json` that is read here.
#[derive(Deserialize)]
struct Summary {
    sync_seconds: f64,
    threads: usize,
}

pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let folder = workspace.target("bench");
    let input = RandomModel::of_units(1).file(&folder)?;
    let double_input = RandomModel::of_units(2).file(&folder)?;
    let binary = workspace.release_binary()?;
    let output = folder.join("converted.safetensors");

    let mut summaries = Vec::new();
    warm(&input, &output)?;
    let cat = Runs::repeat(options.runs, || {
        fresh(&output)?;
        MeasuredRun::of_cat(&input, &output)
    })?;
    let ours = Runs::repeat(options.runs, || our_run(&binary, &input, &output, &mut summaries))?;
    let peer = peer_runs(workspace, options, &input, &output)?;
    warm(&double_input, &output)?;
    let double = Runs::repeat(1, || our_run(&binary, &double_input, &output, &mut Vec::new()))?;
    fresh(&output)?;

    let syncs: Vec<f64> = summaries.iter().map(|summary| summary.sync_seconds).collect();
    let bench = ConvertBench {
        input_bytes: input.metadata()?.len(),
        cat,
        ours,
        sync_seconds: median(&syncs),
        threads: summaries[0].threads,
        peer,
        largest_f32_bytes: 4 * RandomModel::largest_matrix() as u64,
        double,
    };
    print(&bench);
    record::write(workspace, "convert", bench)
}

/// Reads a file once, so that every later run finds it in memory.
fn warm(input: &Path, output: &Path) -> Result<()> {
    MeasuredRun::of_cat(input, output).map(drop)
}

/// Removes what an earlier run wrote and waits until the disk is idle.
fn fresh(output: &Path) -> Result<()> {
    if output.exists() {
        fs::remove_file(output)?;
    }
    command::run(&mut Command::new("sync"))
}

fn our_run(
    binary: &Path,
    input: &Path,
    output: &Path,
    summaries: &mut Vec<Summary>,
) -> Result<MeasuredRun> {
    fresh(output)?;
    let mut convert = Command::new(binary);
    convert.arg("convert").arg(input).arg("-o").arg(output);
    convert.args(["--scheme", "fp8", "--rounding", "nearest", "--json"]);
    let run = MeasuredRun::of(&mut convert)?;
    summaries.push(serde_json::from_str(&run.printed).context("read the summary of `convert`")?);
    Ok(run)
}

fn peer_runs(
    workspace: &Workspace,
    options: &Options,
    input: &Path,
    output: &Path,
) -> Result<Option<Runs>> {
    if options.peer_runs == 0 {
        return Ok(None);
    }
    let python = Python::with(workspace, options.python.as_deref(), PEER)?;
    let once = || {
        fresh(output)?;
        let mut peer = Command::new(python.script("convert_to_quant"));
        peer.arg("-i").arg(input).arg("-o").arg(output);
        MeasuredRun::of(peer.args(["--comfy_quant", "--simple", "--device", "cpu"]))
    };
    Runs::repeat(options.peer_runs, once).map(Some)
}

fn print(bench: &ConvertBench) {
    let row = |name: &str, runs: &Runs| {
        let peak = runs.peak_bytes as f64 / f64::from(1 << 20);
        println!("{name:<28} {:>8.2} s {peak:>8.0} MiB", runs.median_seconds);
    };
    row("cat", &bench.cat);
    row("roundwise", &bench.ours);
    println!("{:<28} {:>8.2} s", "  of it the final sync", bench.sync_seconds);
    row("roundwise, 2 GiB", &bench.double);
    if let Some(peer) = &bench.peer {
        row("convert-to-quant", peer);
    }
    println!("time over `cat`: {:.2}", bench.ratio_to_cat());
    println!("  without the final sync: {:.2}", bench.ratio_to_cat_without_sync());
    if let Some(times) = bench.times_faster_than_peer() {
        println!("times faster than convert-to-quant: {times:.2}");
    }
    let allowed = bench.allowed_bytes() as f64 / f64::from(1 << 20);
    println!("memory allowed with {} threads: {allowed:.0} MiB", bench.threads);
    println!("memory, 2 GiB over 1 GiB: {:.3}", bench.memory_growth());
}
