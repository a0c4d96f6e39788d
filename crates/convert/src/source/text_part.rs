//! The part of a language model that writes text: where its names stand, and what its family has there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use roundwise_layout::{OUTPUT_HEAD, layer_of_weight, weight_of};
use serde_json::Value;

use crate::model::preset::names_one_of;
use crate::model::{FamilyRule, FamilyRules, MatrixSizes, Preset, Shapes};

/// Where the configuration of a model with several parts describes the one that writes text.
const TEXT_CONFIGS: [&str; 3] = ["text_config", "language_config", "llm_config"];

/// Returns the entries that describe the part that writes text, where they are apart.
pub(crate) fn text_config(config: &Value) -> Option<&Value> {
    TEXT_CONFIGS.iter().find_map(|key| config.get(key))
}

/// Returns an entry of the configuration of the part that writes text, or else of the model.
pub(crate) fn setting<'a>(config: &'a Value, key: &str) -> Option<&'a Value> {
    text_config(config).and_then(|it| it.get(key)).or_else(|| config.get(key))
}

/// Returns the family of a model, and that of its part that writes text where this is told apart.
pub(crate) fn families<'a>(model_type: &'a str, config: &'a Value) -> Vec<&'a str> {
    std::iter::once(model_type).chain(inner_family(config)).collect()
}

/// Returns the family of the part that writes text, where the rules for the family of the model are not for it.
pub(crate) fn unknown_part<'a>(
    preset: &Preset,
    model_type: &str,
    config: &'a Value,
) -> Option<&'a str> {
    let is_known = |inner: &&str| {
        inner.starts_with(model_type) || preset.model_types.iter().any(|it| it == inner)
    };
    inner_family(config).filter(|inner| !is_known(inner))
}

fn inner_family(config: &Value) -> Option<&str> {
    TEXT_CONFIGS.iter().find_map(|key| config.get(key)?.get("model_type")?.as_str())
}

/// Returns whether tokens are scored by the embedding, where a configuration says so of the model or of the part.
pub(crate) fn ties_head(config: &Value) -> Option<bool> {
    let told = [Some(config), text_config(config)].into_iter().flatten();
    let told = told.filter_map(|config| config.get("tie_word_embeddings")?.as_bool());
    told.reduce(|one, other| one || other)
}

/// End of the name of the table of words: a matrix of words × hidden size.
pub(crate) const EMBEDDING: &str = "embed_tokens.weight";

/// Key of the number of layers.
pub(crate) const LAYERS: &str = "num_hidden_layers";

/// Keys of the number of experts of a layer.
pub(crate) const EXPERTS: [&str; 4] =
    ["num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"];

/// A part of layers that predict further words, which come after the others.
const OF_FURTHER_LAYER: &str = "eh_proj";

/// The part that writes text of a model whose family has rules of names.
pub(crate) struct TextPart<'a> {
    model_type: &'a str,
    /// The family of the model, and that of its part where this has another.
    families: Vec<&'a str>,
    rules: &'static FamilyRules,
    config: &'a Value,
    shapes: &'a Shapes<'a>,
    /// What its names begin with; nothing in models that give vectors.
    start: &'a str,
}

/// Names of one layer, behind its number.
type Names<'a> = BTreeSet<&'a str>;

impl<'a> TextPart<'a> {
    /// Finds the part by the table of words.
    ///
    /// - returns `None` for a family without rules, and for a model whose part that writes text is of one
    ///
    /// # Errors
    /// The name that programs look for, where they find no table of words.
    pub(crate) fn find(
        preset: &'static Preset,
        model_type: &'a str,
        config: &'a Value,
        shapes: &'a Shapes<'a>,
    ) -> Result<Option<Self>, String> {
        let rules = &preset.family;
        if rules.text_starts.is_empty() || unknown_part(preset, model_type, config).is_some() {
            return Ok(None);
        }
        let families = families(model_type, config);
        let starts = rules.text_starts.iter().filter(|rule| rule.is_of(&families));
        let starts: Vec<&str> = starts.flat_map(|rule| &rule.names).map(String::as_str).collect();
        let has_table = |start: &&&str| shapes.shape(&format!("{start}{EMBEDDING}")).is_some();
        match starts.iter().chain(&[""]).find(has_table) {
            Some(start) => Ok(Some(Self { model_type, families, rules, config, shapes, start })),
            None => Err(format!("{}{EMBEDDING}", starts.first().unwrap_or(&""))),
        }
    }

    /// Returns the first tensor without which programs fail or start from numbers of their own.
    pub(crate) fn missing_tensor(&self) -> Option<String> {
        let parts = self.rules.model_parts.iter().filter(|rule| rule.is_of(&self.families));
        let mut parts =
            parts.flat_map(|rule| &rule.names).map(|part| format!("{}{part}", self.start));
        let has =
            |module: &String| self.shapes.starting_with(&format!("{module}.")).next().is_some();
        if let Some(module) = parts.find(|module| !has(module)) {
            return Some(weight_of(&module));
        }
        let lacks_head = self.lacks_head().then(|| weight_of(OUTPUT_HEAD));
        lacks_head.or_else(|| self.missing_in_layers())
    }

