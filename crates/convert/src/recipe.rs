use regex::Regex;
use roundwise_layout::Layout;
use roundwise_scheme::{ScaleRule, Scheme};
use serde::{Deserialize, Serialize};

use crate::{Heuristic, Preset};

/// A recipe as it is typed, on the command line or in a TOML file. Every field may be left out;
/// a key that is not known is an error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecipeFile {
    /// Scheme of the weights that no rule names. Default `fp8`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// How the file is laid out: `comfy` (default) or `comfy-legacy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// How codes are chosen: `nearest` (default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounding: Option<String>,
    /// How scales are chosen: `absmax` (default) or `mse`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_rule: Option<String>,
    /// Preset to use instead of the one that detection picks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// Keep the layers that a distilled Chroma model is sensitive in, whatever was detected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_distillation: Option<bool>,
    /// Convert what the base keep-list protects as well. The preset still applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_base_list: Option<bool>,
    /// Regular expressions of layers to keep as they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
    /// Regular expressions of layers to convert although a preset or a size rule keeps them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Layers with a scheme of their own; the first rule that matches decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleFile>,
    /// Fewest elements of a weight that is converted. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_size: Option<u64>,
    /// Size rules of the published converters: `basic` or `classic`. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heuristic: Option<String>,
}

/// One rule of a [`RecipeFile`]. Layers that it matches are converted although a preset keeps
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// Regular expression, searched for in the layer's name (without `.weight`).
    pub pattern: String,
    /// Scheme of the layers that it matches.
    pub scheme: String,
}

/// How codes are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// The nearest value that the tile can store.
    #[default]
    Nearest,
}

/// Every complaint about a recipe, each with the path of the field it is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .complaints.join("\n"))]
pub struct RecipeError {
    /// One line each.
    pub complaints: Vec<String>,
}

impl RecipeFile {
    /// Reads a recipe in TOML.
    ///
    /// # Errors
    /// What is not TOML, not a known key or not of the right type, with line and column.
    pub fn from_toml(text: &str) -> Result<Self, RecipeError> {
        toml::from_str(text)
            .map_err(|error| RecipeError { complaints: vec![error.to_string().trim_end().into()] })
    }

    /// Lays `over` on top: its single values replace ours, its lists go before ours.
    #[must_use]
    pub fn overlaid_with(self, over: RecipeFile) -> RecipeFile {
        fn chain<T>(over: Vec<T>, under: Vec<T>) -> Vec<T> {
            over.into_iter().chain(under).collect()
        }
        RecipeFile {
            scheme: over.scheme.or(self.scheme),
            layout: over.layout.or(self.layout),
            rounding: over.rounding.or(self.rounding),
            scale_rule: over.scale_rule.or(self.scale_rule),
            preset: over.preset.or(self.preset),
            keep_distillation: over.keep_distillation.or(self.keep_distillation),
            ignore_base_list: over.ignore_base_list.or(self.ignore_base_list),
            keep: chain(over.keep, self.keep),
            include: chain(over.include, self.include),
            rules: chain(over.rules, self.rules),
            min_size: over.min_size.or(self.min_size),
            heuristic: over.heuristic.or(self.heuristic),
        }
    }
}

/// A rule that has been checked.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Searched for in the layer's name.
    pub pattern: Regex,
    /// Scheme of the layers that it matches.
    pub scheme: Scheme,
}

/// A recipe that has been checked: every name is known, every pattern compiles, every scheme has
/// a place in the layout.
#[derive(Clone, Debug)]
pub struct Recipe {
    file: RecipeFile,
    scheme: Scheme,
    layout: Layout,
    rounding: Rounding,
    scale_rule: ScaleRule,
    preset: Option<&'static Preset>,
    keep: Vec<Regex>,
    include: Vec<Regex>,
    rules: Vec<Rule>,
    heuristic: Option<Heuristic>,
}

impl Recipe {
    /// Checks a recipe and collects everything that is wrong with it.
    ///
    /// # Errors
    /// All complaints at once, each with the path of its field.
    pub fn check(file: RecipeFile) -> Result<Self, RecipeError> {
        let mut checker = Checker::default();
        let scheme = checker.parse("scheme", file.scheme.as_deref().unwrap_or("fp8"));
        let layout = checker.parse("layout", file.layout.as_deref().unwrap_or("comfy"));
        let rounding =
            checker.choice("rounding", file.rounding.as_deref(), &[("nearest", Rounding::Nearest)]);
        let scale_rule = checker.choice(
            "scale_rule",
            file.scale_rule.as_deref(),
            &[("absmax", ScaleRule::Absmax), ("mse", ScaleRule::Mse)],
        );
        let heuristic = file.heuristic.as_deref().and_then(|name| {
            checker.choice(
                "heuristic",
                Some(name),
                &[("basic", Some(Heuristic::Basic)), ("classic", Some(Heuristic::Classic))],
            )
        });
        let preset = checker.preset(&file);
        let keep = checker.patterns("keep", &file.keep);
        let include = checker.patterns("include", &file.include);
        let rules = checker.rules(&file.rules);
        checker.admit(layout, scheme, &rules);
        match (scheme, layout) {
            (Some(scheme), Some(layout)) if checker.complaints.is_empty() => Ok(Recipe {
                scheme,
                layout,
                rounding,
                scale_rule,
                preset,
                keep,
                include,
                rules,
                heuristic,
                file,
            }),
            _ => Err(RecipeError { complaints: checker.complaints }),
        }
    }

