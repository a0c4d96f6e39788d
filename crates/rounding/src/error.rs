use roundwise_compute::ComputeError;
use roundwise_scheme::SchemeError;

/// Why a matrix could not be rounded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RoundingError {
    /// The weight holds a NaN or an infinity, or blocks do not cover it.
    #[error(transparent)]
    Scheme(#[from] SchemeError),
    /// The singular vectors could not be computed.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// An option lies outside its range.
    #[error("{option} is {found}; {expected}")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its value.
        found: f64,
        /// The range, in words.
        expected: &'static str,
    },
    /// Whoever watched asked to stop.
    #[error("stopped")]
    Stopped,
}
