//! What the configuration beside a model says of the codes of one layer.

use roundwise_scheme::{Scheme, Tiling};
use serde_json::Value;

use crate::layout::Layout;
use crate::read::foreign::file::ForeignFile;
use crate::read::spelling::Spelling;
use crate::read::stored_layer::StoredLayer;
use crate::served::{Served, weights};

/// Entries about the weights of a group of layers.
const KEYS: [&str; 6] =
    ["num_bits", "type", "symmetric", "strategy", "group_size", "block_structure"];

/// What a target of compressed-tensors begins with that is a pattern of names.
const PATTERN: &str = "re:";

/// Returns what the configuration says of a layer that its codes are not.
pub(crate) fn differing(file: &ForeignFile<'_>, layer: &StoredLayer) -> Option<String> {
    let scheme = layer.scheme.read_as();
    let method = file.text("quant_method")?;
    if !methods(layer.spelling).contains(&method.as_str()) {
        return Some(format!(
            "is spelled `{}`, and the configuration says `quant_method: {method}`",
            layer.spelling
        ));
    }
    let differs = |key: &str, found: &Value, said: &Value| {
        format!("is `{scheme}`, `{key}` {found}, and the configuration says {said}")
    };
    match method.as_str() {
        "compressed-tensors" => {
            let (told, found) = (told_weights(file, &layer.layer)?, weights(scheme));
            KEYS.into_iter().find_map(|key| {
                let (said, found) = (told.get(key)?, &found[key]);
                // Older versions write the sizes of blocks as a text, and whole rows as a group of −1.
                let is_of_kind = match key {
                    "block_structure" => said.is_array(),
                    "group_size" => said.as_u64().is_some(),
                    _ => !said.is_null(),
                };
                (is_of_kind && said != found).then(|| differs(key, found, said))
            })
        }
        "fp8" => {
            let said = file.setting("weight_block_size")?;
            let Tiling::Block { rows, cols } = scheme.tiling() else { return None };
            let found = Value::from(vec![rows, cols]);
            (*said != found).then(|| differs("weight_block_size", &found, said))
        }
        "modelopt" => {
            let said = file.setting("quant_algo")?;
            let found = Served::of(Layout::ModelOpt, scheme)?.name;
            // The same codes, with and without scales of inputs, or under an older name.
            let is_same = |said: &str| {
                [found, "MIXED_PRECISION"].contains(&said)
                    || (said == "NVFP4" && scheme == Scheme::NVFP4)
            };
            (!said.as_str().is_some_and(is_same))
                .then(|| differs("quant_algo", &found.into(), said))
        }
        _ => None,
    }
}

/// Returns the scheme of packed integers of which a whole row is one group, as the configuration says.
pub(crate) fn as_one_group(file: &ForeignFile<'_>, layer: &StoredLayer) -> Option<Scheme> {
    let [_, cols] = layer.shape;
    let is_row = layer.spelling == Spelling::PackedIntegers && layer.scheme.tiling() == Tiling::Row;
    let said = told_weights(file, &layer.layer).filter(|_| is_row)?.get("group_size")?.as_u64()?;
    let scheme = Scheme::scaled(layer.scheme.grid(), Tiling::group(cols));
    (said == cols as u64 && Served::of(Layout::CompressedTensors, scheme).is_some())
        .then_some(scheme)
}

/// Returns what configurations may call the method of codes that are spelled so.
fn methods(spelling: Spelling) -> &'static [&'static str] {
    match spelling {
        Spelling::WeightScale => &["compressed-tensors", "modelopt", "fp8", "fbgemm_fp8", "quark"],
        Spelling::WeightPacked | Spelling::PackedIntegers | Spelling::PackedMicroscaled => {
            &["compressed-tensors"]
        }
        Spelling::WeightScaleInv | Spelling::Scale => &["fp8"],
        Spelling::WeightScale2 => &["modelopt", "modelopt_fp4"],
        Spelling::Comfy | Spelling::ComfyLegacy | Spelling::Plain => &[],
    }
}

/// Returns what compressed-tensors is told of the weights of a layer; `None` where only a pattern of names says it.
fn told_weights<'a>(file: &'a ForeignFile<'_>, layer: &str) -> Option<&'a Value> {
    let groups: Vec<&Value> = file.setting("config_groups")?.as_object()?.values().collect();
    let has = |group: &Value, is_it: &dyn Fn(&str) -> bool| {
        let targets = group.get("targets").and_then(Value::as_array);
        targets.into_iter().flatten().filter_map(Value::as_str).any(is_it)
    };
    let with = |is_it: &dyn Fn(&str) -> bool| groups.iter().find(|group| has(group, is_it));
    let group = match (&groups[..], with(&|target| target == layer)) {
        ([group], _) | (_, Some(group)) => group,
        _ if with(&|target| target.starts_with(PATTERN)).is_some() => return None,
        // A class of modules.
        _ => with(&|target| !target.contains('.'))?,
    };
    group.get("weights")
}
