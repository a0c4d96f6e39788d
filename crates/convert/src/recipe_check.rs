use regex::Regex;
use roundwise_layout::{Layout, QUANTIZATION_METADATA};
use roundwise_rounding::{MethodError, Options};
use roundwise_scheme::Scheme;

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

    pub(crate) fn rules(&mut self, rules: &[RuleFile]) -> Vec<Rule> {
        let mut checked = vec![];
        for (index, rule) in rules.iter().enumerate() {
            let pattern = self.pattern(&format!("rules[{index}].pattern"), &rule.pattern);
            let scheme = self.parse(&format!("rules[{index}].scheme"), &rule.scheme);
            if let (Some(pattern), Some(scheme)) = (pattern, scheme) {
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

    pub(crate) fn admit(&mut self, layout: Layout, scheme: Option<Scheme>, rules: &[Rule]) {
        if let Some(Err(error)) = scheme.map(|scheme| layout.admits(scheme)) {
            self.complain("scheme", error);
        }
        for (index, rule) in rules.iter().enumerate() {
            if let Err(error) = layout.admits(rule.scheme) {
                self.complain(&format!("rules[{index}].scheme"), error);
            }
        }
    }
}
