use crate::scheme::Scheme;
use crate::tiling::Tiling;

/// An error in a scheme's name, a matrix or its parts.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemeError {
    /// No scheme has this name.
    #[error("unknown scheme `{name}`{}", meant_or_known(meant, known))]
    UnknownScheme {
        /// The name that was asked for.
        name: Box<str>,
        /// The closest name there is, as [`is_meant`](crate::is_meant) gives it.
        meant: Box<str>,
        /// The names of the catalogue.
        known: Box<str>,
    },
    /// The byte count of a weight does not fit its shape and kind.
    #[error("weight is {found} bytes, its shape needs {expected}")]
    WeightBytes {
        /// Bytes given.
        found: usize,
        /// Bytes that the shape needs.
        expected: usize,
    },
    /// The number of codes or scales does not fit the shape and tiling.
    #[error("{what}: found {found}, the shape needs {expected}")]
    PartLength {
        /// `codes` or `scales`.
        what: &'static str,
        /// Number given.
        found: usize,
        /// Number needed.
        expected: usize,
    },
    /// The table or the scales of a scheme of levels stand for no levels.
    #[error("{problem}")]
    Levels {
        /// One line that says what is wrong.
        problem: &'static str,
    },
    /// Whole blocks only.
    #[error(
        "{dimension} are not a multiple of {block} (found {found}); {tiling} covers whole blocks only"
    )]
    Ragged {
        /// `rows` or `columns`.
        dimension: &'static str,
        /// Size of the matrix along it.
        found: usize,
        /// Size of a block along it.
        block: usize,
        /// The tiling that was asked for.
        tiling: Tiling,
    },
    /// No rotation fits the columns.
    #[error("columns are not a multiple of 4 (found {cols}); a rotation covers whole groups only")]
    Unrotatable {
        /// Columns of the matrix.
        cols: usize,
    },
    /// Rows mean more than columns.
    #[error(
        "scheme `{scheme}` cannot be transposed: what belongs to rows cannot belong to columns"
    )]
    NotTransposable {
        /// The scheme.
        scheme: Scheme,
    },
    /// The scale of a whole tensor is searched for in all of it.
    #[error("scale rule `mse` needs the whole weight in memory\n  scale rule `absmax` does not")]
    NotByBand,
    /// The codes do not fit in memory.
    #[error("no memory for {bytes} bytes of codes\n  use fewer threads")]
    OutOfMemory {
        /// Bytes of the codes.
        bytes: usize,
    },
    /// The weight holds a NaN or an infinity, so no scale covers it.
    #[error("row {row} holds a NaN or an infinity")]
    NotFinite {
        /// First such row.
        row: usize,
    },
}

/// Returns the name that is likely meant, or where none is close those that there are.
fn meant_or_known(meant: &str, known: &str) -> String {
    match meant.is_empty() {
        true => format!("\n  known: {known}"),
        false => meant.to_owned(),
    }
}
