use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::command;
use crate::python::{COMFY, Python};
use crate::record;
use crate::workspace::Workspace;

/// With which torch.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Python with torch [default: $ROUNDWISE_PYTHON, else a venv in target/].
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

/// Kernel speeds on one thread.
#[derive(Serialize, Deserialize)]
pub(crate) struct EncodeBench {
    /// Version of torch.
    pub(crate) torch: String,
    /// By kernel.
    pub(crate) kernels: BTreeMap<String, Kernel>,
}

/// One kernel's speeds, and torch's for the same work where it has a counterpart.
#[derive(Serialize, Deserialize)]
pub(crate) struct Kernel {
    pub(crate) ours: Speed,
    pub(crate) torch: Option<Speed>,
}

/// G elements per second.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Speed {
    /// On arrays that only memory can hold.
    pub(crate) memory: f64,
    /// On arrays that stay in the cache.
    pub(crate) cache: f64,
}

pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let ours = our_speeds(workspace)?;
    let python = Python::with(workspace, options.python.as_deref(), COMFY)?;
    let script = workspace.path("crates/grid/examples/encode_speed_torch.py");
    let mut theirs: BTreeMap<String, Value> =
        parse(&command::output(python.command(&[]).arg(script))?)?;
    let torch = theirs.remove("torch").and_then(|text| text.as_str().map(str::to_owned));

    let mut kernels = BTreeMap::new();
    for (name, ours) in ours {
        let torch = theirs.remove(&name).map(serde_json::from_value).transpose()?;
        kernels.insert(name, Kernel { ours, torch });
    }
    let bench = EncodeBench { torch: torch.context("torch's version is missing")?, kernels };
    print(&bench);
    record::write(workspace, "encode", bench)
}

fn our_speeds(workspace: &Workspace) -> Result<BTreeMap<String, Speed>> {
    let example = ["run", "--quiet", "--profile", "dist", "--package", "roundwise-grid"];
    let mut command = workspace.cargo(&example);
    parse(&command::output(command.args(["--example", "encode_speed", "--", "--json"]))?)
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).with_context(|| format!("read {text}"))
}

fn print(bench: &EncodeBench) {
    println!("G elements/s, one thread{:27}ours  torch  ratio   ours  torch  ratio", "");
    println!("{:>55}{:>22}", "(memory)", "(cache)");
    for (name, Kernel { ours, torch }) in &bench.kernels {
        let pair = |ours: f64, torch: Option<f64>| match torch {
            Some(torch) => format!("{ours:>6.2} {torch:>6.2} {:>6.2}", ours / torch),
            None => format!("{ours:>6.2}      -      -"),
        };
        let memory = pair(ours.memory, torch.map(|speed| speed.memory));
        let cache = pair(ours.cache, torch.map(|speed| speed.cache));
        println!("{name:<48} {memory} {cache}");
    }
}
