//! Jobs that are asked for: everything that can be wrong with one, and its place in the queue.

use std::path::PathBuf;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use roundwise_convert::ConvertError;
use roundwise_convert::plan::BudgetFile;
use roundwise_convert::tensor_file::{UnfinishedFile, available_bytes};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::files::require_there;
use super::jobs::snapshot_of;
use super::plan::{Opened, refuse_place, time_of};
use crate::answer::{FieldComplaint, Refusal};
use crate::call::Call;
use crate::job::{Job, JobKind, JobOrder, JobState, Record, now};
use crate::order::{Checked, Request};
use crate::studio::{Shared, locked};

/// A job that somebody wants.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewJob {
    kind: JobKind,
    input: PathBuf,
    output: Option<PathBuf>,
    #[serde(default)]
    recipe: Map<String, Value>,
    #[serde(default)]
    run: Map<String, Value>,
    /// Whether an existing output is replaced.
    #[serde(default)]
    replace: bool,
    /// Whether it is the next one, also where the queue waits.
    #[serde(default)]
    starts: bool,
    /// What the file may cost, where schemes are chosen.
    budget: Option<BudgetFile>,
}

/// Facts about a job that are known before it begins.
struct Forecast {
    output_bytes: Option<u64>,
    tensors: Option<usize>,
    seconds: Option<f64>,
}

pub(crate) fn add(call: &Call) -> Result<Response, Refusal> {
    let Call { shared, .. } = call;
    let NewJob { kind, input, output, recipe, run, replace, starts, budget } = call.body()?;
    check_budget(kind, budget.as_ref())?;
    let checked = Request { input, output, recipe, run }.check(kind)?;
    // Before the ledger is locked: this reads files.
    let forecast = forecast(shared, kind, &checked, replace)?;
    let Checked { input, output, recipe_file: recipe, run, .. } = checked;
    let order = JobOrder { kind, input, output, recipe, run, replace, budget };
    let id = enqueue(shared, order, forecast, starts)?;
    shared.advance();
    Ok((StatusCode::CREATED, snapshot_of(shared, id)?).into_response())
}

/// Everything that can be wrong before the work begins.
fn forecast(
    shared: &Shared,
    kind: JobKind,
    checked: &Checked,
    replace: bool,
) -> Result<Forecast, Refusal> {
    if kind == JobKind::Verify {
        require_there("input", &checked.input)?;
        require_there("output", &checked.output)?;
        return Ok(Forecast { output_bytes: None, tensors: None, seconds: None });
    }
    let opened = Opened::new(shared, checked.clone())?;
    let plan = opened.plan()?;
    // Planned to hear what is wrong with the recipe; the sizes are what the job is to find out.
    if kind == JobKind::Budget {
        return Ok(Forecast { output_bytes: None, tensors: None, seconds: None });
    }
    plan.check_purpose(&opened.source)?;
    let output_bytes = plan.manifest().map_err(ConvertError::from)?.file_bytes();
    let seconds = time_of(shared, checked, &plan).map(|(seconds, _)| seconds);
    if kind.writes() {
        refuse_place(&opened, replace)?;
    }
    Ok(Forecast { output_bytes: Some(output_bytes), tensors: Some(plan.tensors.len()), seconds })
}

/// Refuses a budget without a limit, and a budget of a job that keeps none. Whether a file can keep it is for the job
/// to say.
fn check_budget(kind: JobKind, budget: Option<&BudgetFile>) -> Result<(), Refusal> {
    match (kind, budget) {
        (JobKind::Budget, budget) => {
            let nothing = BudgetFile::default();
            budget.unwrap_or(&nothing).check()?;
            Ok(())
        }
        (_, Some(_)) => {
            let problem = "only the choice of schemes has a budget".to_owned();
            Err(Refusal::complaints(vec![FieldComplaint { field: "budget".to_owned(), problem }]))
        }
        (_, None) => Ok(()),
    }
}

fn enqueue(
    shared: &Shared,
    order: JobOrder,
    forecast: Forecast,
    starts: bool,
) -> Result<u64, Refusal> {
    let mut ledger = locked(&shared.ledger);
    let is_open = |job: &Job| job.record.state.is_active() || job.record.state == JobState::Waiting;
    let same = |job: &&Job| {
        let other = &job.record.order;
        is_open(job) && other.kind.writes() && other.output == order.output
    };
    // Under the lock that adds the job: two requests for one output cannot both pass.
    if order.kind.writes() && ledger.queue.shown().iter().any(same) {
        let message = format!("{}: another job of the queue makes it", order.output.display());
        let help = "Choose another output, or take that job out of the queue.";
        return Err(Refusal::conflict("exists", message).at("output").with_help(help));
    }
    let id = ledger.queue.new_id();
    let record = Record {
        id,
        order,
        state: JobState::Waiting,
        failure: None,
        created: now(),
        started: None,
        ended: None,
        output_bytes: forecast.output_bytes,
        tensors: forecast.tensors,
        seconds: forecast.seconds,
        weight_error: None,
        starts_over: false,
        has_report: false,
    };
    if let Some(refusal) = too_little_room(&record) {
        return Err(refusal);
    }
    // A job that cannot be saved is not begun: a restart would lose it.
    shared.state.save(&record).map_err(|error| cannot_remember(&error))?;
    ledger.queue.add(Job::new(record));
    if starts {
        ledger.queue.hurry(id);
    }
    ledger.tell(Some(id), "\"event\":\"added\"");
    ledger.tell_queue(&shared.state);
    Ok(id)
}

fn cannot_remember(error: &std::io::Error) -> Refusal {
    Refusal::conflict("no_space", format!("the job cannot be remembered: {error}"))
        .with_help("Make room on the disk that holds the studio's own files.")
}

/// Whether the disk has room for the output; an unfinished one has its room already.
pub(crate) fn too_little_room(record: &Record) -> Option<Refusal> {
    let output = &record.order.output;
    let needed = record.output_bytes.filter(|_| record.order.kind.writes())?;
    let free = available_bytes(output)?;
    let is_begun = UnfinishedFile::find(output).is_ok_and(|found| found.is_some());
    if free >= needed || is_begun {
        return None;
    }
    let message =
        format!("{}: {needed} bytes are needed, {free} are free on this disk", output.display());
    let help = "Make room, or choose an output on another disk.";
    Some(Refusal::conflict("no_space", message).at("output").with_help(help))
}
