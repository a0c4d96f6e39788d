//! One model in parts, by the job files of `docs/distributed.md`, with a worker killed.

mod job_files;
mod kubernetes;
mod ray;
mod site;
mod slurm;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use self::job_files::JobFiles;
use self::site::Site;
use crate::random_model::RandomModel;
use crate::record;
use crate::workspace::Workspace;

/// What to test.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only parts made by processes of this machine, which needs neither Slurm nor Ray
    #[arg(long)]
    short: bool,
    /// Python with `ray`; nothing is installed into it [default: a venv in target/]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// The tool, built already [default: a release build]
    #[arg(long, value_name = "PATH")]
    tool: Option<PathBuf>,
}

impl Options {
    /// Returns the options of a short run, which takes seconds.
    pub(crate) fn for_ci(tool: PathBuf) -> Self {
        Self { short: true, python: None, tool: Some(tool) }
    }
}

/// Name of the record, which short runs leave as it is.
pub(crate) const RECORD: &str = "distributed";

/// Three layers for each of 16 parts, so that one can be killed between them.
const LAYERS: usize = 48;

/// Rows and columns of a layer that takes longer than two looks at the journal.
const SIZE: usize = 768;

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let tool = match &options.tool {
        Some(tool) => tool.canonicalize().with_context(|| tool.display().to_string())?,
        None => workspace.release_binary()?,
    };
    let folder = workspace.target("distributed");
    let jobs = JobFiles::read(&workspace.path("docs/distributed.md"))?;
    let model = RandomModel::of_squares(LAYERS, SIZE).file(&folder)?;
    let site = |engine: &str| Site::new(&folder.join(engine), &tool, &model);
    println!("| engine | result |\n|---|---|");
    let told = |engine: &str, result: String| -> Result<()> {
        println!("| {engine} | {result} |");
        match options.short {
            true => Ok(()),
            false => record::add(workspace, RECORD, engine, &result),
        }
    };
    told("processes, numbered as Kubernetes does", kubernetes::run(&site("processes")?, &jobs)?)?;
    if options.short {
        return Ok(());
    }
    match slurm::is_there() {
        true => told("Slurm", slurm::run(&site("slurm")?, &jobs)?)?,
        false => println!("| Slurm | not run: {} |", slurm::WAY_OUT),
    }
    told("Ray", ray::run(workspace, options.python.as_deref(), &site("ray")?, &jobs)?)
}

/// Returns whether a file is a finished part.
fn is_part(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("model-fp8.part-") && name.ends_with(".safetensors")
}
