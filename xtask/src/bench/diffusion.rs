//! Statistics of a small diffusion transformer: what each kind does to what it makes.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::outputs::Encoders;
use crate::command;
use crate::python::DIFFUSION;
use crate::record;
use crate::workspace::Workspace;

/// How long it is trained, with which interpreter.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Steps of its training, where it is not there yet.
    #[arg(long, default_value = "3000")]
    steps: String,
    /// Python with torch and scikit-learn's data [default: $ROUNDWISE_PYTHON, else a venv in target/].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

/// The output of `clients/diffusion.py`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Diffusion {
    pub(crate) training_steps: usize,
    pub(crate) rows: Vec<DiffusionRow>,
}

/// One conversion. Squared errors, as shares of the energy of what the float model makes.
#[derive(Serialize, Deserialize)]
pub(crate) struct DiffusionRow {
    pub(crate) scheme: String,
    pub(crate) knowledge: String,
    /// Of one step's output.
    pub(crate) step: f64,
    /// Of what 20 steps make.
    pub(crate) pictures: f64,
}

/// Trains, collects, converts, and has every model make pictures.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let Encoders { python, binary, .. } =
        Encoders::with(workspace, options.python.as_deref(), DIFFUSION)?;
    let mut script = python.command(&[]);
    script.arg(workspace.path("xtask/clients/diffusion.py")).arg(binary);
    script.arg(workspace.target("diffusion")).args(["--steps", &options.steps]);
    let text = command::output(&mut script)?;
    let last = text.lines().last().unwrap_or_default();
    let found: Diffusion = serde_json::from_str(last).with_context(|| format!("read {text}"))?;
    for DiffusionRow { scheme, knowledge, step, pictures } in &found.rows {
        println!("{scheme:<13} {knowledge:<10} one step {step:.3e}  pictures {pictures:.3e}");
    }
    record::write(workspace, "diffusion", found)
}
