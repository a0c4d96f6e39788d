use std::process::ExitCode;

use roundwise_convert::ConvertError;

use crate::console::error_label;

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
    /// Exit code 3: a comparison found something wrong, and has said so.
    VerificationFailed,
}

impl Outcome {
    /// Sorts what a command returned; `false` is a comparison that found something wrong.
    pub(crate) fn of(result: anyhow::Result<bool>) -> Self {
        match result {
            Ok(true) => Outcome::Done,
            Ok(false) => Outcome::VerificationFailed,
            Err(error) if is_broken_pipe(&error) => Outcome::Done,
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
        }
    }
}

/// Library errors carry the text of their cause, so the chain is not printed as well.
fn print(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("{} {error}", error_label());
    ExitCode::from(code)
}

fn is_bad_usage(error: &anyhow::Error) -> bool {
    error.is::<BadUsage>()
        || matches!(
            error.downcast_ref::<ConvertError>(),
            Some(
                ConvertError::Recipe(_)
                    | ConvertError::Misfit { .. }
                    | ConvertError::OutputIsInput { .. }
            )
        )
}

/// `roundwise plan FILE | head` is not a failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
