//! What the configuration beside a model says of the codes of its layers.

use std::collections::BTreeMap;

use roundwise_scheme::{Scheme, Tiling};
use serde_json::Value;

use crate::layout::Layout;
use crate::read::foreign::file::ForeignFile;
use crate::read::spelling::Spelling;
use crate::read::stored_layer::StoredLayer;
use crate::served::{Served, weights_entry};

/// Entries about the weights of a group of layers.
const KEYS: [&str; 6] =
    ["num_bits", "type", "symmetric", "strategy", "group_size", "block_structure"];

/// Those of them that are about what has a scale.
const KEYS_OF_TILES: [&str; 3] = ["strategy", "group_size", "block_structure"];

/// What a target of compressed-tensors begins with that is a pattern of names.
pub(crate) const PATTERN: &str = "re:";

/// The target of compressed-tensors that stands for all layers that no other one names.
const ALL_LAYERS: &str = "Linear";

/// Methods whose codes are in none of the forms of layers that a scheme here describes.
const OTHER_METHODS: [&str; 6] = ["gptq", "awq", "bitsandbytes", "hqq", "quanto", "gguf"];

/// A configuration, in the order in which programs look up a layer.
pub(crate) struct DescribedCodes<'a> {
    file: &'a ForeignFile<'a>,
    method: Option<String>,
    /// What groups of compressed-tensors say of weights, by the layers that they name.
    by_name: BTreeMap<&'a str, &'a Value>,
    /// What they say of all others, where that can be told.
    of_others: Option<&'a Value>,
}

impl<'a> DescribedCodes<'a> {
    /// Reads what is said of some layers.
    pub(crate) fn of(file: &'a ForeignFile<'_>, layers: &BTreeMap<String, StoredLayer>) -> Self {
        let groups = file.setting("config_groups").and_then(Value::as_object);
        let targets = groups.into_iter().flat_map(|groups| groups.values()).flat_map(|group| {
            let targets = group.get("targets").and_then(Value::as_array).into_iter().flatten();
            targets.filter_map(move |target| Some((target.as_str()?, group.get("weights")?)))
        });
        let (mut by_name, mut of_others, mut has_patterns) = (BTreeMap::new(), None, false);
        for (target, weights) in targets {
            has_patterns |= target.starts_with(PATTERN);
            if target == ALL_LAYERS {
                of_others = Some(weights);
            } else {
                by_name.entry(target).or_insert(weights);
            }
        }
        // Names under another beginning than those of the file say nothing of its layers, and those that they mean are
        // not among all others.
        let names_layers = by_name.keys().any(|name| name.contains('.'));
        let has_own = by_name.keys().any(|name| layers.contains_key(*name));
        let is_told = !has_patterns && (!names_layers || has_own);
        let method = file.text("quant_method");
        Self { file, method, by_name, of_others: of_others.filter(|_| is_told) }
    }

    /// Returns whether it is in the form of compressed-tensors.
    pub(crate) fn is_of_compressed_tensors(&self) -> bool {
        self.method.as_deref() == Some("compressed-tensors")
    }

    /// Returns whether it takes every layer for codes that it does not list otherwise.
    pub(crate) fn covers_all_others(&self) -> bool {
        self.is_of_compressed_tensors() && self.of_others.is_some()
    }

    fn weights_of(&self, layer: &str) -> Option<&'a Value> {
        self.by_name.get(layer).copied().or(self.of_others)
    }

    /// Returns what it says of a layer that its codes are not.
    pub(crate) fn contradiction_of(&self, layer: &StoredLayer) -> Option<String> {
        let method = self.method.as_deref()?;
        if is_of_others(method, layer.spelling) {
            return Some(format!(
                "is spelled `{}`, and the configuration says `quant_method: {method}`",
                layer.spelling
            ));
        }
        let scheme = layer.scheme.read_as();
        let differs = |key: &str, found: &Value, said: &Value| {
            format!("is `{scheme}`, `{key}` {found}, and the configuration says {said}")
        };
        match method {
            "compressed-tensors" => {
                let (told, found) = (self.weights_of(&layer.layer)?, weights_entry(scheme));
                let order = format!("{}.weight_g_idx", layer.layer);
                if told.get("actorder").and_then(Value::as_str) == Some("group")
                    && self.file.get(&order).is_none()
                {
                    return Some(
                        "has no `weight_g_idx`, and the configuration says `actorder: group`"
                            .into(),
                    );
                }
                // Of one number no shape tells what it is for.
                let has_tiles = !self.has_one_scale(layer);
                let keys = KEYS.into_iter().filter(|key| has_tiles || !KEYS_OF_TILES.contains(key));
                keys.into_iter().find_map(|key| {
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
            // `Fp8Config` of vLLM and of transformers has no scales of rows.
            "fp8" if scheme.tiling() == Tiling::Row && !self.has_one_scale(layer) => Some(format!(
                "is `{scheme}`, with a scale for each row, and `quant_method: {method}` of the configuration has one for \
                 a tensor or a block"
            )),
            "fp8" if !self.has_one_scale(layer) => {
                let said = self.file.setting("weight_block_size")?;
                let Tiling::Block { rows, cols } = scheme.tiling() else { return None };
                let found = Value::from(vec![rows, cols]);
                (*said != found).then(|| differs("weight_block_size", &found, said))
            }
            "modelopt" => {
                let said = self.file.setting("quant_algo")?;
                let found = Served::of(Layout::ModelOpt, scheme)?.name;
                // The same codes, with and without scales of inputs.
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

    fn has_one_scale(&self, layer: &StoredLayer) -> bool {
        let scale = layer.scale.as_deref().and_then(|name| self.file.get(name));
        scale.is_some_and(|scale| scale.element_count() == 1)
    }

    /// Returns whether a layer has one scale for each row, which may be one of a group that is as long.
    pub(crate) fn may_be_one_group(layer: &StoredLayer) -> bool {
        layer.spelling == Spelling::PackedIntegers && layer.scheme.tiling() == Tiling::Row
    }

    /// Returns the scheme of packed integers of which a whole row is one group, as it says.
    pub(crate) fn as_one_group(&self, layer: &StoredLayer) -> Option<Scheme> {
        let [_, cols] = layer.shape;
        let told = self.weights_of(&layer.layer).filter(|_| Self::may_be_one_group(layer));
        let said = told?.get("group_size")?.as_u64()?;
        let scheme = Scheme::scaled(layer.scheme.grid(), Tiling::group(cols));
        (said == cols as u64 && Served::of(Layout::CompressedTensors, scheme).is_some())
            .then_some(scheme)
    }
}

/// Returns whether a method stores its codes otherwise. Of one that is not known here nothing is said.
fn is_of_others(method: &str, spelling: Spelling) -> bool {
    match (method, spelling) {
        ("compressed-tensors", Spelling::WeightScaleInv | Spelling::WeightScale2) => true,
        (
            "fp8" | "modelopt",
            Spelling::WeightPacked | Spelling::PackedIntegers | Spelling::PackedMicroscaled,
        ) => true,
        ("fp8", Spelling::WeightScale2) | ("modelopt", Spelling::WeightScaleInv) => true,
        // Of banks of experts alone.
        ("mxfp4", _) => true,
        _ => OTHER_METHODS.contains(&method),
    }
}
