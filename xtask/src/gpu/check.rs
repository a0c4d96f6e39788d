//! The device tests, on whatever GPU or driver is here.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Result, bail};

use super::{features, quiet};
use crate::command;
use crate::workspace::Workspace;

/// Stack of the threads that compile kernels, in bytes: unoptimised, burn needs more than the system gives.
const STACK_BYTES: &str = "33554432";
/// The tool, and what it computes with.
const PACKAGES: [&str; 3] = ["roundwise", "roundwise-compute", "roundwise-rounding"];

/// Builds and links the libraries of GPUs, which needs none of them, has what is not there refused politely, and
/// compares what is there with the CPU.
///
/// Apart from everything else, in a profile that optimises little: with the features on, most of burn would be
/// built again anyway. All of them together, for they share the larger part.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    test(workspace, "link", &PACKAGES)?;
    // With drivers that are installed hidden from the loader, under its newer and its older name.
    let mut devices = tests(workspace, "link", &PACKAGES, &["--test", "devices"]);
    devices.args(["--", "a_machine_without_a_driver", "auto_always_resolves"]);
    devices.env("VK_DRIVER_FILES", "/nowhere").env("VK_ICD_FILENAMES", "/nowhere");
    judged(workspace, &mut devices)?;
    // The tool itself.
    let mut tool = tests(workspace, "link", &PACKAGES, &["--test", "commands"]);
    judged(workspace, tool.args(["--", "--show-output", "gpu::"]))
}

/// Runs the tests of devices in a profile, on everything that is here.
pub(crate) fn test(workspace: &Workspace, profile: &str, packages: &[&str]) -> Result<()> {
    let mut devices = tests(workspace, profile, packages, &["--test", "devices", "--test", "gpu"]);
    judged(workspace, devices.args(["--", "--show-output"]))
}

/// - `packages`: the same each time, so that they are built with the same features; the first has those of GPUs
fn tests(workspace: &Workspace, profile: &str, packages: &[&str], targets: &[&str]) -> Command {
    let mut tests = workspace.cargo(&["test", "--profile", profile]);
    tests.args(packages.iter().flat_map(|package| ["--package", package]));
    tests.args(["--no-default-features", "--features", &features(packages[0])]).args(targets);
    tests
}

/// Runs tests; prints how they ended, and which devices they were not run on.
fn judged(workspace: &Workspace, tests: &mut Command) -> Result<()> {
    let output = quiet(workspace, tests)?.env("RUST_MIN_STACK", STACK_BYTES).output()?;
    let [printed, complaints] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    if !output.status.success() {
        bail!("{}: {}\n{printed}\n{complaints}", output.status, command::line(tests));
    }
    let lines = || printed.lines().chain(complaints.lines());
    lines().filter(|line| line.starts_with("test result")).for_each(|line| println!("{line}"));
    let missing: BTreeSet<&str> = lines().filter(|line| line.starts_with("not run: ")).collect();
    missing.iter().for_each(|line| println!("{line}"));
    Ok(())
}
