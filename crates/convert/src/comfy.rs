//! The folder of nodes for ComfyUI.

use std::path::{Path, PathBuf};

use roundwise_stats::COLLECTOR;
use roundwise_tensor_file::{Overwrite, create_folder, read_text, write_text_atomically};

use crate::error::ConvertError;

/// Name of the folder in `custom_nodes`.
pub const NODES_FOLDER: &str = "comfyui-roundwise";

/// Its files. The collector is the one that is also a program of its own.
const FILES: [(&str, &str); 4] = [
    ("__init__.py", include_str!("../comfy/__init__.py")),
    ("convert_file.py", include_str!("../comfy/convert_file.py")),
    ("report.py", include_str!("../comfy/report.py")),
    ("roundwise_collect.py", COLLECTOR),
];

/// Writes the nodes to where ComfyUI looks for them, and returns their folder. Files that are there
/// already with this content stay untouched.
///
/// - `comfyui`: folder of ComfyUI, or its `custom_nodes`
///
/// # Errors
/// [`ConvertError::Misfit`] for a folder without `custom_nodes`; [`ConvertError::OutputExists`] for a
/// file of another content, unless it may be replaced.
pub fn install_nodes(comfyui: &Path, overwrite: Overwrite) -> Result<PathBuf, ConvertError> {
    let folder = nodes_folder(comfyui)?.join(NODES_FOLDER);
    let is_there = |name: &str, text: &str| {
        let path = folder.join(name);
        path.exists() && read_text(&path).is_ok_and(|found| found == text)
    };
    let missing: Vec<_> = FILES.iter().filter(|(name, text)| !is_there(name, text)).collect();
    // Everything is looked at before anything is written: nodes of two versions would not fit.
    let other = missing.iter().map(|(name, _)| folder.join(name)).find(|path| path.exists());
    match other {
        Some(path) if overwrite == Overwrite::Refuse => {
            return Err(ConvertError::OutputExists { path });
        }
        _ => {}
    }
    create_folder(&folder)?;
    for (name, text) in missing {
        write_text_atomically(&folder.join(name), text, overwrite)?;
    }
    Ok(folder)
}

/// Returns `custom_nodes` of a ComfyUI folder, or the folder itself where it is called so.
fn nodes_folder(folder: &Path) -> Result<PathBuf, ConvertError> {
    let is_nodes = folder.file_name().is_some_and(|name| name == "custom_nodes");
    let nodes = if is_nodes { folder.to_owned() } else { folder.join("custom_nodes") };
    match nodes.is_dir() {
        true => Ok(nodes),
        false => Err(ConvertError::misfit(
            folder,
            "has no folder `custom_nodes`\n  the folder of ComfyUI has one",
        )),
    }
}
