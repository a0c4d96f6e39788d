//! Requests of a page, checked: recipe, limits, places.

use std::path::{Path, PathBuf};

use roundwise_convert::recipe::read_settings;
use roundwise_convert::run::{RunFile, default_output};
use roundwise_convert::source::for_input;
use roundwise_convert::tensor_file::Overwrite;
use roundwise_convert::{Job, Recipe, RecipeFile};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::answer::{FieldComplaint, Refusal};
use crate::job::JobKind;

fn complaint(field: &str, problem: String) -> Refusal {
    Refusal::complaints(vec![FieldComplaint { field: field.to_owned(), problem }])
}

/// Requires an absolute path: the page does not know the folder that the server was started in.
///
/// # Errors
/// A complaint at the field.
pub(crate) fn absolute(field: &str, path: &Path) -> Result<(), Refusal> {
    // A NUL would be the end of the path for the system, and not for a message about it.
    match path.is_absolute() && !path.to_string_lossy().contains('\0') {
        true => Ok(()),
        false => Err(complaint(field, format!("`{}` is not a whole path", path.display()))),
    }
}

/// A page's request about an input.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) input: PathBuf,
    pub(crate) output: Option<PathBuf>,
    #[serde(default)]
    pub(crate) recipe: Map<String, Value>,
    #[serde(default)]
    pub(crate) run: Map<String, Value>,
}

/// A request whose settings are understood.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) input: PathBuf,
    pub(crate) output: PathBuf,
    pub(crate) recipe_file: RecipeFile,
    pub(crate) recipe: Recipe,
    pub(crate) run: RunFile,
}

impl Request {
    /// # Errors
    /// Complaints, each at its field.
    pub(crate) fn check(&self, kind: JobKind) -> Result<Checked, Refusal> {
        absolute("input", &self.input)?;
        let run: RunFile = read_settings(&self.run, "run.")?;
        run.check()?;
        run.statistics.as_deref().map_or(Ok(()), |path| absolute("run.statistics", path))?;
        let recipe_file = self.recipe_file(kind, &run)?;
        let recipe_file = for_input(recipe_file, &self.input, self.output.as_deref());
        let recipe = recipe_file.clone().check()?;
        run.check_for(&recipe)?;
        let limits = run.limits().for_rewriting(&recipe, &self.input, self.output.as_deref());
        let run = RunFile { shard_bytes: limits.shard_bytes, ..run };
        let default = || default_output(&self.input, &recipe, limits);
        let output = self.output.clone().unwrap_or_else(default);
        absolute("output", &output)?;
        Ok(Checked { input: self.input.clone(), output, recipe_file, recipe, run })
    }

    fn recipe_file(&self, kind: JobKind, run: &RunFile) -> Result<RecipeFile, Refusal> {
        let file: RecipeFile = read_settings(&self.recipe, "")?;
        let text = |given: Option<String>, default: &str| Some(given.unwrap_or(default.to_owned()));
        Ok(match kind {
            JobKind::Convert | JobKind::Try | JobKind::Budget if run.statistics.is_some() => {
                file.with_statistics()
            }
            JobKind::Convert | JobKind::Try | JobKind::Budget | JobKind::Verify => file,
            JobKind::Dequantize => {
                RecipeFile { decode_to: text(file.decode_to.clone(), "bf16"), ..file }
            }
            JobKind::Migrate => {
                RecipeFile { migrate_to: text(file.migrate_to.clone(), "comfy"), ..file }
            }
            JobKind::Repair => RecipeFile { repair: Some(true), ..file },
        })
    }
}

impl Checked {
    /// The conversion that is asked for.
    pub(crate) fn job(&self, replace: bool) -> Result<Job, Refusal> {
        let overwrite = if replace { Overwrite::Replace } else { Overwrite::Refuse };
        let (input, output) = (self.input.clone(), self.output.clone());
        Ok(self.run.job(input, output, self.recipe.clone(), overwrite)?)
    }
}
