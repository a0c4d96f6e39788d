//! Help texts of flags that list names.

use roundwise_layout::Layout;
use roundwise_rounding::METHODS;
use roundwise_scheme::{CATALOG, ScaleRule};

use crate::model::{FileKind, Heuristic};
use crate::recipe::names::Names;
use crate::recipe::program::Program;

/// Returns a help text: `What it is: one, another, a third`.
pub fn choices(what: &str, names: impl IntoIterator<Item = &'static str>) -> String {
    let names: Vec<_> = names.into_iter().collect();
    format!("{what}: {}", names.join(", "))
}

/// Returns the help text of a program that opens a file.
pub fn programs() -> String {
    choices("The program that is to open it", Program::NAMES.map(|(name, _)| name))
}

/// Returns the help text of a layout.
pub fn layout() -> String {
    choices("How the file is laid out", Layout::NAMES.map(|(name, _)| name))
}

/// Returns the help text of a treatment of names.
pub fn names() -> String {
    let names = Names::NAMES.map(|(name, _)| name);
    choices("What becomes of names that are not the model's own, such as diffusers'", names)
}

pub(super) fn program() -> String {
    programs() + " [default: vllm for the folder of a language model, else comfyui]"
}

pub(super) fn layout_of_recipe() -> String {
    layout() + " [default: what serves program and scheme best]"
}

pub(super) fn names_of_models() -> String {
    names() + " [default: translate, but llama.cpp's where no program is known to take the codes]"
}

/// The help text of schemes in a list that names the usual ones.
pub(super) const SCHEME_IN_SHORT: &str = "\
    How weights are stored, such as fp8, int8-row, nvfp4 or int4-convrot; `roundwise schemes` lists \
    all [default: fp8, for servers fp8-row]";

pub(super) fn scheme() -> String {
    choices("How weights are stored", CATALOG.iter().map(|entry| entry.name))
        + " [default: fp8, for servers fp8-row]"
}

pub(super) fn inputs() -> String {
    "For servers, the scales of layers' inputs: dynamic, found in every batch, or static, stored from \
     statistics; nvfp4 takes inputs as codes with static alone [default: dynamic]"
        .to_owned()
}

pub(super) fn scale_rule() -> String {
    choices("How scales are chosen", ScaleRule::NAMES.map(|(name, _)| name))
        + " [default: absmax, but mse for 4-bit codes with statistics]"
}

pub(super) fn method() -> String {
    let names = METHODS.iter().map(|method| method.name);
    choices("How codes are chosen", names) + " [default: nearest; with statistics activations]"
}

pub(super) fn kind() -> String {
    let kinds = FileKind::NAMES.map(|(name, _)| name);
    choices("Take the file for this, whatever it looks like, and do not refuse it", kinds)
}

pub(super) fn heuristic() -> String {
    choices("Size rules of the published converters", Heuristic::NAMES.map(|(name, _)| name))
}
