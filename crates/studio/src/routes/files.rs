//! Routes that describe files and their defects.

use std::path::{Path, PathBuf};

use axum::response::Response;
use roundwise_convert::inspect::{Diagnosis, Inspection, diagnose};
use roundwise_convert::stats::Statistics;
use roundwise_convert::tensor_file::Overwrite;
use roundwise_convert::{ConvertError, install_nodes};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::{Refusal, json};
use crate::call::{Call, Query};
use crate::order::absolute;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileRequest {
    path: PathBuf,
}

/// # Errors
/// Where there is nothing at the path.
pub(super) fn require_there(field: &str, path: &Path) -> Result<(), Refusal> {
    absolute(field, path)?;
    match path.try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => {
            Err(Refusal::not_found(format!("{}: there is no such file", path.display())).at(field))
        }
        Err(error) => Err(Refusal::file(format!("{}: {error}", path.display())).at(field)),
    }
}

#[derive(Serialize)]
struct Looked {
    #[serde(flatten)]
    inspection: Inspection,
    diagnosis: Diagnosis,
}

pub(crate) fn inspect(call: &Call) -> Result<Response, Refusal> {
    let FileRequest { path } = call.body()?;
    require_there("path", &path)?;
    let inspection = roundwise_convert::inspect::inspect(&path)?;
    let diagnosis = diagnose(&path)?;
    // A list that cannot be written is no reason to keep an answer back.
    let _ = call.shared.state.add_recent(&path);
    json(&Looked { inspection, diagnosis })
}

pub(crate) fn statistics(call: &Call) -> Result<Response, Refusal> {
    let path = Query::required("path", call.query(&["path"])?.path("path"))?;
    require_there("path", &path)?;
    let statistics = Statistics::open(&path).map_err(ConvertError::from)?;
    let modules = statistics.layers().iter().map(|layer| statistics.summary(&layer.module));
    let layers = modules.collect::<Result<Vec<_>, _>>().map_err(ConvertError::from)?;
    let few = layers.iter().filter(|layer| layer.has_few_samples());
    let few: Vec<&str> = few.map(|layer| layer.shape.module.as_str()).collect();
    json(&json!({
        "path": path.to_string_lossy(),
        "tool": statistics.tool(),
        "fingerprint": statistics.fingerprint(),
        "few": few,
        "layers": layers,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CollectorPlace {
    folder: PathBuf,
    #[serde(default)]
    replace: bool,
}

/// Writes the nodes that collect statistics and convert to where ComfyUI looks for nodes.
pub(crate) fn collector(call: &Call) -> Result<Response, Refusal> {
    let CollectorPlace { folder, replace } = call.body()?;
    absolute("folder", &folder)?;
    let overwrite = if replace { Overwrite::Replace } else { Overwrite::Refuse };
    let path = install_nodes(&folder, overwrite).map_err(|error| match error {
        ConvertError::OutputExists { path } => {
            let message = format!("{}: exists already, with another content", path.display());
            Refusal::conflict("exists", message).at("folder")
        }
        error => Refusal::from(error).at("folder"),
    })?;
    json(&json!({ "path": path.to_string_lossy() }))
}
