use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Figure;
use crate::command;
use crate::goal::{Goal, layouts, number};
use crate::measured_run::{MeasuredRun, median};
use crate::random_model::RandomModel;
use crate::record;
use crate::workspace::Workspace;

/// How often.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Runs of each command; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// The part of a report that is read here.
#[derive(Deserialize)]
struct Report {
    seconds: f64,
    sync_seconds: f64,
    verify_seconds: f64,
    output_bytes: u64,
}

impl Report {
    /// Seconds of what only this layout takes: neither the sync nor the second reading.
    fn work_seconds(&self) -> f64 {
        self.seconds - self.sync_seconds - self.verify_seconds
    }
}

pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let folder = workspace.target("bench");
    let input = RandomModel::of_units(1).file(&folder)?;
    let bench = Bench { binary: workspace.release_binary()?, folder, runs: options.runs };
    // The model is BF16, two bytes for each element.
    let elements = input.metadata()?.len() as f64 / 2.0;
    let mut figures = Vec::new();
    for (goal, scheme) in [
        (&layouts::NVFP4, "nvfp4"),
        (&layouts::MXFP8, "mxfp8"),
        (&layouts::CONVROT, "int8-row-convrot"),
    ] {
        let flags = ["--scheme", scheme, "--threads", "1"];
        let mut figure = bench.figure(goal, "convert", &input, &flags, |_| elements)?;
        // The hash of the input for its provenance is a second reading.
        let flags = ["--scheme", scheme, "--threads", "1", "--no-provenance"];
        let without = bench.figure(goal, "convert", &input, &flags, |_| elements)?.reached;
        figure.remark += &format!("; {} with `--no-provenance`", number(without));
        figures.push(figure);
    }
    let codes = bench.folder.join("codes.safetensors");
    bench.report("convert", &input, &["--scheme", "fp8"], &codes)?;
    for (goal, dtype) in
        [(&layouts::TO_BF16, "bf16"), (&layouts::TO_F16, "f16"), (&layouts::TO_F32, "f32")]
    {
        let flags = ["--dtype", dtype];
        let bytes = |report: &Report| report.output_bytes as f64;
        figures.push(bench.figure(goal, "dequantize", &codes, &flags, bytes)?);
    }
    fs::remove_file(&codes)?;
    record::write(workspace, "layouts", figures)
}

struct Bench {
    binary: PathBuf,
    folder: PathBuf,
    runs: usize,
}

impl Bench {
    /// Returns `amount` of the median run per second, in units of 10⁹.
    fn figure(
        &self,
        goal: &Goal,
        command: &str,
        input: &Path,
        flags: &[&str],
        amount: impl Fn(&Report) -> f64,
    ) -> Result<Figure> {
        let output = self.folder.join("layout.safetensors");
        // A machine that is a guest of another gives its free memory back within seconds, and pays
        // for it again with the first touch, often more than for the work: a copy just before a run
        // touches as much.
        let output_bytes = self.report(command, input, flags, &output)?.output_bytes;
        let mut copies = Vec::new();
        let mut reports = Vec::new();
        for _ in 0..self.runs.max(1) {
            self.copy(input, output_bytes)?;
            // The first has touched the memory; the second is what a copy takes.
            copies.push(self.copy(input, output_bytes)?);
            reports.push(self.report(command, input, flags, &output)?);
        }
        fs::remove_file(&output)?;
        let part = |seconds: fn(&Report) -> f64| -> f64 {
            median(&reports.iter().map(seconds).collect::<Vec<_>>())
        };
        let seconds = part(Report::work_seconds);
        let copy_seconds = median(&copies);
        let reached = amount(&reports[0]) / seconds / 1e9;
        let remark = format!(
            "{seconds:.2} s, where only to read, write and sync as many bytes takes \
             {copy_seconds:.2} s; {:.2} s to read the output again, {:.2} s to sync it",
            part(|report| report.verify_seconds),
            part(|report| report.sync_seconds)
        );
        println!("{:<60} {} ({remark})", goal.name, number(reached));
        Ok(Figure::of(goal, reached, None, remark))
    }

    /// Seconds that reading the input and writing so many bytes of whatever it holds take, synced:
    /// a run syncs what it writes for its journal.
    fn copy(&self, input: &Path, output_bytes: u64) -> Result<f64> {
        let path = self.folder.join("copy.bin");
        let mut left = output_bytes;
        let mut buffer = vec![0; 1 << 22];
        let started = Instant::now();
        let (mut from, mut to) = (File::open(input)?, File::create(&path)?);
        let mut is_at_end = false;
        while !is_at_end || left > 0 {
            is_at_end = is_at_end || from.read(&mut buffer)? == 0;
            let written = left.min(buffer.len() as u64);
            to.write_all(&buffer[..written as usize])?;
            left -= written;
        }
        to.sync_data()?;
        let seconds = started.elapsed().as_secs_f64();
        fs::remove_file(&path)?;
        Ok(seconds)
    }

    fn report(&self, command: &str, input: &Path, flags: &[&str], output: &Path) -> Result<Report> {
        command::run(&mut Command::new("sync"))?;
        let mut tool = Command::new(&self.binary);
        tool.arg(command).arg(input).arg("-o").arg(output).args(["--force", "--json"]).args(flags);
        let run = MeasuredRun::of(&mut tool)?;
        serde_json::from_str(&run.printed).with_context(|| format!("the report of `{command}`"))
    }
}
