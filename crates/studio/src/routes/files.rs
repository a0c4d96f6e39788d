//! Routes that describe files and their defects.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::State;
use roundwise_convert::ConvertError;
use roundwise_convert::inspect::{Diagnosis, Inspection, diagnose};
use roundwise_convert::stats::{COLLECTOR, Statistics};
use roundwise_convert::tensor_file::{Overwrite, read_text, write_text_atomically};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::{Asked, JsonText, Refusal, Searched, blocking, json};
use crate::order::absolute;
use crate::studio::Shared;

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

pub(crate) async fn inspect(
    State(shared): State<Arc<Shared>>,
    Asked(FileRequest { path }): Asked<FileRequest>,
) -> Result<JsonText, Refusal> {
    blocking(move || {
        require_there("path", &path)?;
        let inspection = roundwise_convert::inspect::inspect(&path)?;
        let diagnosis = diagnose(&path)?;
        let _ = shared.state.add_recent(&path);
        json(&Looked { inspection, diagnosis })
    })
    .await
}

pub(crate) async fn statistics(
    Searched(FileRequest { path }): Searched<FileRequest>,
) -> Result<JsonText, Refusal> {
    blocking(move || {
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
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CollectorPlace {
    folder: PathBuf,
    #[serde(default)]
    replace: bool,
}

/// Writes the program that collects statistics to where ComfyUI looks for nodes.
pub(crate) async fn collector(
    Asked(CollectorPlace { folder, replace }): Asked<CollectorPlace>,
) -> Result<JsonText, Refusal> {
    blocking(move || {
        absolute("folder", &folder)?;
        let path = nodes_folder(&folder)?.join("roundwise_collect.py");
        if read_text(&path).is_ok_and(|text| text == COLLECTOR) {
            return json(&json!({ "path": path.to_string_lossy() }));
        }
        if path.exists() && !replace {
            let message = format!("{}: exists already, with another content", path.display());
            return Err(Refusal::conflict("exists", message).at("folder"));
        }
        let overwrite = if replace { Overwrite::Replace } else { Overwrite::Refuse };
        write_text_atomically(&path, COLLECTOR, overwrite)
            .map_err(|error| Refusal::from(ConvertError::from(error)).at("folder"))?;
        json(&json!({ "path": path.to_string_lossy() }))
    })
    .await
}

/// `custom_nodes` of a ComfyUI folder, or the folder itself where it is called so.
fn nodes_folder(folder: &Path) -> Result<PathBuf, Refusal> {
    let is_nodes = folder.file_name().is_some_and(|name| name == "custom_nodes");
    let nodes = if is_nodes { folder.to_owned() } else { folder.join("custom_nodes") };
    match nodes.is_dir() {
        true => Ok(nodes),
        false => {
            let message = format!("{}: has no folder `custom_nodes`", folder.display());
            Err(Refusal::file(message).at("folder").with_help("Choose the folder of ComfyUI."))
        }
    }
}
