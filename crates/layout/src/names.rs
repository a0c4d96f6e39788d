//! What the tensors of a layer `x` are called: `x.weight` and `x.bias`.

use roundwise_tensor_file::{Checkpoint, TensorHeader};

const WEIGHT_ENDING: &str = ".weight";
/// Of compressed-tensors, where a byte or a word holds several codes.
const PACKED_ENDING: &str = ".weight_packed";
const BIAS_ENDING: &str = ".bias";

/// The layer whose weight has this name, packed or not; `None` for a tensor that is called
/// otherwise.
pub fn layer_of_weight(name: &str) -> Option<&str> {
    name.strip_suffix(WEIGHT_ENDING).or_else(|| name.strip_suffix(PACKED_ENDING))
}

/// The name without `.weight` or `.weight_packed`, where it ends so.
pub fn layer_of(name: &str) -> &str {
    layer_of_weight(name).unwrap_or(name)
}

/// The name of a layer's weight.
pub fn weight_of(layer: &str) -> String {
    format!("{layer}{WEIGHT_ENDING}")
}

/// The name of a layer's weight where compressed-tensors has packed it.
pub(crate) fn packed_weight_of(layer: &str) -> String {
    format!("{layer}{PACKED_ENDING}")
}

/// A layer's weight, whatever it is called.
pub(crate) fn find_weight<'a>(file: &'a Checkpoint, layer: &str) -> Option<&'a TensorHeader> {
    file.get(&weight_of(layer)).or_else(|| file.get(&packed_weight_of(layer)))
}

/// The layer whose bias has this name; `None` for a tensor that is called otherwise.
pub fn layer_of_bias(name: &str) -> Option<&str> {
    name.strip_suffix(BIAS_ENDING)
}

/// The name of a layer's bias.
pub fn bias_of(layer: &str) -> String {
    format!("{layer}{BIAS_ENDING}")
}
