use crate::source::FileHash;

/// The facts that a run knows and a plan does not. Zeros in the header reserve their place.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunFacts {
    /// BLAKE3 of every file of the input.
    pub(crate) input: Vec<FileHash>,
    /// BLAKE3 of the file of statistics, where there is one.
    pub(crate) statistics: Option<String>,
    /// The kind of device that learned rounding was computed on.
    pub(crate) device: Option<String>,
}
