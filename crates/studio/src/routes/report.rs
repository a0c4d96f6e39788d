use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use roundwise_convert::tensor_file::read_text;
use roundwise_convert::{ConvertError, Report};
use serde::Deserialize;

use super::files::require_there;
use crate::answer::{JsonText, Refusal, Searched, blocking, json};
use crate::saved::report_page;
use crate::studio::Shared;

/// Most bytes of a report that is read from a file.
const MOST_BYTES: u64 = 16 << 20;

/// A report: of a job, or of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportQuery {
    job: Option<u64>,
    path: Option<PathBuf>,
}

/// A report, and one to compare it with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    job: Option<u64>,
    path: Option<PathBuf>,
    /// A path, or `job:` and a number.
    other: Option<String>,
}

pub(crate) async fn report(
    State(shared): State<Arc<Shared>>,
    Searched(ReportQuery { job, path }): Searched<ReportQuery>,
) -> Result<JsonText, Refusal> {
    blocking(move || match (job, &path) {
        (Some(id), None) => of_job(&shared, id).map(JsonText),
        (None, Some(path)) => json(&of_file(path)?),
        _ => Err(neither_or_both()),
    })
    .await
}

/// The report as a page of its own.
pub(crate) async fn page(
    State(shared): State<Arc<Shared>>,
    Searched(PageQuery { job, path, other }): Searched<PageQuery>,
) -> Result<Response, Refusal> {
    let page = blocking(move || {
        let report = match (job, &path) {
            (Some(id), None) => conversion_of_job(&shared, id)?,
            (None, Some(path)) => of_file(path)?,
            _ => return Err(neither_or_both()),
        };
        let other = other.map(|other| match other.strip_prefix("job:") {
            Some(id) => conversion_of_job(&shared, id.parse().unwrap_or(0)),
            None => of_file(Path::new(&other)),
        });
        let reports: Vec<Report> = std::iter::once(report).chain(other.transpose()?).collect();
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

fn neither_or_both() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "query", "name a job or a path")
}

fn of_job(shared: &Shared, id: u64) -> Result<String, Refusal> {
    let report = shared.state.report(id);
    report.ok_or_else(|| Refusal::not_found(format!("job {id} has no report")))
}

fn conversion_of_job(shared: &Shared, id: u64) -> Result<Report, Refusal> {
    let report = Report::from_json(&of_job(shared, id)?);
    report.map_err(|_| Refusal::file(format!("job {id} made no report of a conversion")))
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
        .map_err(|_| Refusal::file(format!("{}: is no report of a conversion", path.display())))
}
