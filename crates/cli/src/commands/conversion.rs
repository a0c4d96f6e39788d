//! Shared by the commands that write files: turns jobs into outputs and reports.

use std::path::Path;

use anyhow::anyhow;
use roundwise_convert::tensor_file::write_text_atomically;
use roundwise_convert::{Job, Prepared, Report};
use serde::Serialize;

use crate::arguments::RunOptions;
use crate::events::Events;
use crate::progress::Progress;
use crate::stop;
use crate::typed::Typed;

/// Reports of one input.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Reports<'a> {
    One(&'a Report),
    More(&'a [Report]),
}

impl<'a> Reports<'a> {
    pub(super) fn of(reports: &'a [Report]) -> Self {
        match reports {
            [report] => Self::One(report),
            reports => Self::More(reports),
        }
    }
}

/// Makes the outputs of one input, shows how far it is, and writes the report that was asked for.
///
/// - `prepared`: one job for each output
/// - `typed`: how their settings were typed
/// - `events`: written in place of a progress bar
pub(super) fn carry_out(
    prepared: Prepared,
    typed: &Typed,
    run: &RunOptions,
    events: Option<&Events>,
    report: Option<&Path>,
) -> anyhow::Result<Vec<Report>> {
    // `convert` takes the jobs along.
    let jobs: Vec<Job> = prepared.jobs().cloned().collect();
    stop::note_outputs(jobs.iter().map(|job| job.output.clone()).collect());
    let result = match events {
        Some(events) => prepared.convert(events),
        None => {
            let progress = Progress::new(&jobs[0].input, run.quiet || run.json);
            let result = prepared.convert(&progress);
            progress.finish();
            result
        }
    };
    let reports = result.map_err(|error| typed.error(error))?;
    if let Some(path) = report {
        let text = serde_json::to_string_pretty(&Reports::of(&reports))? + "\n";
        write_text_atomically(path, &text, jobs[0].overwrite).map_err(|error| {
            let outputs = jobs.iter().map(|job| job.output.display().to_string());
            let outputs = outputs.collect::<Vec<_>>().join(" and ");
            anyhow!("{error}\n  {outputs}: complete, but without a report")
        })?;
    }
    Ok(reports)
}
