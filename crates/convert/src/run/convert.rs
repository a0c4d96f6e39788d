//! The story: jobs become plans, plans become outputs, outputs get their names.

use std::time::{Duration, Instant};

use crate::error::ConvertError;
use crate::plan::{NotFinite, Plan};
use crate::recipe::Rounding;
use crate::report::Report;
use crate::report::watch::{Event, Watch, notice};
use crate::run::input::Input;
use crate::run::job::Job;
use crate::run::not_finite::find_not_finite;
use crate::run::output::{Output, commit_all, leave_all};
use crate::run::planned_job::PlannedJob;
use crate::run::resume::find_earlier;
use crate::run::stop::Stop;
use crate::run::tensor::convert_tensors;
use crate::run::verify_output::verify_all;

/// Converts one file: read, plan, round, lay out, write, report.
///
/// The output appears under its name only when it is complete and on disk. What an earlier run of the
/// same job has finished is not done again. A weight that holds a NaN or an infinity is found only
/// when it is read: it is then kept, and the work begins again with a new plan.
///
/// # Errors
/// As [`Plan::decide`]; [`ConvertError::OutputIsInput`], [`ConvertError::NothingToConvert`],
/// [`ConvertError::NothingInCodes`],
/// [`ConvertError::OtherRun`], [`ConvertError::Stopped`], and whatever the files answer. Where
/// something was finished before, it is inside [`ConvertError::Unfinished`].
pub fn convert(job: &Job, watch: &dyn Watch) -> Result<Report, ConvertError> {
    let mut reports = convert_together(std::slice::from_ref(job), watch)?;
    Ok(reports.pop().expect("one report for one job"))
}

/// Converts one file to several outputs at once: a weight that is held whole is read once, and what a
/// search looks for in it before it chooses codes is found once. Every output is, byte for byte, the one
/// that [`convert`] would have made of its job alone.
///
/// - `jobs`: alike but for their outputs, and scheme and layout of their recipes
///
/// # Errors
/// As [`convert`], and [`ConvertError::Apart`] for jobs that differ in more. Outputs appear under
/// their names when all of them are complete; what is left behind belongs to all.
pub fn convert_together(jobs: &[Job], watch: &dyn Watch) -> Result<Vec<Report>, ConvertError> {
    match jobs {
        [] => Ok(vec![]),
        [first, others @ ..] => Prepared::new(first, others)?.convert(watch),
    }
}

/// Jobs whose input is open and whose plans are decided: everything has been checked that can be
/// checked before weights are read and files are written.
pub struct Prepared {
    /// At least one.
    pub(super) planned: Vec<PlannedJob>,
    pub(super) input: Input,
    preparing: Duration,
}

impl Prepared {
    /// Opens the input and decides the plans.
    ///
    /// # Errors
    /// As [`convert_together`], but for what only shows while weights are read and written.
    pub fn new(first: &Job, others: &[Job]) -> Result<Self, ConvertError> {
        let started = Instant::now();
        if let Some(other) = others.iter().find(|job| !first.is_made_with(job)) {
            return Err(ConvertError::Apart { path: other.output.clone() });
        }
        let jobs = || std::iter::once(first).chain(others);
        let input = Input::open(first)?;
        // By the open file, not by its name: links and other spellings of a path would lead past a comparison.
        jobs().try_for_each(|job| input.refuse_as_output(&job.output))?;
        let planned = jobs().map(|job| PlannedJob::new(job, &input));
        let planned = planned.collect::<Result<Vec<_>, _>>()?;
        // What cannot be copied beside the weights has to be known before the work, not after it.
        if first.output_limits().shard_bytes.is_some() {
            input.source.checkpoint.side_files()?;
        }
        Ok(Self { planned, input, preparing: started.elapsed() })
    }

    /// Returns the jobs.
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.planned.iter().map(|planned| &planned.job)
    }

    /// Returns the plans, in the order of the jobs.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.planned.iter().map(|planned| &planned.plan)
    }

    /// Makes the outputs.
    ///
    /// # Errors
    /// As [`convert_together`].
    pub fn convert(self, watch: &dyn Watch) -> Result<Vec<Report>, ConvertError> {
        let started = Instant::now();
        let Self { mut planned, mut input, preparing } = self;
        // Known before the first header, which would be shorter without the entry.
        if planned.iter().any(|it| it.job.tells_statistics()) {
            input.hash_statistics(watch)?;
        }
        // 1. What must be known before the first byte is written: the header cannot change afterwards.
        for job in &mut planned {
            job.earlier = find_earlier(&job.job, &input)?;
        }
        for job in &mut planned {
            let known = known_not_finite(job, &input, watch)?;
            job.keep(known, &input)?;
        }
        // 2. The work. A second turn is taken only after a NaN, which nobody sees before the weight is read, and
        // after that turn all of them are known (decision 2).
        let mut reports = loop {
            // Opened inside the loop: a plan that keeps one more weight has another header and
            // other offsets, so that nothing of an earlier turn can be used.
            let outputs = Output::open_all(&mut planned, &input, watch)?;
            let tensors = convert_tensors(&outputs);
            let found = match tensors.and_then(|tensors| Ok(verify_all(&outputs, tensors)?)) {
                Ok(reports) => break commit_all(outputs, reports)?,
                Err(Stop::Failed(error)) => return Err(leave_all(outputs, error)),
                Err(Stop::NotFinite { tensor, .. }) => {
                    let found = notice(watch, Event::NotFinite { tensor: &tensor })
                        .and_then(|()| all_not_finite(&outputs));
                    match found {
                        Ok(found) => found,
                        Err(error) => return Err(leave_all(outputs, error)),
                    }
                }
            };
            drop(outputs);
            for (job, found) in planned.iter_mut().zip(found) {
                job.keep(found, &input)?;
            }
        };
        // 3. What only the whole run knows.
        for report in &mut reports {
            report.input_bytes = input.source.checkpoint.total_bytes();
            report.seconds = (preparing + started.elapsed()).as_secs_f64();
        }
        Ok(reports)
    }
}

/// Returns the weights that are known to hold a NaN or an infinity before the work begins.
fn known_not_finite(
    planned: &PlannedJob,
    input: &Input,
    watch: &dyn Watch,
) -> Result<NotFinite, ConvertError> {
    match (&planned.earlier, planned.job.recipe.rounding()) {
        (Some(earlier), _) => Ok(earlier.run.not_finite.clone()),
        (None, Rounding::Nearest) if planned.job.part.is_none() => Ok(NotFinite::new()),
        // Every part must know what is kept, also in the others; and a search takes long: beginning
        // it again because of another weight would be a waste.
        (None, Rounding::Nearest | Rounding::Learned(_)) => {
            find_not_finite(&input.source, &planned.plan, watch)
        }
    }
}

fn all_not_finite(outputs: &[Output<'_>]) -> Result<Vec<NotFinite>, ConvertError> {
    let of_output =
        |output: &Output<'_>| find_not_finite(&output.input.source, output.plan, output.watch);
    outputs.iter().map(of_output).collect()
}
