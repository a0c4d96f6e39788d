//! What the `config.json` beside a model's weights says that the model is.

use std::path::Path;

use roundwise_layout::{Layout, layer_of_input_scale, layer_of_weight};
use roundwise_scheme::Scheme;
use roundwise_tensor_file::{Checkpoint, parse_python_json, parse_python_object, read_text};
use serde_json::Value;

use crate::model::{Preset, Shapes};
use crate::recipe::{Program, RecipeFile};
use crate::source::experts::is_of_single_expert;
use crate::source::family::inside_layer;
use crate::source::text_part::{TextPart, families, ties_head, unknown_part};

/// The model's configuration, in the form of transformers.
pub(crate) const MODEL_CONFIG: &str = "config.json";

/// Its entry that says what codes the weights are in.
pub(crate) const QUANTIZATION_CONFIG: &str = "quantization_config";

/// Entries of a configuration that describe codes; the second is that of older compressed-tensors.
pub(crate) const CODE_ENTRIES: [&str; 2] = [QUANTIZATION_CONFIG, "compression_config"];

/// What compressed-tensors calls the entry of the cache of keys and values.
pub(crate) const CACHE_SCHEME: &str = "kv_cache_scheme";

/// A pipeline of diffusers has one in the folder above its models.
const PIPELINE: &str = "model_index.json";

/// Classes of transformers that write text.
const WRITERS: [&str; 3] = ["ForCausalLM", "ForConditionalGeneration", "LMHeadModel"];

/// A language model, as its configuration describes it.
#[derive(Clone, Debug)]
pub(crate) struct ServedModel {
    /// transformers' name of the family.
    pub(crate) model_type: String,
    /// The rules for the family, those for any model where it is not known.
    pub(crate) preset: &'static Preset,
    /// Whether the rules are the family's own.
    pub(crate) is_known: bool,
    /// Whether its file has experts, each with weights of its own.
    pub(crate) has_single_experts: bool,
    /// Whether the file has scales of the inputs of such matrices.
    pub(crate) has_expert_input_scales: bool,
    /// The layout of the codes that it speaks of.
    pub(crate) codes: Option<Layout>,
    /// A weight of a layer under a name that the family does not have.
    pub(crate) unread_name: Option<String>,
    /// Why programs may leave out some other tensor, or stop at it.
    pub(crate) unread_tensor: Option<String>,
    /// What it calls the codes of the weights, where the file has none and such codes are not read.
    pub(crate) unread_method: Option<String>,
    /// All that it says.
    pub(crate) config: Value,
}

/// What configurations call codes that are read, all in small letters. A program may make them of plain numbers when it
/// loads the file, and saves the configuration with that.
const READ_METHODS: [&str; 16] = [
    "auto-round",
    "auto_round",
    "awq",
    "bitsandbytes",
    "compressed-tensors",
    "fbgemm_fp8",
    "fp8",
    "gguf",
    "gptq",
    "hqq",
    "intel/auto-round",
    "modelopt",
    "mxfp4",
    "quanto",
    "quark",
    "torchao",
];

impl ServedModel {
    /// Recognises a language model by the configuration beside its weights.
    ///
    /// - `shapes`: all tensors of the file
    /// - `has_codes`: whether any of the weights are in codes
    pub(crate) fn beside(file: &Checkpoint, shapes: &Shapes<'_>, has_codes: bool) -> Option<Self> {
        let config: Value = parse_python_json(&file.text_beside(MODEL_CONFIG)?).ok()?;
        let model_type = served_type(&config)?;
        let known = Preset::of_model_type(&model_type);
        let unread_name =
            known.and_then(|preset| unread_name(file, preset, &families(&model_type, &config)));
        let text = known.and_then(|it| TextPart::find(it, &model_type, &config, shapes).ok()?);
        let unread_tensor = text.and_then(|text| text.unread_tensor(has_codes));
        Some(Self {
            model_type,
            unread_name,
            unread_tensor,
            preset: known.unwrap_or_else(Preset::served),
            is_known: known.is_some(),
            has_single_experts: file.tensors().iter().any(|it| is_of_single_expert(&it.name)),
            has_expert_input_scales: file.tensors().iter().any(|it| {
                is_of_single_expert(&it.name) && layer_of_input_scale(&it.name).is_some()
            }),
            codes: told_layout(&config),
            unread_method: method(&config)
                .filter(|it| !has_codes && !READ_METHODS.contains(&it.as_str())),
            config,
        })
    }

