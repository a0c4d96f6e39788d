//! The tool behaves: what it is asked for comes out, in text, files and exit codes.

mod answers;
mod bad_input;
mod budget;
mod comfy;
mod coming_from;
mod containers;
mod convert;
mod crash;
mod dequantize;
mod documents;
mod edit;
mod events;
mod folders;
#[cfg(any(feature = "cuda", feature = "vulkan"))]
mod gpu;
mod in_codes;
mod memory;
mod methods;
mod migrate;
mod models;
mod names;
mod parts;
mod places;
mod recipe;
mod repair;
mod rewriting;
mod servers;
mod statistics;
mod stopping;
#[cfg(feature = "studio")]
mod studio;
mod together;
mod tool;
mod verify;

use serde_json::Value;

use self::tool::{Folder, plain_model};

fn plain() -> Folder {
    Folder::with("m.safetensors", &plain_model())
}

/// Returns the entry of a tensor in a plan or report.
#[track_caller]
fn entry<'a>(json: &'a Value, name: &str) -> &'a Value {
    let list = json.get("tensors").or(json.get("layers")).unwrap().as_array().unwrap();
    list.iter().find(|entry| entry["name"] == name).unwrap_or_else(|| panic!("no `{name}`: {json}"))
}

/// `decision: reason` of a tensor under these flags.
#[track_caller]
fn decided(folder: &Folder, name: &str, flags: &[&str]) -> String {
    let arguments = [&["plan", "m.safetensors", "--json"], flags].concat();
    let plan = folder.json(&arguments);
    let text = |key| entry(&plan, name)[key].as_str().unwrap_or_default().to_owned();
    format!("{}{}: {}", text("decision"), text("scheme"), text("reason"))
}
