//! Jobs and what happens to them, under one lock: a snapshot and its number belong together.

use std::process::ExitStatus;

use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::events::EventLog;
use crate::heard::{Heard, Outcome, Work};
use crate::job::{Failure, JobState, Live, Record, now};
use crate::queue::Queue;
use crate::rates::{Rates, key};
use crate::state::StateFolder;
use crate::worker::Worker;

/// Jobs, their events, and the process that works on one of them.
pub(crate) struct Ledger {
    pub(crate) queue: Queue,
    pub(crate) events: EventLog,
    pub(crate) rates: Rates,
    pub(crate) worker: Option<Worker>,
    /// Whether the server ends, so that what is running is interrupted.
    pub(crate) is_closing: bool,
    changed: watch::Sender<u64>,
}

impl Ledger {
    /// Restores what is remembered.
    pub(crate) fn open(state: &StateFolder) -> Self {
        let queue = Queue::new(state.jobs(), &state.order());
        let (changed, _) = watch::channel(0);
        let rates = state.read("rates.json").unwrap_or_default();
        let events = EventLog::default();
        Self { queue, events, rates, worker: None, is_closing: false, changed }
    }

    /// Numbers of events, as they happen.
    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Notes an event.
    ///
    /// - `fields`: as [`EventLog::push`] takes them
    pub(crate) fn tell(&mut self, job: Option<u64>, fields: &str) {
        let seq = self.events.push(job, fields);
        if let Some(job) = job.and_then(|id| self.queue.get_mut(id)) {
            job.live.seq = seq;
        }
        self.changed.send_replace(seq);
    }

    /// Tells in what order jobs wait, and whether they do.
    pub(crate) fn tell_queue(&mut self, state: &StateFolder) {
        // A disk that takes no more must not keep jobs from ending.
        let _ = state.save_order(&self.queue.order());
        let order: Vec<String> =
            self.queue.shown().iter().map(|job| job.id().to_string()).collect();
        let event = json!({ "event": "queue", "runs": self.queue.runs, "order": order });
        self.tell(None, inner(&event.to_string()));
    }

    /// Puts a job into a state, remembers it and tells.
    pub(crate) fn set_state(
        &mut self,
        state: &StateFolder,
        id: u64,
        to: JobState,
        failure: Option<Failure>,
    ) {
        let Some(job) = self.queue.get_mut(id) else { return };
        job.record.state = to;
        match to {
            JobState::Waiting => job.record.failure = None,
            JobState::Running => {
                job.record.started = Some(now());
                job.record.ended = None;
            }
            JobState::Stopping => {}
            JobState::Done | JobState::Failed | JobState::Stopped | JobState::Interrupted => {
                job.record.ended = Some(now());
                job.record.failure = failure;
                job.live.end();
            }
        }
        // A job whose state cannot be saved goes on all the same.
        let _ = state.save(&job.record);
        let event = json!({
            "event": "state",
            "state": to,
            "can_continue": to.can_continue(),
            "failure": job.record.failure,
            "started": job.record.started,
            "ended": job.record.ended,
        });
        self.tell(Some(id), inner(&event.to_string()));
    }

    /// Takes note of what a worker said.
    ///
    /// - `is_kept`: whether the report that it may be is remembered
    pub(crate) fn hear(&mut self, state: &StateFolder, id: u64, heard: Heard, is_kept: bool) {
        match heard {
            Heard::Words(line) => self.hear_words(id, line),
            Heard::Event { line, event } => {
                if let Some(job) = self.queue.get_mut(id) {
                    note(&mut job.live, &mut job.record, &event);
                }
                self.tell(Some(id), inner(line));
            }
            Heard::Failed(failure) => self.hear_failure(id, failure),
            Heard::Done(outcome) => self.hear_outcome(state, id, &outcome, is_kept),
        }
    }

    /// A line of the job's log.
    pub(crate) fn hear_words(&mut self, id: u64, line: &str) {
        if line.is_empty() {
            return;
        }
        if let Some(job) = self.queue.get_mut(id) {
            job.live.log(line.to_owned());
        }
        let event = json!({ "event": "log", "line": line });
        self.tell(Some(id), inner(&event.to_string()));
    }

