//! `roundwise`: turns neural-network weights into FP8, INT8 and other low-precision files.

// The one crate that talks to a terminal.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod arguments;
mod command_line;
mod commands;
mod console;
mod events;
mod hint;
mod method_flags;
mod outcome;
mod progress;
mod stop;
mod table;
mod text;
mod typed;

use clap::Parser;

use crate::arguments::{Arguments, Command};
use crate::outcome::Outcome;

fn main() -> std::process::ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| hint::end(error));
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
        Command::Presets(options) => commands::presets::run(options),
        Command::Schemes(options) => commands::schemes::run(options),
        Command::Methods(options) => commands::methods::run(options),
        #[cfg(feature = "studio")]
        Command::Studio(options) => commands::studio::run(options),
        #[cfg(feature = "studio")]
        Command::Report(options) => commands::report::run(options),
        Command::Completions(options) => commands::completions::run(options),
    };
    Outcome::of(result).report()
}
