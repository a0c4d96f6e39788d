//! Recipes as command lines.

use roundwise_convert::RecipeFile;
use roundwise_convert::inspect::MadeBy;
use serde_json::Value;

use crate::typed::flag_of;

/// The command that makes a file again, for a shell; `INPUT` stands for the input and `STATISTICS` for
/// the statistics.
pub(crate) fn command_of(made: &MadeBy) -> String {
    let command = match &made.recipe {
        RecipeFile { decode_to: Some(_), .. } => "dequantize INPUT",
        RecipeFile { migrate_to: Some(_), .. } => "migrate INPUT",
        RecipeFile { edit: Some(_), .. } => "edit INPUT",
        RecipeFile { repair: Some(true), .. } => "repair INPUT --write",
        _ => "convert INPUT",
    };
    let mut words = vec![format!("roundwise {command}")];
    if made.uses_statistics {
        words.push("--stats STATISTICS".to_owned());
    }
    let recipe = serde_json::to_value(&made.recipe).expect("a recipe always serialises");
    push_flags(&recipe, &mut words);
    words.join(" ")
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
                format!("{flag}={}", quoted(&format!("{pattern}={scheme}")))
            })),
            (_, Value::Array(values)) => {
                words.extend(values.iter().map(|value| format!("{flag}={}", quoted(&text(value)))));
            }
            (_, Value::Bool(true)) => words.push(flag),
            (_, Value::Null | Value::Bool(false)) => {}
            (_, value) => words.push(format!("{flag}={}", quoted(&text(value)))),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// One word for a shell, whatever is in it.
pub(crate) fn quoted(word: &str) -> String {
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
        let made = MadeBy {
            version: "0".to_owned(),
            recipe: recipe.unwrap(),
            input_blake3: vec![],
            uses_statistics: false,
        };
        assert_eq!(
            command_of(&made),
            r"roundwise convert INPUT --scheme=int8-row --method=principal --top-p=0.1 \
              --ignore-base-list --keep='a b' --keep=-c --keep='d'\''$(e)' --rule='\.0=fp8' \
              --min-size=10 --no-provenance"
                .replace("\\\n              ", "")
        );
    }
}
