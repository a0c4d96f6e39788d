use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use super::Figure;
use crate::command;
use crate::goal::{number, recognition};
use crate::measured_run::median;
use crate::random_model::RandomModel;
use crate::record;
use crate::workspace::Workspace;

/// How often.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Runs of the command; the median counts.
    #[arg(long, default_value_t = 15)]
    runs: usize,
    /// The tool, built already [default: a release build].
    #[arg(long, value_name = "PATH")]
    tool: Option<PathBuf>,
}

/// Tensors of the large model; the small one has a single tensor.
const TENSORS: usize = 5000;

/// Measures how much longer `inspect` takes for a header of many tensors: to read it, to recognise what
/// it is, and to say so.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let tool = match &options.tool {
        Some(tool) => tool.clone(),
        None => workspace.release_binary()?,
    };
    let folder = workspace.target("bench");
    let large = RandomModel::of_squares(TENSORS, 16).file(&folder)?;
    let small = RandomModel::of_squares(1, 16).file(&folder)?;
    let (mut many, mut one) = (vec![], vec![]);
    for _ in 0..options.runs.max(1) {
        // In turns, so that both suffer alike from what else the machine does.
        many.push(milliseconds(&tool, &large)?);
        one.push(milliseconds(&tool, &small)?);
    }
    let (many, one) = (median(&many), median(&one));
    let goal = &recognition::INSPECT;
    let remark = format!("{many:.1} ms, of which {one:.1} ms for one tensor");
    println!("{} {} ({remark})", goal.name, number(many - one));
    record::write(workspace, "recognition", [Figure::of(goal, many - one, None, remark)])
}

fn milliseconds(tool: &Path, model: &Path) -> Result<f64> {
    let mut program = Command::new(tool);
    program.arg("inspect").arg(model).arg("--json");
    let started = Instant::now();
    command::output(&mut program)?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}
