use std::path::PathBuf;
use std::sync::Mutex;

use axum::response::Response;
use roundwise_convert::inspect::look_at_layer;
use serde::Deserialize;

use super::files::require_there;
use crate::answer::{Refusal, json};
use crate::call::Call;
use crate::studio::locked;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LayerRequest {
    original: PathBuf,
    converted: PathBuf,
    tensor: String,
}

/// Compares the numbers of one layer before and after.
pub(crate) fn layer(call: &Call) -> Result<Response, Refusal> {
    let LayerRequest { original, converted, tensor } = call.body()?;
    require_there("original", &original)?;
    require_there("converted", &converted)?;
    // Both weights are held whole: clicks that come faster than answers must not add up.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = locked(&ONE_AT_A_TIME);
    json(&look_at_layer(&original, &converted, &tensor)?)
}
