//! What `config.json` and the files beside it say of layers in codes.

use std::collections::BTreeMap;

use roundwise_scheme::{GridKind, Scheme, Tiling};
use serde_json::{Value, json};

use crate::input_scale::InputScale;
use crate::layout::Layout;
use crate::served::{Inputs, Served, weights_entry};

/// The layers of a model as servers are told of them, by names without `.weight`.
#[derive(Clone, Debug, Default)]
pub struct ServedLayers {
    /// Those in codes.
    pub codes: BTreeMap<String, Scheme>,
    /// Matrices that are kept.
    pub kept: Vec<String>,
    /// Banks of experts, each in one tensor, that are kept.
    pub kept_banks: Vec<String>,
    /// What programs call the modules of some of these layers, where that is not the name in the file. Lists have both.
    pub module_names: BTreeMap<String, Vec<String>>,
    /// Whether the file holds scales of inputs, where the layout has a place for them.
    pub has_input_scales: bool,
}

/// The entries and files that tell servers how a model is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// The value of `quantization_config` in `config.json`.
    pub quantization_config: Value,
    /// Name and content of a file of its own.
    pub file: Option<(&'static str, Value)>,
}

/// The version of compressed-tensors whose keys are written. Readers of other versions know the same
/// keys, and forbid any that they do not know.
const COMPRESSED_TENSORS: &str = "0.12.0";

impl Layout {
    /// Returns what servers are told of a model, `None` for layouts that need no configuration and
    /// where nothing is in codes.
    pub fn server_config(self, layers: &ServedLayers) -> Option<ServerConfig> {
        let coded = || layers.codes.iter().filter(|(_, scheme)| scheme.has_scales());
        coded().next()?;
        match self {
            Layout::Comfy | Layout::ComfyLegacy => None,
            Layout::CompressedTensors => Some(compressed_tensors(layers)),
            Layout::Fp8 => Some(fp8(layers)),
            Layout::ModelOpt => Some(modelopt(layers)),
            Layout::Mxfp4 => Some(mxfp4()),
        }
    }
}

impl ServedLayers {
    /// Returns the schemes with the names of their layers, those of most layers first.
    fn by_scheme(&self) -> Vec<(Scheme, Vec<&str>)> {
        let mut by_name = BTreeMap::<String, (Scheme, Vec<&str>)>::new();
        for (layer, scheme) in self.codes.iter().filter(|(_, scheme)| scheme.has_scales()) {
            // By what the file holds, since the configuration knows nothing of how scales were
            // chosen.
            let scheme = scheme.read_as();
            by_name.entry(scheme.to_string()).or_insert((scheme, vec![])).1.push(layer);
        }
        let mut schemes: Vec<_> = by_name.into_values().collect();
        // The largest group first: it stands for all layers that no other group names.
        schemes.sort_by_key(|(_, layers)| std::cmp::Reverse(layers.len()));
        schemes
    }

    /// Returns the number that the file holds of the inputs of layers in a scheme.
    fn input_scale(&self, layout: Layout, scheme: Scheme) -> Option<InputScale> {
        layout.input_scale(scheme).filter(|_| self.has_input_scales)
    }

    /// Returns what else programs call some layers.
    fn modules_of<'a>(&'a self, layers: &'a [&str]) -> impl Iterator<Item = &'a str> {
        let modules = layers.iter().filter_map(|layer| self.module_names.get(*layer));
        modules.flatten().map(String::as_str)
    }

    /// Returns the names of matrices that are plain numbers.
    fn plain(&self) -> Vec<String> {
        let numbers = self.codes.iter().filter(|(_, scheme)| !scheme.has_scales());
        let mut plain = self.kept.clone();
        plain.extend(numbers.map(|(layer, _)| layer.clone()));
        plain.extend(self.kept_banks.iter().flat_map(|bank| names_of_bank(bank)));
        let modules = plain.iter().filter_map(|layer| self.module_names.get(layer)).flatten();
        plain.extend(modules.cloned().collect::<Vec<_>>());
        plain.sort_unstable();
        plain.dedup();
        plain
    }
}

/// Returns the names by which programs ask whether a bank of experts is kept: its own, that of the module that holds it,
/// and those that the layers of the first expert would have.
///
/// # Source
/// `CompressedTensorsMoEMethod.get_moe_method` and `is_layer_skipped` of vLLM, `get_quant_method` of SGLang.
fn names_of_bank(bank: &str) -> Vec<String> {
    let Some((module, _)) = bank.rsplit_once('.') else { return vec![bank.to_owned()] };
    let layers = ["gate_proj", "up_proj", "down_proj"].map(|layer| format!("{module}.0.{layer}"));
    [bank, module].map(str::to_owned).into_iter().chain(layers).collect()
}

