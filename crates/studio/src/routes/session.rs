use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Asked, Refusal};
use crate::studio::{Shared, locked};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Once {
    once: String,
}

/// The key, for a code that a browser was opened with.
pub(crate) async fn redeem(
    State(shared): State<Arc<Shared>>,
    Asked(Once { once }): Asked<Once>,
) -> Result<Json<Value>, Refusal> {
    let start = locked(&shared.codes).redeem(&once).ok_or_else(|| {
        Refusal::new(StatusCode::UNAUTHORIZED, "key", "this link was used already, or is too old")
            .with_help("open the address that the terminal shows")
    })?;
    let version = env!("CARGO_PKG_VERSION");
    Ok(Json(json!({ "key": shared.key.text(), "version": version, "start": start })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Opening {
    start: Option<PathBuf>,
    opens: bool,
}

/// Opens a page, for a server that was started beside this one.
pub(crate) async fn open(
    State(shared): State<Arc<Shared>>,
    Asked(Opening { start, opens }): Asked<Opening>,
) -> Json<Value> {
    if opens {
        shared.open_page(start.map(|path| path.to_string_lossy().into_owned()));
    }
    Json(json!({ "opened": opens }))
}