    /// Returns why programs may leave out some of the tensors, or stop at them.
    ///
    /// - `has_codes`: whether some weights are in codes of another program, which may write zeros as biases
    pub(crate) fn unread_tensor(&self, has_codes: bool) -> Option<String> {
        if self.start.is_empty() {
            return Some(format!(
                "`{EMBEDDING}` has no `model.` before it, as in models that give vectors and write no text"
            ));
        }
        let is_of_several = self.rules.text_starts.iter().filter(|rule| rule.is_of(&self.families));
        // Beside a part that sees stands whatever that is made of.
        if is_of_several.count() == 1
            && let Some(name) = self.shapes.names().find(|name| !self.is_known_outside(name))
        {
            return Some(format!(
                "no module of a `{}` in transformers has `{name}`",
                self.model_type
            ));
        }
        let name = self.unread_bias().filter(|_| !has_codes)?;
        Some(format!("`config.json` switches no bias on that would be `{name}`"))
    }

    /// Returns what the names of its layers begin with.
    pub(crate) fn start_of_layers(&self) -> String {
        format!("{}layers.", self.start)
    }

    /// Returns what rows and columns of the matrices of a layer count, by their names.
    pub(crate) fn matrix_sizes(&self) -> BTreeMap<&'static str, &'static MatrixSizes> {
        let sizes = self.rules.sizes.iter();
        sizes.flat_map(|sizes| sizes.names.iter().map(move |name| (name.as_str(), sizes))).collect()
    }

    /// Returns whether heads have a size that depends on the family alone where the configuration names none.
    pub(crate) fn has_own_head_size(&self) -> bool {
        names_one_of(&self.rules.own_head_size, &self.families)
    }

