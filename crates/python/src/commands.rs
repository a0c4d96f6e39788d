//! Functions that write files.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use roundwise_convert::RecipeFile;
use roundwise_convert::inspect::diagnose;

use crate::error::raised;
use crate::job::carry_out;
use crate::json::to_python;
use crate::settings;

/// Converts a weight file and returns the report, as `roundwise convert --json` prints it.
///
/// - `input`: a weight file, an index of shards, or a folder that holds one
/// - `output`: the file to write; by default beside the input, named after scheme and method
/// - `recipe`: a recipe in TOML, or a layer-config in JSON; settings override it, lists are joined
/// - `progress`: called with each event, a dictionary; what it raises stops the work
/// - `settings`: of recipes and jobs, such as `scheme="int8-row"`, `keep=["attn"]`, `threads=4`
///
/// Ctrl-C stops the work; the same call continues it.
#[pyfunction]
#[pyo3(signature = (input, output = None, *, recipe = None, progress = None, **settings))]
pub(crate) fn convert(
    py: Python<'_>,
    input: PathBuf,
    output: Option<PathBuf>,
    recipe: Option<PathBuf>,
    progress: Option<&Bound<'_, PyAny>>,
    settings: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let settings = settings::read(py, settings)?;
    let recipe = settings.recipe(recipe.as_deref()).map_err(|error| raised(py, error))?;
    carry_out(py, &input, output, recipe, &settings, progress)
}

/// Turns every layer in codes back into plain numbers, `bf16` unless `decode_to` says otherwise, and
/// returns the report.
///
/// Arguments are those of `convert`.
#[pyfunction]
#[pyo3(signature = (input, output = None, *, progress = None, **settings))]
pub(crate) fn dequantize(
    py: Python<'_>,
    input: PathBuf,
    output: Option<PathBuf>,
    progress: Option<&Bound<'_, PyAny>>,
    settings: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let settings = settings::read(py, settings)?;
    let given = settings.recipe.clone();
    let decode_to = given.decode_to.clone().or_else(|| Some("bf16".to_owned()));
    carry_out(py, &input, output, RecipeFile { decode_to, ..given }, &settings, progress)
}

/// Returns the defects of a quantized file, and what repairs them; with `write` it writes the repaired file,
/// where something is wrong, and returns the report.
///
/// The other arguments are those of `convert`.
#[pyfunction]
#[pyo3(signature = (input, output = None, *, write = false, progress = None, **settings))]
pub(crate) fn repair(
    py: Python<'_>,
    input: PathBuf,
    output: Option<PathBuf>,
    write: bool,
    progress: Option<&Bound<'_, PyAny>>,
    settings: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let settings = settings::read(py, settings)?;
    let diagnosis = py.detach(|| diagnose(&input)).map_err(|error| raised(py, error))?;
    let is_sound = diagnosis.repairs.is_empty() && diagnosis.defects.is_empty();
    if !write || is_sound {
        return to_python(py, &diagnosis);
    }
    let recipe = RecipeFile { repair: Some(true), ..settings.recipe.clone() };
    carry_out(py, &input, output, recipe, &settings, progress)
}
