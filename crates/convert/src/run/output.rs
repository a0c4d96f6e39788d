use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use roundwise_tensor_file::{Left, Record, TensorFileErrorKind, TensorFileWriter};

use crate::error::ConvertError;
use crate::plan::memory::{measured_again, tensors_in_flight};
use crate::plan::{Plan, PlannedTensor, Workers};
use crate::report::Report;
use crate::report::record::TensorRecord;
use crate::report::watch::Watch;
use crate::run::changed_config::{changed_config, is_outdated};
use crate::run::input::Input;
use crate::run::job::Job;
use crate::run::planned_job::PlannedJob;
use crate::run::resume::{Earlier, RunRecord};
use crate::run::shared_scales::SharedScales;
use crate::source::model_config::MODEL_CONFIG;

/// An output that is planned and open.
pub(crate) struct Output<'a> {
    pub(crate) job: &'a Job,
    pub(crate) input: &'a Input,
    pub(crate) plan: &'a Plan,
    pub(crate) watch: &'a dyn Watch,
    pub(crate) file: TensorFileWriter,
    pub(crate) shared_scales: SharedScales,
    /// Records of the tensors that an earlier run has finished, by the tensor of the input.
    pub(crate) finished: BTreeMap<String, TensorRecord>,
}

impl<'a> Output<'a> {
    /// Opens an output for every job, or leaves those that were opened as they are.
    ///
    /// # Errors
    /// Errors of the files.
    pub(crate) fn open_all(
        planned: &'a mut [PlannedJob],
        input: &'a Input,
        watch: &'a dyn Watch,
    ) -> Result<Vec<Self>, ConvertError> {
        let mut outputs = Vec::with_capacity(planned.len());
        for PlannedJob { job, plan, not_finite, earlier } in planned {
            let run = RunRecord::new(job, input, not_finite);
            match Self::open(job, input, plan, &run, earlier.take(), watch) {
                Ok(output) => outputs.push(output),
                Err(error) => return Err(leave_all(outputs, error)),
            }
        }
        Ok(outputs)
    }

    fn open(
        job: &'a Job,
        input: &'a Input,
        plan: &'a Plan,
        run: &RunRecord,
        earlier: Option<Earlier>,
        watch: &'a dyn Watch,
    ) -> Result<Self, ConvertError> {
        // Facts that are not known yet, such as hashes, leave room in the header: its length must
        // not change when they come.
        let manifest = plan.manifest_of_run(&input.facts())?;
        let weights = plan.quantized().map(|(planned, _)| planned);
        let shared_scales = SharedScales::find(&input.source, plan, weights, watch)?;
        let (file, records) = match earlier {
            Some(Earlier { unfinished, .. }) => {
                TensorFileWriter::resume(unfinished, manifest, job.overwrite)?
            }
            None => {
                let run = run.to_json();
                let file = TensorFileWriter::begin(&job.output, manifest, job.overwrite, &run)?;
                (file, vec![])
            }
        };
        file.limit_permissions(input.source.checkpoint.files());
        // A record that cannot be read counts as none: its tensor is done again.
        let finished = |record: Record| Some((record.name, TensorRecord::from_json(record.told)?));
        let finished = records.into_iter().filter_map(finished).collect();
        Ok(Self { job, input, plan, watch, file, shared_scales, finished })
    }

    /// Returns how many tensors are worked on at once.
    pub(crate) fn tensors_in_flight(&self) -> NonZeroUsize {
        let count = tensors_in_flight(self.job.recipe.rounding(), self.workers());
        NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)
    }

    /// Returns the weights whose codes are decoded and measured when the output is read again.
    pub(crate) fn measured_again(&self) -> Vec<&PlannedTensor> {
        let plan = self.plan;
        let limit = Some(plan.memory.peak_bytes);
        measured_again(&plan.tensors, self.job.recipe.rounding(), self.workers(), limit)
    }

    fn workers(&self) -> Workers {
        Workers { threads: self.plan.memory.threads, ..self.job.workers() }
    }

    /// Gives a complete output its name.
    fn commit(self, mut report: Report) -> Result<Report, ConvertError> {
        let path = self.file.temporary_path().to_owned();
        match self.file.commit() {
            Ok(committed) => {
                report.output_bytes = committed.bytes;
                report.sync_seconds = committed.sync_time.as_secs_f64();
                Ok(report)
            }
            // The file is complete and has its name, so that there is nothing to continue.
            Err(error) if matches!(error.kind(), TensorFileErrorKind::FolderNotSynced { .. }) => {
                Err(error.into())
            }
            // All but the name is there: the next run finds every tensor finished.
            Err(error) => {
                let tensors = report.tensors.len();
                let (source, paths) = (Box::new(error.into()), vec![path]);
                Err(ConvertError::Unfinished { source, finished: tensors, tensors, paths })
            }
        }
    }

    /// Copies what lay beside the weights of the input into a folder of shards, but for what it says of
    /// codes that are gone.
    fn copy_side_files(&mut self) -> Result<(), ConvertError> {
        // Only a folder of shards is a place of its own; beside a single file other models may lie.
        if self.job.output_limits().shard_bytes.is_none() {
            return Ok(());
        }
        for path in self.input.source.checkpoint.side_files()? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if is_outdated(self.plan, &name) {
                continue;
            }
            let text =
                (name == MODEL_CONFIG).then(|| self.input.source.checkpoint.text_beside(&name));
            match text.flatten().and_then(|text| changed_config(self.plan, text.as_bytes())) {
                Some(text) => self.file.write_beside(&name, text.as_bytes())?,
                None => self.file.copy_beside(&path)?,
            }
        }
        // A file that the layout itself demands, such as ModelOpt's `hf_quant_config.json`.
        if let Some((name, content)) = self.plan.server_config().and_then(|told| told.file) {
            let text = serde_json::to_string_pretty(&content).expect("JSON is text");
            self.file.write_beside(name, text.as_bytes())?;
        }
        Ok(())
    }
}

/// Gives complete outputs their names.
///
/// # Errors
/// Errors of the files; unfinished outputs that are left behind can be continued.
pub(crate) fn commit_all(
    mut outputs: Vec<Output<'_>>,
    reports: Vec<Report>,
) -> Result<Vec<Report>, ConvertError> {
    // Before the first output gets its name, so that a failure leaves all of them to be continued.
    match outputs.iter_mut().try_for_each(Output::copy_side_files) {
        Ok(()) => {
            let pairs = outputs.into_iter().zip(reports);
            pairs.map(|(output, report)| output.commit(report)).collect()
        }
        Err(error) => Err(leave_all(outputs, error)),
    }
}

/// Leaves outputs for the next run, and returns the error that ended this one with what was left.
pub(crate) fn leave_all(outputs: Vec<Output<'_>>, error: ConvertError) -> ConvertError {
    let tensors = outputs.iter().map(|output| output.plan.tensors.len()).sum();
    // Tensors that cannot be recorded are done again; the first error is the one to tell.
    let left: Vec<Left> =
        outputs.into_iter().filter_map(|output| output.file.leave().ok().flatten()).collect();
    if left.is_empty() {
        return error;
    }
    ConvertError::Unfinished {
        source: Box::new(error),
        finished: left.iter().map(|left| left.records).sum(),
        tensors,
        paths: left.into_iter().map(|left| left.path).collect(),
    }
}