    /// Returns whether there are rules for its family and for that of its part that writes text.
    pub(crate) fn has_known_text(&self) -> bool {
        self.is_known && unknown_part(self.preset, &self.model_type, &self.config).is_none()
    }

    /// Returns whether tokens are scored by the embedding, whatever else a file has for it.
    pub(crate) fn has_tied_head(&self) -> bool {
        ties_head(&self.config) == Some(true)
    }
}

/// Returns the first weight of a layer of the model that writes text whose name is none of its family's.
fn unread_name(file: &Checkpoint, preset: &Preset, families: &[&str]) -> Option<String> {
    if preset.layer_names.is_empty() {
        return None;
    }
    let is_read =
        |name: &str| Some(preset.has_layer_name(layer_of_weight(inside_layer(name)?)?, families));
    let names = file.tensors().iter().map(|header| &header.name);
    names.into_iter().find(|name| is_read(name) == Some(false)).cloned()
}

/// Returns the family of a model that servers run, by its configuration; `None` for a model that they do not run.
fn served_type(config: &Value) -> Option<String> {
    let model_type = config.get("model_type")?.as_str()?.to_owned();
    let writes = |class: &Value| {
        let class = class.as_str().unwrap_or_default();
        WRITERS.iter().any(|ending| class.ends_with(ending))
    };
    let classes = config.get("architectures").and_then(Value::as_array);
    // Encoders and models with both sides are read by ComfyUI from single files; the schemes of servers are tried on
    // models that write.
    let is_encoder = config.get("is_encoder_decoder").and_then(Value::as_bool) == Some(true);
    let is_served = !is_encoder && classes.is_some_and(|classes| classes.iter().any(writes));
    is_served.then_some(model_type)
}

/// Returns what the configuration of compressed-tensors says of the cache of keys and values.
pub(crate) fn cache_scheme(config: &Value) -> Option<&Value> {
    let told = CODE_ENTRIES.iter().find_map(|entry| config.get(entry)?.get(CACHE_SCHEME));
    told.filter(|told| told.is_object())
}

/// Returns the class in which the configuration beside a file names a model that writes no text.
pub(crate) fn silent_class(file: &Checkpoint) -> Option<String> {
    let config: Value = parse_python_json(&file.text_beside(MODEL_CONFIG)?).ok()?;
    let classes = config.get("architectures")?.as_array()?.iter();
    let classes: Vec<&str> = classes.filter_map(Value::as_str).collect();
    let writes = |class: &&str| WRITERS.iter().any(|ending| class.ends_with(ending));
    let class = (!classes.iter().any(writes)).then(|| classes.first())??;
    Some((*class).to_owned())
}

/// Returns what a configuration calls the codes of the weights, in small letters.
fn method(config: &Value) -> Option<String> {
    let method = config.get(QUANTIZATION_CONFIG)?.get("quant_method")?.as_str()?;
    Some(method.to_ascii_lowercase())
}

/// Returns the layout that a configuration says the layers in codes have.
fn told_layout(config: &Value) -> Option<Layout> {
    match method(config)?.as_str() {
        "compressed-tensors" => Some(Layout::CompressedTensors),
        "fp8" => Some(Layout::Fp8),
        "modelopt" => Some(Layout::ModelOpt),
        "mxfp4" => Some(Layout::Mxfp4),
        _ => None,
    }
}

