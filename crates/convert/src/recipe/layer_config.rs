use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::heuristic::{FP8_BLOCK, INT8_BLOCK};
use crate::recipe::complaint::{Complaint, RecipeError};
use crate::recipe::file::{RecipeFile, RuleFile, in_plain_words};

/// Key of the settings for layers that no pattern matches.
const DEFAULT: &str = "_default";

/// Keys that begin so, but for [`DEFAULT`], are notes.
const NOTE: char = '_';

/// A pattern that every name matches.
const EVERY_NAME: &str = ".";

/// Settings of the layers that a pattern matches, as convert_to_quant writes them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LayerSettings {
    skip: bool,
    format: Option<String>,
    block_size: Option<u64>,
    scaling_mode: Option<String>,
    simple: bool,
    full_precision_matrix_mult: Option<bool>,
}

impl RecipeFile {
    /// Reads a recipe as files hold it: TOML, or a layer-config in JSON.
    ///
    /// # Errors
    /// As [`RecipeFile::from_toml`] and [`import_layer_config`].
    pub fn from_text(text: &str) -> Result<Self, RecipeError> {
        // A layer-config begins with a brace, which no recipe does.
        match text.trim_start().starts_with('{') {
            true => import_layer_config(text),
            false => Self::from_toml(text),
        }
    }
}

/// Reads a layer-config of convert_to_quant, a JSON object from patterns to settings, as a recipe.
///
/// There the most specific pattern decides, here the first: patterns with more literal characters
/// come first. `skip` becomes `keep`; a pattern that skips what a less specific one converts is
/// told, for here `keep` and rules may not contradict each other.
///
/// # Errors
/// All complaints at once, each with the pattern it is about.
pub fn import_layer_config(text: &str) -> Result<RecipeFile, RecipeError> {
    let entries: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        let expected = "expected an object from patterns to settings";
        Complaint::of_all(format!("layer-config: {error}; {expected}"))
    })?;
    if entries.contains_key("report_version") {
        let problem = "is a report of a conversion, not a recipe\n  the header of the file that it is of holds the \
                       recipe: `roundwise inspect` shows its flags";
        return Err(Complaint::of_all(problem).into());
    }
    let mut import = Import::default();
    let mut entries: Vec<(String, Value)> = entries.into_iter().collect();
    // A stable sort: of patterns alike in this the one that was typed first decides.
    entries.sort_by_key(|(pattern, _)| std::cmp::Reverse(literal_characters(pattern)));
    for (pattern, settings) in &entries {
        match pattern.as_str() {
            DEFAULT => import.set_default(settings),
            note if note.starts_with(NOTE) => {}
            pattern => import.add(pattern, settings),
        }
    }
    import.finish()
}

/// Characters that stand for themselves: the more, the fewer names a pattern matches.
fn literal_characters(pattern: &str) -> usize {
    let mut is_escaped = false;
    let mut count = 0;
    for char in pattern.chars() {
        // `\.` is a dot, `\d` any digit.
        let is_literal = match is_escaped {
            true => !char.is_alphanumeric(),
            false => char.is_alphanumeric() || "_-/".contains(char),
        };
        // A backslash that is escaped escapes nothing.
        is_escaped = !is_escaped && char == '\\';
        count += usize::from(is_literal);
    }
    count
}

#[derive(Default)]
struct Import {
    recipe: RecipeFile,
    /// Whether each entry that converts asks for nearest codes.
    simple: Vec<bool>,
    /// Patterns that ask for inputs that are codes, where others may ask for the opposite.
    coded_inputs: Vec<String>,
    complaints: Vec<Complaint>,
}

impl Import {
    fn settings(&mut self, pattern: &str, settings: &Value) -> Option<LayerSettings> {
        let read = LayerSettings::deserialize(settings);
        read.map_err(|error| self.complain(pattern, in_plain_words(&error.to_string()))).ok()
    }

    fn complain(&mut self, pattern: &str, problem: impl std::fmt::Display) {
        let problem = format!("layer-config `{pattern}`: {problem}");
        self.complaints.push(Complaint::of_all(problem));
    }

