//! The routes; `docs/studio.md` lists their keys.

mod files;
mod folder;
mod jobs;
mod layer;
pub(crate) mod new_job;
mod plan;
mod report;
mod session;
mod vocabulary;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;

use crate::answer::Refusal;
use crate::call::{get, post};
use crate::door;
use crate::page;
use crate::studio::Shared;

pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(page::file))
        .route("/{*path}", get(page::file))
        .route("/api/session", post(session::redeem))
        .route("/api/open", post(session::open))
        .route("/api/vocabulary", get(vocabulary::vocabulary))
        .route("/api/folder", get(folder::folder))
        .route("/api/find", get(folder::find))
        .route("/api/inspect", post(files::inspect))
        .route("/api/statistics", get(files::statistics))
        .route("/api/collector", post(files::collector))
        .route("/api/plan", post(plan::plan))
        .route("/api/sizes", post(plan::sizes))
        .route("/api/explain", post(plan::explain))
        .route("/api/jobs", get(jobs::list).merge(post(new_job::add)))
        .route("/api/jobs/{id}", get(jobs::snapshot))
        .route("/api/jobs/{id}/{action}", post(jobs::act))
        .route("/api/queue", post(jobs::set_queue))
        .route("/api/events", get(jobs::events))
        .route("/api/report", get(report::report))
        .route("/api/report.html", get(report::page))
        .route("/api/layer", post(layer::layer))
        .fallback(nothing)
        .method_not_allowed_fallback(other_method)
        // Last, so that it guards every route, and the answers to wrong ones.
        .layer(from_fn_with_state(Arc::clone(shared), door::guard))
        .with_state(Arc::clone(shared))
}

async fn nothing() -> impl IntoResponse {
    Refusal::not_found("there is no such page")
}

async fn other_method() -> impl IntoResponse {
    door::wrong_method()
}
