use std::path::PathBuf;

use regex::Regex;
use roundwise_layout::{Layout, QUANTIZATION_METADATA};
use roundwise_rounding::{MethodError, Options, Solver};
use roundwise_scheme::{ScaleRule, ScaleStorage, Scheme};

use crate::adapter::parse_adapter;
use crate::edit::Edit;
use crate::provenance::PROVENANCE_KEY;
use crate::recipe::NEAREST;
use crate::{EditFile, PlainDtype, Preset, Purpose, RecipeFile, Rule, RuleFile};

/// Turns what was typed into what it means, and collects what cannot be turned.
#[derive(Default)]
pub(crate) struct Checker {
    /// One line each, with the path of the field.
    pub(crate) complaints: Vec<String>,
}

impl Checker {
    fn complain(&mut self, path: &str, problem: impl std::fmt::Display) {
        self.complaints.push(format!("{path}: {problem}"));
    }

    pub(crate) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        path: &str,
        name: &str,
    ) -> Option<T> {
        name.parse().map_err(|error| self.complain(path, error)).ok()
    }

    /// What one of these names stands for; `None` where there is none, or another one.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        path: &str,
        name: Option<&str>,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let name = name?;
        let found = choices.iter().find(|(known, _)| *known == name);
        if found.is_none() {
            let known: Vec<_> = choices.iter().map(|(known, _)| *known).collect();
            self.complain(path, format!("unknown `{name}`\n  known: {}", known.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    pub(crate) fn purpose(&mut self, file: &RecipeFile) -> Purpose {
        let dtype = self.choice("decode_to", file.decode_to.as_deref(), &PlainDtype::NAMES);
        let purposes = [
            ("decode_to", dtype.map(Purpose::Decode), "codes become plain numbers"),
            ("migrate_to", file.migrate_to.as_ref().map(|_| Purpose::Migrate), "codes stay"),
            ("edit", file.edit.as_ref().map(|_| Purpose::Edit), "codes stay"),
            ("repair", (file.repair == Some(true)).then_some(Purpose::Repair), "codes stay"),
        ];
        let others = file.keys_of_quantizing();
        let mut named = purposes.into_iter().filter_map(|(key, it, why)| Some((key, it?, why)));
        let Some((key, purpose, why)) = named.next() else { return Purpose::Quantize };
        for (other, ..) in named {
            self.complain(other, format!("does not go together with `{key}`"));
        }
        for other in others {
            let problem = format!("is about quantizing; with `{key}` {why}");
            self.complain(&other, file.in_typed_words(&problem));
        }
        purpose
    }

    pub(crate) fn method(&mut self, file: &RecipeFile) -> Option<Options> {
        let name = file.method.as_deref().unwrap_or(NEAREST);
        let options = Options::of_method(name, &file.method_options);
        // These complaints name their options themselves.
        let complaints = |error: MethodError| {
            error.complaints.into_iter().map(|one| file.in_typed_words(&one.to_string()))
        };
        options.map_err(|error| self.complaints.extend(complaints(error))).ok()
    }

    pub(crate) fn preset(&mut self, file: &RecipeFile) -> Option<&'static Preset> {
        let name = file.preset.as_deref()?;
        Preset::by_name(name).map_err(|error| self.complain("preset", error)).ok()
    }

    pub(crate) fn patterns(&mut self, path: &str, patterns: &[String]) -> Vec<Regex> {
        patterns
            .iter()
            .enumerate()
            .filter_map(|(index, pattern)| self.pattern(&format!("{path}[{index}]"), pattern))
            .collect()
    }

    fn pattern(&mut self, path: &str, pattern: &str) -> Option<Regex> {
        Regex::new(pattern).map_err(|error| self.complain(path, error)).ok()
    }

    pub(crate) fn adapters(&mut self, file: &RecipeFile) -> Vec<(PathBuf, f32)> {
        if file.allow_unmatched_lora == Some(true) && file.merge_lora.is_empty() {
            let setting = file.in_typed_words("`allow_unmatched_lora`");
            let needs = file.in_typed_words("`merge_lora`");
            self.complaints.push(format!("{setting} changes nothing without {needs}"));
        }
        let parsed = file.merge_lora.iter().enumerate().map(|(index, text)| {
            parse_adapter(text).map_err(|problem| format!("merge_lora[{index}]: {problem}"))
        });
        let (adapters, complaints): (Vec<_>, Vec<_>) = parsed.partition(Result::is_ok);
        self.complaints.extend(complaints.into_iter().filter_map(Result::err));
        adapters.into_iter().filter_map(Result::ok).collect()
    }

    pub(crate) fn rules(&mut self, rules: &[RuleFile]) -> Vec<Rule> {
        let mut checked = vec![];
        for (index, rule) in rules.iter().enumerate() {
            let pattern = self.pattern(&format!("rules[{index}].pattern"), &rule.pattern);
            let scheme = self.parse(&format!("rules[{index}].scheme"), &rule.scheme);
            if let (Some(pattern), Some(scheme)) = (pattern, scheme) {
                let other = checked.iter().position(|other: &Rule| {
                    other.pattern.as_str() == pattern.as_str() && other.scheme != scheme
                });
                if let Some(other) = other {
                    let path = format!("rules[{index}]");
                    let problem = format!("contradicts rules[{other}], whose pattern is the same");
                    self.complain(&path, problem);
                }
                checked.push(Rule { pattern, scheme });
            }
        }
        checked
    }

    pub(crate) fn edit(&mut self, file: Option<&EditFile>) -> Edit {
        let Some(file) = file else { return Edit::default() };
        if *file == EditFile::default() {
            self.complain("edit", "changes nothing; name an entry or layers");
        }
        for key in [QUANTIZATION_METADATA, PROVENANCE_KEY] {
            if file.set.contains_key(key) {
                self.complain("edit.set", format!("`{key}` is what this program writes itself"));
            }
        }
        Edit {
            set: file.set.clone(),
            unset: self.patterns("edit.unset", &file.unset),
            full_precision: self.patterns("edit.full_precision", &file.full_precision),
            any_products: self.patterns("edit.any_products", &file.any_products),
            input_scale: self.patterns("edit.input_scale", &file.input_scale),
        }
    }

    /// Schemes that the method or the rule for scales cannot work with, or that one file cannot hold
    /// together.
    pub(crate) fn combine(
        &mut self,
        scheme: Scheme,
        fallback: Option<Scheme>,
        rules: &[Rule],
        options: Options,
        scale_rule: ScaleRule,
    ) {
        let named = rules.iter().enumerate();
        let named = named.map(|(index, rule)| (format!("rules[{index}].scheme"), rule.scheme));
        let mut range = None;
        let fallback = fallback.map(|scheme| ("fallback_scheme".to_owned(), scheme));
        let first = [("scheme".to_owned(), scheme)].into_iter().chain(fallback);
        let has_scales = |scheme: Scheme| scheme.scale_storage() != ScaleStorage::Unscaled;
        let mut all = first.clone().chain(named.clone());
        if scale_rule == ScaleRule::Mse && !all.any(|(_, scheme)| has_scales(scheme)) {
            self.complain("scale_rule", format!("`mse` searches for scales; `{scheme}` has none"));
        }
        for (path, scheme) in first.chain(named) {
            if options.solver != Solver::Nearest && !scheme.has_free_codes() {
                self.complain(
                    &path,
                    format!(
                        "`{scheme}` stores levels of a table, which no search of codes can choose \
                         freely\n  use method `nearest`, or scheme `int4-convrot`"
                    ),
                );
            }
            if scheme.shares_scales() && scale_rule == ScaleRule::Mse {
                self.complain(
                    &path,
                    format!(
                        "scale rule `mse` chooses a scale for every layer, `{scheme}` one for all \
                         of a module\n  use scale rule `absmax`, or `fp8-log-scales`"
                    ),
                );
            }
            if let ScaleStorage::Logarithmic { range: found, .. } = scheme.scale_storage()
                && *range.get_or_insert(found) != found
            {
                self.complain(
                    &path,
                    format!("`{scheme}` has another range of scales; a file tells one for all"),
                );
            }
        }
    }

    pub(crate) fn admit(
        &mut self,
        layout: Layout,
        scheme: Option<Scheme>,
        fallback: Option<Scheme>,
        rules: &[Rule],
    ) {
        for (path, scheme) in [("scheme", scheme), ("fallback_scheme", fallback)] {
            if let Some(Err(error)) = scheme.map(|scheme| layout.admits(scheme)) {
                self.complain(path, error);
            }
        }
        for (index, rule) in rules.iter().enumerate() {
            if let Err(error) = layout.admits(rule.scheme) {
                self.complain(&format!("rules[{index}].scheme"), error);
            }
        }
    }
}
