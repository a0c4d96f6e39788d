use roundwise_layout::{StoredLayer, layer_of, weight_of};
use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::model::Preset;
use crate::plan::decide::Rules;
use crate::plan::plan::Decision;
use crate::plan::plan::NotFinite;
use crate::plan::reason::Reason;
use crate::recipe::Recipe;
use crate::source::Source;

/// Everything that had a say in what a tensor becomes, in the order in which it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Name of the tensor.
    pub tensor: String,
    /// Who was asked.
    pub steps: Vec<Step>,
    /// What it becomes, and why.
    pub decision: Decision,
}

/// A setting or a rule that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name, as it was typed.
    pub asked: String,
    /// What it says of the tensor.
    pub answer: String,
    /// Whether its answer is the one that counts.
    pub decides: bool,
}

/// Says which rule decides about a layer, and what the others say.
///
/// - `name`: of a layer, or of a tensor
///
/// # Errors
/// [`ConvertError::Misfit`] when the file has no such tensor, and as [`crate::plan::plan::Plan::decide`].
pub fn explain(source: &Source, recipe: &Recipe, name: &str) -> Result<Explanation, ConvertError> {
    let path = source.checkpoint.path();
    let stored = source.stored.layers.get(name).map(StoredLayer::weight);
    let spellings = [Some(name.to_owned()), Some(weight_of(name)), stored];
    let found = spellings.into_iter().flatten().find_map(|name| source.checkpoint.get(&name));
    let header = found.ok_or_else(|| ConvertError::Misfit {
        path: path.to_owned(),
        problem: format!("has no layer and no tensor `{name}`{}", similar(source, name)),
    })?;
    // What is wrong with the recipe as a whole is said first.
    crate::plan::plan::Plan::decide(source, recipe, &NotFinite::new())?;
    let detected = &source.subject().detected;
    let preset = recipe.preset().unwrap_or(detected.main.preset);
    let not_finite = NotFinite::new();
    let mut rules = Rules::new(source, recipe, detected, preset, &not_finite);
    let decision = rules.decide(header);
    let mut steps = rules.steps(header);
    let because = match decision.reason() {
        Reason::Decoded { because, .. } | Reason::Merged { because } => because,
        reason => reason,
    };
    let answers = steps.iter().position(|(_, reason)| reason.as_ref() == Some(because));
    let steps = steps
        .drain(..)
        .enumerate()
        .map(|(at, (step, _))| Step { decides: answers == Some(at), ..step })
        .collect();
    Ok(Explanation { tensor: header.name.clone(), steps, decision })
}

/// The tensor whose name holds what was asked for, if any does.
fn similar(source: &Source, name: &str) -> String {
    let tensors = source.checkpoint.tensors().iter();
    let mut alike = tensors.filter(|header| header.name.contains(name));
    alike.next().map_or_else(String::new, |header| format!("; is `{}` meant?", header.name))
}

/// What was asked and answered, with the reason that the answer would be.
type Answer = (Step, Option<Reason>);

fn answer(asked: impl Into<String>, answer: impl Into<String>, reason: Option<Reason>) -> Answer {
    (Step { asked: asked.into(), answer: answer.into(), decides: false }, reason)
}

impl Rules<'_> {
    fn steps(&self, header: &TensorHeader) -> Vec<Answer> {
        let layer = layer_of(&header.name);
        let recipe = self.recipe;
        let mut steps = vec![];
        let removal = self.removal(header).map(Reason::Removed);
        steps.push(of_reason("preset, removal", removal, "leaves it in the file"));
        let is_stored = self.source.stored.layers.contains_key(layer);
        let refused = self.why_not_a_candidate(header, is_stored);
        steps.push(of_reason("kind of tensor", refused, "a matrix of weights"));
        steps.extend(self.patterns("keep", recipe.keep(), layer, Reason::Kept));
        for (index, rule) in recipe.rules().iter().enumerate() {
            let asked = recipe.file().typed_pattern("rules", index, &rule.pattern);
            steps.push(match rule.pattern.is_match(layer) {
                true => {
                    let reason = Reason::Rule(rule.pattern.to_string());
                    answer(asked, format!("matches: {}", rule.scheme), Some(reason))
                }
                false => answer(asked, "does not match", None),
            });
        }
        steps.extend(self.patterns("include", recipe.include(), layer, Reason::Included));
        steps.extend(self.protections(header, layer));
        let small = self.too_small(header, recipe.scheme());
        steps.push(of_reason("size", small, "large enough"));
        let possible = self.check_possible(header, recipe.scheme()).err();
        let scheme = recipe.scheme();
        steps.push(match possible {
            Some(reason) => of_reason(&format!("scheme {scheme}"), Some(reason), ""),
            None => answer(format!("scheme {scheme}"), "covers it", Some(Reason::Default)),
        });
        steps
    }

    fn patterns(
        &self,
        key: &str,
        patterns: &[regex::Regex],
        layer: &str,
        reason: fn(String) -> Reason,
    ) -> Vec<Answer> {
        let steps = patterns.iter().enumerate().map(|(index, pattern)| {
            let asked = self.recipe.file().typed_pattern(key, index, pattern);
            match pattern.is_match(layer) {
                true => answer(asked, "matches", Some(reason(pattern.to_string()))),
                false => answer(asked, "does not match", None),
            }
        });
        steps.collect()
    }

    fn protections(&self, header: &TensorHeader, layer: &str) -> Vec<Answer> {
        let own = self.preset_of(&header.name);
        let base = self.recipe.uses_base_list().then(Preset::base);
        let presets = [Some(own), base, self.distillation].into_iter().flatten();
        let mut steps = vec![];
        for preset in presets {
            let asked = format!("preset {}", preset.name);
            let Some(rule) = preset.keep_rule(layer) else {
                steps.push(answer(asked, "does not keep it", None));
                continue;
            };
            let because = crate::plan::decide::kept_by(preset, rule);
            steps.push(of_reason(&asked, Some(because.clone()), ""));
            if let Some(scheme) = self.recipe.fallback_scheme() {
                let reason = Reason::Fallback { because: Box::new(because) };
                let answered = format!("what a preset keeps becomes {scheme}");
                steps.push(answer(
                    self.recipe.file().typed_name("fallback_scheme"),
                    answered,
                    Some(reason),
                ));
            }
        }
        steps
    }
}

fn of_reason(asked: &str, reason: Option<Reason>, otherwise: &str) -> Answer {
    let text = reason.as_ref().map_or_else(|| otherwise.to_owned(), Reason::to_string);
    answer(asked, text, reason)
}
