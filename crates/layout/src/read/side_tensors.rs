//! Tensors that serve quantized layers: scales, markers, and those that speak of a whole file.

use std::collections::BTreeMap;

use roundwise_scheme::GridKind;
use roundwise_tensor_file::{Checkpoint, Dtype, TensorHeader};

use crate::legacy::{SCALE_FORMAT, SCALED_FP8, SCALED_FP16};
use crate::marker::MARKER_PART;
use crate::names::{LEGACY_INPUT_SCALE, find_weight};
use crate::read::stored_layer::StoredLayer;

/// Scales and markers of a layer `x` are called `x.part`.
pub(crate) const SIDE_PARTS: [&str; 15] = [
    "weight_scale",
    "weight_scale_2",
    "weight_scale_inv",
    "weight_global_scale",
    "weight_zero_point",
    "weight_shape",
    "weight_s_rel",
    "weight_s_channel",
    "weight_codebook",
    "weight_scalar",
    "scale_weight",
    LEGACY_INPUT_SCALE,
    "input_scale",
    "input_global_scale",
    MARKER_PART,
];

/// Returns the tensors that serve other tensors, with the layer they belong to.
pub(crate) fn side_tensors(file: &Checkpoint) -> BTreeMap<String, String> {
    let owner = |name: &str| {
        let last = name.rsplit('.').next().unwrap_or(name);
        let is_of_the_file = match last {
            SCALED_FP8 => true,
            // These names are short enough to be a parameter's: the dtype has to fit as well.
            SCALED_FP16 => file.get(name).is_some_and(|header| header.dtype == Dtype::F16),
            SCALE_FORMAT => file.get(name).is_some_and(|header| header.dtype == Dtype::U8),
            _ => false,
        };
        if is_of_the_file {
            return Some(String::new());
        }
        let (layer, part) = name.rsplit_once('.')?;
        if part == SCALE_PART {
            return is_power_scale(file, layer, name).then(|| layer.to_owned());
        }
        if !SIDE_PARTS.contains(&part) {
            return None;
        }
        // A scale without any weight may be something else; a marker cannot.
        let is_owned = part == MARKER_PART || find_weight(file, layer).is_some();
        is_owned.then(|| layer.to_owned())
    };
    let names = file.tensors().iter().map(|header| &header.name);
    names.filter_map(|name| Some((name.clone(), owner(name)?))).collect()
}

/// Scales of DeepSeek's layers are called `x.scale`, as are parameters of other layers.
pub(crate) const SCALE_PART: &str = "scale";

/// Tells whether a tensor holds powers of two that scale FP8 codes.
fn is_power_scale(file: &Checkpoint, layer: &str, name: &str) -> bool {
    let is_byte = |scale: &TensorHeader| matches!(scale.dtype, Dtype::F8E8M0 | Dtype::U8);
    let is_fp8 = |weight: &TensorHeader| matches!(weight.dtype, Dtype::F8E4M3 | Dtype::F8E5M2);
    file.get(name).is_some_and(is_byte) && find_weight(file, layer).is_some_and(is_fp8)
}

/// Returns the tensor that makes readers look for `scale_weight`.
pub(crate) fn legacy_marker<'a>(
    file: &'a Checkpoint,
    layer: &StoredLayer,
) -> Option<&'a TensorHeader> {
    let part = if layer.scheme.grid() == GridKind::F16 { SCALED_FP16 } else { SCALED_FP8 };
    file_part(file, &layer.layer, part)
}

/// Returns a tensor of the file, or of one of the layer's modules, that speaks of all their layers.
pub(crate) fn file_part<'a>(
    file: &'a Checkpoint,
    layer: &str,
    part: &str,
) -> Option<&'a TensorHeader> {
    // From the outermost module to the innermost: a checkpoint has one for each of its models.
    let ends = layer.match_indices('.').map(|(dot, _)| dot + 1);
    std::iter::once(0).chain(ends).find_map(|end| file.get(&format!("{}{part}", &layer[..end])))
}
