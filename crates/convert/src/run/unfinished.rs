use std::path::PathBuf;

use serde::Serialize;

use crate::error::ConvertError;
use crate::recipe::Text;
use crate::run::convert::Prepared;
use crate::run::job::Job;
use crate::run::resume::RunRecord;

/// The unfinished output that an earlier run has left.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UnfinishedRun {
    /// The unfinished file or folder.
    #[serde(serialize_with = "crate::report::named::lossy")]
    pub path: PathBuf,
    /// Tensors that are finished.
    pub finished_tensors: usize,
    /// Tensors of the job.
    pub tensors: usize,
    /// Differences between that run's job and this one; where there are none, this job continues it.
    pub differences: Vec<Text>,
}

/// Looks for an unfinished run towards the job's output, and touches nothing.
///
/// Without any it costs a look into the output's folder; else the job is prepared, to be compared.
///
/// # Errors
/// As [`Prepared::new`], and when what was left cannot be read.
pub fn unfinished(job: &Job) -> Result<Option<UnfinishedRun>, ConvertError> {
    let Some(found) = roundwise_tensor_file::UnfinishedFile::find(&job.output)? else {
        return Ok(None);
    };
    let prepared = Prepared::new(job, &[])?;
    let now = RunRecord::new(job, &prepared.input, &Default::default());
    Ok(Some(UnfinishedRun {
        path: found.path(),
        finished_tensors: found.records(),
        tensors: prepared.planned[0].plan.tensors.len(),
        differences: now.same_job(found.run()).err().unwrap_or_default(),
    }))
}
