//! Names of the tensors of a layer `x`: `x.weight`, `x.bias` and `x.input_scale`.

use roundwise_tensor_file::{Checkpoint, TensorHeader};

/// Name of the layer of a language model that scores tokens.
pub const OUTPUT_HEAD: &str = "lm_head";

const WEIGHT_ENDING: &str = ".weight";
/// Of compressed-tensors, where a byte or a word holds several codes.
const PACKED_ENDING: &str = ".weight_packed";
const BIAS_ENDING: &str = ".bias";
const INPUT_SCALE_ENDING: &str = ".input_scale";

/// What stands behind the name of a layer in that of its activation scale in files of the time before markers.
pub(crate) const LEGACY_INPUT_SCALE: &str = "scale_input";

/// Returns what follows `x.` in the names of all tensors of a layer `x`, in their order.
pub(crate) fn parts_of<'a>(file: &'a Checkpoint, layer: &str) -> impl Iterator<Item = &'a str> {
    let inside = format!("{layer}.");
    // Tensors are sorted by name, so those of a layer lie together.
    let first = file.tensors().partition_point(|tensor| tensor.name < inside);
    file.tensors()[first..].iter().map_while(move |tensor| tensor.name.strip_prefix(&inside))
}

/// Returns the layer whose weight has this name, packed or not; `None` for any other name.
pub fn layer_of_weight(name: &str) -> Option<&str> {
    name.strip_suffix(WEIGHT_ENDING).or_else(|| name.strip_suffix(PACKED_ENDING))
}

/// Returns the name without `.weight` or `.weight_packed`, where it ends so.
pub fn layer_of(name: &str) -> &str {
    layer_of_weight(name).unwrap_or(name)
}

/// Returns the name of a layer's weight.
pub fn weight_of(layer: &str) -> String {
    format!("{layer}{WEIGHT_ENDING}")
}

/// Returns the name of a layer's weight where compressed-tensors has packed it.
pub(crate) fn packed_weight_of(layer: &str) -> String {
    format!("{layer}{PACKED_ENDING}")
}

/// Finds a layer's weight, packed or not.
pub(crate) fn find_weight<'a>(file: &'a Checkpoint, layer: &str) -> Option<&'a TensorHeader> {
    // The plain name first. A layer with both is a defect, which `StoredLayers::find` reports.
    file.get(&weight_of(layer)).or_else(|| file.get(&packed_weight_of(layer)))
}

/// Returns the name of a tensor of a bank of experts of gpt-oss, whose names are those of parameters and not of modules.
pub(crate) fn part_of_bank(bank: &str, part: &str) -> String {
    format!("{bank}_{part}")
}

/// Returns the layer whose bias has this name; `None` for any other name.
pub fn layer_of_bias(name: &str) -> Option<&str> {
    name.strip_suffix(BIAS_ENDING)
}

/// Returns the name of a layer's bias.
pub fn bias_of(layer: &str) -> String {
    format!("{layer}{BIAS_ENDING}")
}

/// Returns the layer whose activation scale has this name; `None` for any other name.
pub fn layer_of_input_scale(name: &str) -> Option<&str> {
    name.strip_suffix(INPUT_SCALE_ENDING)
}

/// Returns the name of the activation scale of a layer.
pub fn input_scale_of(layer: &str) -> String {
    format!("{layer}{INPUT_SCALE_ENDING}")
}

/// Returns the name of the activation scale of a layer in files of the time before markers.
pub fn legacy_input_scale_of(layer: &str) -> String {
    format!("{layer}.{LEGACY_INPUT_SCALE}")
}

/// Returns the layer of a tensor that is called as activation scales were before there were markers.
pub fn layer_of_legacy_input_scale(name: &str) -> Option<&str> {
    name.strip_suffix(LEGACY_INPUT_SCALE)?.strip_suffix('.')
}
