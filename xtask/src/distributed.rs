//! One model in parts on the engines that people have, with a worker killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::python::Python;
use crate::workspace::Workspace;

/// On what.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Python with `ray`; nothing is installed into it [default: a venv in target/]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// The tool, built already [default: a release build]
    #[arg(long, value_name = "PATH")]
    tool: Option<PathBuf>,
}

const MODEL: &str = "fixtures/tensors/minilm-layer0.safetensors";
const PARTS: usize = 4;
const FLAGS: [&str; 4] = ["--method", "principal", "--top-k", "64"];

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let tool = match &options.tool {
        Some(tool) => tool.canonicalize().with_context(|| tool.display().to_string())?,
        None => workspace.release_binary()?,
    };
    let folder = workspace.target("distributed");
    fs::create_dir_all(&folder)?;
    let model = workspace.path(MODEL);
    let whole = folder.join("whole.safetensors");
    let mut convert = Command::new(&tool);
    convert.arg("convert").arg(&model).arg("-o").arg(&whole).args(["--force", "--quiet"]);
    command::run(convert.args(FLAGS))?;
    println!("| engine | result |\n|---|---|");
    let python = Python::with(workspace, options.python.as_deref(), &["ray"])?;
    let script = workspace.path("xtask/distributed/ray_parts.py");
    let output = folder.join("ray.safetensors");
    let mut ray = python.command(&[]);
    ray.arg(script).arg(&tool).arg(&model).arg(&output).arg(PARTS.to_string()).args(FLAGS);
    let begun = command::output(&mut ray)?;
    let begun: Vec<&str> = begun.split_whitespace().collect();
    ensure!(begun.len() == PARTS && begun[1] != "1", "no worker was killed: {begun:?}");
    merged_is(&tool, &output, &whole)?;
    println!(
        "| Ray | {PARTS} parts, part 2 killed and begun {} times; merged: same file |",
        begun[1]
    );
    Ok(())
}

/// Merges the parts of an output, and compares.
fn merged_is(tool: &Path, output: &Path, whole: &Path) -> Result<()> {
    let stem = output.file_stem().context("it has a name")?.to_string_lossy();
    let part =
        |number| output.with_file_name(format!("{stem}.part-{number}-of-{PARTS}.safetensors"));
    let mut merge = Command::new(tool);
    merge.args(["merge", "--force", "--quiet", "-o"]).arg(output).args((1..=PARTS).map(part));
    command::run(&mut merge)?;
    ensure!(fs::read(output)? == fs::read(whole)?, "the merged parts are another file");
    Ok(())
}
