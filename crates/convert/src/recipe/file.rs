use roundwise_layout::Layout;
use roundwise_rounding::MethodOptions;
use roundwise_scheme::Scheme;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::recipe::complaint::{Complaint, RecipeError};
use crate::recipe::edit_file::EditFile;
#[cfg(feature = "clap")]
use crate::recipe::help;
use crate::recipe::overlay::overlaid;

/// A recipe as it is typed, on the command line or in a TOML file. Every field may be left out;
/// a key that is not known is an error.
///
/// With feature `clap` the fields are flags of a command line, and what is said of each here is its help text, but
/// where that lists names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "settings such as `scheme = \"fp8\"`")]
#[cfg_attr(feature = "clap", derive(clap::Args), command(next_help_heading = "Recipe"))]
pub struct RecipeFile {
    /// The model that the recipe is for, by the name that `plan` gives it; it is refused for any
    /// other. Default any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub model: Option<String>,
    /// The kind of the file, whatever it looks like: one of the names of
    /// [`FileKind`](crate::model::FileKind). A kind that is named here is not refused. Default: the kind
    /// that the file's names suggest.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long = "as", value_name = "KIND", help = help::kind()))]
    pub kind: Option<String>,
    /// Treatment of names that are not the model's own, such as diffusers': `translate` or `keep`.
    /// Default `translate`, and `keep` where nothing is quantized.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAMES", help = help::names_of_models()))]
    pub names: Option<String>,
    /// The program that the file is for: `comfyui`, `vllm`, `sglang` or `transformers`. It decides
    /// layout and scheme where neither is named, and what lies beside the weights. Default
    /// `comfyui`; front ends ask the input, see [`for_input`](crate::source::for_input).
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long = "for", value_name = "PROGRAM", help = help::program()))]
    pub program: Option<String>,
    /// Scheme of the weights that no rule names. Default `fp8`, for servers `fp8-row`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "SCHEME", help = help::SCHEME_IN_SHORT, long_help = help::scheme()))]
    pub scheme: Option<String>,
    /// How the file is laid out: `comfy` or `comfy-legacy`, for servers `compressed-tensors`, `fp8`,
    /// `modelopt` or `mxfp4`. Default what serves program and scheme best.
    #[serde(skip_serializing_if = "Option::is_none", alias = "spelling")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "LAYOUT", visible_alias = "spelling", help = help::layout_of_recipe()))]
    pub layout: Option<String>,
    /// For servers: keep layers that as many devices cannot share out in whole blocks [default: 1]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long = "tp", value_name = "DEVICES"))]
    pub tensor_parallel: Option<u32>,
    /// For servers: where scales of layers' inputs come from, `dynamic` or `static`. Default
    /// `dynamic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "SCALES", help = help::inputs()))]
    pub inputs: Option<String>,
    /// How codes are chosen, by the name of a method. Default `nearest`.
    #[serde(skip_serializing_if = "Option::is_none", alias = "rounding")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "METHOD", visible_alias = "rounding", help = help::method(), help_heading = "Learned rounding"))]
    pub method: Option<String>,
    /// Settings that differ from the method's defaults.
    #[serde(skip_serializing_if = "is_default")]
    #[cfg_attr(feature = "clap", command(flatten, next_help_heading = "Learned rounding"))]
    pub method_options: MethodOptions,
    /// How scales are chosen: `absmax` or `mse`. Default `absmax`, but `mse` for 4-bit codes that
    /// method `activations` chooses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "RULE", help = help::scale_rule()))]
    pub scale_rule: Option<String>,
    /// Preset to use instead of the one that is detected, such as t5xxl
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME"))]
    pub preset: Option<String>,
    /// Keep the layers that distilled Chroma models are sensitive in, whatever was detected
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true"))]
    pub keep_distillation: Option<bool>,
    /// Convert what the base keep-list protects as well; the preset still applies
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true"))]
    pub ignore_base_list: Option<bool>,
    /// Keep layers whose name (without `.weight`) matches (may be repeated)
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "REGEX"))]
    pub keep: Vec<String>,
    /// Convert layers whose name matches although a preset or a size rule keeps them (may be repeated)
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "REGEX"))]
    pub include: Vec<String>,
    /// Give layers whose name matches a scheme of their own (may be repeated; first match wins)
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long = "rule", value_name = "REGEX=SCHEME", value_parser = parse_rule))]
    pub rules: Vec<RuleFile>,
    /// Layers by name with a scheme of their own, where nothing but the recipe's scheme would decide: that
    /// is what a budget writes, and may be edited.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub assign: Vec<AssignmentFile>,
    /// Give layers that the model's preset keeps this scheme instead; embeddings and norms stay
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "SCHEME"))]
    pub fallback_scheme: Option<String>,
    /// Ask programs to multiply by layers whose name matches in full precision (may be repeated)
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "REGEX"))]
    pub full_precision: Vec<String>,
    /// Add an adapter, a file or PEFT's folder, to the weights before rounding (may be repeated)
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "FILE[:STRENGTH]"))]
    pub merge_lora: Vec<String>,
    /// Leave keys of adapters out that no weight answers to, which are an error otherwise
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true"))]
    pub allow_unmatched_lora: Option<bool>,
    /// Keep weights with fewer elements [default: 0, or the method's]
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, alias = "min-tensor-size", value_name = "ELEMENTS"))]
    pub min_size: Option<u64>,
    /// Size rules of the published converters: `basic` or `classic`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "RULES", help = help::heuristic()))]
    pub heuristic: Option<String>,
    /// Whether the output's header says how it was made. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub provenance: Option<bool>,
    /// Quantize nothing; turn whatever is in codes into `bf16`, `f16` or `f32`. Stands alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub decode_to: Option<String>,
    /// Quantize nothing; lay layers in codes out as `comfy` or `comfy-legacy` does, their codes
    /// untouched. Stands alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub migrate_to: Option<String>,
    /// Quantize nothing; repair known defects of layers in codes. Stands alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub repair: Option<bool>,
    /// Quantize nothing; change entries of the header and options of layers in codes. Stands alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub edit: Option<EditFile>,
}

