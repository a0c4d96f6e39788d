//! Configuration beside an adapter's tensors: PEFT's file and the trainers' metadata.

use std::collections::BTreeMap;

use regex::Regex;
use roundwise_tensor_file::printable;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Name of PEFT's configuration.
pub(super) const CONFIG_FILE: &str = "adapter_config.json";

/// Entry of diffusers' headers: the configuration of a pipeline's components, or of one model.
pub(super) const DIFFUSERS_KEY: &str = "lora_adapter_metadata";

/// Where a configuration comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ConfigSource {
    ConfigFile,
    DiffusersMetadata,
}

/// PEFT's configuration of one adapter, as far as merging asks for it.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) source: ConfigSource,
    /// `None` where the file does not say so.
    rank: Option<f64>,
    alpha: Option<f64>,
    /// The factor is `alpha / √rank`.
    pub(super) is_rank_stabilised: bool,
    rank_pattern: Vec<(Regex, f64)>,
    alpha_pattern: Vec<(Regex, f64)>,
    /// Weights are stored `[inputs, outputs]`.
    pub(super) is_transposed: bool,
    saved_modules: Vec<String>,
    saves_biases: bool,
    /// `None` where it does not say how rotations are computed.
    pub(super) oft: Option<OftSettings>,
}

/// How the rotations of an OFT are computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct OftSettings {
    /// Terms of a series that stands for the exact rotation.
    pub(super) series_terms: Option<usize>,
    /// Bound of the whole rotation (`coft`).
    pub(super) constraint: Option<f64>,
    /// One block stands for all.
    pub(super) shares_blocks: bool,
}

impl OftSettings {
    /// Exact rotations, each block its own.
    pub(super) const EXACT: Self =
        Self { series_terms: None, constraint: None, shares_blocks: false };
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stored {
    peft_type: Option<String>,
    r: Option<f64>,
    lora_alpha: Option<f64>,
    /// LoHa's and LoKr's.
    alpha: Option<f64>,
    use_rslora: Option<bool>,
    rank_pattern: Option<BTreeMap<String, f64>>,
    alpha_pattern: Option<BTreeMap<String, f64>>,
    fan_in_fan_out: Option<bool>,
    modules_to_save: Option<Vec<String>>,
    bias: Option<String>,
    use_cayley_neumann: Option<bool>,
    num_cayley_neumann_terms: Option<usize>,
    coft: Option<bool>,
    eps: Option<f64>,
    block_share: Option<bool>,
    init_lora_weights: Value,
    layer_replication: Value,
    target_parameters: Option<Vec<String>>,
}

/// Starts of `init_lora_weights` that change the model's own weights before training.
const CHANGED_BASES: [&str; 4] = ["pissa", "olora", "corda", "loftq"];

impl Config {
    /// Reads `adapter_config.json`.
    ///
    /// # Errors
    /// One line, when it is no such configuration, or one that is not merged.
    pub(super) fn of_file(text: &str) -> Result<Self, String> {
        let stored = serde_json::from_str(text).map_err(|error| format!("is not read: {error}"))?;
        Self::of(stored, ConfigSource::ConfigFile)
    }

    /// Reads the header entry of diffusers: one configuration for each component of a pipeline, or, without a
    /// name, that of the model that was saved alone.
    ///
    /// # Errors
    /// As [`Self::of_file`].
    pub(super) fn of_header(
        metadata: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, Self>, String> {
        let Some(text) = metadata.get(DIFFUSERS_KEY) else { return Ok(BTreeMap::new()) };
        let problem = |what: String| format!("header entry `{DIFFUSERS_KEY}` {what}");
        let entries: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| problem(format!("is not read: {error}")))?;
        let mut components = BTreeMap::<String, Map<String, Value>>::new();
        for (key, value) in entries {
            // The settings of all components lie flat in one object: `transformer.r`,
            // `text_encoder.r`, and plain `r` where `save_lora_adapter()` wrote them.
            let (component, setting) = key.split_once('.').unwrap_or(("", &key));
            components.entry(component.to_owned()).or_default().insert(setting.to_owned(), value);
        }
        let configs = components.into_iter().map(|(component, settings)| {
            let stored = serde_json::from_value(Value::Object(settings));
            let stored = stored.map_err(|error| problem(format!("is not read: {error}")))?;
            Ok((component, Self::of(stored, ConfigSource::DiffusersMetadata).map_err(problem)?))
        });
        configs.collect()
    }

