use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use roundwise_layout::Layout;
use roundwise_scheme::Scheme;
use roundwise_tensor_file::Dtype;
use serde::Serialize;

use crate::error::ConvertError;
use crate::inspect::verification::Finding;
use crate::model::{Dialect, FileKind, Preset};
use crate::plan::Provenance;
use crate::plan::gather_notes::{copies, odd_scales, unknown_options};
use crate::recipe::RecipeFile;
use crate::report::named::lossy;
use crate::source::consumer::comfyui::{in_files, names_of_gguf};
use crate::source::model_config::for_input;
use crate::source::source::NamesStay;
use crate::source::translated::why_untranslated;
use crate::source::{ExpertBanks, Opens, Source, Subject};

/// The contents of a file, and the programs that open it.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The file or folder.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Size of all its files.
    pub bytes: u64,
    /// Number of files.
    pub files: usize,
    /// The model that was recognised.
    pub architecture: String,
    /// The keys that decided.
    pub evidence: Vec<String>,
    /// Prefix of the names of the model's tensors.
    pub prefix: String,
    /// The kind of the file.
    pub kind: FileKind,
    /// Whose names its tensors have.
    pub dialect: Dialect,
    /// Prefix that training code put before all names; mostly empty.
    pub wrapper: String,
    /// Why a conversion cannot translate names of another dialect to the model's own; `None` where it can, or need not.
    pub names_stay: Option<String>,
    /// Whether ComfyUI opens it with its weights in `fp8`.
    pub fp8_consumer: Opens,
    /// Preset that `convert` would use.
    pub preset: String,
    /// Tensors, elements and bytes of each dtype.
    pub dtypes: Vec<DtypeCount>,
    /// Layers in codes, by scheme and spelling.
    pub quantized: Vec<QuantizedCount>,
    /// Tensors each of which holds the weights of several experts, which conversions keep.
    pub expert_banks: Option<ExpertBanks>,
    /// Programs that open the file as it is.
    pub opened_by: Vec<String>,
    /// How it was made, where this program made it.
    pub provenance: Option<MadeBy>,
    /// Defects of the layers in codes.
    pub findings: Vec<Finding>,
    /// Number of entries of a GGUF header, which outputs have no place for.
    pub unread_entries: usize,
    /// Choices that were made, and parts that were passed over, when the file was opened.
    pub remarks: Vec<String>,
    /// Entries of the header's metadata; long ones are cut.
    pub metadata: BTreeMap<String, String>,
}

/// How a file was made, and how to make it again.
#[derive(Clone, Debug, Serialize)]
pub struct MadeBy {
    /// Version of this program.
    pub version: String,
    /// BLAKE3 of every file of the input.
    pub input_blake3: Vec<String>,
    /// The recipe that makes it again; what was not given is left out.
    #[serde(skip)]
    pub recipe: RecipeFile,
    /// Whether statistics of inputs were used.
    #[serde(skip)]
    pub uses_statistics: bool,
}

impl From<Provenance> for MadeBy {
    fn from(made: Provenance) -> Self {
        let uses_statistics = made.statistics_blake3.is_some();
        let Provenance { version, input_blake3, recipe, .. } = made;
        Self { version, input_blake3, recipe, uses_statistics }
    }
}

/// Tensors of one dtype.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DtypeCount {
    /// Name of the dtype, or of the type of GGUF's blocks, such as `Q4_K`.
    pub dtype: &'static str,
    /// Whether it is a type of blocks, which are decoded to F32 on reading.
    #[serde(skip)]
    pub is_decoded: bool,
    /// Number of tensors.
    pub tensors: usize,
    /// Number of elements.
    pub elements: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Layers in codes of one scheme and spelling.
#[derive(Clone, Debug, Serialize)]
pub struct QuantizedCount {
    /// Scheme, or the codes of another program in words.
    pub scheme: String,
    /// How the file says so, or the program that made it.
    pub spelling: String,
    /// Number of layers.
    pub layers: usize,
}

// Entries may be whole configurations or pictures.
const METADATA_SHOWN_CHARS: usize = 200;

