//! Hints that are printed beside complaints of the argument parser.

use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::console::complain;
use crate::text::plain;

/// Prints what is wrong with the arguments, or the help that was asked for, and ends the program.
pub(crate) fn end(error: clap::Error) -> ! {
    if let Some(file) = file_without_command(&error) {
        let file = plain(file);
        complain(format_args!(
            "error: `{file}` is a file, and no command was given\n  `roundwise convert {file}` converts it, \
             `roundwise inspect {file}` looks at it"
        ));
        std::process::exit(error.exit_code());
    }
    error.exit()
}

/// Returns the file that was named where a command is expected.
fn file_without_command(error: &clap::Error) -> Option<&str> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    // A mistyped command stays one: only what is there is taken for a file.
    let is_file = error.kind() == ErrorKind::InvalidSubcommand && Path::new(word).exists();
    is_file.then_some(word)
}
