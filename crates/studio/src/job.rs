use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use roundwise_convert::RecipeFile;
use roundwise_convert::plan::BudgetFile;
use roundwise_convert::recipe::shell_text;
use roundwise_convert::run::RunFile;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::command::words_of;

/// The kind of work of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// Weights become codes.
    Convert,
    /// A few weights become codes, and are measured.
    Try,
    /// Codes become plain numbers.
    Dequantize,
    /// Codes are laid out for another program.
    Migrate,
    /// Known defects are repaired.
    Repair,
    /// A converted file is compared with its original.
    Verify,
    /// Schemes are chosen so that the file keeps a budget.
    Budget,
}

impl JobKind {
    /// Whether a file is made.
    pub(crate) fn writes(self) -> bool {
        match self {
            Self::Convert | Self::Dequantize | Self::Migrate | Self::Repair => true,
            Self::Try | Self::Verify | Self::Budget => false,
        }
    }
}

/// The request that a job carries out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobOrder {
    /// The kind of work.
    pub kind: JobKind,
    /// The file that is read; the original, where two files are compared.
    pub input: PathBuf,
    /// The file that is written; the converted one, where two files are compared.
    pub output: PathBuf,
    /// The recipe of the tensors.
    pub recipe: RecipeFile,
    /// How it runs.
    pub run: RunFile,
    /// Whether an existing output is replaced.
    pub replace: bool,
    /// What the file may cost, where schemes are chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetFile>,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JobState {
    Waiting,
    Running,
    /// Asked to stop, and not yet at the end of what it cannot leave off.
    Stopping,
    Done,
    Failed,
    Stopped,
    /// The server ended while it ran.
    Interrupted,
}

impl JobState {
    /// Whether a process works on it.
    pub(crate) fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Stopping)
    }

    /// Whether it may be begun again.
    pub(crate) fn can_continue(self) -> bool {
        matches!(self, Self::Failed | Self::Stopped | Self::Interrupted)
    }
}

/// Why a job did not get to its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// Stable name of the kind of error.
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) help: String,
    /// Files that the next run can go on with.
    #[serde(alias = "unfinished")]
    pub(crate) unfinished_files: Vec<PathBuf>,
}

/// A job, as it is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) order: JobOrder,
    pub(crate) state: JobState,
    pub(crate) failure: Option<Failure>,
    /// Seconds since 1970, here and below.
    pub(crate) created: u64,
    pub(crate) started: Option<u64>,
    pub(crate) ended: Option<u64>,
    /// Bytes that the output takes.
    pub(crate) output_bytes: Option<u64>,
    /// Tensors to go through.
    pub(crate) tensors: Option<usize>,
    /// Time that it is estimated to take.
    pub(crate) seconds: Option<f64>,
    /// `‖E‖ / ‖W‖` of what was made.
    pub(crate) weight_error: Option<f64>,
    /// Whether the next start throws away what is unfinished.
    pub(crate) starts_over: bool,
    pub(crate) has_report: bool,
}

/// A job, and what is known while it runs.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) record: Record,
    pub(crate) live: Live,
}

/// The events of a running job so far, summed up.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) phase: Option<Value>,
    pub(crate) progress: Option<Value>,
    pub(crate) search: Option<Value>,
    /// Tensors that are worked on.
    pub(crate) begun: BTreeSet<String>,
    /// The report of each finished tensor, as JSON.
    pub(crate) finished: Vec<String>,
    pub(crate) log: VecDeque<String>,
    /// Lines that the log no longer holds.
    pub(crate) left_out: usize,
    /// Number of the last event.
    pub(crate) seq: u64,
}

/// Lines of a log that are kept.
const LOG_LINES: usize = 2000;

impl Live {
    pub(crate) fn log(&mut self, line: String) {
        if self.log.len() == LOG_LINES {
            self.log.pop_front();
            self.left_out += 1;
        }
        self.log.push_back(line);
    }

    /// Work begins, or begins again.
    pub(crate) fn begin(&mut self) {
        // The log is that of the job, not of one run of it.
        let log = std::mem::take(&mut self.log);
        *self = Self { log, left_out: self.left_out, seq: self.seq, ..Self::default() };
    }

    /// Nothing is worked on any more.
    pub(crate) fn end(&mut self) {
        self.begun.clear();
        self.progress = None;
        self.search = None;
    }
}

impl Job {
    pub(crate) fn new(record: Record) -> Self {
        Self { record, live: Live::default() }
    }

    pub(crate) fn id(&self) -> u64 {
        self.record.id
    }

    /// The job for a list: everything but its tensors and its log.
    ///
    /// - `recipe`: file that the command may name
    pub(crate) fn summary(&self, recipe: &std::path::Path) -> Value {
        let Record { order, state, .. } = &self.record;
        let command = words_of(order, recipe);
        // Checked, for the default depends on the program; what cannot be checked any more was a recipe of another version.
        let checked = order.recipe.clone().check();
        let scheme = checked.map_or_else(|_| String::new(), |checked| checked.scheme().to_string());
        let lossy = |path: &std::path::Path| path.to_string_lossy().into_owned();
        json!({
            "id": self.record.id.to_string(),
            "kind": order.kind,
            "input": lossy(&order.input),
            "output": lossy(&order.output),
            "method": order.recipe.method.as_deref().unwrap_or("nearest"),
            "scheme": scheme,
            "recipe": order.recipe,
            "run": order.run,
            "replace": order.replace,
            "state": state,
            "can_continue": state.can_continue(),
            "command": command,
            "shell": shell_text(&command),
            "phase": self.live.phase,
            "progress": self.live.progress,
            "tensors": self.record.tensors,
            "finished_tensors": self.live.finished.len(),
            "begun": self.live.begun,
            "search": self.live.search,
            "failure": self.record.failure,
            "created": self.record.created,
            "started": self.record.started,
            "ended": self.record.ended,
            "output_bytes": self.record.output_bytes,
            "estimated_seconds": self.record.seconds,
            "weight_error": self.record.weight_error,
            "has_report": self.record.has_report,
            "seq": self.live.seq,
        })
    }

    /// The job with its tensors and its log, as JSON.
    pub(crate) fn snapshot(&self, recipe: &std::path::Path) -> String {
        let mut text = self.summary(recipe).to_string();
        let log = serde_json::to_string(&self.live.log).unwrap_or_default();
        // Without its last brace: what follows is JSON already, and is not parsed again.
        text.pop();
        text += &format!(",\"log\":{log},\"log_left_out\":{}", self.live.left_out);
        text + &format!(",\"finished\":[{}]}}", self.live.finished.join(","))
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