    fn add(&mut self, pattern: &str, settings: &Value) {
        let Some(settings) = self.settings(pattern, settings) else { return };
        // A skipped layer may name a `format` as well, which then means nothing.
        if settings.skip {
            self.recipe.keep.push(pattern.to_owned());
            return;
        }
        let Some(scheme) = self.scheme(pattern, &settings) else { return };
        self.simple.push(settings.simple);
        match settings.full_precision_matrix_mult {
            Some(true) => self.recipe.full_precision.push(pattern.to_owned()),
            Some(false) => self.coded_inputs.push(pattern.to_owned()),
            None => {}
        }
        self.recipe.rules.push(RuleFile { pattern: pattern.to_owned(), scheme });
    }

    fn set_default(&mut self, settings: &Value) {
        let Some(settings) = self.settings(DEFAULT, settings) else { return };
        if settings.skip {
            let way_out = "name the layers to keep, e.g. `keep = ['blocks']`";
            self.complain(
                DEFAULT,
                format!("`skip` would keep all that no pattern names; {way_out}"),
            );
            return;
        }
        self.recipe.scheme = self.scheme(DEFAULT, &settings);
        self.simple.push(settings.simple);
        if settings.full_precision_matrix_mult == Some(true) {
            self.recipe.full_precision.push(EVERY_NAME.to_owned());
        }
    }

    /// Returns the scheme for a format and its scaling mode.
    fn scheme(&mut self, pattern: &str, settings: &LayerSettings) -> Option<String> {
        let Some(format) = settings.format.as_deref() else {
            self.complain(pattern, "has neither `format` nor `skip`");
            return None;
        };
        let mode = settings.scaling_mode.as_deref();
        let found = scheme_of(format, mode, settings.block_size);
        if found.is_none() {
            let mode = mode.map_or_else(String::new, |mode| format!(", scaling_mode `{mode}`"));
            self.complain(pattern, format!("no scheme stands for format `{format}`{mode}"));
        }
        found
    }

    /// Complains about layers that are excepted from what a less specific pattern asks for, which a recipe
    /// cannot say.
    fn complain_of_exceptions(&mut self) {
        let full = &self.recipe.full_precision;
        let is_less_specific = |excepted: &str, pattern: &&String| {
            *pattern == EVERY_NAME || literal_characters(pattern) < literal_characters(excepted)
        };
        let exceptions: Vec<(String, String)> = self
            .coded_inputs
            .iter()
            .filter_map(|excepted| {
                let general = full.iter().find(|pattern| is_less_specific(excepted, pattern))?;
                Some((excepted.clone(), general.clone()))
            })
            .collect();
        for (excepted, general) in exceptions {
            let general = if general == EVERY_NAME { DEFAULT } else { &general };
            self.complain(
                &excepted,
                format!(
                    "`full_precision_matrix_mult: false` excepts layers from `{general}`, which a recipe cannot \
                     say; let `{general}` be false and name the layers that need it"
                ),
            );
        }
    }

    fn finish(mut self) -> Result<RecipeFile, RecipeError> {
        self.complain_of_exceptions();
        // Without `simple` the method is left open.
        match (self.simple.contains(&true), self.simple.contains(&false)) {
            (true, false) => self.recipe.method = Some("nearest".to_owned()),
            (true, true) => self.complaints.push(Complaint::of_all(
                "layer-config: `simple` holds for some entries only; a recipe has one method for all",
            )),
            (false, _) => {}
        }
        match self.complaints.is_empty() {
            true => Ok(self.recipe),
            false => Err(RecipeError { complaints: self.complaints }),
        }
    }
}

