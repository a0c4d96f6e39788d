use std::collections::BTreeSet;

use roundwise_layout::{QUANTIZATION_METADATA, StoredLayers};

use crate::verify::Finding;

/// Markers that only one of header and tensors has, where the file has both kinds: some versions
/// of ComfyUI read the one, some the other.
pub(crate) fn one_sided_markers(stored: &StoredLayers) -> Vec<Finding> {
    let in_header = &stored.header_layers;
    let in_tensors: BTreeSet<String> = stored
        .side_tensors
        .iter()
        .filter(|(name, _)| name.ends_with(".comfy_quant"))
        .map(|(_, layer)| layer.clone())
        .collect();
    if in_tensors.is_empty() || in_header.is_empty() {
        return vec![];
    }
    let finding = |layer: &String, problem: String| Finding { tensor: layer.clone(), problem };
    let only_tensor = in_tensors.difference(in_header).map(|layer| {
        finding(layer, format!("has a marker tensor, but no entry in `{QUANTIZATION_METADATA}`"))
    });
    let only_header = in_header.difference(&in_tensors).map(|layer| {
        finding(layer, format!("has an entry in `{QUANTIZATION_METADATA}`, but no marker tensor"))
    });
    only_tensor.chain(only_header).collect()
}
