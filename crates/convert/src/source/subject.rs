//! The subject: what an input is. Recognised once from headers and side files, asked by every
//! command.

use std::collections::BTreeMap;

use roundwise_layout::{Layout, StoredLayers, layer_of};
use roundwise_tensor_file::{Checkpoint, TensorHeader, parse_python_json};
use serde::{Serialize, Serializer};

use crate::model::{
    AdapterKind, Component, Detected, Dialect, FileKind, Preset, Shapes, detect, detect_as,
};
use crate::source::experts::is_expert_bank;
use crate::source::incomplete::Incomplete;
use crate::source::model_config::{MODEL_CONFIG, ServedModel, silent_class};
use crate::source::text_part::families;

/// The recognised kind, models and codes of a file.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its kind, its models and their names.
    pub detected: Detected,
    /// Layers that are in codes already.
    pub codes: Vec<StoredCodes>,
    /// Expert banks of plain numbers.
    pub expert_banks: Option<ExpertBanks>,
    /// The language model that the configuration beside the file describes, if it does.
    pub(crate) served: Option<ServedModel>,
    /// The class of the model that the configuration describes, where that writes no text.
    pub(crate) silent_class: Option<String>,
    /// The kind that the file's names suggest, where somebody insisted on another one.
    pub looks_like: Option<String>,
    /// Why it is not one model as programs look for it, if so.
    pub(crate) incomplete: Option<Incomplete>,
}

/// Layers in codes of one spelling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredCodes {
    /// How the file says so, or the program that made them.
    pub spelling: String,
    /// Number of layers.
    pub layers: usize,
    /// Whether they can be decoded.
    pub is_readable: bool,
}

/// Tensors each of which holds the weights of several experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ExpertBanks {
    /// Number of tensors.
    pub tensors: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of all tensors of the file.
    pub total_bytes: u64,
    /// Whether ComfyUI reads codes of them.
    pub is_read_in_codes: bool,
    /// The layout in which servers read codes of them.
    #[serde(serialize_with = "named")]
    pub layout_of_servers: Option<Layout>,
}

impl Subject {
    /// Recognises a file.
    ///
    /// - `stored`: its layers in codes
    /// - `insisted`: what somebody says that it is
    pub(crate) fn recognise(
        file: &Checkpoint,
        stored: &StoredLayers,
        insisted: Option<FileKind>,
    ) -> Self {
        let shapes: Shapes<'_> = shapes(file, stored);
        let found = with_side_files(detect(&shapes), file);
        // Only where somebody insists on a kind: without that, `detected` says the same.
        let looks_like = insisted.map(|_| described(&found));
        let detected = insisted.map_or(found, |kind| detect_as(&shapes, kind));
        let codes = stored_codes(stored);
        let served = ServedModel::beside(file, &shapes, !codes.is_empty());
        // Scales of a bank in codes may look like a bank of plain numbers.
        let plain = file.tensors().iter().filter(|it| !stored.side_tensors.contains_key(&it.name));
        let expert_banks = ExpertBanks::among(plain, file, &detected, served.as_ref());
        let incomplete = Incomplete::find(file, &shapes, &detected, served.as_ref());
        let detected = match incomplete {
            Some(Incomplete::Unmerged { .. }) if insisted.is_none() => unmerged(detected),
            _ => detected,
        };
        let silent_class = silent_class(file);
        Self { detected, codes, expert_banks, served, silent_class, looks_like, incomplete }
    }

    /// Returns the rules for its layers in a layout: of the model's own, or of its family where
    /// servers read it.
    pub(crate) fn preset_for(&self, layout: Layout) -> &'static Preset {
        match &self.served {
            Some(served) if layout.is_for_servers() => served.preset,
            None if layout.is_for_servers() => Preset::served(),
            _ => self.detected.main.preset,
        }
    }

    /// Returns what transformers calls the module of a layer in a folder that servers read, where files have another name.
    pub(crate) fn modules_of(&self, layer: &str) -> Vec<String> {
        self.served.as_ref().map_or(vec![], |served| {
            served.preset.modules_of(layer, &families(&served.model_type, &served.config))
        })
    }

    /// Returns whether ComfyUI reads codes of the banks of experts of the component that a tensor belongs to.
    pub(crate) fn reads_bank(&self, name: &str) -> bool {
        self.detected.component_of(name).has_coded_banks
    }

    /// Returns the kind of the file.
    pub fn kind(&self) -> FileKind {
        self.detected.kind
    }
}

impl ExpertBanks {
    /// Counts the banks among some tensors of a file.
    pub(crate) fn among<'a>(
        tensors: impl Iterator<Item = &'a TensorHeader>,
        file: &Checkpoint,
        detected: &Detected,
        served: Option<&ServedModel>,
    ) -> Option<Self> {
        let banks = tensors.filter(|header| is_expert_bank(header));
        // Saturating, here and below: headers are not trusted, and sizes of a file made up may not
        // fit.
        let (tensors, bytes) =
            banks.fold((0, 0_u64), |(n, bytes), it| (n + 1, bytes.saturating_add(it.byte_len())));
        let all = file.tensors().iter().map(TensorHeader::byte_len);
        let total_bytes = all.fold(0, u64::saturating_add);
        let is_read_in_codes = detected.components().any(|it| it.has_coded_banks);
        let layout_of_servers = served.and_then(|served| served.preset.layout_of_banks());
        let found = Self { tensors, bytes, total_bytes, is_read_in_codes, layout_of_servers };
        (tensors > 0).then_some(found)
    }

    /// Returns their share of the file, in percent.
    pub fn percent(&self) -> f64 {
        100.0 * self.bytes as f64 / self.total_bytes.max(1) as f64
    }
}

