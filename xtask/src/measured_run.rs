use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use wait4::Wait4;

use crate::command;

/// One run of a program, from start to exit.
pub(crate) struct MeasuredRun {
    pub(crate) seconds: f64,
    /// Largest resident size, bytes. A child starts with the pages of its parent counted, so the
    /// measuring task must stay small; it has a few MiB.
    pub(crate) peak_bytes: u64,
    pub(crate) printed: String,
}

impl MeasuredRun {
    /// Runs a command; what it prints is kept, what it complains about goes to the terminal.
    pub(crate) fn of(command: &mut Command) -> Result<Self> {
        let line = command::line(command);
        let start = Instant::now();
        let mut child = command.stdout(Stdio::piped()).spawn().context(line.clone())?;
        let mut printed = String::new();
        // Read to its end before the wait: a child whose pipe is full never exits.
        child.stdout.take().expect("stdout is piped").read_to_string(&mut printed)?;
        let result = child.wait4()?;
        let seconds = start.elapsed().as_secs_f64();
        ensure!(result.status.success(), "{}: {line}\n{printed}", result.status);
        Ok(Self { seconds, peak_bytes: result.rusage.maxrss, printed })
    }

    /// Copies a file with `cat`, the yardstick for anything that reads one file and writes another.
    pub(crate) fn of_cat(input: &Path, output: &Path) -> Result<Self> {
        let mut cat = Command::new("cat");
        let start = Instant::now();
        let child = cat.arg(input).stdout(File::create(output)?).spawn().context("start cat")?;
        let result = child.wait4()?;
        let seconds = start.elapsed().as_secs_f64();
        ensure!(result.status.success(), "{}: cat", result.status);
        Ok(Self { seconds, peak_bytes: result.rusage.maxrss, printed: String::new() })
    }
}

/// Several runs of the same program on the same input.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Runs {
    /// Of each run, in order.
    pub(crate) seconds: Vec<f64>,
    pub(crate) median_seconds: f64,
    /// Largest of all runs.
    pub(crate) peak_bytes: u64,
}

impl Runs {
    /// Runs `once` as often as asked, at least one time.
    pub(crate) fn repeat(
        count: usize,
        mut once: impl FnMut() -> Result<MeasuredRun>,
    ) -> Result<Self> {
        let mut runs = Self { seconds: vec![], median_seconds: 0.0, peak_bytes: 0 };
        for _ in 0..count.max(1) {
            let run = once()?;
            runs.seconds.push(run.seconds);
            runs.peak_bytes = runs.peak_bytes.max(run.peak_bytes);
        }
        runs.median_seconds = median(&runs.seconds);
        Ok(runs)
    }
}

/// Returns the middle value, or the mean of the two middle values of an even number.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.len() / 2;
    let lower = (sorted.len() - 1) / 2;
    (sorted[lower] + sorted[upper]) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
    }
}
