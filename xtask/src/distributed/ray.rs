//! A Ray cluster of one machine.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::job_files::JobFiles;
use super::site::{Kills, Site};
use crate::command;
use crate::python::Python;
use crate::workspace::Workspace;

/// Runs the program that the documentation shows, and kills a worker in it.
pub(super) fn run(
    workspace: &Workspace,
    python: Option<&Path>,
    site: &Site,
    jobs: &JobFiles,
) -> Result<String> {
    let python = Python::with(workspace, python, &["ray"])?;
    let program = site.folder.join("parts.py");
    fs::write(&program, jobs.ray()?)?;
    let mut ray = site.command(python.program(), Kills::Parent);
    // As many cores as two workers ask for, whatever the machine has.
    ray.env("RAY_OVERRIDE_RESOURCES", r#"{"CPU": 8}"#).env("RAY_DEDUP_LOGS", "0");
    command::output(ray.arg(&program))?;
    site.judge(jobs)
}
