use std::collections::{BTreeMap, BTreeSet};

use roundwise_tensor_file::{SourceFile, UnfinishedFile};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::ConvertError;
use crate::plan::{NotFinite, Tool};
use crate::recipe::{Setting, Text};
use crate::run::input::Input;
use crate::run::job::Job;

/// The unfinished output of an earlier run of a job, and the record of that run.
pub(crate) struct Earlier {
    pub(crate) unfinished: UnfinishedFile,
    pub(crate) run: RunRecord,
}

/// Finds what an earlier run of this very job has left.
///
/// # Errors
/// [`ConvertError::OtherRun`] when it was of another job, whose work would be lost.
pub(crate) fn find_earlier(job: &Job, input: &Input) -> Result<Option<Earlier>, ConvertError> {
    if job.starts_over {
        return Ok(None);
    }
    let Some(unfinished) = UnfinishedFile::find(&job.output)? else { return Ok(None) };
    let now = RunRecord::new(job, input, &NotFinite::new());
    match now.same_job(unfinished.run()) {
        Ok(run) => Ok(Some(Earlier { unfinished, run })),
        // Refused instead of begun anew: hours of work would be lost over a forgotten flag.
        Err(differences) => Err(ConvertError::OtherRun { path: unfinished.path(), differences }),
    }
}

/// Everything that decides the bytes of an output: two runs that agree in it write the same file.
/// Neither the number of threads nor the names of the files are part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunRecord {
    tool: String,
    recipe: Value,
    /// Of every file of the input and of its adapters; see [`SourceFile::fingerprint`].
    input: Vec<String>,
    /// Of the file of statistics, if there is one.
    statistics: Option<String>,
    /// The kind of device that learned rounding is computed on.
    device: Option<String>,
    /// Most bytes of tensors in a file, where there may be several.
    shard_bytes: Option<u64>,
    /// Which part of the model it is.
    part: Option<String>,
    /// Weights that are kept, because a NaN or an infinity was found in them. A result, not a part
    /// of the job.
    pub(crate) not_finite: NotFinite,
}

impl RunRecord {
    pub(crate) fn new(job: &Job, input: &Input, not_finite: &NotFinite) -> Self {
        // As it was typed, not as it was checked: a default that changes with a version comes with
        // another `tool`.
        let recipe = serde_json::to_value(job.recipe.file());
        let source = &input.source;
        Self {
            tool: Tool::THIS.version.into_owned(),
            recipe: recipe.expect("texts and numbers always serialise"),
            input: source
                .checkpoint
                .files()
                .iter()
                .map(SourceFile::fingerprint)
                .chain(source.adapters().fingerprints())
                .collect(),
            statistics: input.statistics_fingerprint(),
            // Without the index: which of several devices it is makes no other job.
            device: input.engines().map(|engines| engines.backend().to_owned()),
            shard_bytes: job.output_limits().shard_bytes,
            part: job.part.map(|part| part.to_string()),
            not_finite: not_finite.clone(),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("texts and numbers always serialise")
    }

    /// Returns the run that a journal records, if it was of the same job.
    ///
    /// # Errors
    /// The differences, in words.
    pub(crate) fn same_job(&self, journal: &Value) -> Result<Self, Vec<Text>> {
        let Ok(other) = Self::deserialize(journal) else {
            return Err(vec![format!("another version than {} wrote it", self.tool).into()]);
        };
        // All of them at once: told one by one, each would cost the user another attempt.
        let mut differences = vec![];
        // Even a version that rounds alike might lay out its header otherwise; nothing here could
        // tell.
        if other.tool != self.tool {
            let versions = format!("version {} wrote it, this is {}", other.tool, self.tool);
            differences.push(versions.into());
        }
        if other.input != self.input {
            differences.push("the input has changed since".into());
        }
        if other.recipe != self.recipe {
            differences.push(Text::from("the recipe differs in ") + self.changed_settings(&other));
        }
        if other.statistics != self.statistics {
            differences.push("the statistics are others, or have changed since".into());
        }
        // Where only one of them searches, the method differs, which is told already.
        if let (Some(theirs), Some(mine)) = (&other.device, &self.device)
            && theirs != mine
        {
            let devices = format!("it was computed on {theirs}, this is {mine}");
            differences.push(devices.into());
        }
        if other.shard_bytes != self.shard_bytes {
            let size = |bytes: Option<u64>| bytes.map_or("none".to_owned(), |it| it.to_string());
            let sizes = [other.shard_bytes, self.shard_bytes].map(size);
            let limits = format!("its limit of shards is {}, this is {}", sizes[0], sizes[1]);
            differences.push(limits.into());
        }
        if other.part != self.part {
            differences.push("it is another part of the model".into());
        }
        if differences.is_empty() { Ok(other) } else { Err(differences) }
    }

    /// Names the settings of two recipes that are not the same.
    fn changed_settings(&self, other: &Self) -> Text {
        let [mine, theirs] = [&self.recipe, &other.recipe].map(settings);
        let keys: BTreeSet<&String> = mine.keys().chain(theirs.keys()).collect();
        let changed = keys.into_iter().filter(|key| mine.get(*key) != theirs.get(*key));
        Text::joined(changed.map(|key| Setting::new(key).quoted()), ", ")
    }
}

/// Values by their settings; those of a method have the table before them.
fn settings(recipe: &Value) -> BTreeMap<String, &Value> {
    let mut settings = BTreeMap::new();
    for (key, value) in recipe.as_object().into_iter().flatten() {
        let table = value.as_object().into_iter().flatten();
        let table = table.filter(|(_, value)| !value.is_null());
        settings.extend(table.map(|(inner, value)| (format!("{key}.{inner}"), value)));
        if !value.is_object() {
            settings.insert(key.clone(), value);
        }
    }
    settings
}
