//! Compares hashes of the tool's outputs with recorded ones, so that no output changes unnoticed.

mod case;
mod cases;
mod contents;
mod models;
mod review;
mod table;
mod tensors;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use self::case::{Case, Tool};
use self::models::Models;
use self::review::Review;
use self::table::{Line, Table};
use crate::workspace::Workspace;

/// Which cases, and what becomes of differences.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Record what the tool does now; `reports` alone keeps the recorded outputs and exit codes, and
    /// fails where they differ
    #[arg(long, value_name = "WHAT", num_args = 0..=1, default_missing_value = "all")]
    accept: Option<Accept>,
    /// Only the cases whose names hold this text
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// The tool, built already [default: the one that the tests run]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

impl Options {
    /// Returns the options that compare all cases with the record.
    pub(crate) fn for_ci(tool: PathBuf) -> Self {
        Self { accept: None, filter: None, binary: Some(tool) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Accept {
    /// Exit codes, outputs and reports
    All,
    /// Reports alone
    Reports,
}

/// The record.
const TABLE: &str = "fixtures/golden/outputs.txt";

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let start = Instant::now();
    let tool = match &options.binary {
        Some(tool) => tool.canonicalize().with_context(|| tool.display().to_string())?,
        None => workspace.test_binary()?,
    };
    let models = Models::of(workspace)?;
    let cases = cases::all(&models);
    let is_run = |case: &&Case| match &options.filter {
        // The probe says whether the others can be compared.
        Some(text) => case.name.contains(text) || case.is_probe(),
        None => true,
    };
    let chosen: Vec<&Case> = cases.iter().filter(is_run).collect();
    if let Some(text) = &options.filter {
        ensure!(cases.iter().any(|case| case.name.contains(text)), "no case's name holds `{text}`");
    }
    let folder = workspace.target("golden");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    let lines = run_all(&chosen, &Tool::new(tool)?, &models, &folder)?;
    let path = workspace.path(TABLE);
    let recorded = Table::read(&path)?;
    let review = Review::of(&recorded, &chosen, lines);
    let failed = review.print(&folder, options.accept)?;
    if let Some(accept) = options.accept {
        let is_whole = options.filter.is_none();
        ensure!(
            is_whole || !review.is_other_cpu || accept == Accept::Reports,
            "the record is of another CPU: accept all cases, not some"
        );
        review.accept(&cases, accept).write(&path)?;
    }
    let gone = recorded.without_case(&cases);
    ensure!(options.accept.is_some() || gone.is_empty(), "recorded, but no cases: {gone:?}");
    println!("{} cases in {:.0} s", chosen.len(), start.elapsed().as_secs_f64());
    ensure!(failed == 0, "{failed} of {} cases differ from {TABLE}", chosen.len());
    Ok(())
}

/// Returns the lines of all cases, in order; as many cases run at once as there are cores.
fn run_all(cases: &[&Case], tool: &Tool, models: &Models, folder: &Path) -> Result<Vec<Line>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = vec![];
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(at) else { return done };
            done.push((at, case.run(tool, models, folder)));
        }
    };
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    let mut done: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let finished = workers.into_iter().map(|it| it.join().expect("a worker does not panic"));
        finished.flatten().collect()
    });
    // Cases end in any order, and each line is matched with its case by its place.
    done.sort_by_key(|(at, _)| *at);
    let lines = done.into_iter().zip(cases);
    lines.map(|((_, line), case)| line.with_context(|| case.name.clone())).collect()
}
