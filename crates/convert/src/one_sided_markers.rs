use std::collections::BTreeSet;

use roundwise_layout::QUANTIZATION_METADATA;

use crate::Source;
use crate::verify::Finding;

/// Markers that only one of header and tensors has, where the file has both kinds: some versions
/// of ComfyUI read the one, some the other.
pub(crate) fn one_sided_markers(source: &Source) -> Vec<Finding> {
    let in_tensors: BTreeSet<&str> = source
        .stored
        .side_tensors
        .iter()
        .filter(|(name, _)| name.ends_with(".comfy_quant"))
        .map(|(_, layer)| layer.as_str())
        .collect();
    let header = source.checkpoint.metadata().get(QUANTIZATION_METADATA);
    let parsed: Option<serde_json::Value> = header.and_then(|text| serde_json::from_str(text).ok());
    let Some(layers) = parsed.as_ref().and_then(|value| value.get("layers")?.as_object()) else {
        return vec![];
    };
    let in_header: BTreeSet<&str> = layers.keys().map(String::as_str).collect();
    if in_tensors.is_empty() || in_header.is_empty() {
        return vec![];
    }
    let finding = |layer: &&str, problem: String| Finding { tensor: (*layer).to_owned(), problem };
    let only_tensor = in_tensors.difference(&in_header).map(|layer| {
        finding(layer, format!("has a marker tensor, but no entry in `{QUANTIZATION_METADATA}`"))
    });
    let only_header = in_header.difference(&in_tensors).map(|layer| {
        finding(layer, format!("has an entry in `{QUANTIZATION_METADATA}`, but no marker tensor"))
    });
    only_tensor.chain(only_header).collect()
}
