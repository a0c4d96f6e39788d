//! Small models of ComfyUI's classes, converted and opened by a real ComfyUI. Not part of `ci`: it needs a
//! source tree at `COMFY_ROOT`.

mod page;
mod row;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};

use self::row::{Line, Matrix};
use crate::python::{COMFYUI, Python};
use crate::record;
use crate::workspace::Workspace;

/// Which cases, in which ComfyUI.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only by default, without the other schemes that ComfyUI opens by itself; nothing is stored.
    #[arg(long)]
    short: bool,
    /// Only cases whose name matches; their rows are stored in place of earlier ones.
    #[arg(long, value_name = "REGEX", default_value = "")]
    only: String,
    /// Schemes, separated by commas [default: all that ComfyUI opens by itself].
    #[arg(long, value_name = "SCHEMES")]
    schemes: Option<String>,
    /// Python to use as it is [default: $ROUNDWISE_PYTHON, else a venv in target/].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// The tool, built already [default: a release build].
    #[arg(long, value_name = "PATH")]
    tool: Option<PathBuf>,
}

/// Names the source tree of ComfyUI.
const ROOT: &str = "COMFY_ROOT";

/// Name of the record.
const RECORD: &str = "comfy";

/// What is converted by default, and every scheme that ComfyUI opens without custom nodes.
const SCHEMES: [&str; 10] = [
    "default",
    "nvfp4",
    "mxfp8",
    "int8-row-convrot",
    "int4-convrot",
    "fp8-legacy",
    "fp8-e5m2",
    "int8",
    "int8-row",
    "int4-asym",
];

/// Runs every case and writes the page; fails if anything is wrong.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    ensure!(
        std::env::var_os(ROOT).is_some_and(|root| PathBuf::from(root).join("comfy").is_dir()),
        "{ROOT} names no source tree of ComfyUI: git clone https://github.com/comfyanonymous/ComfyUI"
    );
    let python = Python::with(workspace, options.python.as_deref(), COMFYUI)?;
    let tool = match &options.tool {
        Some(tool) => tool.canonicalize().with_context(|| tool.display().to_string())?,
        None => workspace.release_binary()?,
    };
    let schemes = match &options.schemes {
        Some(schemes) => schemes.clone(),
        None if options.short => SCHEMES[0].to_owned(),
        None => SCHEMES.join(","),
    };
    let mut script = python.command(&[]);
    script.arg(workspace.path("xtask/clients/comfy/matrix.py")).arg(tool);
    script.arg(workspace.target("comfy"));
    script.args(["--only", &options.only, "--schemes", &schemes]);
    // One thread adds in one order, so that the numbers of a case do not depend on the machine's load.
    script.env("OMP_NUM_THREADS", "1").stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = script.spawn().context("start Python")?;
    let lines = BufReader::new(running.stdout.take().expect("it is piped")).lines();
    let mut matrix = Matrix::default();
    println!("{}", row::HEADING);
    for line in lines {
        let line = line?;
        match serde_json::from_str(&line).with_context(|| format!("read {line}"))? {
            Line::Version { version } => matrix.version = version,
            Line::WithoutCase { without_case } => matrix.without_case = without_case,
            Line::Row(row) => {
                row.print();
                matrix.rows.push(*row);
            }
        }
    }
    // Warnings of its libraries would break up the table, so that its standard error is not shown.
    ensure!(running.wait()?.success(), "matrix.py failed; run it by hand to see why");
    let wrong = matrix.rows.iter().filter(|row| row.is_wrong()).count();
    println!("{} rows, {wrong} wrong", matrix.rows.len());
    if !options.short {
        store(workspace, matrix)?;
    }
    match wrong {
        0 => Ok(()),
        wrong => bail!("{wrong} rows are wrong"),
    }
}

/// Stores rows in place of earlier ones of the same case and scheme, and writes the page of all.
fn store(workspace: &Workspace, matrix: Matrix) -> Result<()> {
    let earlier = record::read_here::<Matrix>(workspace, RECORD)?.map(|record| record.measured);
    let all = match earlier.filter(|earlier| earlier.version == matrix.version) {
        Some(earlier) => earlier.with(matrix),
        None => matrix,
    };
    record::write(workspace, RECORD, all)?;
    page::write(workspace)
}
