//! Routes that plan a file from its headers alone.

use std::sync::Arc;

use axum::response::Response;
use roundwise_convert::plan::{Action, PlanAnswer, Workers};
use roundwise_convert::recipe::shell_text;
use roundwise_convert::run::Target;
use roundwise_convert::scheme::CATALOG;
use roundwise_convert::source::LayerInputs;
use roundwise_convert::tensor_file::available_bytes;
use roundwise_convert::{ConvertError, Plan, PlanRequest, Source};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::files::require_there;
use crate::answer::{Refusal, json};
use crate::call::Call;
use crate::command::words_of;
use crate::job::{JobKind, JobOrder};
use crate::order::{Checked, Request};
use crate::rates::key;
use crate::studio::{Shared, locked};

/// An input that is open, with all that a plan follows from.
pub(super) struct Opened {
    pub(super) checked: Checked,
    pub(super) source: Arc<Source>,
    inputs: Option<LayerInputs>,
}

impl Opened {
    pub(super) fn new(shared: &Shared, checked: Checked) -> Result<Self, Refusal> {
        require_there("input", &checked.input)?;
        let source = shared.sources.open(&checked.input, &checked.recipe)?;
        let statistics = checked.run.statistics();
        if let Some(statistics) = &statistics {
            require_there("run.statistics", &statistics.path)?;
        }
        let inputs = LayerInputs::for_recipe(&checked.recipe, statistics.as_ref(), &source)
            .map_err(|error| Refusal::from(error).at("run.statistics"))?;
        Ok(Self { checked, source, inputs })
    }

    fn request(&self) -> Result<PlanRequest<'_>, Refusal> {
        let run = &self.checked.run;
        let workers = Workers { threads: run.threads(), devices: run.devices()?.named().len() };
        Ok(PlanRequest {
            statistics: self.inputs.as_ref(),
            workers,
            limits: run.limits(),
            ..PlanRequest::new(&self.source, &self.checked.recipe)
        })
    }

    pub(super) fn plan(&self) -> Result<Plan, Refusal> {
        Plan::decide(&self.request()?).map_err(|error| match error {
            error @ ConvertError::MemoryLimit { .. } => Refusal::from(error).at("run.memory_bytes"),
            error => error.into(),
        })
    }
}

pub(crate) fn plan(call: &Call) -> Result<Response, Refusal> {
    let Call { shared, .. } = call;
    let opened = Opened::new(shared, call.body::<Request>()?.check(JobKind::Convert)?)?;
    let plan = opened.plan()?;
    // A list that cannot be saved is no reason to refuse a plan.
    let _ = shared.state.add_recent(&opened.checked.input);
    json(&answer(shared, &opened, &plan)?)
}

/// The plan as `plan --json` prints it, and what a page needs beside it.
fn answer(shared: &Shared, opened: &Opened, plan: &Plan) -> Result<Map<String, Value>, Refusal> {
    let Opened { checked, source, .. } = opened;
    let mut answer = match serde_json::to_value(PlanAnswer::new(source, plan, None)?) {
        Ok(Value::Object(answer)) => answer,
        Ok(_) => return Err(Refusal::bug("a plan is no object")),
        Err(error) => return Err(Refusal::bug(error.to_string())),
    };
    let (kinds, tensors) = plan.kinds();
    // Both are in the order of the plan.
    let planned = answer.get_mut("tensors").and_then(Value::as_array_mut);
    for (planned, tensor) in planned.into_iter().flatten().zip(&tensors) {
        planned["bytes"] = tensor.bytes.into();
        planned["output_bytes"] = tensor.output_bytes.into();
        planned["kind"] = tensor.kind.into();
    }
    let order = order(checked);
    // A name for people: no job has been added whose recipe would lie in a file.
    let words = words_of(&order, std::path::Path::new("recipe.toml"));
    let time = time_of(shared, checked, plan);
    let counted = |is_counted: fn(Action) -> bool| {
        plan.tensors.iter().filter(|it| is_counted(it.action())).count()
    };
    let told = |refusal: Refusal, field: Option<&str>| {
        let (kind, message, help) = refusal.parts();
        json!({ "kind": kind, "message": message, "help": help, "field": field })
    };
    let nothing = plan.check_purpose(source).err().map(|error| told(error.into(), None));
    // A file that is there already is no problem: whether it is replaced is asked at the start.
    let place = || refuse_place(opened, true).err().map(|refusal| told(refusal, Some("output")));
    let problem = nothing.or_else(place);
    let more = json!({
        "method": checked.recipe.method(),
        "scheme": checked.recipe.scheme().to_string(),
        "converted_tensors": counted(|action| action == Action::Quantize),
        "kept_tensors": counted(|action| !matches!(action, Action::Quantize | Action::Remove)),
        "removed_tensors": counted(|action| action == Action::Remove),
        "output": checked.output.to_string_lossy(),
        "output_exists": checked.output.exists(),
        "free_bytes": available_bytes(&checked.output),
        "problem": problem,
        "unfinished": unfinished(checked)?,
        "command": words,
        "shell": shell_text(&words),
        "estimated_seconds": time.map(|(seconds, _)| seconds),
        "estimated_from": time.map(|(_, from)| from),
        "kinds": kinds,
    });
    if let Value::Object(more) = more {
        answer.extend(more);
    }
    Ok(answer)
}

