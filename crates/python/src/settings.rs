//! Keyword arguments that are settings, by the names that recipes and jobs have for them.

use std::path::Path;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use roundwise_convert::recipe::{read_settings, setting_names};
use roundwise_convert::rounding::MethodOptions;
use roundwise_convert::run::RunFile;
use roundwise_convert::tensor_file::{Overwrite, read_text};
use roundwise_convert::{ConvertError, RecipeFile};
use serde_json::{Map, Value};

use crate::error::{raise, raised};
use crate::json::of_keywords;

/// Table of a recipe that the settings of methods are in.
const METHOD_OPTIONS: &str = "method_options";
const OVERWRITE: &str = "overwrite";

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) recipe: RecipeFile,
    pub(crate) run: RunFile,
    pub(crate) overwrite: Overwrite,
}

/// Returns the keyword arguments that are settings.
#[pyfunction]
pub(crate) fn settings() -> Vec<String> {
    let recipe = setting_names::<RecipeFile>().iter().copied();
    let run = setting_names::<RunFile>().iter().copied();
    let options = MethodOptions::SETTINGS.iter().map(|setting| setting.name);
    let names = recipe.chain(options).chain(run).chain([OVERWRITE]);
    names.map(keyword).collect()
}

/// Returns the keyword for a setting; words of Python's end with `_`.
pub(crate) fn keyword(setting: &str) -> String {
    match setting {
        "as" | "for" | "lambda" => format!("{setting}_"),
        setting => setting.to_owned(),
    }
}

/// Reads keyword arguments.
///
/// # Errors
/// A complaint for every keyword that is no setting, and every value of a wrong type.
pub(crate) fn read(py: Python<'_>, keywords: Option<&Bound<'_, PyDict>>) -> PyResult<Settings> {
    let (mut recipe, mut run, mut options) = (Map::new(), Map::new(), Map::new());
    let mut overwrite = Overwrite::Refuse;
    for (key, value) in of_keywords(keywords)? {
        // `lambda_` stands for `lambda`; no setting's own name ends so.
        let key = key.strip_suffix('_').unwrap_or(&key);
        let is_option = MethodOptions::SETTINGS.iter().any(|setting| setting.name == key);
        match (key, value) {
            (METHOD_OPTIONS, Value::Object(more)) => options.extend(more),
            (OVERWRITE, Value::Bool(replaces)) => {
                overwrite = if replaces { Overwrite::Replace } else { Overwrite::Refuse };
            }
            (OVERWRITE, _) => {
                return Err(raise(py, "recipe", &"overwrite: expected True or False", None));
            }
            (key, value) if setting_names::<RunFile>().contains(&key) => {
                run.insert(key.to_owned(), value);
            }
            (key, value) if is_option => drop(options.insert(key.to_owned(), value)),
            (key, value) if setting_names::<RecipeFile>().contains(&key) => {
                recipe.insert(key.to_owned(), value);
            }
            (key, _) => return Err(unknown(py, key)),
        }
    }
    if !options.is_empty() {
        recipe.insert(METHOD_OPTIONS.to_owned(), Value::Object(options));
    }
    let recipe = read_settings(&recipe, "").map_err(|error| raised(py, error))?;
    let run: RunFile = read_settings(&run, "").map_err(|error| raised(py, error))?;
    run.check().map_err(|error| raised(py, error))?;
    Ok(Settings { recipe, run, overwrite })
}

fn unknown(py: Python<'_>, key: &str) -> PyErr {
    let known = settings();
    let message = format!("{key}: there is no such setting");
    let near = py.import("difflib").and_then(|difflib| {
        difflib.call_method1("get_close_matches", (key, known.clone()))?.extract::<Vec<String>>()
    });
    let help = match near.unwrap_or_default().first() {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", known.join(", ")),
    };
    raise(py, "recipe", &message, Some(help))
}

impl Settings {
    /// Returns the recipe of a file, if one is named, with the keyword arguments on top, and with the
    /// method that statistics imply.
    pub(crate) fn recipe(&self, file: Option<&Path>) -> Result<RecipeFile, ConvertError> {
        let file = file.map_or_else(|| Ok(RecipeFile::default()), read_recipe)?;
        let recipe = file.overlaid_with(self.recipe.clone())?;
        Ok(match self.run.statistics {
            Some(_) => recipe.with_statistics(),
            None => recipe,
        })
    }
}

fn read_recipe(path: &Path) -> Result<RecipeFile, ConvertError> {
    RecipeFile::from_text(&read_text(path)?)
        .map_err(|error| ConvertError::misfit(path, error.text()))
}
