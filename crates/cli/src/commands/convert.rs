pub(super) mod jobs;
pub(super) mod summary;

use std::num::NonZeroUsize;

use anyhow::{Context, anyhow, bail};
use roundwise_convert::{
    ConvertError, Device, Job, Recipe, Report, Rounding, check, convert, extract_error_lora,
    write_text_atomically,
};

use self::jobs::{jobs, refuse_places};
use crate::arguments::ConvertOptions;
use crate::console::{print_error, print_json, tell};
use crate::outcome::{BadUsage, is_bad_usage, is_stop};
use crate::progress::Progress;
use crate::stop;
use crate::text::counted;

pub(crate) fn run(options: &ConvertOptions) -> anyhow::Result<bool> {
    let recipe =
        Recipe::check(options.recipe.to_recipe_file(options.statistics.to_file().as_ref())?)
            .map_err(ConvertError::from)?;
    refuse_idle_device(options, &recipe)?;
    let jobs = jobs(options, &recipe)?;
    limit_threads(options.run.threads());
    stop::listen()?;
    let mut batch = Batch { jobs: jobs.len(), reports: vec![], failed: vec![] };
    // All inputs are looked at before the first is converted: nobody waits hours to learn of a
    // mistake in the last one.
    let mut fit = vec![];
    for job in &jobs {
        let checked = check(job).map_err(anyhow::Error::from);
        fit.extend(batch.passed(job, checked)?.map(|()| job));
    }
    if batch.jobs > batch.failed.len() {
        refuse_places(options, &jobs)?;
    }
    create_folder(options)?;
    let stopped = batch.convert_all(options, &fit);
    if options.run.json {
        batch.print()?;
    }
    match stopped {
        Err(error) => Err(error),
        Ok(()) => batch.outcome(),
    }
}

/// Nearest codes are chosen on the CPU, whatever `auto` would find.
fn refuse_idle_device(options: &ConvertOptions, recipe: &Recipe) -> anyhow::Result<()> {
    let elsewhere = options.device.filter(|device| !matches!(device, Device::Auto | Device::Cpu));
    if let (Some(device), Rounding::Nearest) = (elsewhere, recipe.rounding()) {
        bail!(BadUsage(format!(
            "--device {device} does not apply to method `nearest`: it computes nothing there\n  \
             `--method principal` does"
        )));
    }
    Ok(())
}

/// Searches share one pool of threads; `--threads` bounds it, too.
fn limit_threads(threads: NonZeroUsize) {
    // A pool that exists already has a size of its own, which changes no result.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build_global();
}

fn create_folder(options: &ConvertOptions) -> anyhow::Result<()> {
    let Some(folder) = &options.out_dir else { return Ok(()) };
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{}: cannot create the folder", folder.display()))
        .map_err(|error| anyhow!("{error:#}"))
}

/// One or many inputs, and what has become of them.
struct Batch {
    jobs: usize,
    reports: Vec<Report>,
    failed: Vec<Failure>,
}

struct Failure {
    input: String,
    /// Whether what was asked for is wrong with this input, not the input itself.
    is_bad_usage: bool,
}

impl Batch {
    /// # Errors
    /// When someone asked to stop, or the only input fails.
    fn convert_all(&mut self, options: &ConvertOptions, jobs: &[&Job]) -> anyhow::Result<()> {
        for job in jobs {
            let result = run_job(options, job);
            let report = self.passed(job, result)?;
            self.reports.extend(report);
        }
        Ok(())
    }

    /// One input that fails does not keep the others from being converted.
    fn passed<T>(&mut self, job: &Job, result: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if self.jobs == 1 => Err(error),
            Err(error) if is_stop(&error) => {
                let done = self.reports.len();
                Err(error.context(format!("stopped; {done} of {} inputs are done", self.jobs)))
            }
            Err(error) => {
                print_error(&error);
                let input = job.input.display().to_string();
                self.failed.push(Failure { input, is_bad_usage: is_bad_usage(&error) });
                Ok(None)
            }
        }
    }

    /// One report for one input, a list for several.
    fn print(&self) -> anyhow::Result<()> {
        match &self.reports[..] {
            [report] if self.jobs == 1 => print_json(report),
            reports => print_json(&reports),
        }
        .map_err(|error| anyhow!("{error}\n  what was converted is complete; its report is lost"))
    }

    fn outcome(&self) -> anyhow::Result<bool> {
        if self.failed.is_empty() {
            return Ok(true);
        }
        let names: Vec<&str> = self.failed.iter().map(|failure| failure.input.as_str()).collect();
        let (failed, jobs) = (names.len(), self.jobs);
        let text = format!("{failed} of {jobs} inputs failed: {}", names.join(", "));
        match self.failed.iter().all(|failure| failure.is_bad_usage) {
            true => Err(BadUsage(text).into()),
            false => Err(anyhow!(text)),
        }
    }
}

fn extract(options: &ConvertOptions, job: &Job, rank: NonZeroUsize) -> anyhow::Result<()> {
    let (input, recipe, output) = (&job.input, &job.recipe, &job.output);
    let lora = extract_error_lora(input, recipe, output, rank, job.device, job.overwrite).map_err(
        |error| anyhow!("{error}\n  {} is complete, its adapter is missing", output.display()),
    )?;
    if !options.run.json && !options.run.quiet {
        tell(&format!(
            "{}: {} of rank {rank} that leave {:.1} % of the error",
            lora.path.display(),
            counted(lora.layers, "layer"),
            100.0 * lora.left
        ));
    }
    Ok(())
}

fn run_job(options: &ConvertOptions, job: &Job) -> anyhow::Result<Report> {
    let progress = Progress::new(&job.input, options.run.quiet || options.run.json);
    let result = convert(job, &progress);
    progress.finish();
    let report = result?;
    if let Some(path) = &options.report {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        write_text_atomically(path, &text, job.overwrite).map_err(|error| {
            anyhow!("{error}\n  {} is complete, its report is missing", job.output.display())
        })?;
    }
    if !options.run.json && !options.run.quiet {
        tell(&summary::describe(&report));
    }
    if let Some(rank) = options.extract_error_lora {
        extract(options, job, rank)?;
    }
    Ok(report)
}
