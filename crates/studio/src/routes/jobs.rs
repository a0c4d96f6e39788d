//! Jobs that are there: what is shown of them, and what is done with them.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Refusal, json, json_text};
use crate::call::Call;
use crate::job::JobState;
use crate::ledger::Ledger;
use crate::stream;
use crate::studio::{Shared, locked};

pub(crate) fn list(call: &Call) -> Result<Response, Refusal> {
    let Call { shared, .. } = call;
    let ledger = locked(&shared.ledger);
    let jobs = ledger.queue.shown();
    let jobs: Vec<Value> =
        jobs.into_iter().map(|job| job.summary(&shared.state.recipe(job.id()))).collect();
    json(&json!({ "seq": ledger.events.last(), "runs": ledger.queue.runs, "jobs": jobs }))
}

pub(crate) fn snapshot(call: &Call) -> Result<Response, Refusal> {
    snapshot_of(&call.shared, number(call.place("id"))?)
}

fn number(id: &str) -> Result<u64, Refusal> {
    id.parse().map_err(|_| no_job(id))
}

fn no_job(id: impl std::fmt::Display) -> Refusal {
    Refusal::not_found(format!("there is no job {id}"))
}

pub(super) fn snapshot_of(shared: &Shared, id: u64) -> Result<Response, Refusal> {
    let ledger = locked(&shared.ledger);
    let job = ledger.queue.get(id).ok_or_else(|| no_job(id))?;
    Ok(json_text(job.snapshot(&shared.state.recipe(id))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Action {
    /// Where a job is moved to: before this one, or to the end.
    before: Option<String>,
}

pub(crate) fn act(call: &Call) -> Result<Response, Refusal> {
    let Call { shared, .. } = call;
    let id = number(call.place("id"))?;
    let asked: Action = call.body()?;
    let mut ledger = locked(&shared.ledger);
    ledger.queue.get(id).ok_or_else(|| no_job(id))?;
    match call.place("action") {
        "stop" => stop(&mut ledger, shared, id)?,
        "kill" => kill(&mut ledger, shared, id)?,
        "continue" => begin_again(&mut ledger, shared, id, false)?,
        "fresh" => begin_again(&mut ledger, shared, id, true)?,
        "move" => {
            let before = asked.before.as_deref().map(number).transpose()?;
            ledger.queue.move_before(id, before);
            ledger.tell_queue(&shared.state);
        }
        "remove" => {
            remove(&mut ledger, shared, id)?;
            return Ok(json_text("{}".to_owned()));
        }
        other => return Err(Refusal::not_found(format!("a job has no action `{other}`"))),
    }
    // `advance` takes the lock itself.
    drop(ledger);
    shared.advance();
    snapshot_of(shared, id)
}

fn state_of(ledger: &Ledger, id: u64) -> Option<JobState> {
    ledger.queue.get(id).map(|job| job.record.state)
}

fn wrong_state(problem: &str) -> Refusal {
    Refusal::conflict("state", format!("the job {problem}"))
}

/// A job at work is asked to stop; one that waits is stopped before it begins.
fn stop(ledger: &mut Ledger, shared: &Shared, id: u64) -> Result<(), Refusal> {
    match state_of(ledger, id) {
        Some(JobState::Running) => {
            if let Some(worker) = &mut ledger.worker {
                worker.stop();
            }
            ledger.set_state(&shared.state, id, JobState::Stopping, None);
            Ok(())
        }
        // Asked twice, by two pages or before the first answer was shown.
        Some(JobState::Stopping) => Ok(()),
        Some(JobState::Waiting) => {
            ledger.set_state(&shared.state, id, JobState::Stopped, None);
            ledger.tell_queue(&shared.state);
            Ok(())
        }
        _ => Err(wrong_state("does not run")),
    }
}

fn kill(ledger: &mut Ledger, shared: &Shared, id: u64) -> Result<(), Refusal> {
    if !state_of(ledger, id).is_some_and(JobState::is_active) {
        return Err(wrong_state("does not run"));
    }
    if let Some(worker) = &mut ledger.worker {
        worker.kill();
    }
    ledger.set_state(&shared.state, id, JobState::Stopping, None);
    Ok(())
}

/// Runs the same command again.
///
/// - `starts_over`: without what is unfinished
fn begin_again(
    ledger: &mut Ledger,
    shared: &Shared,
    id: u64,
    starts_over: bool,
) -> Result<(), Refusal> {
    match ledger.queue.get_mut(id) {
        Some(job) if starts_over && !job.record.order.kind.writes() => {
            return Err(wrong_state("writes nothing that could be started over; continue it"));
        }
        Some(job) if job.record.state.can_continue() => job.record.starts_over = starts_over,
        _ => return Err(wrong_state("cannot be continued as it is")),
    }
    ledger.set_state(&shared.state, id, JobState::Waiting, None);
    ledger.queue.hurry(id);
    ledger.tell_queue(&shared.state);
    Ok(())
}

fn remove(ledger: &mut Ledger, shared: &Shared, id: u64) -> Result<(), Refusal> {
    if state_of(ledger, id).is_some_and(JobState::is_active) {
        return Err(wrong_state("runs; stop it first"));
    }
    ledger.queue.remove(id);
    // A folder that cannot be removed brings the job back at the next start, which does no harm.
    let _ = shared.state.forget(id);
    ledger.tell(Some(id), "\"event\":\"removed\"");
    ledger.tell_queue(&shared.state);
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueueSetting {
    runs: bool,
}

/// Says whether the next job starts when one ends.
pub(crate) fn set_queue(call: &Call) -> Result<Response, Refusal> {
    let Call { shared, .. } = call;
    let QueueSetting { runs } = call.body()?;
    {
        let mut ledger = locked(&shared.ledger);
        ledger.queue.runs = runs;
        ledger.tell_queue(&shared.state);
    }
    shared.advance();
    json(&json!({ "runs": runs }))
}

/// Streams events as they happen.
pub(crate) fn events(call: &Call) -> Result<Response, Refusal> {
    let after = call.query(&["after"])?.number("after")?.unwrap_or(0);
    let lines = stream::open(&call.shared, after);
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(lines)).into_response())
}
