use roundwise_scheme::{Scheme, SchemeError};
use roundwise_tensor_file::TensorFileError;

use crate::layout::Layout;

/// An error of packing or unpacking a layer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The layout has no way to store the scheme.
    #[error("layout `{layout}` cannot store scheme `{scheme}`\n  {help}")]
    Inadmissible {
        /// The layout that was asked for.
        layout: Layout,
        /// The scheme that it has no place for.
        scheme: Scheme,
        /// One line that says how to do it instead.
        help: &'static str,
    },
    /// The kernels of the programs that read the layout cannot multiply by the layer.
    #[error(
        "columns are not a multiple of {multiple} (found {cols}); kernels of scheme `{scheme}` take \
         whole groups only"
    )]
    Columns {
        /// The scheme that was asked for.
        scheme: Scheme,
        /// Columns of the layer.
        cols: usize,
        /// The number that they have to be a multiple of.
        multiple: usize,
    },
    /// Programs that read the layout stack and cut layers at other numbers of rows.
    #[error(
        "rows are not a multiple of {multiple} (found {rows}); one word holds the zero points of \
         {multiple} rows of scheme `{scheme}`"
    )]
    Rows {
        /// The scheme that was asked for.
        scheme: Scheme,
        /// Rows of the layer.
        rows: usize,
        /// The number that they have to be a multiple of.
        multiple: usize,
    },
    /// No program reads banks of experts in the scheme.
    #[error("no program reads `{scheme}` of a bank of experts")]
    Bank {
        /// The scheme that was asked for.
        scheme: Scheme,
    },
    /// The layout has codes for banks of experts alone.
    #[error(
        "layout `{layout}` has codes for banks of experts only; servers read all else as plain numbers"
    )]
    NoBank {
        /// The layout that was asked for.
        layout: Layout,
    },
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// The levels that the codes of a layer stand for cannot be read.
    #[error("layer `{layer}`: {problem}")]
    Levels {
        /// The layer.
        layer: String,
        /// The problem.
        problem: String,
    },
    /// A scale is no number.
    #[error("layer `{layer}`: {problem}")]
    NotFinite {
        /// The layer.
        layer: String,
        /// Where it is.
        problem: String,
    },
    /// Codes and scales do not belong together.
    #[error("layer `{layer}`: {source}")]
    Parts {
        /// The layer.
        layer: String,
        /// The misfit.
        source: SchemeError,
    },
}
