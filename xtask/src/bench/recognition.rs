use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

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

/// Layers that are planned, and the schemes that each may have.
const LAYERS: usize = 1000;
const SCHEMES: &str = "fp8,fp8-row,int8-row,int8-row-convrot,mxfp8,nvfp4,int4-convrot,bf16";

/// Measures what is done before a weight is read.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let tool = match &options.tool {
        Some(tool) => tool.clone(),
        None => workspace.release_binary()?,
    };
    let bench =
        RecognitionBench { tool, folder: workspace.target("bench"), runs: options.runs.max(1) };
    let figures = [bench.inspect()?, bench.plan()?];
    for figure in &figures {
        println!("{} {} ({})", figure.name, number(figure.reached), figure.remark);
    }
    record::write(workspace, "recognition", figures)
}

struct RecognitionBench {
    tool: PathBuf,
    folder: PathBuf,
    runs: usize,
}

impl RecognitionBench {
    /// Measures how much longer `inspect` takes for a header of many tensors: to read it, to recognise what
    /// it is, and to say so.
    fn inspect(&self) -> Result<Figure> {
        let large = RandomModel::of_squares(TENSORS, 16).file(&self.folder)?;
        let small = RandomModel::of_squares(1, 16).file(&self.folder)?;
        let (mut many, mut one) = (vec![], vec![]);
        for _ in 0..self.runs {
            // In turns, so that both suffer alike from what else the machine does.
            many.push(self.seconds(&["inspect", "--json"], &large)? * 1e3);
            one.push(self.seconds(&["inspect", "--json"], &small)? * 1e3);
        }
        let (many, one) = (median(&many), median(&one));
        let remark = format!("{many:.1} ms, of which {one:.1} ms for one tensor");
        Ok(Figure::of(&recognition::INSPECT, many - one, None, remark))
    }

    /// Measures how long a plan takes that chooses the scheme of every layer, when their losses were computed
    /// before.
    fn plan(&self) -> Result<Figure> {
        let model = RandomModel::of_squares(LAYERS, 64).file(&self.folder)?;
        let losses = self.folder.join("random-losses.json");
        let losses = losses.to_str().context("a path in UTF-8")?;
        let plan = ["plan", "--json", "--bits", "6", "--schemes", SCHEMES, "--sensitivity", losses];
        let first = self.seconds(&plan, &model)?;
        let known: Vec<f64> =
            (0..self.runs).map(|_| self.seconds(&plan, &model)).collect::<Result<_>>()?;
        let remark = format!("{first:.1} s where losses were not known yet");
        Ok(Figure::of(&recognition::BUDGET, median(&known), None, remark))
    }

    fn seconds(&self, arguments: &[&str], model: &Path) -> Result<f64> {
        let mut program = Command::new(&self.tool);
        program.args(arguments).arg(model);
        let started = Instant::now();
        command::output(&mut program)?;
        Ok(started.elapsed().as_secs_f64())
    }
}
