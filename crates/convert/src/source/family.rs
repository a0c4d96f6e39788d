//! The family that a configuration names, held against the names of the layers beside it.

use serde_json::Value;

use crate::model::preset::names_one_of;
use crate::model::{Preset, Shapes};
use crate::source::text_part::{EXPERTS, setting};

/// Beginnings of the names of layers that write text: behind each of `text_starts` of the presets, and in models that give
/// vectors or are of families for which there are none.
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
    config: &Value,
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
    let has_experts = names_one_of(with_experts, families);
    let is_of_experts =
        |part: &str| OF_EXPERTS.iter().any(|it| part.split('.').any(|at| at == *it));
    let expert = layers.iter().find(|(_, part)| is_of_experts(part));
    match (has_experts, expert) {
        (true, None) if counts_experts(config) => {
            Some(format!("layers of a `{family}` have experts, and those of the file have none"))
        }
        (false, Some((name, _))) => {
            Some(format!("layers of a `{family}` have no experts, and the file has `{name}`"))
        }
        (true, _) | (false, None) => None,
    }
}

/// Returns whether a model of a family with experts has any by its configuration; one that does not say it has as many as
/// is usual. Some have none in any layer, as Llama Guard 4.
fn counts_experts(config: &Value) -> bool {
    let number = |key: &str| setting(config, key)?.as_u64();
    let layers = setting(config, "moe_layers").and_then(Value::as_array);
    let has_no_layer =
        layers.is_some_and(Vec::is_empty) || number("interleave_moe_layer_step") == Some(0);
    let count = EXPERTS.into_iter().find_map(number);
    count.is_none_or(|count| count > 0) && !has_no_layer
}

/// Returns what stands behind the number of a layer in the name of a tensor.
pub(crate) fn inside_layer(name: &str) -> Option<&str> {
    let behind = STARTS_OF_LAYERS.iter().find_map(|start| name.strip_prefix(start))?;
    Some(behind.split_once('.')?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_found_behind_every_beginning_that_presets_name() {
        let starts = Preset::all().iter().flat_map(|preset| &preset.family.text_starts);
        let starts: Vec<&String> = starts.flat_map(|rule| &rule.names).collect();
        assert!(!starts.is_empty());
        for start in starts {
            assert_eq!(inside_layer(&format!("{start}layers.3.mlp.up")), Some("mlp.up"), "{start}");
        }
    }
}
