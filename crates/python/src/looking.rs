//! Functions that convert nothing.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use roundwise::answers;
use roundwise_convert::plan::{PlanAnswer, Workers, explain};
use roundwise_convert::recipe::SchemeEntry;
use roundwise_convert::source::{LayerInputs, for_input};
use roundwise_convert::stats::Statistics;
use roundwise_convert::tensor_file::Overwrite;
use roundwise_convert::{
    ConvertError, Plan, PlanRequest, Source, inspect as looks, verify as compare,
};
use serde_json::Value;

use crate::error::raised;
use crate::json::to_python;
use crate::settings::{self, Settings};
use crate::watched::watched;

/// Returns what `convert` would do with every tensor, as `roundwise plan --json` prints it.
///
/// - `explain`: of one layer or tensor, returns which rule decides and what the others say
///
/// The other arguments are those of `convert`.
#[pyfunction]
#[pyo3(signature = (input, *, explain = None, recipe = None, **settings))]
pub(crate) fn plan(
    py: Python<'_>,
    input: PathBuf,
    explain: Option<String>,
    recipe: Option<PathBuf>,
    settings: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let settings = settings::read(py, settings)?;
    // Files are read, so Ctrl-C has to be heard, and other threads of Python go on.
    let decided = watched(py, None, |_| decide(input, explain, recipe, &settings))?;
    to_python(py, &decided)
}

fn decide(
    input: PathBuf,
    layer: Option<String>,
    recipe: Option<PathBuf>,
    settings: &Settings,
) -> Result<Value, ConvertError> {
    let recipe = for_input(settings.recipe(recipe.as_deref())?, &input, None).check()?;
    let source = Source::open_with(&input, &recipe)?;
    let statistics = settings.run.statistics();
    let inputs = LayerInputs::for_recipe(&recipe, statistics.as_ref(), &source)?;
    let devices = settings.run.devices()?.named().len();
    let request = PlanRequest {
        statistics: inputs.as_ref(),
        workers: Workers { threads: settings.run.threads(), devices },
        limits: settings.run.limits(),
        ..PlanRequest::new(&source, &recipe)
    };
    let json = match layer {
        Some(layer) => serde_json::to_value(explain(&request, &layer)?),
        None => {
            let plan = Plan::decide(&request)?;
            serde_json::to_value(PlanAnswer::new(&source, &plan, None)?)
        }
    };
    Ok(json.expect("plans and explanations always serialise"))
}

/// Returns what is in a file and which programs open it, as `roundwise inspect --json` prints it.
#[pyfunction]
pub(crate) fn inspect(py: Python<'_>, input: PathBuf) -> PyResult<Py<PyAny>> {
    let inspection = watched(py, None, |_| looks::inspect(&input))?;
    let json = answers::inspection(&inspection).expect("an inspection always serialises");
    to_python(py, &json)
}

/// Compares a converted file with its original, as `roundwise verify --json` prints it; `ok` says whether
/// everything is in order.
///
/// - `corrected_biases`: let biases of converted layers differ, as `bias_correction` makes them
/// - `progress`: called with each event, a dictionary
/// - `settings`: `statistics`, `allow_partial_statistics`, `threads`
#[pyfunction]
#[pyo3(signature = (original, converted, *, corrected_biases = false, progress = None, **settings))]
pub(crate) fn verify(
    py: Python<'_>,
    original: PathBuf,
    converted: PathBuf,
    corrected_biases: bool,
    progress: Option<&Bound<'_, PyAny>>,
    settings: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let Settings { run, .. } = settings::read(py, settings)?;
    let biases = match corrected_biases {
        true => looks::Biases::MayBeCorrected,
        false => looks::Biases::Same,
    };
    let verification = watched(py, progress, |watch| {
        let statistics = run.statistics();
        compare(&original, &converted, biases, statistics.as_ref(), run.threads(), watch)
    })?;
    to_python(py, &verification)
}

/// Returns the layers of a file of statistics, as `roundwise stats show --json` prints them.
///
/// - `path`: `*.stats.safetensors`, or an importance matrix of llama.cpp
#[pyfunction]
pub(crate) fn stats(py: Python<'_>, path: PathBuf) -> PyResult<Py<PyAny>> {
    let json = watched(py, None, |_| Ok(answers::statistics(&Statistics::open(&path)?)?))?;
    to_python(py, &json)
}

/// Returns the schemes and who opens them, as `roundwise schemes --json` prints them.
#[pyfunction]
pub(crate) fn schemes(py: Python<'_>) -> PyResult<Py<PyAny>> {
    to_python(py, &SchemeEntry::all())
}

/// Writes the nodes for ComfyUI into its `custom_nodes`, as `roundwise comfy install` does, and returns
/// their folder.
#[pyfunction]
#[pyo3(signature = (folder, *, overwrite = false))]
pub(crate) fn install_nodes(py: Python<'_>, folder: PathBuf, overwrite: bool) -> PyResult<String> {
    let overwrite = if overwrite { Overwrite::Replace } else { Overwrite::Refuse };
    let made = roundwise_convert::install_nodes(&folder, overwrite);
    Ok(made.map_err(|error| raised(py, error))?.to_string_lossy().into_owned())
}
