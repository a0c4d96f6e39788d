//! One scale for a whole model, which no program that reads FP8 weights looks for.

use roundwise_tensor_file::{Checkpoint, Dtype};
use serde_json::Value;

/// Words beside `scale` in the names of such scales. Others are parameters, such as CLIP's `logit_scale`.
const OF_CODES: [&str; 5] = ["fp8", "global", "model", "quant", "weight"];

/// Finds a tensor beside the modules that may scale all weights.
pub(crate) fn scale_of_model(file: &Checkpoint) -> Option<&str> {
    let dtypes = [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F8E8M0];
    let tensors = file.tensors().iter().filter(|tensor| dtypes.contains(&tensor.dtype));
    let mut names = tensors.map(|tensor| tensor.name.as_str());
    names.find(|name| !name.contains('.') && is_scale(name))
}

/// Finds the key of an entry of the header that may scale all weights: a number, or one in a table about codes.
pub(crate) fn header_scale_of_model(file: &Checkpoint) -> Option<&str> {
    let is_number = |text: &str| text.trim().parse::<f64>().is_ok();
    let holds_scale = |text: &str| {
        let table = serde_json::from_str::<serde_json::Map<String, Value>>(text);
        table.is_ok_and(|table| {
            table
                .iter()
                .any(|(key, value)| value.is_number() && key.to_ascii_lowercase().contains("scale"))
        })
    };
    let is_of_codes = |key: &str| OF_CODES.iter().any(|word| key.contains(word));
    let mut entries = file.metadata().iter();
    let found = entries.find(|(key, value)| {
        is_scale(key) && is_number(value)
            || is_of_codes(&key.to_ascii_lowercase()) && holds_scale(value)
    });
    found.map(|(key, _)| key.as_str())
}

fn is_scale(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_bare = ["scale", "scales"].contains(&name.as_str());
    is_bare || name.contains("scale") && OF_CODES.iter().any(|word| name.contains(word))
}
