use serde::Serialize;

use crate::error::ConvertError;
use crate::plan::decision::PlannedTensor;
use crate::plan::plan::Plan;
use crate::plan::questions::{Answer, Asked, Questions, Wish, first_verdict};
use crate::plan::request::PlanRequest;
use crate::recipe::{Recipe, Setting, Text};
use crate::source::Source;
use crate::source::find_tensor::find_tensor;

/// Every question about what a tensor becomes, in the order in which they are asked.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The tensor, what it becomes, and why.
    pub planned: PlannedTensor,
    /// Names in the file of the layers that it is made of, where names were translated.
    pub made_of: Vec<String>,
    /// Every question and its answer; exactly one decides.
    pub steps: Vec<Step>,
}

/// A setting or a rule that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its name.
    pub asked: Text,
    /// Its answer about the tensor.
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
    let header = find_tensor(source, name)?;
    // Errors of the recipe as a whole come first.
    let plan = Plan::decide(request)?;
    let planned = plan.planned(source, header)?.clone();
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
    Ok(Explanation { made_of: made_of(source, &planned), planned, steps: steps.collect() })
}

fn made_of(source: &Source, planned: &PlannedTensor) -> Vec<String> {
    let names = source.translated().into_iter().flat_map(|it| it.other_names.iter());
    let own = names.filter(|name| name.layer == planned.layer());
    own.map(|name| name.other.module.clone()).collect()
}

fn asked_in_words(asked: Asked, recipe: &Recipe) -> Text {
    match asked {
        Asked::Removal => "preset, removal".into(),
        Asked::SideTensor => "scale or marker".into(),
        Asked::CorrectedBias => Setting::new("method_options.bias_correction").into(),
        Asked::Kind => "kind of tensor".into(),
        Asked::Keep(index) => Text::pattern("keep", index, &recipe.keep()[index]),
        Asked::Refusal(preset) => format!("preset {preset}, model").into(),
        Asked::Rule(index) => Text::pattern("rules", index, &recipe.rules()[index].pattern),
        Asked::Include(index) => Text::pattern("include", index, &recipe.include()[index]),
        Asked::Fallback => Setting::new("fallback_scheme").into(),
        Asked::Preset(preset) => format!("preset {preset}").into(),
        Asked::BaseList => "preset base".into(),
        Asked::Distillation => Setting::new("keep_distillation").into(),
        Asked::MinSize => "size".into(),
        Asked::Heuristic => Setting::new("heuristic").into(),
        Asked::Scheme => format!("scheme {}", recipe.scheme()).into(),
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
