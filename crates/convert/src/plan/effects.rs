use std::mem::discriminant;

use regex::Regex;

use crate::plan::note::{Ineffective, Note};
use crate::plan::questions::{Answer, Question, Wish, first_verdict};
use crate::recipe::{Complaint, Recipe, Setting};
use crate::source::translated::OtherName;

/// The effect of a setting of the recipe on a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    /// It matches nothing in the file.
    #[default]
    Unmatched,
    /// The tensors that it matches would have become the same without it.
    Idle,
    /// It changes what some tensor becomes.
    Changes,
}

impl Effect {
    /// Adds the effect on one more tensor.
    fn add(&mut self, effect: Effect) {
        // The variants are in this order: one tensor that changes is enough.
        *self = effect.max(*self);
    }
}

/// The effect of every setting of a recipe: one that is silently ignored is the worst kind of
/// error.
#[derive(Debug)]
pub(crate) struct Effects {
    /// One for each pattern.
    keep: Vec<Effect>,
    include: Vec<Effect>,
    rules: Vec<Effect>,
    full_precision: Vec<Effect>,
    fallback_scheme: Effect,
    ignore_base_list: Effect,
    keep_distillation: Effect,
    heuristic: Effect,
    min_size: Effect,
}

impl Effects {
    /// Returns effects of a recipe before any tensor was looked at.
    pub(crate) fn new(recipe: &Recipe) -> Self {
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

    /// Adds what the settings have done to one tensor.
    ///
    /// A setting has an effect on a tensor when its answer decides, and the first verdict that is
    /// not of the same setting wants another thing.
    pub(crate) fn add(&mut self, answers: &[Answer]) {
        let Some((decided, verdict)) = first_verdict(answers) else { return };
        // What would be decided without the setting: the first verdict of all others. Patterns of one
        // list are one setting.
        let without = |setting: Question| {
            let others = answers
                .iter()
                .filter(|answer| discriminant(&answer.question) != discriminant(&setting));
            others.filter_map(|answer| answer.verdict.as_ref()).next()
        };
        // Of tensors that are no candidates only `keep` can have been meant.
        let is_candidate = !matches!(
            decided,
            Question::Removal | Question::SideTensor | Question::CorrectedBias | Question::Matrix
        );
        for answer in answers {
            if answer.question == Question::BaseList && answer.is_waived {
                // A waived list gives no verdict, so that its effect shows otherwise: a layer on it became
                // codes, and no rule or `include` named it.
                let is_converted = matches!(verdict.wish, Wish::Codes(_));
                let is_by_name = matches!(decided, Question::Rule(_) | Question::Include(_));
                self.ignore_base_list.add(changes_if(is_converted && !is_by_name));
            }
            let Some(effect) = self.effect(answer.question) else { continue };
            // A tensor that is no candidate is kept, as asked; it says nothing about rules.
            if answer.verdict.is_none()
                || !(is_candidate || matches!(answer.question, Question::Keep(_)))
            {
                continue;
            }
            // Layers that distilled models need are kept, or get the scheme of layers that
            // presets keep.
            let decides = decided == answer.question
                || (answer.question == Question::Distillation
                    && is_first_preset(answers, answer.question));
            let changes =
                decides && without(answer.question).is_none_or(|other| other.wish != verdict.wish);
            effect.add(changes_if(changes));
        }
    }

    /// Adds a pattern of `full_precision` that matches a tensor.
    pub(crate) fn add_full_precision(&mut self, index: usize, is_converted: bool) {
        self.full_precision[index].add(changes_if(is_converted));
    }

    fn effect(&mut self, question: Question) -> Option<&mut Effect> {
        match question {
            Question::Keep(index) => self.keep.get_mut(index),
            Question::Rule(index) => self.rules.get_mut(index),
            Question::Include(index) => self.include.get_mut(index),
            Question::Fallback => Some(&mut self.fallback_scheme),
            Question::Distillation => Some(&mut self.keep_distillation),
            Question::MinSize => Some(&mut self.min_size),
            Question::Heuristic => Some(&mut self.heuristic),
            Question::Removal
            | Question::SideTensor
            | Question::CorrectedBias
            | Question::Matrix
            | Question::Refusal(_)
            | Question::Stack
            | Question::Preset(_)
            | Question::BaseList
            | Question::Assigned
            | Question::Scheme => None,
        }
    }

    /// Returns errors for settings that match nothing in the file, and notes for those that
    /// changed nothing.
    ///
    /// - `names`: what else the file's layers are called
    pub(crate) fn judged(
        &self,
        recipe: &Recipe,
        names: impl Fn() -> Vec<OtherName>,
    ) -> (Vec<Complaint>, Vec<Note>) {
        // 1. Patterns, each by itself: one that matches nothing is likely misspelt.
        let rules: Vec<Regex> = recipe.rules().iter().map(|rule| rule.pattern.clone()).collect();
        let patterns = [
            ("keep", recipe.keep(), &self.keep, &KEEP),
            ("include", recipe.include(), &self.include, &INCLUDE),
            ("rules", &rules, &self.rules, &RULE),
            ("full_precision", recipe.full_precision(), &self.full_precision, &PRECISE),
        ];
        let patterns = patterns.into_iter().flat_map(|(key, patterns, effects, sayings)| {
            let judged = patterns.iter().zip(effects).enumerate();
            judged.map(move |(entry, (pattern, effect))| {
                let pattern = Some(pattern.to_string());
                (Ineffective { setting: Setting::new(key).at(entry), pattern }, effect, sayings)
            })
        });
        // 2. Other settings, where somebody has set them.
        let others = [
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
        let others = others.into_iter().filter(|(is_set, ..)| *is_set);
        let others = others.map(|(_, key, effect, sayings)| {
            (Ineffective { setting: Setting::new(key), pattern: None }, effect, sayings)
        });
        // 3. What is to be said of each.
        let (mut errors, mut notes) = (vec![], vec![]);
        for (asked, effect, sayings) in patterns.chain(others) {
            match (effect, &sayings.unmatched) {
                (Effect::Changes, _) => {}
                (Effect::Unmatched, Unmatched::Error(because)) => {
                    let problem = asked.text(because) + called_here(&asked, &names());
                    errors.push(Complaint::about(asked.setting, problem));
                }
                (Effect::Unmatched, Unmatched::Note(because)) => {
                    notes.push(Note::WithoutEffect { asked, because });
                }
                (Effect::Idle, _) => {
                    notes.push(Note::WithoutEffect { asked, because: sayings.idle });
                }
            }
        }
        (errors, notes)
    }
}

/// Says what layers are called here that a pattern means by another name.
fn called_here(asked: &Ineffective, names: &[OtherName]) -> String {
    let pattern = asked.pattern.as_deref().and_then(|pattern| Regex::new(pattern).ok());
    let is_meant = |name: &&OtherName| {
        pattern.as_ref().is_some_and(|pattern| pattern.is_match(&name.other.module))
    };
    let mut meant = names.iter().filter(is_meant);
    // One name shows the difference; the others follow the same rule.
    let Some(OtherName { layer, other }) = meant.next() else { return String::new() };
    let more = match meant.count() {
        0 => String::new(),
        more => format!(", and {more} more have other names"),
    };
    let output = "; patterns are about the names of the output";
    format!("{output}\n  `{}` is `{layer}` there{more}", other.module)
}

/// Returns whether no other preset would have kept the tensor, and nothing speaks of it by name.
fn is_first_preset(answers: &[Answer], question: Question) -> bool {
    let mut decided = answers.iter().filter(|answer| answer.verdict.is_some());
    let first = decided.find(|answer| answer.question != Question::Fallback);
    first.is_some_and(|answer| answer.question == question)
}

fn changes_if(is_another: bool) -> Effect {
    match is_another {
        true => Effect::Changes,
        false => Effect::Idle,
    }
}

/// The texts about a setting that is unmatched, and about one that is idle.
struct Sayings {
    unmatched: Unmatched,
    idle: &'static str,
}

/// Whether what was asked for can have been meant for this file.
enum Unmatched {
    Error(&'static str),
    Note(&'static str),
}

const KEEP: Sayings = Sayings {
    unmatched: Unmatched::Error("matches no tensor of this file"),
    idle: "changes nothing: what it matches is kept anyway",
};
const INCLUDE: Sayings = Sayings {
    unmatched: Unmatched::Error("matches no weight of this file that can be converted"),
    idle: "changes nothing: what it matches is converted anyway, or cannot be in its scheme",
};
const RULE: Sayings = Sayings {
    unmatched: Unmatched::Error("matches no weight of this file that can be converted"),
    idle: "changes nothing: an earlier rule decides, the scheme is the same without it, or what it \
           matches cannot be in its scheme",
};
const PRECISE: Sayings = Sayings {
    unmatched: Unmatched::Error("matches no layer of this file"),
    idle: "changes nothing: what it matches is not converted, or is for servers, whose files have no mark for it",
};
const FALLBACK: Sayings = Sayings {
    unmatched: Unmatched::Note(
        "changes nothing: the preset keeps no weight of this file that could be in codes",
    ),
    idle: "changes nothing: what the preset keeps is kept for other reasons",
};
const BASE_LIST: Sayings = Sayings {
    unmatched: Unmatched::Note("changes nothing: the base list keeps no weight of this file"),
    idle: "changes nothing: what the base list keeps is kept for other reasons",
};
const DISTILLATION: Sayings = Sayings {
    unmatched: Unmatched::Error("applies to no weight: this file has no such layers"),
    idle: "changes nothing: these layers are kept anyway",
};
const SIZES: Sayings = Sayings { unmatched: Unmatched::Note(LARGE_ENOUGH), idle: LARGE_ENOUGH };
const LARGE_ENOUGH: &str = "changes nothing: every weight that it is about is large enough";