fn scheme_of(format: &str, mode: Option<&str>, block_size: Option<u64>) -> Option<String> {
    let fp8_block = block_size.unwrap_or(FP8_BLOCK);
    let int8_block = block_size.unwrap_or(INT8_BLOCK);
    Some(match (format, mode) {
        ("float8_e4m3fn", None | Some("tensor")) => "fp8".to_owned(),
        ("float8_e4m3fn", Some("row")) | ("float8_e4m3fn_rowwise", None | Some("row")) => {
            "fp8-row".to_owned()
        }
        ("float8_e4m3fn", Some("block" | "block2d"))
        | ("float8_e4m3fn_blockwise", None | Some("block" | "block2d")) => {
            format!("fp8-block-{fp8_block}")
        }
        ("float8_e4m3fn", Some("block3d")) | ("float8_e4m3fn_block3d", None | Some("block3d")) => {
            format!("fp8-block3d-{fp8_block}")
        }
        ("float8_e5m2", None | Some("tensor")) => "fp8-e5m2".to_owned(),
        ("int8" | "int8_tensorwise", Some("tensor")) => "int8".to_owned(),
        ("int8" | "int8_tensorwise", None | Some("row")) => "int8-row".to_owned(),
        ("int8", Some("block" | "block2d"))
        | ("int8_blockwise", None | Some("block" | "block2d")) => {
            format!("int8-block-{int8_block}")
        }
        ("mxfp8" | "nvfp4", None) => format.to_owned(),
        ("convrot_w4a4", None) => "int4-convrot".to_owned(),
        ("asym_w4a8_int8", None) => "int4-asym".to_owned(),
        ("hybrid_mxfp8", None) => "hybrid-mxfp8".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_pattern_comes_first() {
        let recipe = import_layer_config(
            r#"{"_note": "x", "attn": {"format": "nvfp4"}, "_default": {"format": "mxfp8"},
                "attn\\.qkv": {"format": "float8_e4m3fn", "scaling_mode": "block", "block_size": 32,
                               "full_precision_matrix_mult": true},
                "final": {"skip": true}}"#,
        )
        .unwrap();
        let rules: Vec<_> = recipe.rules.iter().map(|r| (&*r.pattern, &*r.scheme)).collect();
        assert_eq!(rules, [("attn\\.qkv", "fp8-block-32"), ("attn", "nvfp4")]);
        assert_eq!(
            (recipe.scheme.as_deref(), &recipe.keep[..]),
            (Some("mxfp8"), &["final".into()][..])
        );
        assert_eq!(recipe.full_precision, ["attn\\.qkv"]);
        assert_eq!(recipe.method, None);
        assert_eq!(RecipeFile::from_toml(&recipe.to_toml().unwrap()).unwrap(), recipe);
    }

    #[test]
    fn what_a_recipe_cannot_say_is_refused() {
        for (text, expected) in [
            ("[]", "expected an object"),
            (r#"{"a": {"format": "fp9"}}"#, "no scheme stands for format `fp9`"),
            (r#"{"a": {"format": "nvfp4", "scaling_mode": "row"}}"#, "scaling_mode `row`"),
            (r#"{"a": {"formt": "nvfp4"}}"#, "unknown field `formt`"),
            (r#"{"a": {}}"#, "neither `format` nor `skip`"),
            (r#"{"_default": {"skip": true}}"#, "would keep all"),
            (
                r#"{"a": {"format": "mxfp8", "simple": true}, "b": {"format": "mxfp8"}}"#,
                "for some entries only",
            ),
            (
                r#"{"a": {"format": "mxfp8", "full_precision_matrix_mult": false},
                    "_default": {"format": "mxfp8", "full_precision_matrix_mult": true}}"#,
                "excepts layers from `_default`",
            ),
            (
                r#"{"a.b": {"format": "mxfp8", "full_precision_matrix_mult": false},
                    "a": {"format": "mxfp8", "full_precision_matrix_mult": true}}"#,
                "excepts layers from `a`",
            ),
        ] {
            let message = import_layer_config(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let specific = r#"{"a.b": {"format": "mxfp8", "full_precision_matrix_mult": true},
                           "a": {"format": "mxfp8", "full_precision_matrix_mult": false}}"#;
        assert_eq!(import_layer_config(specific).unwrap().full_precision, ["a.b"]);
        let simple = import_layer_config(r#"{"a": {"format": "mxfp8", "simple": true}}"#).unwrap();
        assert_eq!(simple.method.as_deref(), Some("nearest"));
    }
}
