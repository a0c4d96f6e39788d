use std::fmt;

use roundwise_layout::Mend;

/// Something that a plan does otherwise than someone might expect, and that is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Shards disagree about an entry of the header.
    DisputedMetadata {
        /// The entry's key.
        key: String,
        /// Values besides the first.
        others: usize,
    },
    /// A setting of the recipe that does nothing here.
    WithoutEffect {
        /// Its name, with its pattern.
        setting: String,
        /// Why nothing comes of it.
        finding: &'static str,
    },
    /// Weights that become nearest codes, because nothing is known of their inputs.
    WithoutStatistics {
        /// Their names.
        weights: Vec<String>,
    },
    /// Keys of adapters that no weight answers to.
    UnmatchedLora {
        /// The keys.
        keys: Vec<String>,
    },
    /// A damage of the input that is made good.
    Mended(Mend),
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

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::DisputedMetadata { key, others } => {
                let values = if *others == 1 { "another value" } else { "other values" };
                write!(f, "later shards have {values} for header entry `{key}`; the first is kept")
            }
            Note::WithoutEffect { setting, finding } => write!(f, "{setting} {finding}"),
            Note::WithoutStatistics { weights } => {
                let first = weights.first().map_or("", String::as_str);
                let count = weights.len();
                write!(f, "nearest codes for {count} weights without statistics: {first}")?;
                f.write_str(if count > 1 { ", …" } else { "" })
            }
            Note::UnmatchedLora { keys } => {
                write!(f, "not merged, for no weight answers to it: {}", keys.join(", "))
            }
            Note::Mended(Mend { damage, remedy }) => {
                match damage.layer.as_str() {
                    "" => write!(f, "the file {}", damage.problem)?,
                    layer => write!(f, "`{layer}` {}", damage.problem)?,
                }
                write!(f, ": {remedy}")
            }
            Note::ForcedPreset { forced, model, detected } => {
                write!(f, "preset `{forced}` was asked for; the file looks like: ")?;
                write!(f, "{model} (preset `{detected}`)")
            }
        }
    }
}
