//! What stands beside codes and may change what they mean.

use std::collections::{BTreeMap, BTreeSet};

use roundwise_tensor_file::{Checkpoint, Dtype, TensorHeader};
use serde_json::Value;

use crate::names::{find_weight, layer_of_weight, parts_of};
use crate::read::foreign::file::ForeignFile;
use crate::read::foreign::parts::PLAIN;
use crate::read::scales::lost_scale;
use crate::read::spelling::Spelling;
use crate::read::stored_layers::StoredLayers;

/// Buffers of modules, which say nothing of their weight.
const BUFFERS: [&str; 4] = ["_extra_state", "num_batches_tracked", "running_mean", "running_var"];

/// What names of scales of inputs, outputs and caches hold: rounding of what a layer reads and writes, not
/// of its weight.
const OF_ACTIVATIONS: [&str; 7] =
    ["input", "output", "activation", "act_scale", "k_scale", "v_scale", "q_scale"];

/// What names of numbers hold that inputs are multiplied by or mixed with, so that the weight is another one.
const OF_CHANGED_INPUTS: [&str; 4] = ["pre", "smooth", "rot", "hadamard"];

/// What names of submodules begin with that are part of the weight they stand in.
const PARTS_OF_WEIGHTS: [&str; 3] = ["lora", "svd", "parametrizations"];

/// What entries of a configuration are called that say that codes are of a rotated weight, whose inputs are
/// rotated as well.
const OF_ROTATIONS: [&str; 5] = ["transform_config", "rotat", "hadamard", "quarot", "spinquant"];

/// Returns the entry of the configuration beside the file that makes another weight of all codes.
pub(crate) fn rotating_entry(file: &ForeignFile<'_>) -> Option<String> {
    let is_rotation = |(key, value): &(&String, &Value)| {
        let is_set = match value {
            Value::Null | Value::Bool(false) => false,
            Value::Object(entries) => !entries.is_empty(),
            Value::Array(entries) => !entries.is_empty(),
            Value::Bool(true) | Value::Number(_) | Value::String(_) => true,
        };
        is_set && OF_ROTATIONS.iter().any(|word| key.to_ascii_lowercase().contains(word))
    };
    let inside =
        |entries: &Value| entries.as_object()?.iter().find(is_rotation).map(|(key, _)| key.clone());
    inside(file.settings()).or_else(|| inside(file.setting("meta")?))
}

/// Finds layers in codes beside which there is a tensor under a name that is not known there: a scale, a part of
/// low rank, an order of columns. Their codes alone are another weight. Each comes with what its codes are, in words.
pub(crate) fn unknown_companions(file: &Checkpoint, found: &StoredLayers) -> Vec<(String, String)> {
    let own = found.layers.values().map(|layer| {
        // ComfyUI's marker says what the codes are, whatever else a module has.
        let is_marked = matches!(layer.spelling, Spelling::Comfy | Spelling::ComfyLegacy);
        (&layer.layer, layer.weight(), is_marked)
    });
    let foreign =
        found.foreign.iter().map(|(name, layer)| (name, layer.codes_tensor.clone(), false));
    let unknown = own.chain(foreign).filter_map(|(layer, codes, is_marked)| {
        let is_a_matrix = file.get(&codes).is_some_and(|codes| codes.shape.len() > 1);
        let is_unknown = |part: &&str| {
            let name = format!("{layer}.{part}");
            let is_its_own = name == codes || found.side_tensors.contains_key(&name);
            !is_its_own && if is_marked { is_part_of_product(part) } else { !is_known(part) }
        };
        let part = parts_of(file, layer).find(is_unknown).filter(|_| is_a_matrix)?;
        let why = "which is not known there and may make another weight of them";
        Some((layer.clone(), format!("codes beside `{layer}.{part}`, {why}")))
    });
    unknown.collect()
}

/// Finds weights of plain numbers that are not the whole of their layer's product: codes of them would be codes
/// of another weight.
pub(crate) fn partial_weights(file: &Checkpoint) -> Vec<(String, String)> {
    let mut partial = BTreeMap::new();
    // From the few tensors that are called so to their weights, and not from each weight to what is beside it.
    for tensor in file.tensors() {
        let splits = tensor.name.match_indices('.').map(|(dot, _)| tensor.name.split_at(dot));
        let is_plain =
            |weight: &TensorHeader| PLAIN.contains(&weight.dtype) && weight.shape.len() > 1;
        for (layer, _) in splits.filter(|(_, part)| is_part_of_product(&part[1..])) {
            if find_weight(file, layer).is_some_and(is_plain) {
                partial.entry(layer.to_owned()).or_insert_with(|| {
                    format!("a weight that `{}` is multiplied with or added to", tensor.name)
                });
            }
        }
    }
    partial.into_iter().collect()
}