/// Reads headers and markers, no weight.
///
/// # Errors
/// [`ConvertError::File`] when the file is damaged.
pub fn inspect(path: &Path) -> Result<Inspection, ConvertError> {
    let source = Source::open(path)?;
    let subject = source.subject();
    let model = subject.detected.main.clone();
    // Once more, as a conversion opens it: whether programs read its codes depends on the names
    // that the output would have.
    let converted = Source::open_for_conversion(path);
    let (as_converted, names_stay) = match &converted {
        Ok(opened) => match opened.names_stay() {
            Some(NamesStay::Untranslated(reason)) => (opened.subject(), Some(reason.clone())),
            Some(NamesStay::NoReader) => (opened.subject(), None),
            None => (opened.subject(), why_diffusers_names_stay(&source)),
        },
        Err(ConvertError::Names { problem, .. }) => (subject, Some(why_untranslated(problem))),
        Err(_) => (subject, None),
    };
    let findings = source.defects().iter().map(Finding::from).collect();
    Ok(Inspection {
        path: path.to_owned(),
        bytes: source.checkpoint.total_bytes(),
        files: source.checkpoint.files().len(),
        architecture: model.title.to_owned(),
        evidence: model.evidence,
        prefix: model.prefix,
        kind: subject.kind(),
        dialect: subject.detected.dialect,
        wrapper: subject.detected.wrapper.clone(),
        names_stay,
        fp8_consumer: as_converted.opens(Scheme::FP8, Layout::Comfy),
        preset: preset_of_conversion(path, subject).name.clone(),
        dtypes: count_dtypes(&source),
        quantized: count_quantized(&source),
        expert_banks: subject.expert_banks,
        opened_by: opened_by(&source),
        provenance: Provenance::read(source.checkpoint.metadata()).map(MadeBy::from),
        findings,
        unread_entries: source.checkpoint.unread_entries(),
        remarks: {
            let remarks = source.checkpoint.remarks().iter().map(ToString::to_string);
            let copies = copies(converted.as_ref().unwrap_or(&source));
            let of_layers = odd_scales(&source).into_iter().chain(unknown_options(&source));
            let notes = copies.into_iter().chain(of_layers).map(|note| note.to_string());
            remarks.chain(notes).collect()
        },
        metadata: source
            .checkpoint
            .metadata()
            .iter()
            .map(|(key, value)| (key.clone(), shorten(value)))
            .collect(),
    })
}

/// Returns the preset of a conversion that nobody gives a setting for.
fn preset_of_conversion(path: &Path, subject: &Subject) -> &'static Preset {
    let is_for_servers = for_input(RecipeFile::default(), path, None).program.is_some();
    subject.preset_for(if is_for_servers { Layout::CompressedTensors } else { Layout::Comfy })
}