    fn hear_failure(&mut self, id: u64, failure: Failure) {
        let fields = serde_json::to_string(&failure).unwrap_or_default();
        if let Some(job) = self.queue.get_mut(id) {
            job.record.failure = Some(failure);
        }
        self.tell(Some(id), &format!("\"event\":\"failed\",{}", inner(&fields)));
    }

    fn hear_outcome(&mut self, state: &StateFolder, id: u64, outcome: &Outcome, is_kept: bool) {
        let Some(job) = self.queue.get_mut(id) else { return };
        let record = &mut job.record;
        record.has_report = is_kept;
        record.weight_error = outcome.weight_error;
        record.output_bytes = outcome.output_bytes.or(record.output_bytes);
        if let Some(Work { elements, seconds, from }) = outcome.work {
            let order = &record.order;
            let key = key(order.recipe.method.as_deref(), order.run.device.as_deref());
            self.rates.learn(key, elements, seconds, from);
            let _ = state.write("rates.json", &self.rates);
        }
        self.tell(Some(id), inner(&outcome.event));
    }

    /// The worker of a job has ended.
    ///
    /// - `status`: `None` where the system does not tell
    pub(crate) fn end(&mut self, state: &StateFolder, id: u64, status: Option<ExitStatus>) {
        self.worker = None;
        let is_closing = self.is_closing;
        let Some(job) = self.queue.get_mut(id) else { return };
        let record = &mut job.record;
        let was_stopping = record.state == JobState::Stopping;
        // Starting over was asked for once: a job that is continued later goes on with its own work.
        record.starts_over = false;
        let told = record.failure.take();
        let code = status.and_then(|status| status.code());
        // In this order: a job that finished before it could stop is done, and one that the server ended is
        // interrupted.
        let (to, failure) = match code {
            // 3: the comparison found something wrong, and the report says what. A report that could not be kept does
            // not undo the work.
            Some(0 | 3) => (JobState::Done, None),
            _ if is_closing => (JobState::Interrupted, told),
            _ if was_stopping => (JobState::Stopped, told),
            Some(130) => (JobState::Stopped, told),
            _ => (JobState::Failed, Some(told.unwrap_or_else(|| silent_end(status)))),
        };
        self.set_state(state, id, to, failure);
        self.tell_queue(state);
    }
}

/// The failure of a worker that said nothing.
fn silent_end(status: Option<ExitStatus>) -> Failure {
    let how = status.map_or("in an unknown way".to_owned(), |status| format!("with {status}"));
    Failure {
        kind: "died".to_owned(),
        message: format!("the conversion ended {how}, and said nothing"),
        help: "Memory may have run out: a limit of memory, or fewer threads, take less. What is \
               finished is kept; Continue goes on with the rest."
            .to_owned(),
        unfinished_files: vec![],
    }
}

/// The fields of an object, without its braces.
pub(crate) fn inner(object: &str) -> &str {
    object.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or("\"event\":\"log\"")
}

/// Keeps of an event what a snapshot shows.
fn note(live: &mut Live, record: &mut Record, event: &Map<String, Value>) {
    let name = event.get("tensor").and_then(Value::as_str);
    let value = || {
        let fields = event.iter().filter(|(key, _)| *key != "event");
        Value::Object(fields.map(|(key, value)| (key.clone(), value.clone())).collect())
    };
    match event["event"].as_str().unwrap_or_default() {
        "phase" => {
            let phase = value();
            if phase["name"] == "converting" {
                // The work may begin again, under another plan.
                live.finished.clear();
                let tensors = phase["tensors"].as_u64().and_then(|it| usize::try_from(it).ok());
                record.tensors = tensors.or(record.tensors);
            }
            live.end();
            live.phase = Some(phase);
        }
        "progress" => live.progress = Some(value()),
        "begun" => live.begun.extend(name.map(str::to_owned)),
        "search" => live.search = Some(value()),
        "finished" => {
            if let Some(tensor) = event.get("tensor") {
                tensor["name"].as_str().map(|name| live.begun.remove(name));
                live.finished.push(tensor.to_string());
            }
        }
        "not_finite" => live.log(format!(
            "`{}` holds numbers that are not finite: it is kept, and the work begins again",
            name.unwrap_or_default()
        )),
        _ => {}
    }
}