/// Finds FP8 numbers that are no layer's weight, such as a bias or the `in_proj_weight` of an attention, beside what may be
/// their scale.
pub(crate) fn scaled_numbers_of_fp8(
    file: &Checkpoint,
    found: &StoredLayers,
) -> Vec<(String, String)> {
    const ENDINGS: [&str; 4] = [".scale", ".weight_scale", ".weight_scale_inv", ".scale_weight"];
    let read: BTreeSet<&str> =
        found.foreign.values().map(|layer| layer.codes_tensor.as_str()).collect();
    let is_alone = |header: &&TensorHeader| {
        matches!(header.dtype, Dtype::F8E4M3 | Dtype::F8E5M2)
            && layer_of_weight(&header.name).is_none()
            && !read.contains(header.name.as_str())
            && !found.side_tensors.contains_key(&header.name)
    };
    let scaled = file.tensors().iter().filter(is_alone).filter_map(|header| {
        let inside = ENDINGS.iter().map(|ending| format!("{}{ending}", header.name));
        let scale = inside.into_iter().find(|name| file.get(name).is_some());
        let scale = scale.or_else(|| lost_scale(file, &header.name))?;
        let why = format!("{} numbers beside `{scale}`, which may be their scale", header.dtype);
        Some((header.name.clone(), why))
    });
    scaled.collect()
}

/// Finds modules without a weight that hold a matrix of whole numbers beside plain ones, and says what it is: codes
/// under a name of their own, such as `B` beside `s`.
pub(crate) fn unnamed_codes(file: &Checkpoint, found: &StoredLayers) -> Vec<(String, String)> {
    let refused: BTreeSet<&str> =
        found.defects.iter().map(|defect| defect.layer.as_str()).collect();
    let read: BTreeSet<&str> =
        found.foreign.values().map(|layer| layer.codes_tensor.as_str()).collect();
    let is_taken = |module: &str| {
        refused.contains(module)
            || found.layers.contains_key(module)
            || found.foreign.contains_key(module)
            || find_weight(file, module).is_some()
    };
    let unnamed = file.tensors().iter().filter_map(|codes| {
        // Indices are I64, as torch makes them.
        let is_of_codes = matches!(
            codes.dtype,
            Dtype::I8 | Dtype::U8 | Dtype::I16 | Dtype::U16 | Dtype::I32 | Dtype::U32
        );
        let is_a_matrix = codes.shape.len() > 1 && codes.shape.iter().all(|size| *size > 1);
        let (module, _) = codes.name.rsplit_once('.').filter(|_| is_of_codes && is_a_matrix)?;
        let is_known = is_taken(module)
            || read.contains(codes.name.as_str())
            || found.side_tensors.contains_key(&codes.name);
        let is_scale = |part: &&str| {
            let scale = file.get(&format!("{module}.{part}"));
            !part.contains('.')
                && !part.starts_with("bias")
                && scale.is_some_and(|scale| PLAIN.contains(&scale.dtype))
        };
        let scale = parts_of(file, module).find(is_scale).filter(|_| !is_known)?;
        let why = format!(
            "codes in `{}`, {} beside `{module}.{scale}`, of a kind that is not known",
            codes.name, codes.dtype
        );
        Some((module.to_owned(), why))
    });
    unnamed.collect()
}

fn is_known(part: &str) -> bool {
    let is_of_activations = || OF_ACTIVATIONS.iter().any(|word| part.contains(word));
    // A tensor of another module is of a weight of its own.
    let is_usual = || {
        part.contains('.')
            || part.starts_with("bias")
            || BUFFERS.contains(&part)
            || is_of_activations()
    };
    !changes_weight(part) && is_usual()
}

/// Tells whether a tensor is called as programs call what a product needs beside the weight.
fn is_part_of_product(part: &str) -> bool {
    const NAMES: [&str; 18] = [
        "act_pre_scale",
        "correction",
        "offset",
        "outlier_idx",
        "outlier_weight",
        "pre_quant_scale",
        "smooth",
        "smooth_factor",
        "smooth_scale",
        "weight_delta",
        "weight_offset",
        "weight_perm",
        "weight_residual",
        "weight_shift",
        "weight_zp",
        "zero_point",
        "zero_points",
        "zeros",
    ];
    let is_low_rank = ["lora_", "svd_", "svdquant_"].iter().any(|start| part.starts_with(start));
    NAMES.contains(&part) || is_low_rank
}

/// Tells whether a tensor is called as one that is multiplied with inputs, or is a part of the weight.
fn changes_weight(part: &str) -> bool {
    let holds = |words: &[&str]| words.iter().any(|word| part.contains(word));
    let is_a_part = PARTS_OF_WEIGHTS.iter().any(|start| part.starts_with(start));
    match part.split_once('.') {
        Some((module, _)) if module.ends_with("_quantizer") => {
            module.starts_with("weight") || holds(&OF_CHANGED_INPUTS)
        }
        Some(_) => is_a_part,
        None => is_a_part || holds(&OF_CHANGED_INPUTS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_change_a_weight_is_not_known() {
        for part in [
            "bias",
            "input_scale",
            "activation_scale",
            "k_scale",
            "running_mean",
            "input_quantizer._amax",
            "norm.weight",
            "pre_norm.weight",
        ] {
            assert!(is_known(part), "{part}");
        }
        for part in [
            "weights_scaling_factor",
            "scaling_factor",
            "weight_quantizer._amax",
            "pre_quant_scale",
            "act_pre_scale",
            "input_quantizer._pre_quant_scale",
            "svdquant_lora_a",
            "lora_up.weight",
            "smooth_scale",
            "weight_g_idx",
            "outlier_weight",
            "sf",
            "perm",
        ] {
            assert!(!is_known(part), "{part}");
        }
    }
}
