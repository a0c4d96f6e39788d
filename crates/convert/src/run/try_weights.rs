//! Rounds a few weights without writing them, to show their errors.

use std::time::Instant;

use crate::error::ConvertError;
use crate::plan::{Decision, NotFinite, Plan, PlannedTensor};
use crate::report::TensorReport;
use crate::report::watch::{Event, Phase, Watch, notice};
use crate::run::bands::{Bands, round_by_bands};
use crate::run::bank::round_bank;
use crate::run::buffers::Buffers;
use crate::run::convert::Prepared;
use crate::run::input::Input;
use crate::run::job::Job;
use crate::run::lazy::Lazy;
use crate::run::shared_scales::SharedScales;
use crate::run::stop::Stop;
use crate::source::find_tensor::find_tensor;

/// Rounds a few weights as [`convert`](crate::run::convert()) would, one after another, and writes
/// nothing.
///
/// - `weights`: names of tensors or layers; of what the plan keeps, the entry says why
/// - returns an entry for each, in their order, with the errors that the whole run would report
///
/// # Errors
/// As [`Prepared::new`]; [`ConvertError::Misfit`] for a name that the input does not have,
/// [`ConvertError::Stopped`].
pub fn try_weights(
    job: &Job,
    weights: &[&str],
    watch: &dyn Watch,
) -> Result<Vec<TensorReport>, ConvertError> {
    try_prepared(job, &Prepared::new(job, &[])?, weights, watch)
}

/// Rounds weights of a job that is prepared.
pub(crate) fn try_prepared(
    job: &Job,
    prepared: &Prepared,
    weights: &[&str],
    watch: &dyn Watch,
) -> Result<Vec<TensorReport>, ConvertError> {
    let trial = TrialRun { job, input: &prepared.input, plan: &prepared.planned[0].plan, watch };
    let source = &prepared.input.source;
    let planned = weights.iter().map(|name| trial.plan.planned(source, find_tensor(source, name)?));
    let planned = planned.collect::<Result<Vec<_>, _>>()?;
    let bytes = planned.iter().map(|planned| planned.header.byte_len()).sum();
    notice(watch, Event::Phase { name: Phase::Converting, tensors: planned.len(), bytes })?;
    let weights = planned.iter().copied();
    let shared_scales = SharedScales::find(source, trial.plan, weights, watch)?;
    let mut buffers = Buffers::default();
    let reports = planned.iter().map(|planned| trial.put(planned, &shared_scales, &mut buffers));
    reports.collect()
}

/// Shared by all weights of a trial.
struct TrialRun<'a> {
    job: &'a Job,
    input: &'a Input,
    plan: &'a Plan,
    watch: &'a dyn Watch,
}

impl TrialRun<'_> {
    fn put(
        &self,
        planned: &PlannedTensor,
        shared_scales: &SharedScales,
        buffers: &mut Buffers,
    ) -> Result<TensorReport, ConvertError> {
        notice(self.watch, Event::Begun { tensor: &planned.header.name })?;
        let started = Instant::now();
        let mut tensor = match self.round(planned, shared_scales, buffers) {
            Ok(tensor) => tensor,
            Err(Stop::Failed(error)) => return Err(error),
            // A conversion would find it as well, and keep the weight.
            Err(Stop::NotFinite { tensor, row }) => {
                notice(self.watch, Event::NotFinite { tensor: &tensor })?;
                // Only its own NaN matters here: what else is kept does not change what becomes of
                // this weight.
                let again = self.input.plan(self.job, &NotFinite::from([(tensor, row)]))?;
                TensorReport::planned(again.planned(&self.input.source, &planned.header)?)
            }
        };
        tensor.seconds = started.elapsed().as_secs_f64();
        let output = &self.job.output;
        notice(self.watch, Event::Finished { output, is_recalled: false, tensor: &tensor })?;
        Ok(tensor)
    }

    fn round(
        &self,
        planned: &PlannedTensor,
        shared_scales: &SharedScales,
        buffers: &mut Buffers,
    ) -> Result<TensorReport, Stop> {
        let (input, watch) = (self.input, self.watch);
        let mut tensor = TensorReport::planned(planned);
        let forget = |_, _: &mut Buffers| Ok(());
        match &planned.decision {
            Decision::Quantize { scheme, .. } if planned.experts().is_some() => {
                round_bank(input, planned, *scheme, watch, buffers, forget)?.tell(&mut tensor);
            }
            Decision::Quantize { scheme, band_rows: Some(height), .. } => {
                let absmax_beside = shared_scales.absmax_beside(planned.layer());
                let by = Bands { scheme: *scheme, height: *height, absmax_beside };
                tensor.measure_codes(round_by_bands(input, planned, by, watch, buffers, forget)?);
            }
            Decision::Quantize { scheme, bias, band_rows: None, .. } => {
                let lazy = Lazy::new(input, watch);
                let beside = shared_scales.absmax_beside(planned.layer());
                let has_own_bias = bias.is_some();
                let codes =
                    input.round_planned(planned, *scheme, has_own_bias, beside, &lazy, buffers)?;
                tensor.measure(codes.error);
                tensor.rounding = codes.rounding;
                lazy.recycle(buffers);
            }
            Decision::Copy
            | Decision::Rename { .. }
            | Decision::Decode { .. }
            | Decision::Repack { .. }
            | Decision::Correct
            | Decision::Remove => {
                notice(watch, Event::Advanced { bytes: planned.header.byte_len() })?;
            }
        }
        Ok(tensor)
    }
}
