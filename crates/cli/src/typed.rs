use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use roundwise_convert::recipe::{Command, Setting, Text, flag_of, shell_text};
use roundwise_convert::{ConvertError, RecipeFile};
use serde_json::Value;

/// How the settings of a recipe were typed, so that messages name each as its user does: `--keep`,
/// or `keep[0]` of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Typed {
    /// Settings that were typed as flags, by their keys.
    flags: BTreeMap<String, Flag>,
    /// Keys of the recipe file.
    file: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Flag {
    name: String,
    /// Number of times it was typed: the first entries of a list are flags.
    entries: usize,
}

impl Typed {
    /// - `file`: what stands in the recipe file
    /// - `flags`: what was typed on top of it
    pub(crate) fn new(file: &RecipeFile, flags: &RecipeFile) -> Self {
        let flag =
            |(key, entries): (String, usize)| (key.clone(), Flag { name: flag_of(&key), entries });
        Self {
            flags: keys(flags).into_iter().map(flag).collect(),
            file: keys(file).into_keys().collect(),
        }
    }

    /// Records every setting as typed as a flag.
    pub(crate) fn as_flags(flags: &RecipeFile) -> Self {
        Self::new(&RecipeFile::default(), flags)
    }

    /// Records that the scheme was typed under another name than `--scheme`.
    pub(crate) fn with_scheme(mut self, name: String) -> Self {
        self.flags.insert("scheme".to_owned(), Flag { name, entries: 1 });
        self
    }

    /// Returns the name under which a setting was typed; the flag if it was not typed.
    pub(crate) fn name(&self, setting: &Setting) -> String {
        let key = setting.key();
        match (self.flags.get(key), setting.entry()) {
            // Where lists are joined, flags come before the file, so later entries are the file's.
            (Some(flag), Some(entry)) if entry >= flag.entries => {
                setting.clone().at(entry - flag.entries).to_string()
            }
            (Some(flag), _) => flag.name.clone(),
            (None, _) if self.file.contains(key) || is_command(key) || key == "assign" => {
                setting.to_string()
            }
            (None, _) => flag_of(key),
        }
    }

    /// Returns a message with every setting under its typed name.
    pub(crate) fn text(&self, text: &Text) -> String {
        text.worded_with(|setting| self.name(setting), command_line)
    }

    /// Returns an error with every setting under its typed name.
    pub(crate) fn error(&self, error: ConvertError) -> anyhow::Error {
        let problem = self.text(&error.problem());
        let help = error.help().map(|help| self.text(&help));
        Worded { problem, help, error }.into()
    }

    /// Returns any error; one of the library names every setting as it was typed.
    pub(crate) fn word(&self, error: anyhow::Error) -> anyhow::Error {
        match error.downcast::<ConvertError>() {
            Ok(error) => self.error(error),
            Err(error) => error,
        }
    }
}

/// An error of the library that names settings as their user typed them.
#[derive(Debug)]
pub(crate) struct Worded {
    pub(crate) problem: String,
    pub(crate) help: Option<String>,
    pub(crate) error: ConvertError,
}

impl std::fmt::Display for Worded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.problem)?;
        match &self.help {
            Some(help) => write!(f, "\n  {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Worded {}

/// Returns the settings of a recipe by key, with the number of entries; 1 for a setting that is no
/// list.
fn keys(recipe: &RecipeFile) -> BTreeMap<String, usize> {
    fn add(prefix: &str, value: &Value, keys: &mut BTreeMap<String, usize>) {
        for (key, value) in value.as_object().into_iter().flatten() {
            let path = format!("{prefix}{key}");
            match value {
                Value::Null => {}
                // Each entry of these tables is a setting of its own; any other table is a single one.
                Value::Object(_) if is_command(&path) => add(&format!("{path}."), value, keys),
                Value::Array(entries) => drop(keys.insert(path, entries.len())),
                _ => drop(keys.insert(path, 1)),
            }
        }
    }
    let mut keys = BTreeMap::new();
    let value = serde_json::to_value(recipe).expect("texts and numbers always serialise");
    add("", &value, &mut keys);
    keys
}

/// Returns whether a key is no flag, but a command or a table of flags.
fn is_command(key: &str) -> bool {
    ["method_options", "edit", "repair"].contains(&key)
}

/// A command of the library's messages as it is typed.
fn command_line(command: &Command) -> String {
    match command {
        Command::Again => "the same command".to_owned(),
        Command::Convert => "`roundwise convert`".to_owned(),
        Command::Dequantize => "`roundwise dequantize`".to_owned(),
        Command::DequantizeThenConvert { input, dtype } => {
            let dtype = dtype.map(|dtype| format!(" --dtype {}", dtype.name()));
            let dtype = dtype.unwrap_or_default();
            let plain = file_of_numbers(input);
            let [input, plain] = [&**input, plain.as_path()]
                .map(|path| shell_text(&[path.to_string_lossy().into_owned()]));
            format!(
                "`roundwise dequantize {input} -o {plain}{dtype}`, then `roundwise convert {plain}`"
            )
        }
        Command::Migrate(layout) => format!("`roundwise migrate --to {layout}`"),
        Command::Repair => "`roundwise repair --write`".to_owned(),
        Command::Inspect => "`roundwise inspect`".to_owned(),
        Command::Collector => "`roundwise stats collector`".to_owned(),
        Command::ShowStatistics => "`roundwise stats show`".to_owned(),
        command => command.to_string(),
    }
}

/// Returns the name of the file between decoding an input and converting it.
fn file_of_numbers(input: &Path) -> PathBuf {
    // A dot in a folder's name, as in a version, begins no extension.
    let stem = if input.is_dir() { input.file_name() } else { input.file_stem() };
    let stem = stem.unwrap_or_default().to_string_lossy();
    input.with_file_name(format!("{stem}-plain.safetensors"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_a_file_are_counted_behind_those_of_flags() {
        let recipe = |text: &str| RecipeFile::from_toml(text).unwrap();
        let file = recipe(
            "keep = ['a', 'b']\nmethod_options = { top_p = 0.1 }\nrules = [{ pattern \
                           = 'a', scheme = 'fp8' }]",
        );
        let flags = recipe("keep = ['c']\nmethod_options = { lambda = 1.0 }\nscheme = 'fp8'");
        let typed = Typed::new(&file, &flags).with_scheme("--to fp8".to_owned());
        for (setting, name) in [
            (Setting::new("keep").at(0), "--keep"),
            (Setting::new("keep").at(2), "keep[1]"),
            (Setting::new("rules").at(0).field("scheme"), "rules[0].scheme"),
            (Setting::new("method_options.top_p"), "method_options.top_p"),
            (Setting::new("method_options.lambda"), "--lambda"),
            (Setting::new("scheme"), "--to fp8"),
            (Setting::new("migrate_to"), "--to"),
            (Setting::new("limits.memory_bytes"), "--memory-limit"),
            (Setting::new("edit"), "edit"),
        ] {
            assert_eq!(typed.name(&setting), name);
        }
    }
}
