use std::path::PathBuf;

use serde::Serialize;

use crate::error::ConvertError;
use crate::recipe::Text;
use crate::run::convert::Prepared;
use crate::run::job::Job;
use crate::run::resume::RunRecord;

/// What a run that did not get to its end has left beside an output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unfinished {
    /// The unfinished file or folder.
    #[serde(serialize_with = "crate::report::named::lossy")]
    pub path: PathBuf,
    /// Tensors that are finished.
    pub finished: usize,
    /// Tensors of the job.
    pub tensors: usize,
    /// In what the run was another job than this; where it was none, this one goes on with it.
    pub differences: Vec<Text>,
}

/// Looks for what a run towards the job's output has left, and touches nothing.
///
/// Without any it costs a look into the output's folder; else the job is prepared, to be compared.
///
/// # Errors
/// As [`Prepared::new`], and when what was left cannot be read.
pub fn unfinished(job: &Job) -> Result<Option<Unfinished>, ConvertError> {
    let Some(found) = roundwise_tensor_file::Unfinished::find(&job.output)? else {
        return Ok(None);
    };
    let prepared = Prepared::new(job, &[])?;
    let now = RunRecord::new(job, &prepared.input, &Default::default());
    Ok(Some(Unfinished {
        path: found.path(),
        finished: found.records(),
        tensors: prepared.plans[0].tensors.len(),
        differences: now.same_job(found.run()).err().unwrap_or_default(),
    }))
}
