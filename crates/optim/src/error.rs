/// Why a descent could not start: an option is outside its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{option} = {found}: {expected} is needed")]
#[non_exhaustive]
pub struct OptimError {
    /// Name of the option.
    pub option: &'static str,
    /// What was given.
    pub found: f64,
    /// What is allowed.
    pub expected: &'static str,
}

/// Collects nothing: the first option out of range is the error.
pub(crate) fn check(
    option: &'static str,
    found: f64,
    is_within: bool,
    expected: &'static str,
) -> Result<(), OptimError> {
    if is_within && found.is_finite() {
        Ok(())
    } else {
        Err(OptimError { option, found, expected })
    }
}

/// A decay of a running mean: `[0, 1)`.
pub(crate) fn check_beta(option: &'static str, found: f64) -> Result<(), OptimError> {
    check(option, found, (0.0..1.0).contains(&found), "a number from 0 to below 1")
}

/// A size that may be zero.
pub(crate) fn check_size(option: &'static str, found: f64) -> Result<(), OptimError> {
    check(option, found, found >= 0.0, "a number from 0 on")
}

/// A size that may not be zero.
pub(crate) fn check_positive(option: &'static str, found: f64) -> Result<(), OptimError> {
    check(option, found, found > 0.0, "a number above 0")
}