/// Says why a conversion leaves names of diffusers as they are, where it does.
fn why_diffusers_names_stay(source: &Source) -> Option<String> {
    let detected = &source.subject().detected;
    let stay = detected.dialect == Dialect::Diffusers && !source.is_translatable();
    let reason = detected.main.no_codes.unwrap_or("no table here is of such a model");
    stay.then(|| reason.to_owned())
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(METADATA_SHOWN_CHARS) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

fn count_dtypes(source: &Source) -> Vec<DtypeCount> {
    let mut counts = BTreeMap::<(Dtype, &str), DtypeCount>::new();
    for header in source.checkpoint.tensors() {
        // By stored name as well: the blocks of a GGUF file are all F32 once decoded.
        let count = counts.entry((header.dtype, header.stored_as())).or_default();
        count.dtype = header.stored_as();
        count.is_decoded = header.is_in_blocks();
        count.tensors += 1;
        count.elements += header.element_count();
        count.bytes += header.stored_bytes();
    }
    let mut counts: Vec<_> = counts.into_values().collect();
    counts.sort_by_key(|count| std::cmp::Reverse(count.bytes));
    counts
}

fn count_quantized(source: &Source) -> Vec<QuantizedCount> {
    let mut counts = BTreeMap::<(String, String), usize>::new();
    for layer in source.stored.layers.values() {
        let scheme = layer.scheme.to_string();
        let scheme =
            if layer.experts.is_some() { format!("{scheme}, expert bank") } else { scheme };
        let told = (scheme, layer.spelling.to_string());
        *counts.entry(told).or_default() += 1;
    }
    for (name, layer) in &source.stored.foreign {
        let codes = match source.stored.expert_blocks.get(name) {
            Some(bank) => format!("{}, expert bank", bank.scheme),
            None => layer.codes.clone(),
        };
        let told = (codes, layer.program.name.to_owned());
        *counts.entry(told).or_default() += 1;
    }
    let counts = counts.into_iter();
    counts.map(|((scheme, spelling), layers)| QuantizedCount { scheme, spelling, layers }).collect()
}

/// Returns the programs that open the layers as they are; where one layer needs something beyond stock ComfyUI,
/// only what such layers need.
fn opened_by(source: &Source) -> Vec<String> {
    if source.checkpoint.tensors().is_empty() {
        return vec!["none: the file holds no tensor".to_owned()];
    }
    if !source.stored.defects.is_empty() {
        return vec!["none: layers are damaged or of a kind that is not known".to_owned()];
    }
    if let Some(first) = source.stored.contradictions.first() {
        return vec![match first.layer.is_empty() {
            true => format!("none: it {}", first.problem),
            false => "none: its configuration says something else of layers in codes".to_owned(),
        }];
    }
    let subject = source.subject();
    if let Some(incomplete) = &subject.incomplete {
        return vec![format!("none: {}", incomplete.reason())];
    }
    let own = source.stored.layers.values().map(|layer| {
        let opens = match layer.experts {
            Some(_) if !subject.reads_bank(&layer.layer) => Opens::NotKnown {
                reason: "ComfyUI reads no codes of this model's banks of experts".to_owned(),
            },
            _ => subject.opens_as_spelled(layer.scheme, layer.spelling),
        };
        let is_comfyui = layer.spelling.is_comfyui();
        let opens =
            if is_comfyui { in_files(opens, source.checkpoint.files().len()) } else { opens };
        LayerOpener { is_comfyui, name: opens_in_words(opens) }
    });
    let foreign = source.stored.foreign.iter().map(|(name, layer)| {
        let bank = source.stored.expert_blocks.get(name);
        let name = match bank.and_then(|bank| subject.opens_banks_as_told(bank.scheme)) {
            Some(opens) => opens_in_words(opens),
            None => layer.program.opened_by.to_owned(),
        };
        LayerOpener { is_comfyui: false, name }
    });
    let mut openers: Vec<LayerOpener> = own.chain(foreign).collect();
    // Stock ComfyUI cannot open a file of which it cannot open one layer.
    if openers.iter().any(LayerOpener::is_beyond_comfyui) {
        openers.retain(LayerOpener::is_beyond_comfyui);
    }
    let mut names: Vec<String> = openers.into_iter().map(|opener| opener.name).collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        let is_gguf = source.checkpoint.is_gguf();
        let opener = match (subject.kind(), names_of_gguf(&subject.detected)) {
            _ if is_gguf => {
                "programs that read GGUF files of this model, such as llama.cpp".to_owned()
            }
            (_, Some(reason)) => format!("no program that is known; {reason}"),
            (FileKind::Adapter(_), None) => {
                "programs that load adapters, beside the model that it belongs to".to_owned()
            }
            (_, None) => "any program that reads this model's original weights".to_owned(),
        };
        names.push(opener);
    }
    names
}

fn opens_in_words(opens: Opens) -> String {
    match opens {
        Opens::Yes { program } => program,
        not_yes @ (Opens::No { .. } | Opens::NotKnown { .. }) => not_yes.to_string(),
    }
}

struct LayerOpener {
    is_comfyui: bool,
    name: String,
}

impl LayerOpener {
    /// Returns whether stock ComfyUI is not enough.
    fn is_beyond_comfyui(&self) -> bool {
        !self.is_comfyui || self.name.contains("ComfyUI-QuantOps")
    }
}
