//! The program `roundwise`, which turns neural-network weights into FP8, INT8 and other low-precision
//! files.
//!
//! [`main`] is all of it. The rest is for the Python module, whose answers are those of `--json`, and
//! for tools that write documents from the flags. Programs that convert use `roundwise-convert`.

// The one crate that talks to a terminal.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod arguments;
mod command_line;
mod commands;
mod console;
mod events;
mod hint;
mod outcome;
mod progress;
mod stop;
mod table;
mod text;
mod typed;

/// What `--json` prints, for programs that run no command.
pub mod answers {
    pub use crate::commands::inspect::as_json as inspection;
    pub use crate::commands::stats::as_json as statistics;
}

use clap::{CommandFactory, FromArgMatches};

use crate::arguments::{Arguments, Command};
use crate::outcome::Outcome;

/// Returns every command with its flags, as the program parses them.
pub fn command() -> clap::Command {
    arguments::with_short_help(Arguments::command())
}

/// Runs the program with the arguments of this process.
pub fn main() -> std::process::ExitCode {
    let parsed = command().try_get_matches();
    let parsed = parsed.and_then(|mut matches| Arguments::from_arg_matches_mut(&mut matches));
    let arguments = parsed.unwrap_or_else(|error| hint::end(error));
    let result = match &arguments.command {
        Command::Convert(options) => commands::convert::run(options),
        Command::Dequantize(options) => commands::dequantize::run(options),
        Command::Migrate(options) => commands::migrate::run(options),
        Command::Repair(options) => commands::repair::run(options),
        Command::Edit(options) => commands::edit::run(options),
        Command::Plan(options) => commands::plan::run(options),
        Command::Sensitivity(options) => commands::sensitivity::run(options),
        Command::Inspect(options) => commands::inspect::run(options),
        Command::Recipe(command) => commands::recipe::run(command),
        Command::Merge(options) => commands::merge::run(options),
        Command::Try(options) => commands::trial::run(options),
        Command::Verify(options) => commands::verify::run(options),
        Command::Stats(command) => commands::stats::run(command),
        Command::Comfy(command) => commands::comfy::run(command),
        Command::Presets(options) => commands::presets::run(options),
        Command::Schemes(options) => commands::schemes::run(options),
        Command::Methods(options) => commands::methods::run(options),
        #[cfg(feature = "studio")]
        Command::Studio(options) => commands::studio::run(options),
        #[cfg(feature = "studio")]
        Command::Report(options) => commands::report::run(options),
        Command::Completions(options) => commands::completions::run(options),
        Command::Manual(options) => commands::manual::run(options),
    };
    Outcome::of(result).report()
}
