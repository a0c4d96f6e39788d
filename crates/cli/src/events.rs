use std::io::{BufRead, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use roundwise_convert::{ConvertError, Event, Watch};
use serde::Serialize;

use crate::outcome::library_error;
use crate::stop::STOP;
use crate::typed::{Typed, Worded};

/// Writes what happens as lines of JSON to standard output, for programs that show it.
pub(crate) struct Events {
    counted: Mutex<Counted>,
    /// When a step of a search was last reported.
    searched: Mutex<Instant>,
}

/// Bytes of a phase.
struct Counted {
    since: Instant,
    told: Instant,
    bytes: u64,
    /// Bytes that this run has dealt with itself.
    own: u64,
    total: u64,
}

/// Lines that are no events of the library.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<R: Serialize> {
    Progress {
        /// Those of the phase that are done.
        bytes_done: u64,
        bytes_per_second: f64,
        seconds_left: Option<f64>,
    },
    Done {
        report: R,
    },
    Failed {
        /// Stable name of the kind of error.
        kind: Option<&'static str>,
        message: String,
        /// Advice in the words of the command line.
        help: Option<String>,
        unfinished_files: Vec<PathBuf>,
    },
}

/// Between two lines of progress.
const PAUSE: Duration = Duration::from_millis(100);

impl Events {
    /// Begins to listen on standard input, where a line `stop`, or its end, asks to stop.
    pub(crate) fn listen() -> Self {
        // Nobody joins the thread: it ends with the program. The end of the input counts as `stop`, so that a
        // conversion does not outlive the program that started it.
        std::thread::spawn(|| {
            let lines = std::io::stdin().lock().lines();
            // A line that cannot be read counts as the end.
            for line in lines.map_while(Result::ok) {
                if line.trim() == "stop" {
                    break;
                }
            }
            STOP.ask();
        });
        let now = Instant::now();
        let counted = Counted { since: now, told: now, bytes: 0, own: 0, total: 0 };
        Self { counted: Mutex::new(counted), searched: Mutex::new(now) }
    }

    fn begin(&self, total: u64) {
        let now = Instant::now();
        *self.lock() = Counted { since: now, told: now, bytes: 0, own: 0, total };
    }

    fn count(&self, bytes: u64, is_own: bool) {
        let mut counted = self.lock();
        counted.bytes += bytes;
        counted.own += if is_own { bytes } else { 0 };
        if counted.told.elapsed() < PAUSE {
            return;
        }
        counted.told = Instant::now();
        // What an earlier run had done took no time in this one.
        let bytes_per_second = counted.own as f64 / counted.since.elapsed().as_secs_f64().max(1e-9);
        let rest = counted.total.saturating_sub(counted.bytes) as f64;
        // Before this run has done anything itself nothing is known.
        let seconds_left = (bytes_per_second > 0.0).then(|| rest / bytes_per_second);
        let bytes_done = counted.bytes;
        // Unlocked first: writing may wait for the reader, and other threads need not wait with it.
        drop(counted);
        write_line(&Line::<()>::Progress { bytes_done, bytes_per_second, seconds_left });
    }

    /// Whether a step of a search is to be told: some take a millisecond.
    fn is_search_due(&self) -> bool {
        let mut searched = self.searched.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = searched.elapsed() >= PAUSE;
        if is_due {
            *searched = Instant::now();
        }
        is_due
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Events {
    fn notice(&self, event: Event<'_>) -> ControlFlow<()> {
        match event {
            Event::Advanced { bytes } => self.count(bytes, true),
            Event::Recalled { bytes } => self.count(bytes, false),
            Event::Search { .. } if !self.is_search_due() => {}
            event => {
                if let Event::Phase { bytes, .. } = event {
                    self.begin(bytes);
                }
                write_line(&event);
            }
        }
        STOP.answer()
    }
}

/// Tells that the work is done, and what came of it.
pub(crate) fn tell_done(report: &impl Serialize) {
    write_line(&Line::Done { report });
}

/// Writes an event that tells why a command failed, and passes its result on.
///
/// - `tells`: whether events are written
pub(crate) fn telling<T>(tells: bool, result: anyhow::Result<T>) -> anyhow::Result<T> {
    // Settings go by their names on the command line, as in messages for people.
    let result = result.map_err(|error| Typed::default().word(error));
    if let (true, Err(error)) = (tells, &result) {
        tell_failed(error);
    }
    result
}

/// Writes why there is no output, and which unfinished files the next run can continue.
///
/// - `error`: one of the library's is already worded for the command line
fn tell_failed(error: &anyhow::Error) {
    let kind = library_error(error).map(ConvertError::kind);
    let unfinished_files = match library_error(error) {
        Some(ConvertError::Unfinished { paths, .. }) => paths.clone(),
        _ => vec![],
    };
    let (message, help) = match error.downcast_ref::<Worded>() {
        Some(worded) => (worded.problem.clone(), worded.help.clone()),
        None => (error.to_string(), None),
    };
    write_line(&Line::<()>::Failed { kind, message, help, unfinished_files });
}

/// Writes a line of JSON. A reader that has gone away asks to stop: nobody would learn of the rest.
fn write_line(line: &impl Serialize) {
    let mut text = serde_json::to_string(line).expect("events always serialise");
    text.push('\n');
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        STOP.ask();
    }
}
