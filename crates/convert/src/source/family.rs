//! The family that a configuration names, held against the names of the layers beside it.

use crate::model::{Preset, Shapes};

/// Beginnings of the names of layers of a model that writes text, alone or beside a model that sees: all `text_starts` of
/// the presets, those of families without, and none before them.
pub(crate) const STARTS_OF_LAYERS: [&str; 6] = [
    "model.layers.",
    "layers.",
    "language_model.model.layers.",
    "model.language_model.layers.",
    "language_model.layers.",
    "backbone.layers.",
];

/// Parts of the names of experts, and of what chooses among them.
const OF_EXPERTS: [&str; 2] = ["experts", "block_sparse_moe"];

/// Returns where a model has what its family has not, or lacks what tells it apart; `None` where neither is so.
///
/// - `families`: those of the model and of its part that writes text
pub(crate) fn differing_family(
    preset: &Preset,
    families: &[&str],
    shapes: &Shapes<'_>,
) -> Option<String> {
    let layers: Vec<(&str, &str)> =
        shapes.names().filter_map(|name| Some((name, inside_layer(name)?))).collect();
    // Where the names say nothing, another check does.
    if layers.is_empty() {
        return None;
    }
    let family = families.last().unwrap_or(&"");
    let is_of = |part: &str, module: &str| {
        part.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let marks = preset.family.marks.iter().filter(|rule| rule.is_of(families));
    let own: Vec<&String> = marks.flat_map(|rule| &rule.names).collect();
    if let Some(mark) = own.iter().find(|mark| !layers.iter().any(|(_, part)| is_of(part, mark))) {
        return Some(format!(
            "some layer of a `{family}` has a `{mark}`, and none of the file has"
        ));
    }
    let with_experts = &preset.family.with_experts;
    if with_experts.is_empty() {
        return None;
    }
    let has_experts = families.iter().any(|family| with_experts.iter().any(|it| it == family));
    let is_of_experts =
        |part: &str| OF_EXPERTS.iter().any(|it| part.split('.').any(|at| at == *it));
    let expert = layers.iter().find(|(_, part)| is_of_experts(part));
    match (has_experts, expert) {
        (true, None) => {
            Some(format!("layers of a `{family}` have experts, and those of the file have none"))
        }
        (false, Some((name, _))) => {
            Some(format!("layers of a `{family}` have no experts, and the file has `{name}`"))
        }
        (true, Some(_)) | (false, None) => None,
    }
}

/// Returns what stands behind the number of a layer in the name of a tensor.
pub(crate) fn inside_layer(name: &str) -> Option<&str> {
    let behind = STARTS_OF_LAYERS.iter().find_map(|start| name.strip_prefix(start))?;
    Some(behind.split_once('.')?.1)
}