    /// Returns what the header entry of diffusers has keys of, for messages; `None` where it is not there.
    pub(super) fn keys_of_header(metadata: &BTreeMap<String, String>) -> Option<String> {
        const SHOWN: usize = 8;
        let entries: Map<String, Value> =
            serde_json::from_str(metadata.get(DIFFUSERS_KEY)?).unwrap_or_default();
        let keys = entries.keys().take(SHOWN).map(|key| format!("`{}`", printable(key)));
        let more = (entries.len() > SHOWN).then(|| "…".to_owned());
        let keys: Vec<String> = keys.chain(more).collect();
        Some(if keys.is_empty() { "none".to_owned() } else { keys.join(", ") })
    }

    fn of(stored: Stored, source: ConfigSource) -> Result<Self, String> {
        if let Some(kind) = &stored.peft_type
            && !["LORA", "LOHA", "LOKR", "OFT", "BOFT"].contains(&kind.to_uppercase().as_str())
        {
            return Err(format!("is of the kind {kind}, which is not merged; merge it with PEFT"));
        }
        // Such an adapter is the difference from weights that PEFT computed when the training began,
        // and neither the model nor the adapter holds those.
        if let Value::String(name) = &stored.init_lora_weights
            && CHANGED_BASES.iter().any(|it| name.to_lowercase().starts_with(it))
        {
            return Err(format!(
                "has `init_lora_weights` {name}, which changes the model's weights before training; \
                 save it as an ordinary LoRA (`path_initial_model_for_weight_conversion`)"
            ));
        }
        if !matches!(&stored.layer_replication, Value::Null) {
            return Err("has `layer_replication`, which is not merged".to_owned());
        }
        if let Some(first) = stored.target_parameters.iter().flatten().next() {
            return Err(format!(
                "is of parameters that are no layers (`target_parameters`: {first}), such as expert \
                 banks, which are not merged; merge it with PEFT"
            ));
        }
        let compiled = |patterns: Option<BTreeMap<String, f64>>| {
            let patterns = patterns.unwrap_or_default().into_iter().map(|(pattern, value)| {
                // As PEFT's `get_pattern_key` does: at the end of a module's name, from the start
                // of a segment.
                let regex = Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$"));
                Ok((
                    regex.map_err(|_| format!("has a pattern that is not read: {pattern}"))?,
                    value,
                ))
            });
            patterns.collect::<Result<Vec<_>, String>>()
        };
        Ok(Self {
            source,
            oft: oft_settings(&stored)?,
            rank: stored.r,
            // LoRA's configurations say `lora_alpha`, those of LoHa and LoKr `alpha`; none has both.
            alpha: stored.lora_alpha.or(stored.alpha),
            is_rank_stabilised: stored.use_rslora.unwrap_or(false),
            rank_pattern: compiled(stored.rank_pattern)?,
            alpha_pattern: compiled(stored.alpha_pattern)?,
            is_transposed: stored.fan_in_fan_out.unwrap_or(false),
            saved_modules: stored.modules_to_save.unwrap_or_default(),
            saves_biases: stored.bias.is_some_and(|bias| bias != "none"),
        })
    }

    /// Returns the rank of a module.
    ///
    /// - `module`: as the model names it
    pub(super) fn rank_of(&self, module: &str) -> Option<f64> {
        matching(&self.rank_pattern, module).or(self.rank)
    }

    /// Returns the alpha of a module.
    ///
    /// - `module`: as the model names it
    pub(super) fn alpha_of(&self, module: &str) -> Option<f64> {
        matching(&self.alpha_pattern, module).or(self.alpha)
    }

