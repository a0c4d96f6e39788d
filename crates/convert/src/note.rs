use std::fmt;

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
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::DisputedMetadata { key, others } => {
                let values = if *others == 1 { "another value" } else { "other values" };
                write!(f, "later shards have {values} for header entry `{key}`; the first is kept")
            }
        }
    }
}
