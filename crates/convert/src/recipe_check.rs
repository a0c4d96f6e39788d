use std::path::PathBuf;

use regex::Regex;
use roundwise_layout::{Layout, QUANTIZATION_METADATA};
use roundwise_rounding::{MethodError, Options, Solver};
use roundwise_scheme::{ScaleRule, Scheme};

use crate::adapter::parse_adapter;
use crate::edit::Edit;
use crate::provenance::PROVENANCE_KEY;
use crate::recipe::NEAREST;
use crate::{EditFile, PlainDtype, Preset, Purpose, RecipeFile, Rule, RuleFile};

/// Turns what was typed into what it means, and collects what cannot be turned.
pub(crate) struct Checker<'a> {
    file: &'a RecipeFile,
    /// One line each, with the flag or the path of the field.
    pub(crate) complaints: Vec<String>,
}

impl<'a> Checker<'a> {
    pub(crate) fn of(file: &'a RecipeFile) -> Self {
        Self { file, complaints: vec![] }
    }

    fn complain(&mut self, key: &str, problem: impl std::fmt::Display) {
        self.complain_at(self.file.typed_name(key), problem);
    }

    /// - `place`: in typed words
    fn complain_at(&mut self, place: String, problem: impl std::fmt::Display) {
        self.complaints.push(format!("{place}: {problem}"));
    }

    /// Where a rule is told: the flag, or the rule's field in the file.
    fn rule_place(&self, index: usize, field: &str) -> String {
        match self.file.typed_entry("rules", index) {
            entry if entry.starts_with("--") => entry,
            entry => format!("{entry}{field}"),
        }
    }

