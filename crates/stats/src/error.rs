use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::path::Path;

use roundwise_tensor_file::{Dtype, TensorFileError, printable};
use thiserror::Error as ThisError;

/// A failure to read, merge or write statistics: where (path, layer) around what
/// ([`Self::kind`]).
///
/// `Display` is complete, with a second indented line where something helps.
#[derive(Debug)]
pub struct StatsError {
    path: Box<Path>,
    layer: Option<Box<str>>,
    kind: Box<StatsErrorKind>,
}

impl StatsError {
    /// Returns the file that the complaint is about.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the layer that the complaint is about, if it is about one.
    pub fn layer(&self) -> Option<&str> {
        self.layer.as_deref()
    }

    /// Returns what is wrong, with the numbers.
    pub fn kind(&self) -> &StatsErrorKind {
        &self.kind
    }

    /// Returns the message without what helps.
    pub fn problem(&self) -> String {
        let path = printable(&self.path.to_string_lossy());
        match (&*self.kind, &self.layer) {
            // These name their own file.
            (StatsErrorKind::File(error), _) => error.problem(),
            (kind, Some(layer)) => format!("{path}: layer `{}`: {kind}", printable(layer)),
            (kind, None) => format!("{path}: {kind}"),
        }
    }

    /// Returns what helps, where that is not obvious from the problem.
    pub fn help(&self) -> Option<Cow<'static, str>> {
        match &*self.kind {
            StatsErrorKind::File(error) => error.help(),
            kind => kind.help().map(Cow::Borrowed),
        }
    }
}

impl fmt::Display for StatsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.problem())?;
        match self.help() {
            Some(help) => write!(out, "\n  {help}"),
            None => Ok(()),
        }
    }
}

impl Error for StatsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &*self.kind {
            StatsErrorKind::File(error) => Some(error),
            _ => None,
        }
    }
}

impl From<TensorFileError> for StatsError {
    fn from(error: TensorFileError) -> Self {
        let path = error.path().to_owned();
        StatsErrorKind::File(error).at(&path)
    }
}