/// Completes a recipe by what the input is: where it does not say what program it is for, the folder of a language model
/// is for servers, everything else for ComfyUI; where it does not say how servers' files are laid out, banks of experts
/// have the layout that has codes for them.
///
/// - `output`: where somebody named it; a folder is not called `.safetensors`
#[must_use]
pub fn for_input(file: RecipeFile, input: &Path, output: Option<&Path>) -> RecipeFile {
    if file.layout.is_some() || !file.is_to_quantize() || !stays_folder(input, output) {
        // A single file is ComfyUI's.
        return file;
    }
    let program = file.program.clone().unwrap_or_else(|| Program::Vllm.to_string());
    let layout = layout_of_banks(input, file.scheme.as_deref(), &program);
    RecipeFile { program: Some(program), layout: layout.map(|it| it.to_string()), ..file }
}

/// Returns the layout that has codes of a scheme for the banks of experts of a model, where a server reads those.
fn layout_of_banks(input: &Path, scheme: Option<&str>, program: &str) -> Option<Layout> {
    let scheme: Scheme = scheme?.parse().ok()?;
    let is_server = Program::NAMES.iter().any(|(name, it)| *name == program && it.is_server());
    let preset = Preset::of_model_type(&served_type(&config_in(input)?)?)?;
    let is_stored = |layout: &Layout| scheme.has_scales() && layout.admits(scheme).is_ok();
    preset.layout_of_banks().filter(|layout| is_server && is_stored(layout))
}

/// Returns whether the folder of a language model becomes a folder again, which it does unless a single file is
/// named as the output.
pub(crate) fn stays_folder(input: &Path, output: Option<&Path>) -> bool {
    let is_file = output.is_some_and(|path| path.extension().is_some_and(|it| it == "safetensors"));
    !is_file && is_for_servers(input)
}

fn is_for_servers(input: &Path) -> bool {
    config_in(input).as_ref().and_then(served_type).is_some()
}

/// Returns the configuration of a model in a folder, which an index stands for, unless it is one of a pipeline.
fn config_in(input: &Path) -> Option<Value> {
    let is_index = input.to_string_lossy().ends_with(".index.json");
    let folder = if is_index { input.parent()? } else { input };
    // An index without a folder in its path lies in the one that commands run in.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if !folder.is_dir() || is_in_pipeline(folder) {
        return None;
    }
    parse_python_json(&read_text(&folder.join(MODEL_CONFIG)).ok()?).ok()
}

fn is_in_pipeline(folder: &Path) -> bool {
    // A path such as `.` shows what is above it only once it is resolved.
    folder
        .canonicalize()
        .is_ok_and(|folder| folder.parent().is_some_and(|above| above.join(PIPELINE).exists()))
}

/// Returns what keeps the configuration in a model's folder from saying what the model is: it is not there, or is no JSON
/// object, or names no family or class.
pub(crate) fn missing_description(file: &Checkpoint) -> Option<String> {
    let folder = file.files().first()?.path().parent()?;
    if file.is_lone_file() || is_in_pipeline(folder) {
        return None;
    }
    let Some(text) = file.text_beside(MODEL_CONFIG) else {
        let is_there = folder.join(MODEL_CONFIG).exists();
        let unread = if is_there { " that can be read as text" } else { "" };
        return Some(format!("holds no `{MODEL_CONFIG}`{unread}"));
    };
    match parse_python_object(&text) {
        Err(error) => Some(format!("holds a `{MODEL_CONFIG}` that is no JSON object ({error})")),
        Ok(config) => {
            let lacks = |key: &str, is_it: fn(&Value) -> bool| {
                (!config.get(key).is_some_and(is_it))
                    .then(|| format!("holds a `{MODEL_CONFIG}` without `{key}`"))
            };
            let missing = lacks("model_type", Value::is_string)
                .or_else(|| lacks("architectures", Value::is_array));
            // A class of diffusers says as much of models that ComfyUI reads.
            missing.filter(|_| !config.contains_key("_class_name"))
        }
    }
}

impl RecipeFile {
    fn is_to_quantize(&self) -> bool {
        self.decode_to.is_none()
            && self.migrate_to.is_none()
            && self.edit.is_none()
            && self.repair.is_none()
    }
}