    pub(crate) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        key: &str,
        name: &str,
    ) -> Option<T> {
        name.parse().map_err(|error| self.complain(key, error)).ok()
    }

    /// What one of these names stands for; `None` where there is none, or another one.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        key: &str,
        name: Option<&str>,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let name = name?;
        let found = choices.iter().find(|(known, _)| *known == name);
        if found.is_none() {
            let known: Vec<_> = choices.iter().map(|(known, _)| *known).collect();
            self.complain(key, format!("unknown `{name}`\n  known: {}", known.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    pub(crate) fn purpose(&mut self) -> Purpose {
        let file = self.file;
        let dtype = file.decode_to.as_deref().and_then(|name| self.plain_dtype(name));
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

    /// Also by the names that other programs have for them.
    fn plain_dtype(&mut self, name: &str) -> Option<PlainDtype> {
        let name = match name {
            "fp16" => "f16",
            "fp32" => "f32",
            name => name,
        };
        self.choice("decode_to", Some(name), &PlainDtype::NAMES)
    }

    pub(crate) fn method(&mut self) -> Option<Options> {
        let file = self.file;
        let name = file.method.as_deref().unwrap_or(NEAREST);
        let options = Options::of_method(name, &file.method_options);
        // These complaints name their options themselves.
        let complaints = |error: MethodError| {
            error.complaints.into_iter().map(|one| file.in_typed_words(&one.to_string()))
        };
        options.map_err(|error| self.complaints.extend(complaints(error))).ok()
    }

    pub(crate) fn preset(&mut self) -> Option<&'static Preset> {
        let name = self.file.preset.as_deref()?;
        Preset::by_name(name).map_err(|error| self.complain("preset", error)).ok()
    }

    pub(crate) fn patterns(&mut self, key: &str, patterns: &[String]) -> Vec<Regex> {
        let patterns = patterns.iter().enumerate();
        let compiled = patterns.map(|(index, text)| (self.file.typed_entry(key, index), text));
        compiled.filter_map(|(place, text)| self.pattern(place, text)).collect()
    }

    /// - `place`: in typed words
    fn pattern(&mut self, place: String, pattern: &str) -> Option<Regex> {
        let indented = |error: regex::Error| error.to_string().replace('\n', "\n  ");
        Regex::new(pattern).map_err(|error| self.complain_at(place, indented(error))).ok()
    }

    pub(crate) fn adapters(&mut self) -> Vec<(PathBuf, f32)> {
        let file = self.file;
        if file.allow_unmatched_lora == Some(true) && file.merge_lora.is_empty() {
            let setting = file.in_typed_words("`allow_unmatched_lora`");
            let needs = file.in_typed_words("`merge_lora`");
            self.complaints.push(format!("{setting} changes nothing without {needs}"));
        }
        let parsed = file.merge_lora.iter().enumerate().map(|(index, text)| {
            let place = file.typed_entry("merge_lora", index);
            parse_adapter(text).map_err(|problem| format!("{place}: {problem}"))
        });
        let (adapters, complaints): (Vec<_>, Vec<_>) = parsed.partition(Result::is_ok);
        self.complaints.extend(complaints.into_iter().filter_map(Result::err));
        adapters.into_iter().filter_map(Result::ok).collect()
    }

    pub(crate) fn rules(&mut self, rules: &[RuleFile]) -> Vec<Rule> {
        let mut checked = vec![];
        for (index, rule) in rules.iter().enumerate() {
            let pattern = self.pattern(self.rule_place(index, ".pattern"), &rule.pattern);
            let place = self.rule_place(index, ".scheme");
            let scheme = rule.scheme.parse();
            let scheme = scheme.map_err(|error| self.complain_at(place, error)).ok();
            if let (Some(pattern), Some(scheme)) = (pattern, scheme) {
                let other = checked.iter().find(|other: &&Rule| {
                    other.pattern.as_str() == pattern.as_str() && other.scheme != scheme
                });
                if let Some(other) = other {
                    let problem = format!("`{pattern}` is to be {scheme} and {}", other.scheme);
                    let problem = format!("{problem}: these contradict each other");
                    self.complain_at(self.rule_place(index, ""), problem);
                }
                checked.push(Rule { pattern, scheme });
            }
        }
        checked
    }

    pub(crate) fn edit(&mut self) -> Edit {
        let Some(file) = &self.file.edit else { return Edit::default() };
        if *file == EditFile::default() {
            self.complaints.push(
                "`edit` changes nothing by itself\n  name header entries (`--set`, `--unset`) or layers \
                 (`--full-precision`, `--any-products`, `--input-scale`)"
                    .to_owned(),
            );
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
        let mut range = None;
        let all = self.places(Some(scheme), fallback, rules);
        if scale_rule == ScaleRule::Mse && !all.iter().any(|(_, scheme)| scheme.has_scales()) {
            self.complain("scale_rule", format!("`mse` searches for scales; `{scheme}` has none"));
        }
        for (place, scheme) in all {
            if options.solver != Solver::Nearest && !scheme.has_free_codes() {
                self.complain_at(
                    place.clone(),
                    format!(
                        "`{scheme}` stores levels of a table, which no search of codes can choose \
                         freely\n  use method `nearest`, or scheme `int4-convrot`"
                    ),
                );
            }
            if scheme.shares_scales() && scale_rule == ScaleRule::Mse {
                self.complain_at(
                    place.clone(),
                    format!(
                        "scale rule `mse` chooses a scale for every layer, `{scheme}` one for all \
                         of a module\n  use scale rule `absmax`, or `fp8-log-scales`"
                    ),
                );
            }
            if let Some(found) = scheme.log_range()
                && *range.get_or_insert(found) != found
            {
                self.complain_at(
                    place.clone(),
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
        for (place, scheme) in self.places(scheme, fallback, rules) {
            if let Err(error) = layout.admits(scheme) {
                self.complain_at(place, error);
            }
        }
    }

    /// Every scheme of the recipe, with where it is told.
    fn places(
        &self,
        scheme: Option<Scheme>,
        fallback: Option<Scheme>,
        rules: &[Rule],
    ) -> Vec<(String, Scheme)> {
        let single = [("scheme", scheme), ("fallback_scheme", fallback)];
        let single = single.into_iter().filter_map(|(key, scheme)| Some((key, scheme?)));
        let single = single.map(|(key, scheme)| (self.file.typed_name(key), scheme));
        let rules = rules.iter().enumerate();
        single
            .chain(rules.map(|(index, rule)| (self.rule_place(index, ".scheme"), rule.scheme)))
            .collect()
    }
}