fn named<S: Serializer>(layout: &Option<Layout>, to: S) -> Result<S::Ok, S::Error> {
    layout.map(|layout| layout.to_string()).serialize(to)
}

/// Returns names and shapes of all tensors, as they are stored, but those of the numbers where another
/// program's codes stand for them.
pub(crate) fn shapes<'a>(file: &'a Checkpoint, stored: &'a StoredLayers) -> Shapes<'a> {
    let shape = |header: &'a TensorHeader| {
        let foreign = stored.foreign.get(layer_of(&header.name));
        let decoded = foreign.filter(|layer| layer.name == header.name);
        decoded.map_or(header.shape.as_slice(), |layer| layer.shape.as_slice())
    };
    file.tensors().iter().map(|header| (header.name.as_str(), shape(header))).collect()
}

/// Describes the kind and its evidence, for people.
fn described(found: &Detected) -> String {
    match found.kind {
        FileKind::Unknown => found.main.title.to_owned(),
        kind => format!("{} ({kind})", found.main.title),
    }
}

fn stored_codes(stored: &StoredLayers) -> Vec<StoredCodes> {
    let mut counts = BTreeMap::<(String, bool), usize>::new();
    for layer in stored.layers.values() {
        *counts.entry((layer.spelling.to_string(), true)).or_default() += 1;
    }
    for layer in stored.foreign.values() {
        *counts.entry((layer.program.name.to_owned(), true)).or_default() += 1;
    }
    for program in stored.unread_programs.values() {
        *counts.entry(((*program).to_owned(), false)).or_default() += 1;
    }
    let codes = counts.into_iter();
    codes
        .map(|((spelling, is_readable), layers)| StoredCodes { spelling, layers, is_readable })
        .collect()
}

/// Names what was found for what it is: neither a model nor an adapter of its own.
fn unmerged(found: Detected) -> Detected {
    let title = "model with an unmerged LoRA";
    let main = Component { architecture: "unmerged", title, ..found.main };
    // No names are translated before it is merged.
    Detected { kind: FileKind::Unknown, dialect: Dialect::Unknown, main, ..found }
}

/// Dictionary of a textual inversion that `torch.save` wrote: vectors by the word that they stand for.
const VECTORS_OF_WORDS: &str = "string_to_param";

/// Completes what names leave open from the files beside the tensors, and from the dictionary that they
/// are in.
fn with_side_files(found: Detected, file: &Checkpoint) -> Detected {
    if found.kind == FileKind::Unknown && file.chosen_dictionary() == Some(VECTORS_OF_WORDS) {
        return Detected { kind: FileKind::TextualInversion, ..found };
    }
    let json = |name: &str| -> Option<serde_json::Value> {
        parse_python_json(&file.text_beside(name)?).ok()
    };
    match found.kind {
        FileKind::Adapter(kind) => {
            let config = json("adapter_config.json").filter(|_| is_of_peft(file));
            let kind = config.and_then(|config| adapter_kind(&config)).unwrap_or(kind);
            Detected { kind: FileKind::Adapter(kind), ..found }
        }
        // Whatever its tensors are called, it stands beside a configuration of an adapter.
        FileKind::Unknown if found.main.is_unknown() && is_of_peft(file) => {
            let config = json("adapter_config.json");
            let is_told = config.as_ref().is_some_and(|config| config.get("peft_type").is_some());
            match is_told {
                true => Detected { kind: FileKind::Adapter(AdapterKind::Other), ..found },
                false => found,
            }
        }
        FileKind::Unknown if found.main.is_unknown() => {
            let config = json(MODEL_CONFIG);
            let class = config.as_ref().and_then(|config| config.get("_class_name"));
            match class.and_then(serde_json::Value::as_str).map(kind_of_class) {
                Some(kind) => Detected { kind, dialect: Dialect::Diffusers, ..found },
                None => found,
            }
        }
        FileKind::DiffusionModel
        | FileKind::TextEncoder
        | FileKind::LanguageModel
        | FileKind::Vae
        | FileKind::ControlNet
        | FileKind::SideModel
        | FileKind::TextualInversion
        | FileKind::Upscaler
        | FileKind::Checkpoint
        | FileKind::TrainingCheckpoint
        | FileKind::Statistics
        | FileKind::Unknown => found,
    }
}

/// Returns whether the file is the one that `adapter_config.json` beside it describes.
fn is_of_peft(file: &Checkpoint) -> bool {
    let name = file.files().first().and_then(|first| first.path().file_name());
    name.is_some_and(|name| name.to_string_lossy().starts_with("adapter_model"))
}

/// Returns the kind that a configuration of PEFT names.
fn adapter_kind(config: &serde_json::Value) -> Option<AdapterKind> {
    let is_set = |key: &str| config.get(key).and_then(serde_json::Value::as_bool) == Some(true);
    match config.get("peft_type")?.as_str()? {
        "LORA" if is_set("use_dora") => Some(AdapterKind::DoRa),
        "LORA" => Some(AdapterKind::LoRa),
        "LOHA" => Some(AdapterKind::LoHa),
        "LOKR" => Some(AdapterKind::LoKr),
        "OFT" => Some(AdapterKind::Oft),
        "BOFT" => Some(AdapterKind::Boft),
        _ => None,
    }
}

/// Returns the kind of model that a class of diffusers is.
fn kind_of_class(class: &str) -> FileKind {
    match class {
        class if class.contains("ControlNet") => FileKind::ControlNet,
        class if class.contains("Autoencoder") => FileKind::Vae,
        class if class.contains("Transformer") || class.contains("UNet") => {
            FileKind::DiffusionModel
        }
        _ => FileKind::Unknown,
    }
}
