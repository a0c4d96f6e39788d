use std::path::PathBuf;

use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use crate::answer::{self, Refusal};
use crate::call::Call;
use crate::studio::locked;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Once {
    once: String,
}

/// The key, for a code that a browser was opened with.
pub(crate) fn redeem(call: &Call) -> Result<Response, Refusal> {
    let Once { once } = call.body()?;
    let shared = &call.shared;
    let start = locked(&shared.codes).redeem(&once).ok_or_else(|| {
        Refusal::new(StatusCode::UNAUTHORIZED, "key", "this link was used already, or is too old")
            .with_help("open the address that the terminal shows")
    })?;
    let version = env!("CARGO_PKG_VERSION");
    answer::json(&json!({ "key": shared.key.text(), "version": version, "start": start }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Opening {
    start: Option<PathBuf>,
    opens: bool,
}

/// Opens a page, for a server that was started beside this one.
pub(crate) fn open(call: &Call) -> Result<Response, Refusal> {
    let Opening { start, opens } = call.body()?;
    if opens {
        call.shared.open_page(start.map(|path| path.to_string_lossy().into_owned()));
    }
    answer::json(&json!({ "opened": opens }))
}
