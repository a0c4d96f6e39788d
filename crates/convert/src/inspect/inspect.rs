use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use roundwise_layout::{Client, Layout, Origin, client};
use roundwise_tensor_file::Dtype;
use serde::Serialize;

use crate::error::ConvertError;
use crate::inspect::verify::Finding;
use crate::plan::Provenance;
use crate::report::named::lossy;
use crate::source::Source;
use crate::source::adapter::is_adapter;

/// What is in a file, and who opens it.
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
    /// What the names of the model's tensors start with.
    pub prefix: String,
    /// Preset that `convert` would use.
    pub preset: String,
    /// Tensors, elements and bytes of each dtype.
    pub dtypes: Vec<DtypeCount>,
    /// Layers in codes, by scheme and spelling.
    pub quantized: Vec<QuantizedCount>,
    /// Programs that open the file as it is.
    pub clients: Vec<String>,
    /// How it was made, where this program made it.
    pub provenance: Option<MadeBy>,
    /// What is wrong with the layers in codes.
    pub defects: Vec<Finding>,
    /// Number of entries of a GGUF header, which outputs have no place for.
    pub unread_entries: usize,
    /// Choices that were made when the file was opened, and what was passed over then.
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
    /// The command that makes the file again, `INPUT` for the input.
    pub command: String,
}

impl From<Provenance> for MadeBy {
    fn from(made: Provenance) -> Self {
        Self { command: made.command(), version: made.version, input_blake3: made.input_blake3 }
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
    /// Scheme.
    pub scheme: String,
    /// How the file says so.
    pub spelling: String,
    /// Number of layers.
    pub layers: usize,
}

const METADATA_SHOWN_CHARS: usize = 200;

/// Reads headers and markers, no weight.
///
/// # Errors
/// [`ConvertError::File`] when the file is damaged.
pub fn inspect(path: &Path) -> Result<Inspection, ConvertError> {
    let source = Source::open(path)?;
    let model = source.detect().main;
    let stored = &source.stored;
    let told = stored.defects.iter().chain(&stored.orphans).map(Finding::from);
    let one_sided = stored.one_sided_markers();
    let mut defects: Vec<Finding> = told.chain(one_sided.iter().map(Finding::from)).collect();
    defects.sort();
    Ok(Inspection {
        path: path.to_owned(),
        bytes: source.checkpoint.total_bytes(),
        files: source.checkpoint.files().len(),
        architecture: model.title.to_owned(),
        evidence: model.evidence,
        prefix: model.prefix,
        preset: model.preset.name.clone(),
        dtypes: count_dtypes(&source),
        quantized: count_quantized(&source),
        clients: clients(&source),
        provenance: Provenance::read(source.checkpoint.metadata()).map(MadeBy::from),
        defects,
        unread_entries: source.checkpoint.unread_entries(),
        remarks: source.checkpoint.remarks().iter().map(ToString::to_string).collect(),
        metadata: source
            .checkpoint
            .metadata()
            .iter()
            .map(|(key, value)| (key.clone(), shorten(value)))
            .collect(),
    })
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
        let count = counts.entry((header.dtype, header.stored_as())).or_default();
        count.dtype = header.stored_as();
        count.is_decoded = header.stored_as() != header.dtype.name();
        count.tensors += 1;
        count.elements += header.element_count();
        count.bytes += header.stored_bytes();
    }
    let mut counts: Vec<_> = counts.into_values().collect();
    counts.sort_by_key(|count| std::cmp::Reverse(count.bytes));
    counts
}

fn count_quantized(source: &Source) -> Vec<QuantizedCount> {
    let mut counts = BTreeMap::<(String, Origin), usize>::new();
    for layer in source.stored.layers.values() {
        *counts.entry((layer.scheme.to_string(), layer.origin)).or_default() += 1;
    }
    counts
        .into_iter()
        .map(|((scheme, origin), layers)| QuantizedCount {
            scheme,
            spelling: origin.to_string(),
            layers,
        })
        .collect()
}

/// What is needed to open the layers as they are; where something beyond stock ComfyUI is needed
/// for one of them, only that.
fn clients(source: &Source) -> Vec<String> {
    if !source.stored.defects.is_empty() {
        return vec!["none: layers are damaged or of a kind that is not known".to_owned()];
    }
    let other = |name| Client { name, is_stock_comfyui: false };
    let mut openers: Vec<Client> = source
        .stored
        .layers
        .values()
        .map(|layer| match layer.origin {
            Origin::Comfy => client(Layout::Comfy, layer.scheme),
            Origin::ComfyLegacy => client(Layout::ComfyLegacy, layer.scheme),
            Origin::WeightScale => other("vLLM, with a matching config.json"),
            Origin::WeightPacked => other("vLLM and transformers, with a matching config.json"),
            Origin::WeightScale2 => other("vLLM and TensorRT-LLM, with a matching config.json"),
            Origin::WeightScaleInv => other("transformers and vLLM, with a matching config.json"),
            Origin::Plain => Client {
                name: "ComfyUI (codes without scales are cast to the compute type)",
                is_stock_comfyui: true,
            },
        })
        .collect();
    if openers.iter().any(|opener| !opener.is_stock_comfyui) {
        openers.retain(|opener| !opener.is_stock_comfyui);
    }
    let mut clients: Vec<String> =
        openers.into_iter().map(|opener| opener.name.to_owned()).collect();
    clients.sort();
    clients.dedup();
    if clients.is_empty() {
        let opener = match is_adapter(&source.checkpoint) {
            true => "programs that load adapters, beside the model that it belongs to",
            false => "any program that reads this model's original weights",
        };
        clients.push(opener.to_owned());
    }
    clients
}
