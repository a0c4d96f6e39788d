use serde::Serialize;

use crate::error::ConvertError;
use crate::plan::decision::PlannedTensor;
use crate::plan::plan::Plan;
use crate::plan::questions::{Answer, Question, Questions, Wish, first_verdict};
use crate::plan::reason::Reason;
use crate::plan::request::PlanRequest;
use crate::recipe::{Purpose, Recipe, Setting, Text};
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
    let made_of = made_of(source, &planned);
    if request.recipe.purpose() != Purpose::Quantize {
        // The questions are about codes; what becomes of a tensor otherwise follows from what it is.
        let answer = planned.because();
        let step = Step { asked: "what the recipe is for".into(), answer, decides: true };
        return Ok(Explanation { planned, made_of, steps: vec![step] });
    }
    // Asked once more for this one tensor, since a plan keeps decisions, not answers.
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
    let decides = first_verdict(&answers).map(|(question, _)| question);
    let steps = answers.iter().map(|answer| Step {
        asked: question_in_words(answer.question, request.recipe),
        answer: answer_in_words(answer, request.recipe),
        decides: decides == Some(answer.question),
    });
    let mut steps: Vec<Step> = steps.collect();
    // Decided of the whole file, once it is known what uses it.
    if planned.reason == Reason::CacheScale {
        steps.iter_mut().for_each(|step| step.decides = false);
        let answer = planned.because();
        steps.push(Step { asked: "cache of keys and values".into(), answer, decides: true });
    }
    Ok(Explanation { planned, made_of, steps })
}

fn made_of(source: &Source, planned: &PlannedTensor) -> Vec<String> {
    let names = source.translated().into_iter().flat_map(|it| it.other_names.iter());
    let own = names.filter(|name| name.layer == planned.layer());
    own.map(|name| name.other.module.clone()).collect()
}

fn question_in_words(question: Question, recipe: &Recipe) -> Text {
    match question {
        Question::Removal => "preset, removal".into(),
        Question::SideTensor => "scale or marker".into(),
        Question::CorrectedBias => Setting::new("method_options.bias_correction").into(),
        Question::Matrix => "kind of tensor".into(),
        Question::Keep(index) => Text::pattern("keep", index, &recipe.keep()[index]),
        Question::Refusal(preset) => format!("preset {preset}, model").into(),
        Question::Stack => "stack of servers".into(),
        Question::Rule(index) => Text::pattern("rules", index, &recipe.rules()[index].pattern),
        Question::Include(index) => Text::pattern("include", index, &recipe.include()[index]),
        Question::Fallback => Setting::new("fallback_scheme").into(),
        Question::Preset(preset) => format!("preset {preset}").into(),
        Question::BaseList => "preset base".into(),
        Question::Distillation => Setting::new("keep_distillation").into(),
        Question::MinSize => "size".into(),
        Question::Heuristic => Setting::new("heuristic").into(),
        Question::Assigned => "scheme assigned by name".into(),
        Question::Scheme => format!("scheme {}", recipe.scheme()).into(),
    }
}

fn answer_in_words(answer: &Answer, recipe: &Recipe) -> String {
    let Some(verdict) = &answer.verdict else {
        let text = match answer.question {
            Question::Removal => "leaves it in the file",
            Question::SideTensor => "neither",
            Question::CorrectedBias => "not the bias of a converted layer",
            Question::Matrix => "a matrix of weights",
            Question::Refusal(_) => "its layers may be converted",
            Question::Stack => "no layer of it is kept",
            Question::Keep(_) | Question::Rule(_) | Question::Include(_) => "does not match",
            Question::Fallback => "no preset but the base list keeps it",
            Question::BaseList if answer.is_waived => "keeps it, but is ignored",
            Question::Preset(_) | Question::BaseList | Question::Distillation => "does not keep it",
            Question::MinSize => "large enough",
            Question::Heuristic => "does not skip it",
            Question::Assigned => "does not name it",
            Question::Scheme => "covers it",
        };
        return text.to_owned();
    };
    let reason = &verdict.reason;
    match (answer.question, &verdict.wish) {
        (Question::Include(_), Wish::Codes(scheme)) if *scheme != recipe.scheme() => {
            format!("matches: {scheme}")
        }
        (Question::Keep(_), _) | (Question::Include(_), Wish::Codes(_)) => "matches".to_owned(),
        (Question::Rule(_), Wish::Codes(scheme)) => format!("matches: {scheme}"),
        (Question::Rule(index), _) => {
            format!("matches: {}, but {reason}", recipe.rules()[index].scheme)
        }
        (Question::Include(_), _) => format!("matches, but {reason}"),
        (Question::Fallback, Wish::Codes(scheme)) => {
            format!("what a preset keeps becomes {scheme}")
        }
        (Question::Fallback, _) => format!("what a preset keeps becomes codes, but {reason}"),
        (Question::Assigned, Wish::Codes(scheme)) => format!("names it: {scheme}"),
        (Question::Scheme, Wish::Codes(_)) => "covers it".to_owned(),
        _ => reason.to_string(),
    }
}
