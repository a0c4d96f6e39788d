//! JSON as Python writes it, which has numbers that the standard has not: `NaN`, `Infinity` and `-Infinity`.
//!
//! Configurations of models with state spaces hold such.

use serde_json::{Map, Value};

/// What Python writes for numbers that JSON has none for; the longer ones first.
const NUMBERS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Begins a text that stands for one of them: a character that Unicode leaves to whoever wants one.
const MARK: char = '\u{E0F1}';

/// Reads an object. Numbers that JSON has none for become texts, which [`print_python_json`] writes as they were.
///
/// # Errors
/// As [`serde_json::from_str`].
pub fn parse_python_json(text: &str) -> Result<Value, serde_json::Error> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        // The first error is about the text as it is.
        Err(error) => serde_json::from_str(&marked(text)).map_err(|_| error),
    }
}

/// Reads an object, and refuses any other value.
///
/// # Errors
/// As [`parse_python_json`].
pub fn parse_python_object(text: &str) -> Result<Map<String, Value>, serde_json::Error> {
    serde_json::from_value(parse_python_json(text)?)
}

/// Returns the text of a value, with an entry on each line.
pub fn print_python_json(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).expect("JSON is text");
    NUMBERS.iter().fold(text, |text, number| text.replace(&format!("\"{MARK}{number}\""), number))
}

/// Puts texts in the place of numbers that JSON has none for.
fn marked(text: &str) -> String {
    let mut marked = String::with_capacity(text.len());
    let (mut rest, mut is_inside) = (text, false);
    while let Some(next) = rest.chars().next() {
        let number = NUMBERS.iter().find(|number| !is_inside && rest.starts_with(**number));
        let taken = match (number, next) {
            (Some(number), _) => {
                marked.extend(['"', MARK]);
                marked.push_str(number);
                marked.push('"');
                rest = &rest[number.len()..];
                continue;
            }
            // An escaped quote ends no text.
            (None, '\\') => rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at),
            (None, _) => next.len_utf8(),
        };
        is_inside ^= next == '"';
        marked.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_has_none_for_come_back_as_they_were() {
        let text = "{\n  \"a\": [\n    0.0,\n    Infinity,\n    -Infinity,\n    NaN\n  ],\n  \"b\": \"NaN \\\" Infinity\"\n}";
        let value = parse_python_json(text).unwrap();
        assert_eq!(value["b"], "NaN \" Infinity");
        assert!(value["a"][1].is_string());
        assert_eq!(print_python_json(&value), text);
        assert_eq!(parse_python_object(text).unwrap().len(), 2);
    }

    #[test]
    fn other_texts_are_read_and_refused_as_by_json() {
        assert_eq!(parse_python_json("[1, \"Infinity\"]").unwrap()[1], "Infinity");
        for broken in ["", "{\"a\": Nan}", "{\"a\": ", "\\", "\"\\"] {
            let error = parse_python_json(broken).unwrap_err().to_string();
            assert_eq!(error, serde_json::from_str::<Value>(broken).unwrap_err().to_string());
        }
        assert!(parse_python_object("[]").is_err());
    }
}
