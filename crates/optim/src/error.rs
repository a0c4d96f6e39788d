/// An option outside its range, which keeps a descent from starting.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{option} = {found}: {expected} is needed")]
#[non_exhaustive]
pub struct OptimError {
    /// Name of the option.
    pub option: &'static str,
    /// The value that was given.
    pub found: f64,
    /// The range that is allowed, in words.
    pub expected: &'static str,
}

/// Checks one option.
pub(crate) fn check(
    option: &'static str,
    found: f64,
    is_within: bool,
    expected: &'static str,
) -> Result<(), OptimError> {
    // Infinity lies above every lower bound, but is no valid option.
    if is_within && found.is_finite() {
        Ok(())
    } else {
        Err(OptimError { option, found, expected })
    }
}

/// Checks the decay of a running mean, in `[0, 1)`.
pub(crate) fn check_beta(option: &'static str, found: f64) -> Result<(), OptimError> {
    check(option, found, (0.0..1.0).contains(&found), "a number from 0 to below 1")
}

/// Checks a size that may be 0.
pub(crate) fn check_size(option: &'static str, found: f64) -> Result<(), OptimError> {
    check(option, found, found >= 0.0, "a number from 0 on")
}

/// Checks a size that must be above 0.
pub(crate) fn check_positive(option: &'static str, found: f64) -> Result<(), OptimError> {
    check(option, found, found > 0.0, "a number above 0")
}