/// A defect of statistics.
#[derive(Debug, ThisError)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum StatsErrorKind {
    #[error(transparent)]
    File(TensorFileError),

    #[error("is a tensor file without statistics: metadata `format` is {}, expected `{expected}`",
        or_missing(found.as_deref()))]
    NotStatistics { found: Option<String>, expected: &'static str },
    #[error("statistics of version {}, this program knows {expected}", printable(found))]
    UnknownVersion { found: String, expected: &'static str },
    #[error("metadata `{key}` is {}, expected {expected}", or_missing(found.as_deref()))]
    Metadata { key: &'static str, found: Option<String>, expected: &'static str },
    #[error("fingerprint {}, but the listed layers have {expected}", printable(found))]
    FingerprintDisagrees { found: String, expected: String },
    #[error("tensor `{}` is no part of a listed layer", printable(tensor))]
    UnknownTensor { tensor: String },
    #[error("`{part}` is missing")]
    MissingPart { part: &'static str },
    #[error("`{part}` is {found_dtype} {found_shape:?}, expected {expected_dtype} {expected}")]
    PartShape {
        part: &'static str,
        found_dtype: Dtype,
        found_shape: Vec<u64>,
        expected_dtype: Dtype,
        expected: String,
    },
    #[error("rank {rank} of the factor, expected 1 to {columns}, the columns")]
    Rank { rank: u64, columns: u64 },
    #[error("{found} samples, expected 1 to 2^63 − 1")]
    Count { found: i128 },
    #[error("`{part}` has {found} values, expected {expected}")]
    Length { part: &'static str, found: usize, expected: usize },
    #[error("`{part}` holds {found} at {index}, expected finite numbers")]
    NotFinite { part: &'static str, index: usize, found: f32 },
    #[error("`{part}` holds {found} at column {column}, expected 0 or more")]
    Negative { part: &'static str, column: usize, found: f32 },
    #[error("column {column}: mean {mean} and second moment {second_moment} cannot both be true")]
    MeanTooLarge { column: usize, mean: f32, second_moment: f32 },
    #[error("the largest input is {largest}, below the root mean square {rms} of a column")]
    LargestTooSmall { largest: f32, rms: f32 },
    #[error("covariance [{row}, {column}] is {found}, its mirror image {expected}")]
    NotSymmetric { row: usize, column: usize, found: f32, expected: f32 },
    #[error("column {column}: covariance and mean give the second moment {found}, not {expected}")]
    CovarianceDisagrees { column: usize, found: f32, expected: f32 },
    #[error("a covariance without a mean")]
    CovarianceWithoutMean,
    #[error("mixed inputs of rows {first} to {end}, expected ascending ranges within {rows} rows")]
    MixedRows { first: u64, end: u64, rows: u64 },
    #[error("mixed inputs are of other rows than in the other file")]
    OtherMixedRows,
    #[error("gradients are of {found} here, of {expected} in the other file")]
    OtherCurvature { found: &'static str, expected: &'static str },
    #[error("no such layer in the statistics")]
    UnknownLayer,

    #[error("is neither statistics (safetensors) nor an importance matrix of llama.cpp")]
    UnknownContainer,
    #[error("is a GGUF file of type {}, not an importance matrix", or_missing(found.as_deref()))]
    NotImportanceMatrix { found: Option<String> },
    #[error("{what} needs {needed} bytes at byte {offset}, the file has {available} left")]
    EndsEarly { what: &'static str, offset: u64, needed: u64, available: u64 },
    #[error("{what} is {found} at byte {offset}, expected {expected}")]
    Field { what: &'static str, offset: u64, found: i128, expected: &'static str },
    #[error("{what} at byte {offset} is not UTF-8")]
    NotUtf8 { what: &'static str, offset: u64 },
    #[error("the name occurs twice")]
    Duplicate,
    #[error("holds no layer")]
    Empty,

    #[error(
        "the statistics belong to another model: {differing} of {layers} layers differ{}",
        listed(first)
    )]
    AnotherModel { layers: usize, differing: usize, first: Vec<String> },
    #[error("{found} here, {expected} in {}", printable(other))]
    ShapesDiffer { found: String, expected: String, other: String },
    #[error("{a} + {b} samples are more than 2^63")]
    TooManySamples { a: u64, b: u64 },
    #[error("the eigenvalues of its factor were not found")]
    NoEigenvalues,
}

impl StatsErrorKind {
    pub(crate) fn at(self, path: &Path) -> StatsError {
        StatsError { path: path.into(), layer: None, kind: Box::new(self) }
    }

    pub(crate) fn at_layer(self, path: &Path, layer: &str) -> StatsError {
        StatsError { path: path.into(), layer: Some(layer.into()), kind: Box::new(self) }
    }

    fn help(&self) -> Option<&'static str> {
        match self {
            Self::NotStatistics { .. } => {
                Some("name the `.stats.safetensors` file; `roundwise stats collector` makes one")
            }
            Self::UnknownVersion { .. } => Some("update roundwise, or collect again"),
            Self::Metadata { .. }
            | Self::FingerprintDisagrees { .. }
            | Self::UnknownTensor { .. }
            | Self::MissingPart { .. }
            | Self::PartShape { .. }
            | Self::Rank { .. }
            | Self::MixedRows { .. }
            | Self::Length { .. }
            | Self::CovarianceWithoutMean => Some("the file was edited or damaged; collect again"),
            Self::Count { .. } => {
                Some("the layer was never called; collect again, or leave it out")
            }
            Self::NotFinite { .. }
            | Self::Negative { .. }
            | Self::MeanTooLarge { .. }
            | Self::NotSymmetric { .. }
            | Self::CovarianceDisagrees { .. } => {
                Some("sums have overflowed or the file is damaged; collect again")
            }
            Self::NotImportanceMatrix { .. } => {
                Some("`llama-imatrix` makes one; a model's own GGUF file holds no statistics")
            }
            Self::EndsEarly { .. } => {
                Some("the file is cut short or still being written; fetch it again")
            }
            Self::AnotherModel { .. } => {
                Some("collect them from this model, or take those of the layers that fit")
            }
            Self::ShapesDiffer { .. } | Self::OtherMixedRows | Self::OtherCurvature { .. } => {
                Some("statistics of one model only can be merged")
            }
            _ => None,
        }
    }
}

fn or_missing(found: Option<&str>) -> String {
    found.map_or_else(|| "missing".to_owned(), |found| format!("`{}`", printable(found)))
}

/// Puts the first few on lines of their own.
fn listed(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  {}", printable(line))).collect()
}
