//! Answers: JSON, or a refusal with the way out.

use std::borrow::Cow;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use roundwise_convert::ConvertError;
use roundwise_convert::recipe::{Command, Complaint, RecipeError, Setting, Text};
use serde::Serialize;
use serde_json::json;

/// Why a request is refused, and what helps.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    error: ErrorAnswer,
}

#[derive(Debug, Serialize)]
struct ErrorAnswer {
    /// Stable name of the kind of error.
    kind: Cow<'static, str>,
    message: String,
    help: String,
    complaints: Vec<FieldComplaint>,
}

/// One thing that is wrong with what was typed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct FieldComplaint {
    /// Path of the setting; empty for all of it.
    pub(crate) field: String,
    pub(crate) problem: String,
}

impl Refusal {
    pub(crate) fn new(
        status: StatusCode,
        kind: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        let error = ErrorAnswer {
            kind: kind.into(),
            message: message.into(),
            help: String::new(),
            complaints: vec![],
        };
        Self { status, error }
    }

    /// Returns the refusal of a request that conflicts with the present state.
    pub(crate) fn conflict(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, kind, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// A file is not what it has to be.
    pub(crate) fn file(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "file", message)
    }

    /// Something is wrong with what was typed.
    pub(crate) fn complaints(complaints: Vec<FieldComplaint>) -> Self {
        let problems = complaints.iter().map(|it| it.problem.as_str()).collect::<Vec<_>>();
        // As one text too, for places that show no fields.
        let message = problems.join("\n");
        let mut refusal = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "recipe", message);
        refusal.error.complaints = complaints;
        refusal
    }

    /// A defect of ours.
    pub(crate) fn bug(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "bug", message)
            .with_help("report it as a bug of roundwise")
    }

    #[must_use]
    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.error.help = help.into();
        self
    }

    /// Adds the message as a complaint at a field of the form.
    #[must_use]
    pub(crate) fn at(mut self, field: impl Into<String>) -> Self {
        let problem = self.error.message.clone();
        self.error.complaints.push(FieldComplaint { field: field.into(), problem });
        self
    }

    /// Name of the kind, message and help.
    pub(crate) fn parts(self) -> (String, String, String) {
        (self.error.kind.into_owned(), self.error.message, self.error.help)
    }
}

/// Complaints of the library, each at the field that it is about.
fn field_complaints(complaints: &[Complaint]) -> Vec<FieldComplaint> {
    let complaint = |it: &Complaint| FieldComplaint {
        field: it.setting.as_ref().map(field).unwrap_or_default(),
        problem: in_words_of_the_page(&it.problem),
    };
    complaints.iter().map(complaint).collect()
}

/// The path of a field: settings of a recipe stand by themselves, those of a job under `run`.
fn field(setting: &Setting) -> String {
    match setting.key() {
        "limits.memory_bytes" => "run.memory_bytes".to_owned(),
        "limits.shard_bytes" => "run.shard_bytes".to_owned(),
        "device" => "run.device".to_owned(),
        "statistics.allow_partial" => "run.allow_partial_statistics".to_owned(),
        "overwrite" => "replace".to_owned(),
        // One field of the page takes all limits.
        "size" | "bits" | "loss" => "budget.size".to_owned(),
        "card" => "budget.card".to_owned(),
        key @ ("threads" | "statistics" | "starts_over" | "verifies" | "extract_error_lora") => {
            format!("run.{key}")
        }
        _ => setting.to_string(),
    }
}

/// Returns a message that calls settings by the names of their fields, and commands by those of buttons.
fn in_words_of_the_page(text: &Text) -> String {
    let setting = |setting: &Setting| match setting.key() {
        "limits.memory_bytes" => "memory".to_owned(),
        "limits.shard_bytes" => "shards".to_owned(),
        "starts_over" => "Start over".to_owned(),
        "overwrite" => "Replace".to_owned(),
        "verifies" => "the check of the output".to_owned(),
        "output" => "output".to_owned(),
        _ => setting.to_string(),
    };
    let command = |command: &Command| match command {
        Command::Again => "Continue".to_owned(),
        Command::Convert => "a conversion".to_owned(),
        other => other.to_string(),
    };
    text.worded_with(setting, command)
}

impl From<RecipeError> for Refusal {
    fn from(error: RecipeError) -> Self {
        Self::complaints(field_complaints(&error.complaints))
    }
}

impl From<ConvertError> for Refusal {
    fn from(error: ConvertError) -> Self {
        let complaints = field_complaints(error.cause().complaints());
        if let ConvertError::Recipe(_) = error.cause() {
            // Complaints about a recipe are the whole message.
            return Self::complaints(complaints);
        }
        let message = in_words_of_the_page(&error.problem());
        let own = error.help().map(|text| in_words_of_the_page(&text)).unwrap_or_default();
        // Advice about buttons goes before that about commands.
        let help = help(error.kind()).map_or(own, str::to_owned);
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let mut refusal = Self::new(status, error.kind(), message).with_help(help);
        refusal.error.complaints = complaints;
        refusal
    }
}

/// Returns advice in words of the page, where the library's is not about buttons.
pub(crate) fn help(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "other_run" => {
            "An earlier conversion to this file was left off with other settings. Start over throws \
             its work away; or choose its settings again, or another output."
        }
        "unfinished" => "Continue goes on where it stopped. Start over throws the work away.",
        "output_is_input" => "Choose another output.",
        "wrong_output" => {
            "This is a bug, or memory or disk are failing. Start over does the work again."
        }
        "is_statistics" => "Choose it as statistics on the page of a model.",
        "nothing_in_codes" => "Plan turns its weights into codes.",
        _ => return None,
    })
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, json_text(json!({ "error": self.error }).to_string())).into_response()
    }
}

/// Answers with JSON that is text already.
pub(crate) fn json_text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Answers with a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<Response, Refusal> {
    let text = serde_json::to_string(value).map_err(|error| Refusal::bug(error.to_string()))?;
    Ok(json_text(text))
}
