use crate::error::ConvertError;
use crate::plan::{NotFinite, Plan};
use crate::run::input::Input;
use crate::run::job::Job;
use crate::run::resume::Earlier;

/// A job with its plan, and what is known of its output before the work begins.
pub(crate) struct PlannedJob {
    pub(crate) job: Job,
    pub(crate) plan: Plan,
    /// Weights that the plan keeps for a NaN or an infinity that was found in them.
    pub(crate) not_finite: NotFinite,
    /// The unfinished output that is continued; taken out by whoever continues it.
    pub(crate) earlier: Option<Earlier>,
}

impl PlannedJob {
    pub(crate) fn new(job: &Job, input: &Input) -> Result<Self, ConvertError> {
        let not_finite = NotFinite::new();
        let plan = input.plan(job, &not_finite)?;
        Ok(Self { job: job.clone(), plan, not_finite, earlier: None })
    }

    /// Plans again with more weights kept for a NaN or an infinity, where there are any.
    pub(crate) fn keep(&mut self, found: NotFinite, input: &Input) -> Result<(), ConvertError> {
        self.not_finite.extend(found);
        if !self.not_finite.is_empty() {
            self.plan = input.plan(&self.job, &self.not_finite)?;
        }
        Ok(())
    }
}
