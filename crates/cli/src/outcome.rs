use std::process::ExitCode;

use roundwise_convert::ConvertError;

use crate::console::{ReaderGone, print_error};
use crate::typed::{Typed, Worded};

/// A usage error that only shows once flags are looked at together.
#[derive(Debug)]
pub(crate) struct BadUsage(pub(crate) String);

impl std::fmt::Display for BadUsage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadUsage {}

/// How the program ends.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Exit code 0.
    Done,
    /// Exit code 1.
    Failed(anyhow::Error),
    /// Exit code 2, as for flags that cannot be parsed.
    BadUsage(anyhow::Error),
    /// Exit code 130, as for any program that Ctrl-C ended.
    Stopped(anyhow::Error),
    /// Exit code 3: a comparison found something wrong, and has said so.
    VerificationFailed,
}

impl Outcome {
    /// Sorts what a command returned; `false` is a comparison that found something wrong.
    pub(crate) fn of(result: anyhow::Result<bool>) -> Self {
        // Commands without a recipe know settings as flags alone.
        match result.map_err(|error| Typed::default().word(error)) {
            Ok(true) => Outcome::Done,
            Ok(false) => Outcome::VerificationFailed,
            Err(error) if is_stop(&error) => Outcome::Stopped(error),
            Err(error) if is_bad_usage(&error) => Outcome::BadUsage(error),
            Err(error) => Outcome::Failed(error),
        }
    }

    /// Prints the error, if any, and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Outcome::Done => ExitCode::SUCCESS,
            Outcome::VerificationFailed => ExitCode::from(3),
            Outcome::Failed(error) => print(&error, 1),
            Outcome::BadUsage(error) => print(&error, 2),
            Outcome::Stopped(error) => print(&error, 130),
        }
    }
}

fn print(error: &anyhow::Error, code: u8) -> ExitCode {
    if !error.is::<ReaderGone>() {
        print_error(error);
    }
    ExitCode::from(code)
}

/// Returns the library's error, whether it was reworded or not.
pub(crate) fn library_error(error: &anyhow::Error) -> Option<&ConvertError> {
    let worded = error.downcast_ref::<Worded>().map(|worded| &worded.error);
    worded.or_else(|| error.downcast_ref::<ConvertError>())
}

/// Returns whether the work ended because someone asked for it.
pub(crate) fn is_stop(error: &anyhow::Error) -> bool {
    // A stop that leaves an unfinished output is inside that error.
    let cause = library_error(error).map(ConvertError::cause);
    matches!(cause, Some(ConvertError::Stopped))
}

/// Returns whether the command was wrong rather than a file.
pub(crate) fn is_bad_usage(error: &anyhow::Error) -> bool {
    error.is::<BadUsage>()
        || matches!(
            library_error(error),
            Some(
                ConvertError::Recipe(_)
                    | ConvertError::Misfit { .. }
                    | ConvertError::OutputIsInput { .. }
                    | ConvertError::UnfitName { .. }
                    | ConvertError::OutputIsFolder { .. }
                    | ConvertError::SamePlace { .. }
            )
        )
}
