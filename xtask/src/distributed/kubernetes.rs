//! Imitates the job controller of Kubernetes, with processes instead of pods.

use std::path::Path;
use std::process::Child;

use anyhow::{Context, Result, ensure};

use super::job_files::JobFiles;
use super::site::{Kills, Site};

/// Processes at once.
const PARALLELISM: usize = 2;

/// Times that an index is begun, as the job's `backoffLimitPerIndex` has it.
const ATTEMPTS: usize = 4;

/// Starts each index until it ends well.
pub(super) fn run(site: &Site, jobs: &JobFiles) -> Result<String> {
    let completions = jobs.kubernetes_completions()?;
    let mut waiting: Vec<(usize, usize)> = (0..completions).rev().map(|index| (index, 0)).collect();
    let mut running: Vec<(usize, usize, Child)> = vec![];
    while !(waiting.is_empty() && running.is_empty()) {
        while let Some((index, attempts)) = waiting.pop_if(|_| running.len() < PARALLELISM) {
            running.push((index, attempts, begin(site, jobs, index)?));
        }
        // The oldest first: one that still runs goes to the end, so that all are asked in turn.
        let (index, attempts, mut pod) = running.remove(0);
        match pod.try_wait()? {
            None => running.push((index, attempts, pod)),
            Some(status) if status.success() => {}
            Some(status) => {
                ensure!(attempts + 1 < ATTEMPTS, "index {index}: {status}, again and again");
                waiting.push((index, attempts + 1));
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    site.judge(jobs)
}

fn begin(site: &Site, jobs: &JobFiles, index: usize) -> Result<Child> {
    let mut pod = site.command(Path::new("roundwise"), Kills::Tool);
    for argument in jobs.kubernetes_arguments()? {
        // Where the volume is mounted in the pod.
        pod.arg(argument.strip_prefix("/models/").unwrap_or(&argument));
    }
    // Standard error stays; a bar would say nothing here.
    pod.arg("--quiet").env("JOB_COMPLETION_INDEX", index.to_string());
    pod.spawn().context("start a part")
}
