use regex::Regex;

use crate::plan::note::Note;
use crate::recipe::Recipe;

/// What a setting of the recipe has done to a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effect {
    /// It speaks of nothing in the file.
    #[default]
    Unmatched,
    /// What it speaks of would have become the same without it.
    Idle,
    /// Something becomes another thing because of it.
    Changes,
}

impl Effect {
    /// Notes one more case.
    pub(crate) fn add(&mut self, effect: Effect) {
        *self = effect.max(*self);
    }
}

/// What every setting of a recipe has done: one that is silently ignored is the worst kind of
/// error.
#[derive(Debug)]
pub(crate) struct Effects {
    /// One for each pattern.
    pub(crate) keep: Vec<Effect>,
    pub(crate) include: Vec<Effect>,
    pub(crate) rules: Vec<Effect>,
    pub(crate) full_precision: Vec<Effect>,
    pub(crate) fallback_scheme: Effect,
    pub(crate) ignore_base_list: Effect,
    pub(crate) keep_distillation: Effect,
    pub(crate) heuristic: Effect,
    pub(crate) min_size: Effect,
}

impl Effects {
    /// Nothing yet.
    pub(crate) fn of(recipe: &Recipe) -> Self {
        Self {
            keep: vec![Effect::Unmatched; recipe.keep().len()],
            include: vec![Effect::Unmatched; recipe.include().len()],
            rules: vec![Effect::Unmatched; recipe.rules().len()],
            full_precision: vec![Effect::Unmatched; recipe.full_precision().len()],
            fallback_scheme: Effect::Unmatched,
            ignore_base_list: Effect::Unmatched,
            keep_distillation: Effect::Unmatched,
            heuristic: Effect::Unmatched,
            min_size: Effect::Unmatched,
        }
    }

    /// The settings that speak of nothing in the file, which is an error, and those that changed
    /// nothing.
    pub(crate) fn judged(&self, recipe: &Recipe) -> (Vec<String>, Vec<Note>) {
        let named = |key, patterns: Vec<&Regex>| {
            let patterns = patterns.into_iter().enumerate();
            let named = patterns.map(|(at, one)| recipe.file().typed_pattern(key, at, one));
            named.collect::<Vec<String>>().into_iter()
        };
        let keep = named("keep", recipe.keep().iter().collect());
        let include = named("include", recipe.include().iter().collect());
        let rules = named("rules", recipe.rules().iter().map(|rule| &rule.pattern).collect());
        let precise = named("full_precision", recipe.full_precision().iter().collect());
        let patterns = (keep.zip(&self.keep).zip(std::iter::repeat(&KEEP)))
            .chain(include.zip(&self.include).zip(std::iter::repeat(&INCLUDE)))
            .chain(rules.zip(&self.rules).zip(std::iter::repeat(&RULE)))
            .chain(precise.zip(&self.full_precision).zip(std::iter::repeat(&PRECISE)));
        let flags = [
            (!recipe.uses_base_list(), "ignore_base_list", &self.ignore_base_list, &BASE_LIST),
            (
                recipe.distillation().is_some(),
                "keep_distillation",
                &self.keep_distillation,
                &DISTILLATION,
            ),
            (
                recipe.fallback_scheme().is_some(),
                "fallback_scheme",
                &self.fallback_scheme,
                &FALLBACK,
            ),
            (recipe.heuristic().is_some(), "heuristic", &self.heuristic, &SIZES),
            (recipe.file().min_size.is_some(), "min_size", &self.min_size, &SIZES),
        ];
        let flags =
            flags.into_iter().filter(|(is_set, ..)| *is_set).map(|(_, name, effect, findings)| {
                ((recipe.file().in_typed_words(&format!("`{name}`")), effect), findings)
            });
        let (mut errors, mut notes) = (vec![], vec![]);
        for ((setting, effect), findings) in patterns.chain(flags) {
            match (effect, findings) {
                (Effect::Changes, _) => {}
                (Effect::Unmatched, Findings { unmatched: Unmatched::Error(finding), .. }) => {
                    errors.push(format!("{setting} {finding}"));
                }
                (Effect::Unmatched, Findings { unmatched: Unmatched::Note(finding), .. })
                | (Effect::Idle, Findings { idle: finding, .. }) => {
                    notes.push(Note::WithoutEffect { setting, finding });
                }
            }
        }
        (errors, notes)
    }
}

/// What is said of a setting that is unmatched, and of one that is idle.
struct Findings {
    unmatched: Unmatched,
    idle: &'static str,
}

/// Whether what was asked for can have been meant for this file.
enum Unmatched {
    Error(&'static str),
    Note(&'static str),
}

const KEEP: Findings = Findings {
    unmatched: Unmatched::Error("matches no tensor of this file"),
    idle: "changes nothing: what it matches is kept anyway",
};
const INCLUDE: Findings = Findings {
    unmatched: Unmatched::Error("matches no weight of this file that can be converted"),
    idle: "changes nothing: what it matches is converted anyway",
};
const RULE: Findings = Findings {
    unmatched: Unmatched::Error("matches no weight of this file that can be converted"),
    idle: "changes nothing: an earlier rule decides, or the scheme is the same without it",
};
const PRECISE: Findings = Findings {
    unmatched: Unmatched::Error("matches no layer of this file"),
    idle: "changes nothing: what it matches is not converted",
};
const FALLBACK: Findings = Findings {
    unmatched: Unmatched::Note("changes nothing: the preset keeps no weight of this file"),
    idle: "changes nothing: what the preset keeps is kept for other reasons",
};
const BASE_LIST: Findings = Findings {
    unmatched: Unmatched::Note("changes nothing: the base list keeps no weight of this file"),
    idle: "changes nothing: what the base list keeps is kept for other reasons",
};
const DISTILLATION: Findings = Findings {
    unmatched: Unmatched::Error("applies to no weight: this file has no such layers"),
    idle: "changes nothing: these layers are kept anyway",
};
const SIZES: Findings = Findings { unmatched: Unmatched::Note(LARGE_ENOUGH), idle: LARGE_ENOUGH };
const LARGE_ENOUGH: &str = "changes nothing: every weight that it is about is large enough";
