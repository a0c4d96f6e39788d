//! Lines of a worker, understood before any lock is taken: a report may have tens of millions of
//! characters, and the page is answered meanwhile.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::job::{Failure, JobKind};
use crate::rates::{LearnedFrom, converted_elements};

/// What a line says.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard<'a> {
    /// No event: words for the log.
    Words(&'a str),
    /// Something that happened, as it is passed on and as it was read.
    Event {
        line: &'a str,
        event: Map<String, Value>,
    },
    Failed(Failure),
    Done(Outcome),
}

/// The report of a job, and what is remembered of it.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    /// The report as JSON.
    pub(crate) report: String,
    pub(crate) weight_error: Option<f64>,
    pub(crate) output_bytes: Option<u64>,
    /// What it says about the time that such work takes.
    pub(crate) work: Option<Work>,
    /// The report without its tensors, as an event.
    pub(crate) event: String,
}

/// The time that a number of elements of weights took.
#[derive(Debug, PartialEq)]
pub(crate) struct Work {
    pub(crate) elements: f64,
    pub(crate) seconds: f64,
    pub(crate) from: LearnedFrom,
}

impl<'a> Heard<'a> {
    /// Reads a line of a job of some kind.
    pub(crate) fn read(line: &'a str, kind: JobKind) -> Self {
        let line = line.trim();
        let Ok(mut event) = serde_json::from_str::<Map<String, Value>>(line) else {
            return Self::Words(line);
        };
        match event.get("event").and_then(Value::as_str) {
            Some("done") => match event.remove("report") {
                Some(report) => Self::Done(Outcome::of(report, kind)),
                None => Self::Words(line),
            },
            Some("failed") => Self::Failed(failure(&event)),
            Some(_) => Self::Event { line, event },
            None => Self::Words(line),
        }
    }
}

impl Outcome {
    fn of(mut report: Value, kind: JobKind) -> Self {
        // The whole report first: what follows takes the largest parts out of it.
        let text = report.to_string();
        let work = Work::of(&report, kind);
        if let Some(report) = report.as_object_mut() {
            // A comparison has layers, a conversion tensors: both may be thousands.
            report.remove("tensors");
            report.remove("layers");
        }
        Self {
            report: text,
            weight_error: report["weight_error"].as_f64(),
            output_bytes: report["output_bytes"].as_u64(),
            work,
            event: json!({ "event": "done", "report": report }).to_string(),
        }
    }
}

impl Work {
    fn of(report: &Value, kind: JobKind) -> Option<Self> {
        let (elements, seconds, from) = match kind {
            JobKind::Convert => (converted_elements(report), "seconds", LearnedFrom::Job),
            JobKind::Try => (report["elements"].as_f64()?, "estimated_seconds", LearnedFrom::Try),
            JobKind::Dequantize
            | JobKind::Migrate
            | JobKind::Repair
            | JobKind::Verify
            | JobKind::Budget => return None,
        };
        Some(Self { elements, seconds: report[seconds].as_f64()?, from })
    }
}

fn failure(event: &Map<String, Value>) -> Failure {
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default();
    let kind = text("kind");
    let paths = event.get("unfinished_files").and_then(Value::as_array);
    let paths = paths.into_iter().flatten().filter_map(Value::as_str).map(PathBuf::from);
    Failure {
        help: crate::answer::help(kind).unwrap_or(text("help")).to_owned(),
        kind: if kind.is_empty() { "failed".to_owned() } else { kind.to_owned() },
        message: text("message").to_owned(),
        unfinished_files: paths.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_kept_whole_and_told_without_its_tensors() {
        let line = r#" {"event":"done","report":{"weight_error":0.25,"output_bytes":7,"seconds":2.0,
            "tensors":[{"decision":"quantize","shape":[2,3]}]}} "#;
        let Heard::Done(outcome) = Heard::read(line, JobKind::Convert) else { panic!("{line}") };
        assert!(outcome.report.contains("tensors") && !outcome.event.contains("tensors"));
        assert_eq!((outcome.weight_error, outcome.output_bytes), (Some(0.25), Some(7)));
        let work = Work { elements: 6.0, seconds: 2.0, from: LearnedFrom::Job };
        assert_eq!(outcome.work, Some(work));
        let Heard::Done(outcome) = Heard::read(line, JobKind::Verify) else { panic!("{line}") };
        assert_eq!(outcome.work, None);
    }

    #[test]
    fn what_is_no_event_is_words() {
        for line in ["loading", "[1]", "{\"a\":1}", "{\"event\":\"done\"}", "{"] {
            assert_eq!(Heard::read(line, JobKind::Convert), Heard::Words(line));
        }
    }
}
