use std::fmt;

use roundwise_layout::{Layout, Repair, reads_banks};
use roundwise_scheme::{CATALOG, Scheme};
use roundwise_tensor_file::Remark;

use crate::model::{Dialect, FileKind};
use crate::recipe::text::sized;
use crate::recipe::{PlainDtype, Setting, Text};
use crate::source::ExpertBanks;

/// Something that a plan does otherwise than someone might expect, and that is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Somebody insisted on the kind of the file.
    InsistedKind {
        /// The kind that it is treated as.
        kind: FileKind,
        /// The kind that its names suggest.
        looks_like: String,
    },
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
    /// The prefix that training code put before all names is taken off.
    Unwrapped {
        /// The beginning of the names.
        wrapper: String,
        /// Number of tensors.
        tensors: usize,
    },
    /// The model stands in the file once more.
    Copy {
        /// Prefix of the names of the other one.
        prefix: String,
        /// Number of its tensors.
        tensors: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// Weights of several experts in one tensor, which stay as they are.
    ExpertBanks(ExpertBanks),
    /// Layers with scales that no program chooses.
    OddScales {
        /// Their names, and what is odd about the scales.
        layers: Vec<(String, &'static str)>,
    },
    /// Weights of several experts in one tensor, which get nearest codes where others are searched.
    NearestBanks {
        /// Their number.
        tensors: usize,
    },
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
    /// Folders and hidden files beside the input that are not copied.
    NotCopied {
        /// Their names.
        names: Vec<String>,
    },
    /// Kept tensors whose dtype ComfyUI does not read.
    UnreadDtypes {
        /// Their names.
        tensors: Vec<String>,
        /// Their dtypes.
        dtypes: Vec<&'static str>,
    },
    /// Shards disagree about an entry of the header.
    DisputedMetadata {
        /// The entry's key.
        key: String,
        /// Values besides the first.
        others: usize,
    },
    /// A setting of the recipe that does nothing here.
    WithoutEffect {
        /// The setting.
        asked: Ineffective,
        /// Why it has no effect.
        because: &'static str,
    },
    /// Weights that are kept, because they hold a NaN or an infinity.
    NotFinite {
        /// Their names.
        weights: Vec<String>,
    },
    /// Codes that become plain numbers, one of which is a NaN or an infinity.
    DecodedNotFinite {
        /// The names of the weights.
        weights: Vec<String>,
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
    /// Weights that become nearest codes, because nothing is known of their inputs.
    WithoutStatistics {
        /// Their names.
        weights: Vec<String>,
    },
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
    /// A defect of the input that is repaired.
    Repaired(Repair),
    /// Weights that were rounded before: errors are measured against their decoded codes.
    FromCodes {
        /// Their number.
        weights: usize,
        /// Schemes of the input.
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
    /// A choice that was made, or a part that was passed over, when the input was opened.
    Remark(Remark),
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
    /// Names that programs read from GGUF files alone, in plain numbers.
    OfGguf {
        /// Whose names they are.
        dialect: Dialect,
        /// Whether they can be translated.
        is_translatable: bool,
    },
    /// Entries of the input's header that safetensors has no place for.
    UnreadEntries {
        /// Their number.
        entries: usize,
    },
    /// The model's `config.json` describes codes that are gone.
    QuantizationConfig {
        /// Whether the output is a folder, whose copy of it says so no longer.
        is_changed: bool,
    },
    /// Entries of the header that were edited.
    EditedHeader {
        /// Keys of entries that were added or replaced.
        set: Vec<String>,
        /// Keys of entries that were left out.
        unset: Vec<String>,
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
    /// Says what is to be said of it.
    pub(crate) fn text(&self, because: &str) -> Text {
        match &self.pattern {
            Some(pattern) => Text::from(self.setting.clone()) + format!(" `{pattern}` {because}"),
            None => self.setting.clone().quoted() + " " + because,
        }
    }
}

impl Note {
    /// Returns the note, the settings that it names apart from the words around them.
    pub fn text(&self) -> Text {
        match self {
            Note::WithoutEffect { asked, because } => asked.text(because),
            Note::NamesStay { dialect } => {
                let stay =
                    format!("names stay {}, for no program is known to read ", dialect.owner());
                Text::from(stay)
                    + "codes of such a model under others; `translate` for "
                    + Setting::new("names").quoted()
                    + " makes them the model's own"
            }
            Note::Grown { bytes, largest } => grown(*bytes, largest.as_ref()),
            Note::OfGguf { dialect, is_translatable } => {
                let stay =
                    format!("names stay {}, which reads them from GGUF alone", dialect.owner());
                match is_translatable {
                    false => stay.into(),
                    true => {
                        let translate = Setting::new("names").quoted();
                        Text::from(stay)
                            + "; `translate` for "
                            + translate
                            + " makes them the model's own"
                    }
                }
            }
            note => note.to_string().into(),
        }
    }
}

/// Says that an output is larger than its input, and what helps.
fn grown([before, after]: [u64; 2], largest: Option<&(String, u64)>) -> Text {
    let [before, after] = [before, after].map(sized);
    let text = Text::from(format!(
        "the output is larger than the input, {after} of {before}: blocks of GGUF take fewer bits than \
         these codes and kept tables; "
    ));
    match largest {
        Some((layer, bytes)) => {
            let kept = format!("`{layer}`, which is kept, has {} of it, and ", sized(*bytes));
            text + kept + Setting::new("include").quoted() + format!(" `{layer}` makes codes of it")
        }
        None => text + "a scheme of 4 bits takes half as much as one of 8",
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::InsistedKind { kind, looks_like } => {
                write!(f, "taken for: {kind}, as was asked for")?;
                match looks_like.ends_with(&format!("({kind})")) {
                    true => Ok(()),
                    false => write!(f, "; it looks like: {looks_like}"),
                }
            }
            Note::Translated { from, renamed, joined, reordered, dropped } => {
                let renamed = counted(*renamed, "tensor");
                write!(f, "names translated from {} to the model's own: {renamed}", from.owner())?;
                write_translated(f, *joined, *reordered, dropped)
            }
            Note::NamesStay { .. } => self.text().fmt(f),
            Note::NamesUntranslated { dialect, reason } => {
                write!(f, "names stay {}: {reason}", dialect.owner())
            }
            Note::Unwrapped { wrapper, tensors } => {
                let tensors = counted(*tensors, "tensor");
                write!(
                    f,
                    "`{wrapper}`, which training code puts before all names, is taken off {tensors}"
                )
            }
            Note::Copy { prefix, tensors, bytes } => {
                let them = if *tensors == 1 { "tensor" } else { "tensors" };
                write!(
                    f,
                    "the file holds a second model of the same layers, behind `{prefix}`: {tensors} {them}, "
                )?;
                write!(
                    f,
                    "{}, which stay as they are: loaders read the first, and this may be its ",
                    sized(*bytes)
                )?;
                f.write_str("averaged weights or another model")
            }
            Note::ExpertBanks(banks) => write_banks(f, banks),
            Note::OddScales { layers } => {
                let (name, odd) =
                    layers.first().map_or(("", ""), |(name, odd)| (name.as_str(), *odd));
                write!(f, "a scale of `{name}` is {odd}")?;
                if let [_, others @ ..] = layers.as_slice()
                    && !others.is_empty()
                {
                    let them = if others.len() == 1 { "layer has" } else { "layers have" };
                    write!(f, ", and {} more {them} such scales", others.len())?;
                }
                f.write_str(": no program writes that, and the file may be damaged; it is decoded as it says")
            }
            Note::NearestBanks { tensors } => {
                let get = if *tensors == 1 { "expert bank gets" } else { "expert banks get" };
                write!(f, "{tensors} {get} nearest codes: searches are in single matrices")
            }
            Note::Unchanged { dtype, weights } => {
                let them = if *weights == 1 { "the weight is" } else { "all weights are" };
                write!(f, "{them} {dtype} already: no number changes")
            }
            Note::StoredAs { asked, stored } => {
                write!(
                    f,
                    "`{asked}` is stored as `{stored}`: servers' kernels would round other scales again"
                )
            }
            Note::NotCopied { names } => {
                let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                f.write_str("folders and hidden files of the input are not copied: ")?;
                f.write_str(&names.join(", "))
            }
            Note::UnreadDtypes { tensors, dtypes } => {
                let dtypes = dtypes.join(" and ");
                write!(f, "ComfyUI does not read {dtypes} of what is kept: {}", first_of(tensors))
            }
            Note::DisputedMetadata { key, others } => {
                let values = if *others == 1 { "another value" } else { "other values" };
                write!(f, "later shards have {values} for header entry `{key}`; the first is kept")
            }
            Note::WithoutEffect { asked, because } => asked.text(because).fmt(f),
            Note::NotFinite { weights } => {
                write!(f, "kept for a NaN or an infinity: {}", weights.join(", "))
            }
            Note::DecodedNotFinite { weights } => {
                write!(f, "codes of a NaN or an infinity, which stay that as plain numbers: ")?;
                f.write_str(&weights.join(", "))
            }
            Note::OrphanScales { tensors } => {
                write!(
                    f,
                    "left out, for the weights beside are plain numbers, which are taken as "
                )?;
                write!(f, "they are: {}", tensors.join(", "))
            }
            Note::StrayScales { tensors } => {
                write!(f, "left out, for they scale no weight of the file: {}", tensors.join(", "))
            }
            Note::WithoutStatistics { weights } => {
                let count = counted(weights.len(), "weight");
                write!(f, "nearest codes for {count} without statistics: {}", first_of(weights))
            }
            Note::Merged { adapters, tensors } => {
                let tensors = counted(*tensors, "tensor");
                write!(f, "adapters merged into {tensors}: {}", adapters.join(", "))
            }
            Note::AdapterFactors(text) => f.write_str(text),
            Note::UnmatchedLora { keys } => {
                write!(f, "not merged, for no weight answers to it: {}", keys.join(", "))
            }
            Note::Repaired(repair) => write_repair(f, repair),
            Note::FromCodes { weights, schemes } => write_rounded_before(f, *weights, schemes),
            Note::DecodedBanks { tensors, program, bytes } => {
                let [before, after] = bytes.map(sized);
                let become_numbers = if *tensors == 1 { "becomes" } else { "become" };
                write!(f, "{} {become_numbers} plain numbers: ", counted(*tensors, "expert bank"))?;
                write!(
                    f,
                    "{before} in codes of {program}, {after} without; no layout here has codes for "
                )?;
                f.write_str("them")
            }
            Note::Remark(remark) => write!(f, "{remark}"),
            Note::Blocks { types, tensors, kept_as } => {
                write!(f, "tensors in {}, decoded on reading: {tensors}", types.join(", "))?;
                match kept_as {
                    Some(dtype) => write!(f, "; those that are kept are stored as {dtype}"),
                    None => Ok(()),
                }
            }
            Note::Grown { .. } | Note::OfGguf { .. } => self.text().fmt(f),
            Note::UnreadEntries { entries } => {
                f.write_str(
                    "entries of the GGUF header, such as a tokenizer, that outputs have no ",
                )?;
                write!(f, "place for: {entries}")
            }
            Note::QuantizationConfig { is_changed } => {
                f.write_str(quantization_config(*is_changed))
            }
            Note::EditedHeader { set, unset } => write_edited(f, set, unset),
            Note::ForcedPreset { forced, model, detected } => {
                write!(f, "preset `{forced}` was asked for; the file looks like: ")?;
                write!(f, "{model} (preset `{detected}`)")
            }
        }
    }
}

fn write_translated(
    f: &mut fmt::Formatter<'_>,
    joined: usize,
    reordered: usize,
    dropped: &[String],
) -> fmt::Result {
    if joined > 0 {
        write!(f, ", {joined} of them joined from several")?;
    }
    if reordered > 0 {
        write!(f, ", {reordered} of them with rows in another order")?;
    }
    match dropped {
        [] => Ok(()),
        dropped => write!(f, "; left out, for models compute it: {}", dropped.join(", ")),
    }
}

fn write_banks(f: &mut fmt::Formatter<'_>, banks: &ExpertBanks) -> fmt::Result {
    let stay = if banks.tensors == 1 { "stays" } else { "stay" };
    write!(f, "{} {stay} as in the input: ", counted(banks.tensors, "expert bank"))?;
    write!(f, "{}, {:.0} % of the file; ", sized(banks.bytes), banks.percent())?;
    f.write_str("each holds several matrices, ")?;
    if !banks.is_read_in_codes {
        return f.write_str("and no layout here has codes for them");
    }
    let read = CATALOG.iter().filter(|entry| reads_banks(Layout::Comfy, entry.scheme));
    let schemes: Vec<String> = read.map(|entry| format!("`{}`", entry.name)).collect();
    write!(f, "which layout `comfy` stores as {}", schemes.join(", "))
}

fn write_repair(f: &mut fmt::Formatter<'_>, Repair { defect, remedy }: &Repair) -> fmt::Result {
    match defect.layer.as_str() {
        "" => write!(f, "the file {}", defect.problem)?,
        layer => write!(f, "`{layer}` {}", defect.problem)?,
    }
    write!(f, ": {remedy}")
}

fn write_rounded_before(
    f: &mut fmt::Formatter<'_>,
    weights: usize,
    schemes: &[String],
) -> fmt::Result {
    let (was, them) = if weights == 1 { ("was", "it") } else { ("were", "them") };
    let weights = counted(weights, "weight");
    write!(f, "{weights} {was} in codes already ({}): errors are ", schemes.join("; "))?;
    write!(f, "against what these stand for, without what the first rounding cost {them}")
}

fn write_edited(f: &mut fmt::Formatter<'_>, set: &[String], unset: &[String]) -> fmt::Result {
    let listed = |verb: &str, keys: &[String]| {
        let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
        (!keys.is_empty()).then(|| format!("{verb} {}", keys.join(", ")))
    };
    let parts = [listed("set", set), listed("left out", unset)];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    write!(f, "header entries {}", parts.join("; "))
}

fn quantization_config(is_changed: bool) -> &'static str {
    match is_changed {
        true => "`config.json` is copied without its `quantization_config`, whose codes are gone",
        false => {
            "`config.json` beside the input has a `quantization_config`, which a copy of it beside these \
             plain weights must not have"
        }
    }
}

/// Returns the first of some names, with a sign where there are more.
fn first_of(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [name] => name.clone(),
        [first, ..] => format!("{first}, …"),
    }
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
