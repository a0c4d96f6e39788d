//! Rewrites the files beside a model that describe its codes, once the codes have changed.

use roundwise_layout::Layout;
use roundwise_tensor_file::{Dtype, parse_python_json, print_python_json};
use serde_json::Value;

use crate::model::Dialect;
use crate::plan::{Note, Plan};
use crate::recipe::Purpose;
use crate::source::model_config::{
    CACHE_SCHEME, CODE_ENTRIES, MODEL_CONFIG, QUANTIZATION_CONFIG, cache_scheme,
};

/// A file beside the model that describes codes alone.
const CODES_FILE: &str = "hf_quant_config.json";

/// Returns whether a file beside the input no longer holds for the output.
pub(crate) fn is_outdated(plan: &Plan, name: &str) -> bool {
    // diffusers' configuration is of a model under diffusers' names.
    let is_of_diffusers =
        |note: &Note| matches!(note, Note::Translated { from: Dialect::Diffusers, .. });
    let is_theirs = name == MODEL_CONFIG && plan.notes.iter().any(is_of_diffusers);
    // An edit leaves codes as they are, and what describes them.
    is_theirs || (plan.purpose != Purpose::Edit && name == CODES_FILE)
}

/// Returns a configuration without entries about codes of the input, and with the dtype of the
/// output where all codes become plain numbers. Returns `None` where nothing changes, or the text
/// is not JSON.
pub(crate) fn changed_config(plan: &Plan, config: &[u8]) -> Option<String> {
    // Read as a free object, not as a type of ours: entries that we know nothing of stay, in their
    // order.
    let mut changed: Value = parse_python_json(str::from_utf8(config).ok()?).ok()?;
    let before = changed.clone();
    match plan.purpose {
        Purpose::Quantize | Purpose::Migrate | Purpose::Repair => {
            remove_codes(&mut changed);
            if let (Some(mut told), Some(entries)) = (plan.server_config(), changed.as_object_mut())
            {
                let cache = cache_scheme(&before).filter(|_| plan.keeps_cache_scales());
                if let (Layout::CompressedTensors, Some(cache)) = (plan.layout, cache) {
                    told.quantization_config[CACHE_SCHEME] = cache.clone();
                }
                entries.insert(QUANTIZATION_CONFIG.to_owned(), told.quantization_config);
            }
        }
        Purpose::Decode(dtype) => {
            remove_codes(&mut changed);
            set_dtype(&mut changed, dtype.dtype());
        }
        Purpose::Edit => {}
    }
    (changed != before).then(|| print_python_json(&changed))
}

/// Removes entries about codes, also from nested configurations: whole models keep one for each of
/// their parts.
fn remove_codes(config: &mut Value) {
    let Some(entries) = config.as_object_mut() else { return };
    for entry in CODE_ENTRIES {
        // `remove` would put the last entry into the gap, and people read this file.
        entries.shift_remove(entry);
    }
    entries.values_mut().for_each(remove_codes);
}

fn set_dtype(config: &mut Value, dtype: Dtype) {
    let name = match dtype {
        Dtype::BF16 => "bfloat16",
        Dtype::F16 => "float16",
        _ => "float32",
    };
    let Some(entries) = config.as_object_mut() else { return };
    for (key, value) in entries {
        // Newer configurations say `dtype` for `torch_dtype`.
        match key.as_str() {
            "dtype" | "torch_dtype" if value.is_string() => *value = name.into(),
            _ => set_dtype(value, dtype),
        }
    }
}
