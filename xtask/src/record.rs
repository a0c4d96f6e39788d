use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::workspace::Workspace;

/// One measurement with where and of what it was made.
#[derive(Serialize, Deserialize)]
pub(crate) struct Record<T> {
    pub(crate) machine: Machine,
    pub(crate) commit: String,
    pub(crate) measured: T,
}

/// The result of one of the tests that count survivals.
#[derive(Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) test: String,
    pub(crate) result: String,
    /// Of each its own: they take long, and are not always run together.
    pub(crate) commit: String,
}

/// Adds an outcome to those that are stored, in place of the same test's. Those of another machine go.
pub(crate) fn add(workspace: &Workspace, name: &str, test: &str, result: &str) -> Result<()> {
    let stored: Option<Record<Vec<Outcome>>> = read_here(workspace, name)?;
    let mut outcomes = stored.map(|record| record.measured).unwrap_or_default();
    let (test, result) = (test.to_owned(), result.to_owned());
    let outcome = Outcome { test, result, commit: workspace.commit()? };
    match outcomes.iter_mut().find(|other| other.test == outcome.test) {
        Some(other) => *other = outcome,
        None => outcomes.push(outcome),
    }
    write(workspace, name, outcomes)
}

/// Stores a measurement as docs/results/NAME.json, beside the report that is made of it: it can be
/// made again after any of them is.
pub(crate) fn write<T: Serialize>(workspace: &Workspace, name: &str, measured: T) -> Result<()> {
    let record = Record { machine: Machine::here(), commit: workspace.commit()?, measured };
    let path = path(workspace, name);
    fs::create_dir_all(path.parent().expect("it is in docs/"))?;
    fs::write(&path, serde_json::to_string_pretty(&record)? + "\n")
        .with_context(|| format!("write {}", path.display()))
}

/// Returns the stored measurement if it is of this machine.
pub(crate) fn read_here<T: DeserializeOwned>(
    workspace: &Workspace,
    name: &str,
) -> Result<Option<Record<T>>> {
    Ok(read(workspace, name)?.filter(|record: &Record<T>| record.machine == Machine::here()))
}

/// Returns the stored measurement; `None` if it was never made.
pub(crate) fn read<T: DeserializeOwned>(
    workspace: &Workspace,
    name: &str,
) -> Result<Option<Record<T>>> {
    let path = path(workspace, name);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path)?;
    serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))
}

fn path(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.path(&format!("docs/results/{name}.json"))
}
