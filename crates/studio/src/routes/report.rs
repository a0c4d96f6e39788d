use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use roundwise_convert::{ConvertError, Report, read_text};
use serde::Deserialize;

use super::files::require_there;
use crate::answer::{JsonText, Refusal, Searched, blocking, json};
use crate::saved::report_page;
use crate::studio::Shared;

/// Most bytes of a report that is read from a file.
const MOST_BYTES: u64 = 16 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportQuery {
    job: Option<u64>,
    path: Option<PathBuf>,
    /// A report to compare with, for the page that is saved.
    other: Option<PathBuf>,
}

pub(crate) async fn report(
    State(shared): State<Arc<Shared>>,
    Searched(query): Searched<ReportQuery>,
) -> Result<JsonText, Refusal> {
    blocking(move || match (query.job, &query.path) {
        (Some(id), None) => of_job(&shared, id).map(JsonText),
        (None, Some(path)) => json(&of_file(path)?),
        _ => Err(Refusal::new(StatusCode::BAD_REQUEST, "query", "name a job or a path")),
    })
    .await
}

/// The report as a page of its own.
pub(crate) async fn page(
    State(shared): State<Arc<Shared>>,
    Searched(query): Searched<ReportQuery>,
) -> Result<Response, Refusal> {
    let page = blocking(move || {
        let report = match (query.job, &query.path) {
            (Some(id), None) => Report::from_json(&of_job(&shared, id)?)
                .map_err(|_| Refusal::file("this job made no report of a conversion"))?,
            (None, Some(path)) => of_file(path)?,
            _ => {
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "query", "name a job or a path"));
            }
        };
        let other = query.other.as_deref().map(of_file).transpose()?;
        let reports: Vec<Report> = std::iter::once(report).chain(other).collect();
        report_page(&reports).map_err(|error| Refusal::bug(error.to_string()))
    })
    .await?;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        // It is for saving, not for looking at under this server's name.
        (header::CONTENT_DISPOSITION, "attachment; filename=\"report.html\""),
    ];
    Ok((headers, page).into_response())
}

fn of_job(shared: &Shared, id: u64) -> Result<String, Refusal> {
    let report = shared.state.report(id);
    report.ok_or_else(|| Refusal::not_found(format!("job {id} has no report")))
}

/// A report that lies anywhere. What is no report is not passed on.
fn of_file(path: &Path) -> Result<Report, Refusal> {
    require_there("path", path)?;
    let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length > MOST_BYTES {
        let message = format!("{}: is larger than a report of 16 MiB", path.display());
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
    }
    let text = read_text(path).map_err(ConvertError::from)?;
    Report::from_json(&text)
        .map_err(|error| Refusal::file(format!("{}: is no report: {error}", path.display())))
}
