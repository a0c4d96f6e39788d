use serde::Serialize;

use roundwise_layout::{StoredLayer, layer_of, weight_of};
use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::plan::decision::PlannedTensor;
use crate::plan::plan::{Plan, PlanRequest};
use crate::plan::questions::{Answer, Asked, Questions, Wish, first_verdict};
use crate::recipe::Recipe;
use crate::source::Source;

/// Everything that had a say in what a tensor becomes, in the order in which it is asked.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The tensor, what it becomes, and why.
    pub planned: PlannedTensor,
    /// Every question and its answer; exactly one decides.
    pub steps: Vec<Step>,
}

/// A setting or a rule that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
/// [`ConvertError::Misfit`] when the file has no such tensor, and as [`Plan::decide`].
pub fn explain(request: &PlanRequest<'_>, name: &str) -> Result<Explanation, ConvertError> {
    let source = request.source;
    let stored = source.stored.layers.get(name).map(StoredLayer::weight);
    let spellings = [Some(name.to_owned()), Some(weight_of(name)), stored];
    let found = spellings.into_iter().flatten().find_map(|name| source.checkpoint.get(&name));
    let found = found.or_else(|| under_other_name(source, name));
    let header = found.ok_or_else(|| ConvertError::Misfit {
        path: source.checkpoint.path().to_owned(),
        problem: format!("has no layer and no tensor `{name}`{}", similar(source, name)),
    })?;
    // What is wrong with the recipe as a whole is said first.
    let plan = Plan::decide(request)?;
    let planned = plan.tensors.iter().find(|planned| planned.header.name == header.name);
    let planned = planned.cloned().ok_or_else(|| ConvertError::Misfit {
        path: source.checkpoint.path().to_owned(),
        problem: format!("`{name}` belongs to another part of the model"),
    })?;
    let shapes = source.shapes();
    let questions = Questions {
        source,
        recipe: request.recipe,
        detected: &plan.subject.detected,
        preset: plan.preset,
        shapes: &shapes,
        not_finite: request.not_finite,
    };
    let answers = questions.ask(header);
    let decides = first_verdict(&answers).map(|(asked, _)| asked);
    let steps = answers.iter().map(|answer| Step {
        asked: asked_in_words(answer.asked, request.recipe),
        answer: answer_in_words(answer, request.recipe),
        decides: decides == Some(answer.asked),
    });
    Ok(Explanation { planned, steps: steps.collect() })
}

/// The weight of the layer that has this name in the file, by the model itself, or in another dialect.
fn under_other_name<'a>(source: &'a Source, name: &str) -> Option<&'a TensorHeader> {
    let layer = layer_of(name);
    let names = source.other_names();
    let found = names.iter().find(|it| it.other.module == layer)?;
    source.checkpoint.get(&weight_of(&found.layer))
}

/// The tensor whose name holds what was asked for, if any does.
fn similar(source: &Source, name: &str) -> String {
    let tensors = source.checkpoint.tensors().iter();
    let mut alike = tensors.filter(|header| header.name.contains(name));
    alike.next().map_or_else(String::new, |header| format!("; is `{}` meant?", header.name))
}

fn asked_in_words(asked: Asked, recipe: &Recipe) -> String {
    let file = recipe.file();
    match asked {
        Asked::Removal => "preset, removal".to_owned(),
        Asked::SideTensor => "scale or marker".to_owned(),
        Asked::CorrectedBias => file.typed_name("bias_correction"),
        Asked::Kind => "kind of tensor".to_owned(),
        Asked::Keep(index) => file.typed_pattern("keep", index, &recipe.keep()[index]),
        Asked::Refusal(preset) => format!("preset {preset}, model"),
        Asked::Rule(index) => file.typed_pattern("rules", index, &recipe.rules()[index].pattern),
        Asked::Include(index) => file.typed_pattern("include", index, &recipe.include()[index]),
        Asked::Fallback => file.typed_name("fallback_scheme"),
        Asked::Preset(preset) => format!("preset {preset}"),
        Asked::BaseList => "preset base".to_owned(),
        Asked::Distillation => file.typed_name("keep_distillation"),
        Asked::MinSize => "size".to_owned(),
        Asked::Heuristic => file.typed_name("heuristic"),
        Asked::Scheme => format!("scheme {}", recipe.scheme()),
    }
}

fn answer_in_words(answer: &Answer, recipe: &Recipe) -> String {
    let Some(verdict) = &answer.verdict else {
        let text = match answer.asked {
            Asked::Removal => "leaves it in the file",
            Asked::SideTensor => "neither",
            Asked::CorrectedBias => "not the bias of a converted layer",
            Asked::Kind => "a matrix of weights",
            Asked::Refusal(_) => "its layers may be converted",
            Asked::Keep(_) | Asked::Rule(_) | Asked::Include(_) => "does not match",
            Asked::Fallback => "no preset but the base list keeps it",
            Asked::BaseList if answer.is_waived => "keeps it, but is ignored",
            Asked::Preset(_) | Asked::BaseList | Asked::Distillation => "does not keep it",
            Asked::MinSize => "large enough",
            Asked::Heuristic => "does not skip it",
            Asked::Scheme => "covers it",
        };
        return text.to_owned();
    };
    let reason = &verdict.reason;
    match (answer.asked, &verdict.wish) {
        (Asked::Keep(_), _) | (Asked::Include(_), Wish::Codes(_)) => "matches".to_owned(),
        (Asked::Rule(_), Wish::Codes(scheme)) => format!("matches: {scheme}"),
        (Asked::Rule(index), _) => {
            format!("matches: {}, but {reason}", recipe.rules()[index].scheme)
        }
        (Asked::Include(_), _) => format!("matches, but {reason}"),
        (Asked::Fallback, Wish::Codes(scheme)) => format!("what a preset keeps becomes {scheme}"),
        (Asked::Fallback, _) => format!("what a preset keeps becomes codes, but {reason}"),
        (Asked::Scheme, Wish::Codes(_)) => "covers it".to_owned(),
        _ => reason.to_string(),
    }
}
