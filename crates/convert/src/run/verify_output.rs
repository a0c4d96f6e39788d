//! Outputs are read again, and what was done to them is summed up.

use std::time::Instant;

use roundwise_scheme::WeightError;

use crate::error::ConvertError;
use crate::plan::{Action, Note, Tool};
use crate::report::losses::losses;
use crate::report::watch::{Event, Phase, notice};
use crate::report::{Prediction, Report, RoundingTotals, TensorReport};
use crate::run::check_output::check_output;
use crate::run::output::Output;

/// Verifies all outputs and returns their reports.
///
/// - `tensors`: the entries of each output's tensors
///
/// # Errors
/// For the first output that is wrong.
pub(crate) fn verify_all(
    outputs: &[Output<'_>],
    tensors: Vec<Vec<TensorReport>>,
) -> Result<Vec<Report>, ConvertError> {
    outputs.iter().zip(tensors).map(|(output, tensors)| output.verify(tensors)).collect()
}

impl Output<'_> {
    /// Completes the header, reads the output again, and reports on it.
    ///
    /// # Errors
    /// As [`check_output`].
    fn verify(&self, tensors: Vec<TensorReport>) -> Result<Report, ConvertError> {
        let facts = self.input.facts();
        let manifest = self.plan.manifest_of_run(&facts)?;
        // Hashes and device are known only now; the header has kept room for them.
        self.file.write_header(&manifest)?;
        let started = Instant::now();
        if self.job.verifies {
            check_output(self, &manifest, &tensors)?;
        }
        let verify_seconds = self.job.verifies.then(|| started.elapsed().as_secs_f64());
        let input_hashes = if self.job.hash_input { facts.input } else { vec![] };
        // The last place where the watcher may say stop: what follows gives the output its name.
        notice(self.watch, Event::Phase { name: Phase::Syncing, tensors: 0, bytes: 0 })?;
        Ok(Report { verify_seconds, input_hashes, ..self.report(tensors) })
    }

    /// Sums up the entries of all tensors. Sizes and times of the whole are not known yet.
    fn report(&self, tensors: Vec<TensorReport>) -> Report {
        let (plan, job) = (self.plan, self.job);
        let count =
            |action: Action| tensors.iter().filter(|tensor| tensor.decision == action).count();
        let (converted, removed) = (count(Action::Quantize), count(Action::Remove));
        let rewritten = count(Action::Decode) + count(Action::Repack);
        let mut total = WeightError::default();
        for sums in tensors.iter().filter_map(|tensor| tensor.sums) {
            total += sums;
        }
        Report {
            report_version: Report::VERSION,
            tool: Tool::THIS,
            input: job.input.clone(),
            output: job.output.clone(),
            input_bytes: 0,
            output_bytes: 0,
            input_hashes: vec![],
            recipe: job.recipe.file().clone(),
            architecture: plan.subject.detected.main.title.to_owned(),
            kind: plan.subject.kind(),
            consumers: plan.consumers(),
            preset: plan.preset.name.clone(),
            layout: plan.layout,
            notes: plan.notes.iter().map(Note::text).chain(losses(&tensors)).collect(),
            threads: plan.memory.threads.get(),
            recalled_tensors: self.finished.len(),
            seconds: 0.0,
            sync_seconds: 0.0,
            verify_seconds: None,
            converted_tensors: converted,
            rewritten_tensors: rewritten,
            kept_tensors: tensors.len() - converted - removed - rewritten,
            removed_tensors: removed,
            rounding: self
                .input
                .engines()
                .map(|engines| RoundingTotals::of(job.recipe.method(), engines, &tensors)),
            prediction: Prediction::of(
                self.input.statistics().and_then(|statistics| statistics.curvature()),
                &tensors,
            ),
            weight_error: tensors
                .iter()
                .any(|tensor| tensor.sums.is_some())
                .then(|| total.relative()),
            tensors,
        }
    }
}
