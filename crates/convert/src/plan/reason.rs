use std::fmt;

use roundwise_layout::{ForeignLayer, Spelling, StoredLayer};
use roundwise_scheme::Scheme;

/// Why a tensor becomes what it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The scheme of the recipe applies.
    Default,
    /// The scheme of the recipe applies to more than two dimensions: it stores plain numbers.
    Convolution,
    /// A rule of the recipe names a scheme.
    Rule(String),
    /// `assign` names its scheme, as a budget chose it.
    Assigned,
    /// `include` asks for it.
    Included(String),
    /// A preset keeps it, and the recipe has a scheme for such layers.
    Fallback {
        /// The reason that the preset gives.
        because: Box<Reason>,
    },
    /// Not called `….weight`.
    NotAWeight,
    /// Not a matrix.
    Rank(usize),
    /// The weights of several experts.
    ExpertBank,
    /// No elements.
    Empty,
    /// Numbers that are not weights: integers, booleans, complex.
    NotFloat(&'static str),
    /// `keep` asks for it.
    Kept(String),
    /// The base keep-list or the preset keeps it.
    Preset {
        /// Name of the preset, or `base`.
        preset: String,
        /// The reason that the preset gives.
        because: String,
    },
    /// Fewer elements than `min_size`.
    Small {
        /// Elements of the weight.
        elements: u64,
        /// Fewest elements that are converted.
        min_size: u64,
    },
    /// The size heuristic skips it.
    Heuristic(String),
    /// Programs take its codes for numbers; what it is to them.
    ReadAsNumbers(String),
    /// No whole number of blocks or groups covers it.
    Ragged(String),
    /// Loaders tell the model apart by its shape, which packing or padding would change.
    Probe,
    /// Servers have one way of storing for it and this layer, which is kept.
    StackedWith(String),
    /// A NaN or an infinity was found in it.
    NotFinite {
        /// First row that holds one.
        row: usize,
    },
    /// Bias of a layer that becomes codes, and the method corrects biases.
    CorrectedBias,
    /// Another model of the file, and the layout marks only the main one.
    OtherPart,
    /// An activation scale whose layer stays in the scheme it was measured for.
    InputScale,
    /// An activation scale of other codes, or in a form that the layout does not have.
    OtherInputScale,
    /// A scale of the cache of keys and values, of which the output has no place to speak.
    CacheScale,
    /// A scale or marker of a layer that is stored anew.
    Superseded,
    /// A scale or marker that belongs to nothing.
    Orphan,
    /// A scale of a weight that the file does not have.
    Stray,
    /// The preset removes it.
    Removed(String),
    /// All codes are to become plain numbers.
    Dequantized,
    /// It was in such blocks of GGUF, and all are to become plain numbers.
    Blocks(&'static str),
    /// Its codes are laid out anew.
    Moved,
    /// Codes without a scale, which need no layout.
    Unscaled,
    /// Options of its layer change.
    Edited,
    /// Nothing of it changes.
    NotEdited,
    /// Only codes are to become something else.
    NotInCodes,
    /// It was quantized.
    Decoded {
        /// Scheme it was stored in.
        from: Scheme,
        /// How the file said so.
        spelling: Spelling,
        /// Why it becomes what it becomes now.
        because: Box<Reason>,
    },
    /// It was in codes of another program.
    FromForeign {
        /// The program.
        program: &'static str,
        /// Its codes in words.
        codes: String,
        /// Why it becomes what it becomes now.
        because: Box<Reason>,
    },
}

impl Reason {
    /// Wraps the reason for a layer that was quantized already.
    pub(crate) fn of_stored(self, stored: &StoredLayer) -> Self {
        Reason::Decoded { from: stored.scheme, spelling: stored.spelling, because: Box::new(self) }
    }

    /// Returns the same reason for a layer that was in codes of another program.
    pub(crate) fn of_foreign(self, foreign: &ForeignLayer) -> Self {
        let (program, codes) = (foreign.program.name, foreign.codes.clone());
        Reason::FromForeign { program, codes, because: Box::new(self) }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Default => write!(f, "linear weight"),
            Reason::Convolution => write!(f, "convolution"),
            Reason::Rule(pattern) => write!(f, "rule `{pattern}`"),
            Reason::Assigned => write!(f, "chosen by the budget"),
            Reason::Included(pattern) => write!(f, "included by `{pattern}`"),
            Reason::Fallback { because } => write!(f, "fallback scheme; {because}"),
            Reason::NotAWeight => write!(f, "not a weight"),
            Reason::Rank(0) => write!(f, "a single number"),
            Reason::Rank(1) => write!(f, "a vector (norm gain or scale)"),
            Reason::Rank(3) => write!(f, "3-D (convolution or expert bank)"),
            Reason::Rank(rank) => write!(f, "{rank}-D (convolution)"),
            Reason::ExpertBank => write!(f, "expert bank: several matrices in one tensor"),
            Reason::Empty => write!(f, "no elements"),
            Reason::NotFloat(dtype) => write!(f, "{dtype} data"),
            Reason::Kept(pattern) => write!(f, "kept by `{pattern}`"),
            Reason::Preset { preset, because } => write!(f, "{because} (preset {preset})"),
            Reason::Small { elements, min_size } => {
                write!(f, "{elements} elements, under the minimum of {min_size}")
            }
            Reason::Heuristic(rule) => write!(f, "size rule: {rule}"),
            Reason::ReadAsNumbers(because) => {
                write!(f, "programs would take its codes for numbers; {because}")
            }
            Reason::Ragged(problem) => write!(f, "{problem}"),
            Reason::Probe => {
                write!(f, "loaders recognise the model by its shape, which packing would change")
            }
            Reason::StackedWith(layer) => {
                write!(f, "servers store it as they store `{layer}`, which is kept")
            }
            Reason::NotFinite { row } => write!(f, "row {row} holds a NaN or an infinity"),
            Reason::CorrectedBias => {
                write!(f, "bias of a converted layer, corrected for its error")
            }
            Reason::OtherPart => {
                write!(f, "beside the main model, which alone `comfy-legacy` marks")
            }
            Reason::InputScale => write!(f, "activation scale; its layer keeps its scheme"),
            Reason::OtherInputScale => {
                write!(f, "activation scale of other codes or in another form")
            }
            Reason::CacheScale => {
                write!(
                    f,
                    "scale of the cache of keys and values, by which no program would round it"
                )
            }
            Reason::Superseded => write!(f, "its layer is stored anew"),
            Reason::Orphan => write!(f, "scale of a weight that is not quantized"),
            Reason::Stray => write!(f, "scale of a weight that is not there"),
            Reason::Removed(because) => write!(f, "{because}"),
            Reason::Dequantized => write!(f, "holds codes"),
            Reason::Blocks(blocks) => write!(f, "was {blocks}"),
            Reason::Moved => write!(f, "same codes and scales"),
            Reason::Unscaled => write!(f, "its codes are the values"),
            Reason::Edited => write!(f, "other options, the same codes"),
            Reason::NotEdited => write!(f, "not edited"),
            Reason::NotInCodes => write!(f, "holds no codes"),
            Reason::Decoded { from, spelling, because } => {
                write_because(f, because)?;
                write!(f, "was {from} ({spelling})")
            }
            Reason::FromForeign { program, codes, because } => {
                write_because(f, because)?;
                write!(f, "was {program}, {codes}")
            }
        }
    }
}

/// Writes the reason for what becomes of codes, unless all become the same.
fn write_because(f: &mut fmt::Formatter<'_>, because: &Reason) -> fmt::Result {
    match because {
        Reason::Dequantized => Ok(()),
        because => write!(f, "{because}; "),
    }
}
