use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use roundwise_convert::run::{Target, default_output, extract_error_lora, limit_search_threads};
use roundwise_convert::source::for_input;
use roundwise_convert::{ConvertError, Job, Prepared, RecipeFile, Report, Watch};

use crate::json::to_python;
use crate::settings::Settings;
use crate::watched::watched;

/// Makes one file of another, and returns the report.
pub(crate) fn carry_out(
    py: Python<'_>,
    input: &Path,
    output: Option<PathBuf>,
    recipe: RecipeFile,
    settings: &Settings,
    progress: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    let report = watched(py, progress, |watch| {
        let job = job(input, output, recipe, settings)?;
        make(&job, settings, watch)
    })?;
    to_python(py, &report)
}

fn job(
    input: &Path,
    output: Option<PathBuf>,
    recipe: RecipeFile,
    settings: &Settings,
) -> Result<Job, ConvertError> {
    let recipe = for_input(recipe, input, output.as_deref()).check()?;
    settings.run.check_for(&recipe)?;
    let limits = settings.run.limits().for_rewriting(&recipe, input, output.as_deref());
    let output = output.unwrap_or_else(|| default_output(input, &recipe, limits));
    let job = settings.run.job(input, output, recipe, settings.overwrite)?;
    Ok(Job { limits, ..job })
}

fn make(job: &Job, settings: &Settings, watch: &dyn Watch) -> Result<Report, ConvertError> {
    limit_search_threads(job.threads);
    let prepared = Prepared::new(job, &[])?;
    // Before the work, as the command asks: an output that may not be written is no news for the
    // end.
    let target = Target::output(job, "the output");
    target.check_folder()?;
    target.check()?;
    let mut reports = prepared.convert(watch)?;
    if let Some(rank) = settings.run.extract_error_lora {
        let device = job.devices.named().first().copied().unwrap_or_default();
        extract_error_lora(&job.input, &job.recipe, &job.output, rank, device, job.overwrite)?;
    }
    Ok(reports.pop().expect("one report for one job"))
}
