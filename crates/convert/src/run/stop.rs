use roundwise_rounding::RoundingError;
use roundwise_scheme::SchemeError;
use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::source::Source;

/// Why the work on an output ended early.
pub(crate) enum Stop {
    Failed(ConvertError),
    /// A weight holds a NaN or an infinity.
    NotFinite {
        tensor: String,
        /// The first row that does.
        row: usize,
    },
}

impl<E: Into<ConvertError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Failed(error.into())
    }
}

impl Stop {
    /// Sorts why a weight could not be rounded.
    pub(crate) fn rounding(source: &Source, header: &TensorHeader, error: RoundingError) -> Self {
        match error {
            RoundingError::Scheme(SchemeError::NotFinite { row }) => {
                Stop::NotFinite { tensor: header.name.clone(), row }
            }
            RoundingError::Stopped => Stop::Failed(ConvertError::Stopped),
            error => Stop::Failed(rounding_error(source, header, error)),
        }
    }
}

/// Returns the error of a weight that could not be rounded.
pub(crate) fn rounding_error(
    source: &Source,
    header: &TensorHeader,
    error: RoundingError,
) -> ConvertError {
    ConvertError::Rounding {
        path: source.checkpoint.path().to_owned(),
        tensor: header.name.clone(),
        source: error,
    }
}