    /// Returns an entry of the configuration of the part, or else of the model.
    pub(crate) fn setting(&self, key: &str) -> Option<&'a Value> {
        setting(self.config, key)
    }

    /// Returns whether the configuration says that tokens are not scored by the embedding, and nothing else scores them.
    fn lacks_head(&self) -> bool {
        ties_head(self.config) == Some(false)
            && !self.start.is_empty()
            && self.shapes.first_holding(OUTPUT_HEAD).is_none()
    }

    /// Returns the names of the layers that write text, by their numbers.
    fn layers(&self) -> BTreeMap<u64, Names<'a>> {
        let start = self.start_of_layers();
        let mut layers = BTreeMap::<u64, Names<'a>>::new();
        for name in self.shapes.starting_with(&start) {
            if let Some((number, part)) = name[start.len()..].split_once('.')
                && let Ok(number) = number.parse()
            {
                layers.entry(number).or_default().insert(part);
            }
        }
        let count = self.setting(LAYERS).and_then(Value::as_u64).unwrap_or(u64::MAX);
        layers.retain(|number, names| *number < count && !has(names, OF_FURTHER_LAYER));
        layers
    }

    fn missing_in_layers(&self) -> Option<String> {
        let layers = self.layers();
        let at = |number: u64, part: &str| format!("{}{number}.{part}", self.start_of_layers());
        let first = self.forms().next()?.first()?.names.first()?;
        let is_told = self.setting(LAYERS).and_then(Value::as_u64).is_some_and(|count| count > 0);
        if is_told && layers.is_empty() {
            return Some(at(0, &weight_of(first)));
        }
        if let Some((number, _)) = (0..).zip(layers.keys()).find(|(number, key)| number != *key) {
            return Some(at(number, &weight_of(first)));
        }
        let own =
            |names: &Names<'a>| self.missing_of_rules(names).or_else(|| self.missing_expert(names));
        let mut found = layers.iter().filter_map(|(number, names)| Some(at(*number, &own(names)?)));
        found.next().or_else(|| {
            let (number, part) = self.missing_beside_others(&layers)?;
            Some(at(number, &part))
        })
    }

    /// Returns the forms of attention in the family, and those of what comes after it.
    fn forms(&self) -> impl Iterator<Item = Vec<&'static FamilyRule>> {
        let of_family = |rule: &&FamilyRule| rule.is_of(&self.families);
        self.rules.layer_forms.iter().map(move |rules| rules.iter().filter(of_family).collect())
    }

    /// Returns the first name that the rules of the family ask of a layer in vain.
    fn missing_of_rules(&self, names: &Names<'a>) -> Option<String> {
        for forms in self.forms() {
            let count =
                |form: &&FamilyRule| form.names.iter().filter(|part| has(names, part)).count();
            // The one of which most is there is meant.
            let best = forms
                .into_iter()
                .min_by_key(|form| Reverse((count(form) == form.names.len(), count(form))));
            let Some(form) = best else { continue };
            if let Some(part) = form.names.iter().find(|part| !has(names, part)) {
                return Some(weight_of(part));
            }
        }
        let parts = self.required(&self.rules.layer_parts);
        if let Some(part) = parts.into_iter().find(|part| !has(names, part)) {
            return Some(weight_of(part));
        }
        let lacks_bias =
            |part: &&str| has(names, part) && !names.contains(format!("{part}.bias").as_str());
        let biased = self.required(&self.rules.biases).into_iter().find(lacks_bias)?;
        Some(format!("{biased}.bias"))
    }

    /// Returns the names of rules that hold for certain.
    fn required(&self, rules: &'static [FamilyRule]) -> Vec<&'static str> {
        rules
            .iter()
            .filter(|rule| self.is_on(rule))
            .flat_map(|rule| &rule.names)
            .map(String::as_str)
            .collect()
    }

    /// Returns whether a rule is about the family, and switched on.
    fn is_on(&self, rule: &FamilyRule) -> bool {
        let value = rule.key.as_ref().map(|key| self.setting(key).and_then(Value::as_bool));
        rule.is_of(&self.families) && value.is_none_or(|value| value.unwrap_or(rule.is_on))
    }

    /// Returns the first weight that some expert of a layer has, and another has not.
    fn missing_expert(&self, names: &Names<'a>) -> Option<String> {
        let mut experts = BTreeMap::<u64, BTreeSet<&str>>::new();
        let mut bank = "";
        for name in names {
            if let Some((module, rest)) = name.split_once(".experts.")
                && let Some((number, part)) = rest.split_once('.')
                && let Ok(number) = number.parse()
            {
                bank = module;
                let part = part.split_once('.').map_or(part, |(layer, _)| layer);
                experts.entry(number).or_default().insert(part);
            }
        }
        let all: BTreeSet<&str> = experts.values().flatten().copied().collect();
        let first = all.first()?;
        let at = |number: u64, part: &str| format!("{bank}.experts.{number}.{part}.weight");
        for (number, parts) in &experts {
            if let Some(part) = all.difference(parts).next() {
                return Some(at(*number, part));
            }
        }
        let told = EXPERTS.iter().find_map(|key| self.setting(key)?.as_u64()).unwrap_or_default();
        let count = told.max(experts.len() as u64);
        // At the first number that is left out: the one told may be any.
        let gap =
            (0..count).take(experts.len() + 1).find(|number| !experts.contains_key(number))?;
        Some(at(gap, first))
    }

    /// Returns the first weight that other layers with the same kinds of attention and of what comes after it have.
    fn missing_beside_others(&self, layers: &BTreeMap<u64, Names<'a>>) -> Option<(u64, String)> {
        let kind = |names: &Names<'a>| -> Vec<Option<usize>> {
            let is_whole = |form: &FamilyRule| form.names.iter().all(|part| has(names, part));
            self.forms().map(|forms| forms.into_iter().position(is_whole)).collect()
        };
        let mut parts_of_kinds = BTreeMap::<_, BTreeSet<&str>>::new();
        for names in layers.values() {
            let weights = names.iter().filter_map(|name| layer_of_weight(name));
            let weights = weights.filter(|part| !part.contains(".experts."));
            parts_of_kinds.entry(kind(names)).or_default().extend(weights);
        }
        layers.iter().find_map(|(number, names)| {
            let mut parts = parts_of_kinds.get(&kind(names))?.iter();
            Some((*number, weight_of(parts.find(|part| !has(names, part))?)))
        })
    }

    /// Returns whether a tensor is one that stands outside of the layers, or in them.
    fn is_known_outside(&self, name: &str) -> bool {
        let is_of_module =
            |module: &str| name.strip_prefix(module).is_some_and(|it| it.starts_with('.'));
        let parts = self.rules.model_parts.iter().filter(|rule| rule.is_of(&self.families));
        let mut parts = parts.flat_map(|rule| &rule.names).map(String::as_str);
        let inside = name.strip_prefix(self.start);
        let is_inside = |part: &str| {
            inside.and_then(|it| it.strip_prefix(part)).is_some_and(|it| it.starts_with('.'))
        };
        is_of_module(OUTPUT_HEAD)
            || is_inside("layers")
            || is_inside("embed_tokens")
            || parts.any(is_inside)
            || self.rules.outside_names.iter().any(|names| names.matches(name))
    }

    /// Returns the first bias of a matrix that nothing switches on.
    fn unread_bias(&self) -> Option<String> {
        let rules = self.rules.biases.iter().filter(|rule| self.is_on(rule));
        let biased: BTreeSet<&str> =
            rules.flat_map(|rule| &rule.names).map(String::as_str).collect();
        // Of experts and routers the names say less.
        let judged: BTreeSet<&str> =
            self.rules.biases.iter().flat_map(|rule| &rule.names).map(String::as_str).collect();
        for (number, names) in self.layers() {
            let mut modules = names.iter().filter_map(|name| name.strip_suffix(".bias"));
            if let Some(module) = modules.find(|it| judged.contains(it) && !biased.contains(it)) {
                return Some(format!("{}{number}.{module}.bias", self.start_of_layers()));
            }
        }
        None
    }
}

/// Returns whether a layer has a module with more than a bias.
fn has(names: &Names<'_>, module: &str) -> bool {
    let mut from = names.range(module..).take_while(|name| name.starts_with(module));
    from.any(|name| matches!(name[module.len()..].strip_prefix('.'), Some(part) if part != "bias"))
}
