use std::path::Path;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use roundwise_convert::tensor_file::read_text;
use roundwise_convert::{ConvertError, Report};

use super::files::require_there;
use crate::answer::{Refusal, json, json_text};
use crate::call::Call;
use crate::saved::report_page;
use crate::studio::Shared;

/// Most bytes of a report that is read from a file.
const MOST_BYTES: u64 = 16 << 20;

/// The report of a job, or of a file.
pub(crate) fn report(call: &Call) -> Result<Response, Refusal> {
    let query = call.query(&["job", "path"])?;
    match (query.number("job")?, query.path("path")) {
        (Some(id), None) => of_job(&call.shared, id).map(json_text),
        (None, Some(path)) => json(&of_file(&path)?),
        _ => Err(neither_or_both()),
    }
}

/// The report as a page of its own, and one that it is compared with: a path, or `job:` and a number.
pub(crate) fn page(call: &Call) -> Result<Response, Refusal> {
    let shared = &call.shared;
    let query = call.query(&["job", "path", "other"])?;
    let report = match (query.number("job")?, query.path("path")) {
        (Some(id), None) => conversion_of_job(shared, id)?,
        (None, Some(path)) => of_file(&path)?,
        _ => return Err(neither_or_both()),
    };
    let other = query.text("other").map(|other| match other.strip_prefix("job:") {
        Some(id) => conversion_of_job(shared, id.parse().unwrap_or(0)),
        None => of_file(Path::new(other)),
    });
    let reports: Vec<Report> = std::iter::once(report).chain(other.transpose()?).collect();
    let page = report_page(&reports).map_err(|error| Refusal::bug(error.to_string()))?;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        // For saving, not for showing: the server's policy refuses inline scripts, and the page is made of one.
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
