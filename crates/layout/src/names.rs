//! What the tensors of a layer `x` are called: `x.weight` and `x.bias`.

const WEIGHT_ENDING: &str = ".weight";
const BIAS_ENDING: &str = ".bias";

/// The layer whose weight has this name; `None` for a tensor that is called otherwise.
pub fn layer_of_weight(name: &str) -> Option<&str> {
    name.strip_suffix(WEIGHT_ENDING)
}

/// The name without `.weight`, where it ends so.
pub fn layer_of(name: &str) -> &str {
    layer_of_weight(name).unwrap_or(name)
}

/// The name of a layer's weight.
pub fn weight_of(layer: &str) -> String {
    format!("{layer}{WEIGHT_ENDING}")
}

/// The layer whose bias has this name; `None` for a tensor that is called otherwise.
pub fn layer_of_bias(name: &str) -> Option<&str> {
    name.strip_suffix(BIAS_ENDING)
}

/// The name of a layer's bias.
pub fn bias_of(layer: &str) -> String {
    format!("{layer}{BIAS_ENDING}")
}
