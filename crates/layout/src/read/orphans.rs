//! Scales and markers that mislead loaders, because no quantized weight answers to them.

use std::collections::{BTreeMap, BTreeSet};

use roundwise_scheme::GridKind;
use roundwise_tensor_file::{Checkpoint, TensorFileError};

use crate::legacy::SCALED_FP8;
use crate::marker::{Marker, QUANTIZATION_METADATA};
use crate::names::find_weight;
use crate::read::defect::{Defect, breaks};
use crate::read::foreign::parts::{Numbers, PLAIN};
use crate::read::side_tensors::{file_part, legacy_marker};
use crate::read::spelling::Spelling;
use crate::read::stored_layer::StoredLayer;
use crate::read::stored_layers::StoredLayers;

/// Ends of names that nothing but the scale of a weight has.
const SCALE_ENDINGS: [&str; 4] =
    [".weight_scale", ".weight_scale_2", ".weight_scale_inv", ".scale_weight"];

/// Finds every orphan of a file whose layers have been found, in name order.
pub(crate) fn orphans(
    file: &Checkpoint,
    found: &StoredLayers,
    markers: &BTreeMap<String, Marker>,
) -> Vec<Defect> {
    let mut orphans = unanswered(file, found, markers.keys());
    orphans.extend(unheeded(file, found, !markers.is_empty()));
    orphans.extend(found.strays.iter().map(|name| {
        let problem = format!("has no weight that `{name}` scales");
        let (layer, _) = name.rsplit_once('.').unwrap_or_default();
        Defect::new(layer, problem, breaks::UNEXPECTED)
    }));
    orphans.sort();
    orphans
}

/// Finds markers without a weight, and scales of weights that are plain numbers.
fn unanswered<'a>(
    file: &Checkpoint,
    found: &StoredLayers,
    marked: impl Iterator<Item = &'a String>,
) -> Vec<Defect> {
    let weight = |layer: &str| find_weight(file, layer);
    let mut orphans: Vec<Defect> = marked
        .filter(|layer| weight(layer).is_none())
        .map(|layer| {
            let problem = "is marked as quantized, but has no weight";
            Defect::new(layer, problem, breaks::UNEXPECTED)
        })
        .collect();

    let defective: BTreeSet<&str> =
        found.defects.iter().map(|defect| defect.layer.as_str()).collect();
    for (name, layer) in &found.side_tensors {
        let is_served = layer.is_empty()
            || found.layers.contains_key(layer)
            || found.foreign.contains_key(layer)
            || defective.contains(layer.as_str());
        if let Some(weight) = weight(layer).filter(|_| !is_served) {
            let (dtype, shape) = (weight.dtype, &weight.shape);
            let problem = format!("holds no codes ({dtype} {shape:?}), and has `{name}`");
            let breaks = match is_dummy(file, layer, name) {
                true => breaks::DUMMY,
                false => breaks::UNEXPECTED,
            };
            orphans.push(Defect::new(layer, problem, breaks));
        }
    }
    orphans
}

/// Finds layers whose scales ComfyUI leaves aside, so that it takes the codes for the weights.
fn unheeded(file: &Checkpoint, found: &StoredLayers, has_markers: bool) -> Vec<Defect> {
    // ComfyUI does not ask for old names in a file whose header has an entry, even one of other
    // layers.
    let has_entry = file.metadata().contains_key(QUANTIZATION_METADATA);
    let why = |layer: &StoredLayer| match layer.spelling {
        Spelling::ComfyLegacy if has_entry => Some("the header lists other layers"),
        // No program reads the scales of F16 weights, which is no fault of the file.
        Spelling::ComfyLegacy if layer.scheme.grid() == GridKind::F16 => None,
        Spelling::ComfyLegacy if legacy_marker(file, layer).is_none() => {
            Some("the file has no `scaled_fp8` for it")
        }
        Spelling::WeightScale
        | Spelling::WeightScaleInv
        | Spelling::Scale
        | Spelling::WeightPacked
        | Spelling::WeightScale2
            if has_markers =>
        {
            Some("the layer has no marker, other layers have")
        }
        Spelling::WeightScale | Spelling::WeightScaleInv | Spelling::Scale
            if legacy_marker(file, layer).is_some() =>
        {
            Some("beside `scaled_fp8` it is looked for under `scale_weight`")
        }
        _ => None,
    };
    let unheeded = found.layers.values().filter_map(|layer| {
        let (scale, why) = (layer.scale.as_ref()?, why(layer)?);
        let problem = format!("has `{scale}`, which ComfyUI does not heed: {why}");
        Some(Defect::new(&layer.layer, problem, breaks::UNSCALED))
    });
    unheeded.collect()
}

/// Finds scales without any weight, in a file that holds quantized layers.
pub(crate) fn strays(file: &Checkpoint, found: &StoredLayers) -> Vec<String> {
    // In a file of plain numbers such a name may be a parameter of the model.
    if !found.says_it_is_quantized() {
        return vec![];
    }
    let is_stray = |name: &&String| {
        let layer = SCALE_ENDINGS.iter().find_map(|ending| name.strip_suffix(ending));
        layer.is_some_and(|layer| {
            !found.side_tensors.contains_key(*name) && find_weight(file, layer).is_none()
        })
    };
    file.tensors().iter().map(|header| &header.name).filter(is_stray).cloned().collect()
}

/// Finds weights of plain numbers that ComfyUI multiplies by a scale beside them, which makes them other numbers.
///
/// # Errors
/// When a scale cannot be read.
pub(crate) fn scaled_numbers(
    file: &Checkpoint,
    found: &StoredLayers,
) -> Result<Vec<Defect>, TensorFileError> {
    let mut scaled = vec![];
    for (name, layer) in &found.side_tensors {
        let is_taken = found.layers.contains_key(layer) || found.foreign.contains_key(layer);
        let weight = find_weight(file, layer).filter(|it| !is_taken && PLAIN.contains(&it.dtype));
        let (Some(weight), Some(scale)) = (weight, file.get(name)) else { continue };
        if is_dummy(file, layer, name) && Numbers::of(scale).all(file)?.iter().any(|it| *it != 1.0)
        {
            let problem = format!(
                "its weight is {} beside `{name}`, which is not 1: ComfyUI multiplies by it",
                weight.dtype
            );
            scaled.push(Defect::new(layer, problem, breaks::SCALED));
        }
    }
    Ok(scaled)
}

/// Tells whether the scale of a weight that holds no codes makes ComfyUI round that weight.
fn is_dummy(file: &Checkpoint, layer: &str, name: &str) -> bool {
    name.ends_with(".scale_weight") && file_part(file, layer, SCALED_FP8).is_some()
}
