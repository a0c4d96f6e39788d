use std::borrow::Cow;

use std::collections::BTreeMap;

use roundwise_tensor_file::Checkpoint;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::run_facts::RunFacts;
use crate::recipe::RecipeFile;
use crate::recipe::edit::PROVENANCE_KEY;
use crate::recipe::file::flag_of;

/// The program that made a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// `roundwise`.
    pub name: Cow<'static, str>,
    /// Its version.
    pub version: Cow<'static, str>,
}

impl Tool {
    /// This build.
    pub const THIS: Tool = Tool {
        name: Cow::Borrowed("roundwise"),
        version: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
    };
}

/// How a file was made: what stands, as JSON, in its header under `roundwise`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Version of this program.
    pub version: String,
    /// The recipe; what was not given is left out.
    pub recipe: RecipeFile,
    /// BLAKE3 of every file of the input, as `b3sum` prints it, in the order of the files' names.
    pub input_blake3: Vec<String>,
    /// BLAKE3 of the file of statistics, where one was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics_blake3: Option<String>,
    /// The entry of the input, where that was made by this program, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
}

impl Provenance {
    /// Of a file that this build makes from `input`, whose hashes are not known yet; zeros hold
    /// their place.
    pub(crate) fn planned(recipe: &RecipeFile, input: &Checkpoint, has_statistics: bool) -> Self {
        const DIGITS: usize = 64;
        // Text that is no JSON stays text.
        let parsed = |text: &String| {
            serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
        };
        Self {
            version: Tool::THIS.version.into_owned(),
            recipe: recipe.clone(),
            input_blake3: vec!["0".repeat(DIGITS); input.files().len()],
            statistics_blake3: has_statistics.then(|| "0".repeat(DIGITS)),
            before: input.metadata().get(PROVENANCE_KEY).map(parsed),
        }
    }

    /// Puts hashes in the place of zeros.
    pub(crate) fn with(mut self, facts: &RunFacts) -> Self {
        // Files are hashed beside the work: at its beginning the hashes are not there yet.
        if facts.input.len() == self.input_blake3.len() {
            self.input_blake3 = facts.input.iter().map(|hash| hash.blake3.clone()).collect();
        }
        self.statistics_blake3.clone_from(&facts.statistics);
        self
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers always serialise")
    }

    /// Reads the entry of a header. Returns `None` where there is none, or none that this version
    /// understands.
    pub(crate) fn read(metadata: &BTreeMap<String, String>) -> Option<Self> {
        serde_json::from_str(metadata.get(PROVENANCE_KEY)?).ok()
    }

    /// The command that makes the file again, for a shell; `INPUT` stands for the input and
    /// `STATISTICS` for the statistics.
    pub fn command(&self) -> String {
        let command = match &self.recipe {
            RecipeFile { decode_to: Some(_), .. } => "dequantize INPUT",
            RecipeFile { migrate_to: Some(_), .. } => "migrate INPUT",
            RecipeFile { edit: Some(_), .. } => "edit INPUT",
            RecipeFile { repair: Some(true), .. } => "repair INPUT --write",
            _ => "convert INPUT",
        };
        let mut words = vec![format!("roundwise {command}")];
        words.extend(self.statistics_blake3.as_ref().map(|_| "--stats STATISTICS".to_owned()));
        let recipe = serde_json::to_value(&self.recipe).expect("a recipe always serialises");
        push_flags(&recipe, &mut words);
        words.join(" ")
    }
}

fn push_flags(recipe: &Value, words: &mut Vec<String>) {
    for (key, value) in recipe.as_object().into_iter().flatten() {
        let flag = flag_of(key);
        match (key.as_str(), value) {
            // A flag would only say again what the input is.
            ("model", _) => {}
            ("set", Value::Object(entries)) => words.extend(entries.iter().map(|(key, value)| {
                format!("{flag} {}", quoted(&format!("{key}={}", text(value))))
            })),
            ("method_options" | "edit", options) => push_flags(options, words),
            ("repair", _) => {}
            ("provenance", Value::Bool(false)) => words.push(flag),
            ("rules", Value::Array(rules)) => words.extend(rules.iter().map(|rule| {
                let [pattern, scheme] = ["pattern", "scheme"].map(|key| text(&rule[key]));
                format!("{flag} {}", quoted(&format!("{pattern}={scheme}")))
            })),
            (_, Value::Array(values)) => {
                words.extend(values.iter().map(|value| format!("{flag}={}", quoted(&text(value)))));
            }
            (_, Value::Bool(true)) => words.push(flag),
            (_, Value::Null | Value::Bool(false)) => {}
            (_, value) => words.push(format!("{flag} {}", quoted(&text(value)))),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// One word for a shell, whatever is in it.
fn quoted(word: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "._-/:,+=".contains(char);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_the_recipe_in_flags_that_no_shell_changes() {
        let recipe = RecipeFile::from_toml(
            "scheme = 'int8-row'\nkeep = ['a b', '-c', \"d'$(e)\"]\nmin_size = 10\n\
             ignore_base_list = true\nprovenance = false\nmethod = 'principal'\n\
             rules = [{ pattern = '\\.0', scheme = 'fp8' }]\nmethod_options = { top_p = 0.1 }\n",
        );
        let provenance = Provenance {
            version: "0".to_owned(),
            recipe: recipe.unwrap(),
            input_blake3: vec![],
            statistics_blake3: None,
            before: None,
        };
        assert_eq!(
            provenance.command(),
            r"roundwise convert INPUT --scheme int8-row --method principal --top-p 0.1 \
              --ignore-base-list --keep='a b' --keep=-c --keep='d'\''$(e)' --rule '\.0=fp8' \
              --min-size 10 --no-provenance"
                .replace("\\\n              ", "")
        );
    }
}