/// Refuses an output that may not be written where it is to be.
pub(super) fn refuse_place(opened: &Opened, replace: bool) -> Result<(), Refusal> {
    let output = &opened.checked.output;
    // First, since an input always exists, and Replace must not be the advice.
    if opened.source.checkpoint.same_file_as(output) {
        let error = ConvertError::OutputIsInput { path: output.clone() };
        return Err(Refusal::from(error).at("output"));
    }
    let target = Target::output(&opened.checked.job(replace)?, "the output");
    let checked = target.check_folder().and_then(|()| target.check());
    checked.map_err(|error| match &error {
        ConvertError::OutputExists { path } => {
            Refusal::conflict("exists", format!("{}: exists already", path.display()))
                .with_help("Choose another output, or Replace.")
                .at("output")
        }
        ConvertError::OutputIsFolder { path, .. } | ConvertError::FolderNotEmpty { path } => {
            Refusal::conflict("exists", format!("{}: is a folder already", path.display()))
                .with_help("Choose another output.")
                .at("output")
        }
        ConvertError::NoFolder { folder, .. } => {
            Refusal::not_found(format!("{}: there is no such folder", folder.display()))
                .with_help("Choose another output.")
                .at("output")
        }
        _ => Refusal::from(error).with_help("Choose another output.").at("output"),
    })
}

fn order(checked: &Checked) -> JobOrder {
    JobOrder {
        kind: JobKind::Convert,
        input: checked.input.clone(),
        output: checked.output.clone(),
        recipe: checked.recipe_file.clone(),
        run: checked.run.clone(),
        replace: false,
        budget: None,
    }
}

/// The unfinished output that an earlier run has left.
fn unfinished(checked: &Checked) -> Result<Option<Value>, Refusal> {
    let left = roundwise_convert::run::unfinished(&checked.job(false)?)?;
    Ok(left.map(|left| {
        let differences: Vec<String> = left.differences.iter().map(ToString::to_string).collect();
        json!({
            "path": left.path.to_string_lossy(),
            "finished_tensors": left.finished_tensors,
            "tensors": left.tensors,
            "differences": differences,
        })
    }))
}

/// Seconds that the work takes, where something like it was done before.
pub(super) fn time_of(
    shared: &Shared,
    checked: &Checked,
    plan: &Plan,
) -> Option<(f64, crate::rates::LearnedFrom)> {
    let elements = plan.quantized().map(|(planned, _)| planned.header.element_count() as f64).sum();
    let method = checked.recipe_file.method.as_deref();
    let key = key(method, checked.run.device.as_deref());
    locked(&shared.ledger).rates.seconds(&key, elements)
}

/// The output in every scheme, all else alike.
pub(crate) fn sizes(call: &Call) -> Result<Response, Refusal> {
    let request: Request = call.body()?;
    let current = request.check(JobKind::Convert).map(|it| it.recipe.scheme().to_string()).ok();
    let sizes = CATALOG.iter().map(|entry| {
        let mut other = request.clone();
        // A recipe is part of the file: the one at hand keeps the size that its plan has promised.
        if current.as_deref() != Some(entry.name) {
            other.recipe.insert("scheme".to_owned(), entry.name.into());
        }
        size(&call.shared, &other, entry.name)
    });
    json(&sizes.collect::<Result<Vec<_>, _>>()?)
}

fn size(shared: &Shared, request: &Request, scheme: &str) -> Result<Value, Refusal> {
    let refused = |refusal: Refusal| {
        let (_, message, _) = refusal.parts();
        json!({ "scheme": scheme, "output_bytes": null, "converted_tensors": 0, "opened_by": null, "refused": message })
    };
    // What is wrong with the input itself is wrong in every scheme.
    require_there("input", &request.input)?;
    let opened = request.check(JobKind::Convert).and_then(|it| Opened::new(shared, it));
    let planned = opened.and_then(|opened| Ok((opened.plan()?, opened)));
    let (plan, opened) = match planned {
        Ok(planned) => planned,
        Err(refusal) => return Ok(refused(refusal)),
    };
    if let Err(error) = plan.check_purpose(&opened.source) {
        return Ok(refused(error.into()));
    }
    let output_bytes = plan.manifest().map_err(ConvertError::from)?.file_bytes();
    let (mut codes, mut scales, mut kept) = (0, 0, 0);
    for planned in &plan.tensors {
        let bytes = plan.output_bytes(planned);
        match planned.scheme() {
            Some(scheme) => {
                // Of codes alone; what a layout fills up counts among the scales.
                let own = planned.header.element_count() * scheme.code_bits() as u64 / 8;
                codes += own.min(bytes);
                scales += bytes.saturating_sub(own);
            }
            None => kept += bytes,
        }
    }
    let consumers = plan.consumers();
    let opened_by = consumers.iter().find_map(|consumer| consumer.answer.program());
    Ok(json!({
        "scheme": scheme,
        "output_bytes": output_bytes,
        "codes_bytes": codes,
        "scales_bytes": scales,
        "kept_bytes": kept,
        "converted_tensors": plan.quantized().count(),
        "opened_by": opened_by,
        "refused": null,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Explaining {
    input: std::path::PathBuf,
    #[serde(default)]
    recipe: Map<String, Value>,
    #[serde(default)]
    run: Map<String, Value>,
    tensor: String,
}

/// Who had a say in what becomes of a tensor.
pub(crate) fn explain(call: &Call) -> Result<Response, Refusal> {
    let Explaining { input, recipe, run, tensor } = call.body()?;
    let request = Request { input, output: None, recipe, run };
    let opened = Opened::new(&call.shared, request.check(JobKind::Convert)?)?;
    json(&roundwise_convert::plan::explain(&opened.request()?, &tensor)?)
}
