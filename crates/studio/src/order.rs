//! Requests of a page, checked: recipe, limits, places.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use roundwise_convert::compute::{Device, Devices};
use roundwise_convert::plan::Limits;
use roundwise_convert::recipe::Rounding;
use roundwise_convert::run::default_output;
use roundwise_convert::source::{StatisticsFile, for_input};
use roundwise_convert::tensor_file::Overwrite;
use roundwise_convert::{Job, Recipe, RecipeFile};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::answer::{FieldComplaint, Refusal};
use crate::job::JobKind;

/// How a job runs; what is left out has the command's own default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunFile {
    /// Tensors in flight at once. Default all cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<NonZeroUsize>,
    /// Most bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Most bytes of tensors in a file; the output is a folder then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard_bytes: Option<u64>,
    /// Where learned rounding is computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Statistics of the layers' inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<PathBuf>,
    /// Whether statistics that fit no layer are passed over.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub may_be_partial: bool,
    /// Whether the output is read again before it gets its name. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verifies: Option<bool>,
    /// Whether the unfinished output of an earlier run is thrown away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub starts_over: bool,
    /// Rank of the adapter that the leading part of the error is written as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extract_error_lora: Option<NonZeroUsize>,
}

impl RunFile {
    pub(crate) fn threads(&self) -> NonZeroUsize {
        self.threads
            .or_else(|| std::thread::available_parallelism().ok())
            .unwrap_or(NonZeroUsize::MIN)
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { shard_bytes: self.shard_bytes, memory_bytes: self.memory_bytes }
    }

    pub(crate) fn statistics(&self) -> Option<StatisticsFile> {
        let path = self.statistics.clone()?;
        Some(StatisticsFile { path, may_be_partial: self.may_be_partial })
    }

    /// # Errors
    /// A complaint at the field.
    pub(crate) fn devices(&self) -> Result<Devices, Refusal> {
        let Some(text) = &self.device else { return Ok(Devices::default()) };
        text.parse().map_err(|error: roundwise_convert::compute::ComputeError| {
            complaint("run.device", error.to_string())
        })
    }

    /// Nearest codes are chosen on the CPU, whatever device is named.
    ///
    /// # Errors
    /// A complaint at the field.
    fn refuse_idle_device(&self, recipe: &Recipe) -> Result<(), Refusal> {
        let is_here = |device: &Device| matches!(device, Device::Auto | Device::Cpu);
        match recipe.rounding() {
            Rounding::Nearest if !self.devices()?.named().iter().all(is_here) => Err(complaint(
                "run.device",
                "does not apply to method `nearest`, which computes nothing there".to_owned(),
            )),
            Rounding::Nearest | Rounding::Learned(_) => Ok(()),
        }
    }

    /// # Errors
    /// Complaints at the fields.
    fn check(&self) -> Result<(), Refusal> {
        const MOST_THREADS: usize = 1024;
        if self.threads.is_some_and(|threads| threads.get() > MOST_THREADS) {
            let problem = format!("expected a number from 1 to {MOST_THREADS}");
            return Err(complaint("run.threads", problem));
        }
        for (field, bytes) in
            [("run.memory_bytes", self.memory_bytes), ("run.shard_bytes", self.shard_bytes)]
        {
            if bytes == Some(0) {
                return Err(complaint(field, "expected a size above 0".to_owned()));
            }
        }
        self.statistics.as_deref().map_or(Ok(()), |path| absolute("run.statistics", path))?;
        self.devices().map(drop)
    }
}

fn complaint(field: &str, problem: String) -> Refusal {
    Refusal::complaints(vec![FieldComplaint { field: field.to_owned(), problem }])
}

/// Paths are absolute: the folder that the server was started in is nobody's business here.
///
/// # Errors
/// A complaint at the field.
pub(crate) fn absolute(field: &str, path: &Path) -> Result<(), Refusal> {
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
        let run: RunFile = read_fields(&self.run, "run.")?;
        run.check()?;
        let recipe_file = self.recipe_file(kind, &run)?;
        let recipe_file = for_input(recipe_file, &self.input, self.output.as_deref());
        let recipe = recipe_file.clone().check()?;
        run.refuse_idle_device(&recipe)?;
        let default = || default_output(&self.input, &recipe, run.limits());
        let output = self.output.clone().unwrap_or_else(default);
        absolute("output", &output)?;
        Ok(Checked { input: self.input.clone(), output, recipe_file, recipe, run })
    }

    fn recipe_file(&self, kind: JobKind, run: &RunFile) -> Result<RecipeFile, Refusal> {
        let file: RecipeFile = read_fields(&self.recipe, "")?;
        let text = |given: Option<String>, default: &str| Some(given.unwrap_or(default.to_owned()));
        Ok(match kind {
            JobKind::Convert | JobKind::Try if run.statistics.is_some() => file.with_statistics(),
            JobKind::Convert | JobKind::Try | JobKind::Verify => file,
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
        Ok(Job {
            threads: self.run.threads(),
            devices: self.run.devices()?,
            statistics: self.run.statistics(),
            limits: self.run.limits(),
            overwrite: if replace { Overwrite::Replace } else { Overwrite::Refuse },
            starts_over: self.run.starts_over,
            verifies: self.run.verifies.unwrap_or(true),
            ..Job::new(self.input.clone(), self.output.clone(), self.recipe.clone())
        })
    }
}

/// Reads settings, and where that fails tells for each what is wrong with it.
///
/// - `prefix`: what stands before the names of fields
fn read_fields<T: for<'de> Deserialize<'de>>(
    fields: &Map<String, Value>,
    prefix: &str,
) -> Result<T, Refusal> {
    let error = match T::deserialize(Value::Object(fields.clone())) {
        Ok(read) => return Ok(read),
        Err(error) => error,
    };
    let mut complaints = vec![];
    for (key, value) in fields {
        collect(key, value, prefix, &mut complaints, &|part| T::deserialize(part).err());
    }
    if complaints.is_empty() {
        complaints.push(FieldComplaint { field: String::new(), problem: error.to_string() });
    }
    Err(Refusal::complaints(complaints))
}

/// Adds what is wrong with a setting by itself, or with those of the table that it is.
fn collect(
    key: &str,
    value: &Value,
    prefix: &str,
    complaints: &mut Vec<FieldComplaint>,
    error_of: &dyn Fn(Value) -> Option<serde_json::Error>,
) {
    let one = |key: &str, value: Value| Value::Object(Map::from_iter([(key.to_owned(), value)]));
    match value {
        Value::Object(fields) => {
            for (inner, value) in fields {
                let wrapped = |part| error_of(one(key, part));
                collect(inner, value, &format!("{prefix}{key}."), complaints, &wrapped);
            }
        }
        value => complaints.extend(error_of(one(key, value.clone())).map(|error| FieldComplaint {
            field: format!("{prefix}{key}"),
            problem: error.to_string(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_cannot_be_read_is_told_at_its_field() {
        let fields = json!({
            "scheme": 8,
            "keep": ["a"],
            "colour": "red",
            "method_options": { "top_p": "much", "min_k": 4, "x": 1 },
        });
        let read = read_fields::<RecipeFile>(fields.as_object().unwrap(), "");
        let json = format!("{:?}", read.unwrap_err());
        for field in
            ["\"scheme\"", "\"colour\"", "\"method_options.top_p\"", "\"method_options.x\""]
        {
            assert!(json.contains(field), "{field}: {json}");
        }
        for field in ["\"keep\"", "\"method_options.min_k\""] {
            assert!(!json.contains(field), "{field}: {json}");
        }
    }
}