    /// Returns whether a tensor replaces the model's own.
    ///
    /// - `tensor`: as the model names it
    pub(super) fn replaces(&self, tensor: &str) -> bool {
        let Some((module, leaf)) = tensor.rsplit_once('.') else { return false };
        let is_saved = |saved: &String| {
            // Whole segments only: `head` is not `lm_head`.
            module == saved
                || module.strip_suffix(saved.as_str()).is_some_and(|it| it.ends_with('.'))
        };
        (leaf == "bias" && self.saves_biases) || self.saved_modules.iter().any(is_saved)
    }
}

/// Returns how rotations are computed, where the configuration says so.
///
/// # Errors
/// One line, where it says so in part.
fn oft_settings(stored: &Stored) -> Result<Option<OftSettings>, String> {
    /// Bounds the work for a made-up file: PEFT's default is 5.
    const MOST_TERMS: usize = 64;
    let Some(is_series) = stored.use_cayley_neumann else { return Ok(None) };
    let terms = stored.num_cayley_neumann_terms.filter(|_| is_series);
    if is_series && !terms.is_some_and(|terms| (1..=MOST_TERMS).contains(&terms)) {
        let found = terms.map_or("missing".to_owned(), |terms| terms.to_string());
        return Err(format!("has `num_cayley_neumann_terms` {found}, expected 1 to {MOST_TERMS}"));
    }
    let constraint = match stored.coft {
        Some(true) => Some(stored.eps.ok_or("has `coft` without `eps`")?),
        _ => None,
    };
    let shares_blocks = stored.block_share.unwrap_or(false);
    Ok(Some(OftSettings { series_terms: terms, constraint, shares_blocks }))
}

fn matching(patterns: &[(Regex, f64)], module: &str) -> Option<f64> {
    // The first that fits counts, as with PEFT, which sorts the keys of its files as the map here
    // does.
    patterns.iter().find(|(regex, _)| regex.is_match(module)).map(|(_, value)| *value)
}

/// Entries that kohya's scripts write into headers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kohya {
    pub(super) rank: f64,
    pub(super) alpha: f64,
}

impl Kohya {
    pub(super) fn of(metadata: &BTreeMap<String, String>) -> Option<Self> {
        let number = |key: &str| metadata.get(key)?.trim().parse::<f64>().ok();
        // Both or neither: the alpha counts for tensors of this rank alone.
        Some(Self { rank: number("ss_network_dim")?, alpha: number("ss_network_alpha")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_the_last_segments_of_names() {
        let config = Config::of_file(
            r#"{"peft_type": "LORA", "r": 8, "lora_alpha": 16, "use_rslora": true, "bias": "none",
                "rank_pattern": {"attn.q": 4, "blocks.[01].mlp": 2}, "alpha_pattern": {"q": 32},
                "modules_to_save": ["head"], "target_modules": null, "revision": null}"#,
        )
        .unwrap();
        assert_eq!(config.rank_of("blocks.0.attn.q"), Some(4.0));
        assert_eq!(config.rank_of("blocks.1.mlp"), Some(2.0));
        assert_eq!(config.rank_of("blocks.0.attn.seq"), Some(8.0));
        assert_eq!(config.alpha_of("blocks.0.attn.q"), Some(32.0));
        assert_eq!(config.alpha_of("blocks.0.attn.k"), Some(16.0));
        assert!(config.is_rank_stabilised);
        assert!(config.replaces("model.head.weight"));
        assert!(!config.replaces("model.ahead.weight") && !config.replaces("a.bias"));
    }

    #[test]
    fn what_is_not_merged_is_refused_by_name() {
        for (text, expected) in [
            (r#"{"peft_type": "VERA"}"#, "VERA"),
            (r#"{"init_lora_weights": "pissa_niter_4"}"#, "pissa_niter_4"),
            (r#"{"layer_replication": [[0, 4]]}"#, "layer_replication"),
            ("{", "is not read"),
            (r#"{"rank_pattern": {"(": 4}}"#, "pattern"),
        ] {
            let problem = Config::of_file(text).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn diffusers_has_a_configuration_for_each_component() {
        let text = r#"{"transformer.r": 4, "transformer.lora_alpha": 8, "text_encoder.r": 2}"#;
        let metadata = BTreeMap::from([(DIFFUSERS_KEY.to_owned(), text.to_owned())]);
        let configs = Config::of_header(&metadata).unwrap();
        assert_eq!(configs["transformer"].alpha_of("x"), Some(8.0));
        assert_eq!(configs["text_encoder"].rank_of("x"), Some(2.0));
        assert_eq!(configs["text_encoder"].alpha_of("x"), None);
    }

    #[test]
    fn diffusers_has_a_configuration_without_a_component_for_one_model() {
        let text = r#"{"r": 4, "lora_alpha": 16, "use_rslora": true, "rank_pattern": {"a.q": 8},
                       "alpha_pattern": {"a.q": 2}}"#;
        let metadata = BTreeMap::from([(DIFFUSERS_KEY.to_owned(), text.to_owned())]);
        let configs = Config::of_header(&metadata).unwrap();
        assert_eq!(configs[""].alpha_of("b"), Some(16.0));
        assert_eq!(
            (configs[""].rank_of("a.q"), configs[""].alpha_of("a.q")),
            (Some(8.0), Some(2.0))
        );
        assert!(configs[""].is_rank_stabilised);
    }
}
