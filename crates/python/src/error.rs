//! Errors of the library as `roundwise.Error`, in the words of Python.

use pyo3::prelude::*;
use roundwise_convert::ConvertError;
use roundwise_convert::recipe::{Command, Setting, Text};

use crate::settings;

/// Makes a `roundwise.Error`.
///
/// - `kind`: stays what it is while messages change
/// - `help`: the way out, where the message does not name it
pub(crate) fn raise(
    py: Python<'_>,
    kind: &str,
    message: &dyn std::fmt::Display,
    help: Option<String>,
) -> PyErr {
    let make = || {
        let class = py.import("roundwise._error")?.getattr("Error")?;
        class.call1((kind, message.to_string(), help))
    };
    // Where even the class cannot be had, the reason for that is raised.
    make().map_or_else(|error| error, PyErr::from_value)
}

/// Makes a `roundwise.Error` of an error of the library.
pub(crate) fn raised(py: Python<'_>, error: impl Into<ConvertError>) -> PyErr {
    let error = error.into();
    let help = error.help().map(|help| in_words_of_python(&help));
    raise(py, error.kind(), &in_words_of_python(&error.problem()), help)
}

/// Writes a message with keyword arguments for settings and functions for commands.
fn in_words_of_python(text: &Text) -> String {
    text.worded_with(keyword, function)
}

/// Tables of settings whose entries are keyword arguments of their own.
const TABLES: [&str; 3] = ["method_options.", "limits.", "statistics."];

fn keyword(setting: &Setting) -> String {
    let path = setting.to_string();
    let bare = TABLES.iter().find_map(|table| path.strip_prefix(table));
    settings::keyword(bare.unwrap_or(&path))
}

fn function(command: &Command) -> String {
    match command {
        Command::Again => "the same call".to_owned(),
        Command::Convert => "`roundwise.convert`".to_owned(),
        Command::Dequantize => "`roundwise.dequantize`".to_owned(),
        Command::DequantizeThenConvert { dtype: None, .. } => {
            "`roundwise.dequantize`, then `roundwise.convert`".to_owned()
        }
        Command::DequantizeThenConvert { dtype: Some(dtype), .. } => format!(
            "`roundwise.dequantize(…, decode_to=\"{}\")`, then `roundwise.convert`",
            dtype.name()
        ),
        Command::Migrate(layout) => format!("`roundwise.convert(…, migrate_to=\"{layout}\")`"),
        Command::Repair => "`roundwise.repair(…, write=True)`".to_owned(),
        Command::Inspect => "`roundwise.inspect`".to_owned(),
        Command::Collector => "`roundwise stats collector`, a command,".to_owned(),
        Command::ShowStatistics => "`roundwise.stats`".to_owned(),
        command => command.to_string(),
    }
}
