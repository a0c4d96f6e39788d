use std::path::PathBuf;

use axum::http::StatusCode;
use serde::Deserialize;

use super::files::require_there;
use crate::answer::{Asked, JsonText, Refusal};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LayerRequest {
    original: PathBuf,
    converted: PathBuf,
    tensor: String,
}

/// What happened to the numbers of one layer.
pub(crate) async fn layer(Asked(request): Asked<LayerRequest>) -> Result<JsonText, Refusal> {
    require_there("original", &request.original)?;
    require_there("converted", &request.converted)?;
    let message = format!("`{}` cannot be looked at yet", request.tensor);
    Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, "not_yet", message))
}