/// Returns the configuration of compressed-tensors: the first group stands for all linear layers, and
/// groups that name their layers take precedence.
fn compressed_tensors(layers: &ServedLayers) -> ServerConfig {
    let schemes = layers.by_scheme();
    let mut groups = serde_json::Map::new();
    let mut formats = vec![];
    for (number, (scheme, names)) in schemes.iter().enumerate() {
        let Some(served) = Served::of(Layout::CompressedTensors, *scheme) else { continue };
        // The group of most layers is named by the class of layers alone, which spares a list of
        // thousands of names.
        let all_names = || names.iter().copied().chain(layers.modules_of(names));
        let targets = if number == 0 { vec!["Linear"] } else { all_names().collect() };
        let group = json!({
            "targets": targets,
            "format": served.name,
            "weights": weights_entry(*scheme),
            "input_activations": match layers.input_scale(Layout::CompressedTensors, *scheme) {
                Some(scale) => stored_inputs(scale),
                None => inputs(served.inputs, *scheme),
            },
            "output_activations": null,
        });
        groups.insert(format!("group_{number}"), group);
        formats.push(served.name);
    }
    formats.dedup();
    // With several formats readers ask each group for its own.
    let format = match formats[..] {
        [format] => format,
        _ => "mixed-precision",
    };
    let quantization_config = json!({
        "quant_method": "compressed-tensors",
        "version": COMPRESSED_TENSORS,
        "format": format,
        "quantization_status": "compressed",
        "global_compression_ratio": null,
        "kv_cache_scheme": null,
        "ignore": layers.plain(),
        "config_groups": groups,
    });
    ServerConfig { quantization_config, file: None }
}

fn inputs(inputs: Inputs, scheme: Scheme) -> Value {
    let kind = if scheme.grid() == GridKind::Int8 { "int" } else { "float" };
    let common = |strategy: &str| {
        json!({
            "num_bits": 8,
            "type": kind,
            "symmetric": true,
            "strategy": strategy,
            "dynamic": true,
        })
    };
    match inputs {
        Inputs::Plain => Value::Null,
        Inputs::Token => common("token"),
        Inputs::Group128 => {
            let mut group = common("group");
            group["group_size"] = 128.into();
            group
        }
    }
}

/// Returns what is told of inputs whose scale, or the factor of all their scales, the file holds.
fn stored_inputs(scale: InputScale) -> Value {
    match scale {
        InputScale::OfTensor | InputScale::Number => json!({
            "num_bits": 8,
            "type": "float",
            "symmetric": true,
            "strategy": "tensor",
            "dynamic": false,
        }),
        InputScale::Divisor | InputScale::Factor => json!({
            "num_bits": 4,
            "type": "float",
            "symmetric": true,
            "strategy": "tensor_group",
            "group_size": 16,
            "dynamic": "local",
            "scale_dtype": "torch.float8_e4m3fn",
        }),
    }
}

/// Returns the configuration of DeepSeek's files. Kept layers are listed twice, because some programs
/// read the one list and some the other.
fn fp8(layers: &ServedLayers) -> ServerConfig {
    let kept = layers.plain();
    let powers = layers.codes.values().filter(|scheme| scheme.has_scales());
    let mut quantization_config = json!({
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
        "modules_to_not_convert": kept,
        "ignored_layers": kept,
    });
    // Kernels that take exponents round other scales, so the file promises powers of two only where
    // all are.
    if powers.into_iter().all(|scheme| scheme.read_as() != *scheme) {
        quantization_config["scale_fmt"] = "ue8m0".into();
    }
    ServerConfig { quantization_config, file: None }
}

/// Returns the configuration of OpenAI's gpt-oss, which names what is plain by patterns. Programs take every bank of experts
/// for codes, whatever it lists.
fn mxfp4() -> ServerConfig {
    const PLAIN: [&str; 4] =
        ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"];
    let quantization_config = json!({"quant_method": "mxfp4", "modules_to_not_convert": PLAIN});
    ServerConfig { quantization_config, file: None }
}

fn modelopt(layers: &ServedLayers) -> ServerConfig {
    let schemes = layers.by_scheme();
    let named = |scheme: &Scheme| match layers.input_scale(Layout::ModelOpt, *scheme) {
        Some(InputScale::Factor) => Some("NVFP4"),
        _ => Served::of(Layout::ModelOpt, *scheme).map(|served| served.name),
    };
    let group_size = |scheme: &Scheme| match scheme.tiling() {
        Tiling::Block { cols, .. } => Some(cols),
        Tiling::Row | Tiling::Tensor => None,
    };
    let mut quantization = json!({
        "quant_algo": "MIXED_PRECISION",
        "kv_cache_quant_algo": null,
        "exclude_modules": layers.plain(),
    });
    match &schemes[..] {
        [(scheme, _)] => {
            quantization["quant_algo"] = named(scheme).into();
            if let Some(size) = group_size(scheme) {
                quantization["group_size"] = size.into();
            }
        }
        schemes => {
            let layers = schemes.iter().flat_map(|(scheme, layers)| {
                let of_layer =
                    json!({"quant_algo": named(scheme), "group_size": group_size(scheme)});
                layers.iter().map(move |layer| ((*layer).to_owned(), of_layer.clone()))
            });
            quantization["quantized_layers"] = Value::Object(layers.collect());
        }
    }
    let producer = json!({"name": "modelopt", "version": "0.37.0"});
    let mut quantization_config = quantization.clone();
    quantization_config["quant_method"] = "modelopt".into();
    quantization_config["producer"] = producer.clone();
    quantization_config["ignore"] = quantization["exclude_modules"].clone();
    let file = json!({"producer": producer, "quantization": quantization});
    ServerConfig { quantization_config, file: Some(("hf_quant_config.json", file)) }
}
