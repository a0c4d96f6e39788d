//! What the weight of a layer `x` is called: `x.weight`.

const WEIGHT_ENDING: &str = ".weight";

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
