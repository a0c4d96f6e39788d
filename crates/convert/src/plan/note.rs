mod text;

use std::fmt;

use roundwise_layout::Repair;
use roundwise_scheme::Scheme;
use roundwise_tensor_file::Remark;

use crate::model::{Dialect, FileKind};
use crate::recipe::{PlainDtype, Setting, Text};
use crate::source::ExpertBanks;

/// Something that a plan does otherwise than someone might expect, and that is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    // 1. What the file is.
    /// A choice that was made, or a part that was passed over, when the input was opened.
    Remark(Remark),
    /// Somebody insisted on the kind of the file.
    InsistedKind {
        /// The kind that it is treated as.
        kind: FileKind,
        /// The kind that its names suggest.
        looks_like: String,
    },
    /// Another preset than the detected one was asked for.
    ForcedPreset {
        /// Name of the preset that was asked for.
        forced: String,
        /// The model that was recognised.
        model: String,
        /// Its preset.
        detected: String,
    },
    /// A weight file of a language model was named, whose folder servers would open.
    LoneLanguageModel {
        /// The folder.
        folder: String,
    },
    /// The configuration in the folder of a language model does not say so, and the output is not for servers.
    SilentFolder {
        /// What keeps it from that.
        silence: String,
    },
    /// Scales of inputs are stored, from statistics.
    StoredInputScales {
        /// Layers that get one.
        layers: usize,
        /// Layers in codes.
        of: usize,
    },
    /// Scales of inputs are left out, for they are of other codes, or the layout has another form for them.
    InputScales {
        /// Layers that had one.
        layers: usize,
    },
    /// Scales of the cache of keys and values are left out.
    CacheScales {
        /// Their number.
        tensors: usize,
    },
    /// The file holds the model a second time.
    Copy {
        /// Prefix of the names of the other one.
        prefix: String,
        /// Number of its tensors.
        tensors: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// Shards disagree about an entry of the header.
    DisputedMetadata {
        /// The entry's key.
        key: String,
        /// Values besides the first.
        others: usize,
    },

    // 2. Names.
    /// Names that were translated into the model's own.
    Translated {
        /// Whose names the file has.
        from: Dialect,
        /// Number of tensors with another name.
        renamed: usize,
        /// Number of tensors that were joined from several.
        joined: usize,
        /// Number of tensors whose rows have another order.
        reordered: usize,
        /// Tensors that are left out, because the model computes them.
        dropped: Vec<String>,
    },
    /// The prefix that training code put before all names is taken off.
    Unwrapped {
        /// The beginning of the names.
        wrapper: String,
        /// Number of tensors.
        tensors: usize,
    },
    /// What training code put inside names, around blocks of the model, is taken off.
    UnwrappedInside {
        /// Segments of names.
        wrappers: Vec<&'static str>,
        /// Number of tensors.
        tensors: usize,
    },
    /// Names that could be translated and stay, for no program is known to read the others.
    NamesStay {
        /// Whose names they are.
        dialect: Dialect,
    },
    /// Names that stay, for they cannot be translated.
    NamesUntranslated {
        /// Whose names they are.
        dialect: Dialect,
        /// Why they cannot.
        reason: String,
    },
    /// Names that programs read from GGUF files alone, in plain numbers.
    OfGguf {
        /// Whose names they are.
        dialect: Dialect,
        /// Whether they can be translated.
        is_translatable: bool,
    },

    // 3. Codes in the input.
    /// Weights that were rounded before: errors are measured against their decoded codes.
    FromCodes {
        /// Their number.
        weights: usize,
        /// Schemes of the input.
        schemes: Vec<String>,
    },
    /// Weights that are in codes of their scheme already, which stay: their errors are 0.
    KeptCodes {
        /// Their number.
        weights: usize,
        /// The schemes.
        schemes: Vec<String>,
    },
    /// Expert banks in codes of another program, which become plain numbers.
    DecodedBanks {
        /// Their number.
        tensors: usize,
        /// The program.
        program: &'static str,
        /// Their bytes before and after.
        bytes: [u64; 2],
    },
    /// Codes that become plain numbers, one of which is a NaN or an infinity.
    DecodedNotFinite {
        /// The names of the weights.
        weights: Vec<String>,
    },
    /// Layers with scales that no program chooses.
    OddScales {
        /// Their names, and what is odd about the scales.
        layers: Vec<(String, &'static str)>,
    },
    /// Options of markers that no program is known to read, which outputs are without.
    UnknownOptions {
        /// Each with the number of layers that have it.
        options: Vec<(String, usize)>,
    },
    /// Scales beside weights that are plain numbers, which are left out.
    OrphanScales {
        /// Their names.
        tensors: Vec<String>,
    },
    /// Scales of weights that the file does not have, which are left out.
    StrayScales {
        /// Their names.
        tensors: Vec<String>,
    },
    /// A defect of the input that is repaired.
    Repaired(Repair),

    // 4. Blocks of GGUF in the input.
    /// Tensors in blocks of GGUF, which are decoded on reading.
    Blocks {
        /// Their types, such as `Q4_K`.
        types: Vec<&'static str>,
        /// Their number.
        tensors: usize,
        /// What those that are kept are stored as, where any are.
        kept_as: Option<PlainDtype>,
    },
    /// The output is larger than the blocks of GGUF that it is made of.
    Grown {
        /// Bytes of the input and of the output.
        bytes: [u64; 2],
        /// The largest table that a preset keeps, with its bytes.
        largest: Option<(String, u64)>,
    },
    /// Entries of the input's header that safetensors has no place for.
    UnreadEntries {
        /// Their number.
        entries: usize,
    },

    // 5. What weights become.
    /// The weights have the dtype already that they are to be stored in.
    Unchanged {
        /// The dtype.
        dtype: &'static str,
        /// Their number.
        weights: usize,
    },
    /// A scheme is stored as another one, whose scales the layout's programs read exactly.
    StoredAs {
        /// The scheme that was asked for.
        asked: Scheme,
        /// The scheme that is stored.
        stored: Scheme,
    },
    /// Weights that are kept, because they hold a NaN or an infinity.
    NotFinite {
        /// Their names.
        weights: Vec<String>,
    },
    /// Kept tensors whose dtype ComfyUI does not read.
    UnreadDtypes {
        /// Their names.
        tensors: Vec<String>,
        /// Their dtypes.
        dtypes: Vec<&'static str>,
    },
    /// Weights of several experts in one tensor, which stay as they are.
    ExpertBanks(ExpertBanks),
    /// Weights that become nearest codes, because nothing is known of their inputs.
    WithoutStatistics {
        /// Their names.
        weights: Vec<String>,
    },

    // 6. Adapters.
    /// Adapters were added to some tensors.
    Merged {
        /// Each adapter as it was named, with its strength.
        adapters: Vec<String>,
        /// Number of tensors.
        tensors: usize,
    },
    /// Which factors an adapter was merged with, and where they were taken from.
    AdapterFactors(String),
    /// Keys of adapters that no weight answers to.
    UnmatchedLora {
        /// The keys.
        keys: Vec<String>,
    },

    // 7. What goes with the weights.
    /// Entries of the header that were edited.
    EditedHeader {
        /// Keys of entries that were added or replaced.
        set: Vec<String>,
        /// Keys of entries that were left out.
        unset: Vec<String>,
    },
    /// The model's `config.json` describes codes that are gone.
    QuantizationConfig {
        /// Whether the output is a folder, whose copy of it says so no longer.
        is_changed: bool,
    },
    /// Folders and hidden files beside the input that are not copied.
    NotCopied {
        /// Their names.
        names: Vec<String>,
    },

    // 8. Settings.
    /// A setting of the recipe that does nothing here.
    WithoutEffect {
        /// The setting.
        asked: Ineffective,
        /// Why it has no effect.
        because: &'static str,
    },
}

/// A setting that does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ineffective {
    /// The setting.
    pub setting: Setting,
    /// Its pattern, where it is one.
    pub pattern: Option<String>,
}

impl Ineffective {
    /// Returns the sentence that says why it does nothing.
    pub(crate) fn text(&self, because: &str) -> Text {
        match &self.pattern {
            Some(pattern) => Text::from(self.setting.clone()) + format!(" `{pattern}` {because}"),
            None => self.setting.clone().quoted() + " " + because,
        }
    }
}

/// The [`Note::text`] with the library's names for settings.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}
