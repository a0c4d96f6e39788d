//! Recipes as words of the command line, which the program reads and the studio writes.

use serde_json::Value;

use crate::recipe::file::RecipeFile;

/// Returns the flag that sets a setting; of one that is on by default, the flag that says no.
///
/// - `key`: as [`Setting::key`](crate::recipe::Setting::key) gives it
pub fn flag_of(key: &str) -> String {
    let bare = key.rsplit('.').next().unwrap_or(key);
    match bare {
        "rules" => "--rule".to_owned(),
        "decode_to" => "--dtype".to_owned(),
        "migrate_to" => "--to".to_owned(),
        "provenance" => "--no-provenance".to_owned(),
        "tensor_parallel" => "--tp".to_owned(),
        "output" => "-o".to_owned(),
        "starts_over" => "--fresh".to_owned(),
        "verifies" => "--no-verify".to_owned(),
        "overwrite" => "--force".to_owned(),
        "statistics" => "--stats".to_owned(),
        "allow_partial" => "--force-stats".to_owned(),
        "memory_bytes" => "--memory-limit".to_owned(),
        "shard_bytes" => "--shard-size".to_owned(),
        "biases" => "--corrected-biases".to_owned(),
        bare => format!("--{}", bare.replace('_', "-")),
    }
}

/// Returns the words that say a recipe, but for what the command itself says and for the model that it is for.
pub fn recipe_words(recipe: &RecipeFile) -> Vec<String> {
    let recipe = serde_json::to_value(recipe).expect("a recipe always serialises");
    let mut words = vec![];
    push_settings(&recipe, &mut words);
    words
}

fn push_settings(settings: &Value, words: &mut Vec<String>) {
    for (key, value) in settings.as_object().into_iter().flatten() {
        let flag = flag_of(key);
        match (key.as_str(), value) {
            ("method_options" | "edit", options) => push_settings(options, words),
            ("set", Value::Object(entries)) => {
                for (key, value) in entries {
                    words.extend([flag.clone(), format!("{key}={}", text(value))]);
                }
            }
            ("provenance", Value::Bool(false)) => words.push(flag),
            ("model" | "repair" | "provenance", _) | (_, Value::Null | Value::Bool(false)) => {}
            ("rules", Value::Array(rules)) => words.extend(rules.iter().map(|rule| {
                let [pattern, scheme] = ["pattern", "scheme"].map(|key| text(&rule[key]));
                format!("{flag}={pattern}={scheme}")
            })),
            // The command has no flag for single layers; rules say the same.
            ("assign", Value::Array(assigned)) => {
                let rule_flag = flag_of("rules");
                words.extend(assigned.iter().map(|assigned| {
                    let layers = assigned["layers"].as_array().into_iter().flatten();
                    let layers: Vec<String> = layers.map(|layer| escaped(&text(layer))).collect();
                    format!("{rule_flag}=^({})$={}", layers.join("|"), text(&assigned["scheme"]))
                }));
            }
            (_, Value::Array(values)) => {
                words.extend(values.iter().map(|value| format!("{flag}={}", text(value))));
            }
            (_, Value::Bool(true)) => words.push(flag),
            (_, value) => words.push(format!("{flag}={}", text(value))),
        }
    }
}

/// Returns a pattern that matches a name alone.
fn escaped(name: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || char == '_' || !char.is_ascii();
    let escape = |char: char| if is_plain(char) { vec![char] } else { vec!['\\', char] };
    name.chars().flat_map(escape).collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns words as one line for a shell of this system.
pub fn shell_text(words: &[String]) -> String {
    let quote = if cfg!(windows) { quoted_for_windows } else { quoted };
    let word = |word: &String| match word.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") => format!("{flag}={}", quote(value)),
        _ => quote(word),
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn is_plain(word: &str, others: &str) -> bool {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || others.contains(char);
    !word.is_empty() && word.chars().all(is_plain)
}

/// One word, whatever is in it. Control characters are spelled out: one that ends a paste would have
/// the terminal take the rest for commands.
fn quoted(word: &str) -> String {
    if word.chars().any(char::is_control) {
        let spelled = |char: char| match char {
            '\'' | '\\' => format!("\\{char}"),
            char if char.is_control() => format!("\\u{:04x}", u32::from(char)),
            char => char.to_string(),
        };
        return format!("$'{}'", word.chars().map(spelled).collect::<String>());
    }
    match is_plain(word, "._-/:,+=") {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// One word for PowerShell, which expands nothing inside single quotes.
fn quoted_for_windows(word: &str) -> String {
    match is_plain(word, "._-/\\:,+=") {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "''")),
    }
}
