use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use super::Figure;
use crate::command;
use crate::goal::{Goal, number, recognition};
use crate::measured_run::median;
use crate::random_model::RandomModel;
use crate::record;
use crate::workspace::Workspace;

/// How often.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Runs of each command; the median counts.
    #[arg(long, default_value_t = 15)]
    runs: usize,
    /// The tool, built already [default: a release build].
    #[arg(long, value_name = "PATH")]
    tool: Option<PathBuf>,
}

/// Tensors of the large model; the small one has a single tensor.
const TENSORS: usize = 5000;

/// Measures how much longer a command takes for a header of many tensors: to read it, to recognise
/// what it is, and to say so.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let tool = match &options.tool {
        Some(tool) => tool.clone(),
        None => workspace.release_binary()?,
    };
    let folder = workspace.target("bench");
    let [large, small] = [TENSORS, 1].map(|count| RandomModel::of_squares(count, 16).file(&folder));
    let [large, small] = [large?, small?];
    let goals: [(&Goal, &str); 2] =
        [(&recognition::INSPECT, "inspect"), (&recognition::PLAN, "plan")];
    let mut figures = Vec::new();
    for (goal, subcommand) in goals {
        // Taken in turn, so that what else the machine does is the same for both.
        let pairs: Vec<[f64; 2]> = (0..options.runs.max(1))
            .map(|_| {
                Ok([
                    milliseconds(&tool, subcommand, &large)?,
                    milliseconds(&tool, subcommand, &small)?,
                ])
            })
            .collect::<Result<_>>()?;
        let [many, one] =
            [0, 1].map(|at| median(&pairs.iter().map(|pair| pair[at]).collect::<Vec<_>>()));
        let remark = format!("{many:.1} ms, of which {one:.1} ms for one tensor");
        println!("{:<60} {} ({remark})", goal.name, number(many - one));
        figures.push(Figure::of(goal, many - one, None, remark));
    }
    record::write(workspace, "recognition", figures)
}

fn milliseconds(tool: &Path, subcommand: &str, model: &Path) -> Result<f64> {
    let mut program = Command::new(tool);
    program.arg(subcommand).arg(model).arg("--json").stdout(Stdio::null());
    let started = Instant::now();
    let status = program.status().with_context(|| command::line(&program))?;
    anyhow::ensure!(status.success(), "{status}: {}", command::line(&program));
    Ok(started.elapsed().as_secs_f64() * 1e3)
}