/// One rule of a [`RecipeFile`]. Layers that it matches are converted although a preset keeps
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as `{ pattern = 'mlp', scheme = 'fp8' }`")]
pub struct RuleFile {
    /// Regular expression, searched for in the layer's name (without `.weight`).
    pub pattern: String,
    /// Scheme of the layers that it matches.
    pub scheme: String,
}

/// Parses `REGEX=SCHEME`; the scheme is the text after the last `=`.
#[cfg(feature = "clap")]
fn parse_rule(text: &str) -> Result<RuleFile, String> {
    match text.rsplit_once('=') {
        Some((pattern, scheme)) if !pattern.is_empty() => {
            Ok(RuleFile { pattern: pattern.to_owned(), scheme: scheme.to_owned() })
        }
        _ => Err("expected REGEX=SCHEME, such as 'attn\\.qkv=int8-row'".to_owned()),
    }
}

/// The layers of a [`RecipeFile`] that get one scheme, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as `{ scheme = 'fp8', layers = ['a.b'] }`")]
pub struct AssignmentFile {
    /// Scheme of these layers.
    pub scheme: String,
    /// Names without `.weight`.
    pub layers: Vec<String>,
}

impl RecipeFile {
    /// Makes a recipe that turns weights into this scheme, everything else by default.
    ///
    /// ```
    /// use roundwise_convert::RecipeFile;
    /// use roundwise_convert::layout::Layout;
    ///
    /// let recipe = RecipeFile::new("int8-row".parse()?).with_keep("attn").check()?;
    /// assert_eq!(recipe.layout(), Layout::Comfy);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(scheme: Scheme) -> Self {
        Self { scheme: Some(scheme.to_string()), ..Self::default() }
    }

    /// Chooses the layout.
    #[must_use]
    pub fn with_layout(self, layout: Layout) -> Self {
        Self { layout: Some(layout.to_string()), ..self }
    }

    /// Chooses the method, by its name, with what is changed of its defaults.
    #[must_use]
    pub fn with_method(self, name: impl Into<String>, options: MethodOptions) -> Self {
        Self { method: Some(name.into()), method_options: options, ..self }
    }

    /// Keeps layers whose name matches a regular expression; more calls keep more.
    #[must_use]
    pub fn with_keep(mut self, pattern: impl Into<String>) -> Self {
        self.keep.push(pattern.into());
        self
    }

    /// Gives layers whose name matches a regular expression a scheme of their own, where no earlier
    /// rule does.
    #[must_use]
    pub fn with_rule(mut self, pattern: impl Into<String>, scheme: Scheme) -> Self {
        self.rules.push(RuleFile { pattern: pattern.into(), scheme: scheme.to_string() });
        self
    }

    /// Reads a recipe in TOML.
    ///
    /// # Errors
    /// Text that is not TOML, a key that is not known, or a value of the wrong type; with line and
    /// column.
    pub fn from_toml(text: &str) -> Result<Self, RecipeError> {
        toml::from_str(text).map_err(unreadable)
    }

    /// Returns the recipe in TOML, as [`RecipeFile::from_toml`] reads it.
    ///
    /// # Errors
    /// A number that TOML has no room for.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        toml::to_string(self).map_err(|error| Complaint::of_all(error.to_string()).into())
    }

    /// Returns the recipe for a model with statistics of its inputs: where no method is named, they
    /// imply `activations`.
    #[must_use]
    pub fn with_statistics(mut self) -> Self {
        self.method.get_or_insert_with(|| "activations".to_owned());
        self
    }

    /// Returns the keys that say how weights become codes.
    pub(crate) fn keys_of_quantizing(&self) -> Vec<String> {
        // Provenance and names are not about quantizing alone.
        let others = RecipeFile {
            decode_to: None,
            migrate_to: None,
            repair: None,
            edit: None,
            provenance: None,
            names: None,
            ..self.clone()
        };
        // What was left out is not serialised, so that these are the keys that somebody gave.
        let keys = serde_json::to_value(others).expect("texts and numbers always serialise");
        keys.as_object().into_iter().flat_map(|keys| keys.keys().cloned()).collect()
    }

    /// Lays `over` on top: its single values replace ours, its lists go before ours.
    ///
    /// # Errors
    /// A number that TOML has no room for, where both say something.
    pub fn overlaid_with(self, over: RecipeFile) -> Result<RecipeFile, RecipeError> {
        // TOML has no room for the largest whole numbers, which a flag may give.
        if self == RecipeFile::default() {
            return Ok(over);
        }
        overlaid(self.to_table()?, over.to_table()?).try_into().map_err(unreadable)
    }

    fn to_table(&self) -> Result<Table, RecipeError> {
        Table::try_from(self).map_err(|error| Complaint::of_all(error.to_string()).into())
    }
}

fn unreadable(error: toml::de::Error) -> RecipeError {
    Complaint::of_all(in_plain_words(&error.to_string())).into()
}

fn is_default(options: &MethodOptions) -> bool {
    *options == MethodOptions::default()
}

/// Rewrites the parser's words for types in those of people who write recipes.
pub(crate) fn in_plain_words(message: &str) -> String {
    const WORDS: [(&str, &str); 12] = [
        ("invalid type", "wrong type"),
        // What `toml` says of a word without quotes that begins as `false` does.
        (
            "invalid boolean, expected `false`",
            "text stands in quotes, and this is neither true nor false",
        ),
        ("expected struct LayerSettings", "expected a table of settings"),
        ("expected a sequence", "expected a list in brackets"),
        ("expected a string", "expected text in quotes"),
        ("expected a boolean", "expected true or false"),
        ("expected u64", "expected a whole number"),
        ("expected usize", "expected a whole number"),
        ("expected f64", "expected a number"),
        ("invalid value", "wrong value"),
        (": sequence", ": a list"),
        (": map", ": a table"),
    ];
    WORDS
        .iter()
        .fold(message.trim_end().to_owned(), |text, (ours, theirs)| text.replace(ours, theirs))
}