    /// What was typed.
    pub fn file(&self) -> &RecipeFile {
        &self.file
    }

    /// Scheme of the weights that no rule names.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Layout of the output.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// How codes are chosen.
    pub fn rounding(&self) -> Rounding {
        self.rounding
    }

    /// How scales are chosen.
    pub fn scale_rule(&self) -> ScaleRule {
        self.scale_rule
    }

    /// The preset that was asked for; `None` leaves the choice to detection.
    pub fn preset(&self) -> Option<&'static Preset> {
        self.preset
    }

    /// Whether the base keep-list applies.
    pub fn uses_base_list(&self) -> bool {
        !self.file.ignore_base_list.unwrap_or(false)
    }

    /// The layers that distilled Chroma models need, where they are to be kept.
    pub fn distillation(&self) -> Option<&'static Preset> {
        match self.file.keep_distillation {
            Some(true) => Preset::by_name("distillation_large").ok(),
            _ => None,
        }
    }

    /// Layers to keep.
    pub fn keep(&self) -> &[Regex] {
        &self.keep
    }

    /// Layers to convert although a preset or a size rule keeps them.
    pub fn include(&self) -> &[Regex] {
        &self.include
    }

    /// Layers with a scheme of their own.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Fewest elements of a weight that is converted.
    pub fn min_size(&self) -> u64 {
        self.file.min_size.unwrap_or(0)
    }

    /// Size rules, if any.
    pub fn heuristic(&self) -> Option<Heuristic> {
        self.heuristic
    }
}

#[derive(Default)]
struct Checker {
    complaints: Vec<String>,
}

impl Checker {
    fn complain(&mut self, path: &str, problem: impl std::fmt::Display) {
        self.complaints.push(format!("{path}: {problem}"));
    }

    fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        path: &str,
        name: &str,
    ) -> Option<T> {
        name.parse().map_err(|error| self.complain(path, error)).ok()
    }

    fn choice<T: Copy + Default>(
        &mut self,
        path: &str,
        name: Option<&str>,
        choices: &[(&str, T)],
    ) -> T {
        let Some(name) = name else { return T::default() };
        match choices.iter().find(|(known, _)| *known == name) {
            Some((_, value)) => *value,
            None => {
                let known: Vec<_> = choices.iter().map(|(known, _)| *known).collect();
                self.complain(path, format!("unknown `{name}`\n  known: {}", known.join(", ")));
                T::default()
            }
        }
    }

    fn preset(&mut self, file: &RecipeFile) -> Option<&'static Preset> {
        let name = file.preset.as_deref()?;
        Preset::by_name(name).map_err(|error| self.complain("preset", error)).ok()
    }

    fn patterns(&mut self, path: &str, patterns: &[String]) -> Vec<Regex> {
        patterns
            .iter()
            .enumerate()
            .filter_map(|(index, pattern)| self.pattern(&format!("{path}[{index}]"), pattern))
            .collect()
    }

    fn pattern(&mut self, path: &str, pattern: &str) -> Option<Regex> {
        Regex::new(pattern).map_err(|error| self.complain(path, error)).ok()
    }

    fn rules(&mut self, rules: &[RuleFile]) -> Vec<Rule> {
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

    fn admit(&mut self, layout: Option<Layout>, scheme: Option<Scheme>, rules: &[Rule]) {
        let Some(layout) = layout else { return };
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

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> Vec<String> {
        match RecipeFile::from_toml(text).and_then(Recipe::check) {
            Ok(_) => vec![],
            Err(error) => error.complaints,
        }
    }

    #[test]
    fn every_complaint_is_collected_with_its_path() {
        let found = complaints(
            "scheme = 'fp9'\nlayout = 'x'\nkeep = ['a', '(']\nrules = [{pattern = '[', scheme = \
             'int8'}]\nheuristic = 'clever'\npreset = 'nobody'\nscale_rule = 'min'",
        );
        for path in
            ["scheme", "layout", "keep[1]", "rules[0].pattern", "heuristic", "preset", "scale_rule"]
        {
            assert!(found.iter().any(|line| line.starts_with(path)), "{path}: {found:#?}");
        }
        assert_eq!(found.len(), 7);
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let found = complaints("shceme = 'fp8'");
        assert!(found[0].contains("shceme"), "{found:?}");
    }

    #[test]
    fn a_layout_refuses_schemes_that_it_cannot_store() {
        let found = complaints("scheme = 'int8'\nlayout = 'comfy-legacy'");
        assert!(found[0].contains("comfy-legacy"), "{found:?}");
    }

    #[test]
    fn flags_lie_on_top_of_the_file() {
        let file = RecipeFile::from_toml("scheme = 'int8'\nkeep = ['a']").unwrap();
        let flags =
            RecipeFile { scheme: Some("fp8".into()), keep: vec!["b".into()], ..Default::default() };
        let merged = file.overlaid_with(flags);
        assert_eq!(merged.scheme.as_deref(), Some("fp8"));
        assert_eq!(merged.keep, ["b", "a"]);
    }
}
