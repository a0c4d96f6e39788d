mod jobs;

use std::num::NonZeroUsize;

use anyhow::{Context, anyhow, bail};
use roundwise_convert::recipe::Rounding;
use roundwise_convert::run::{Budgeted, extract_error_lora, limit_search_threads, refuse_idle};
use roundwise_convert::{ConvertError, Job, Prepared, RecipeFile, Report};

use self::jobs::{Group, groups, refuse_places};
use super::budget;
use super::conversion::{Reports, carry_out};
use super::summary;
use crate::arguments::ConvertOptions;
use crate::console::{ReaderGone, print_error, print_json, tell};
use crate::events::{Events, tell_done, telling};
use crate::outcome::{BadUsage, is_bad_usage, is_stop};
use crate::stop::{self, Work};
use crate::text::counted;
use crate::typed::Typed;

pub(crate) fn run(options: &ConvertOptions) -> anyhow::Result<bool> {
    telling(options.events, run_all(options))
}

fn run_all(options: &ConvertOptions) -> anyhow::Result<bool> {
    let statistics = options.statistics.to_file();
    let (file, typed) = options.recipe.to_recipe_file(statistics.as_ref())?;
    let events = options.events.then(Events::listen);
    limit_search_threads(options.run.threads());
    let (file, budgeted) = within_budget(options, file, &typed, events.as_ref())?;
    let groups = groups(options, file, &typed)?;
    for job in groups.iter().flatten() {
        refuse_idle(&job.recipe, &job.devices, options.extract_error_lora)
            .map_err(|error| typed.error(error.into()))?;
    }
    // The search for a budget listens already, and a second handler would be refused.
    if budgeted.is_none() {
        stop::listen(work(&groups), options.run.quiet)?;
    }
    if let Some(budgeted) = budgeted.filter(|_| is_told(options)) {
        tell(&budget::summary(&budgeted, &typed));
    }
    let mut batch = Batch { inputs: groups.len(), reports: vec![], failed: vec![] };
    // All inputs are looked at before the first is converted: nobody waits hours to learn of a
    // mistake in the last one.
    let mut fit = vec![];
    for group in &groups {
        let prepared = prepare(group).map_err(|error| typed.error(error));
        let prepared = batch.passed(group, prepared)?;
        // Many inputs are not held open at once: systems often allow a process about a thousand files.
        let held = |prepared| if groups.len() == 1 { Some(prepared) } else { None };
        fit.extend(prepared.map(|prepared| (group, held(prepared))));
    }
    // Places are checked last: what is wrong with the recipe or the input is the more useful complaint.
    if !fit.is_empty() {
        refuse_places(options, &groups)?;
    }
    // Made only now that everything else has been checked.
    create_folder(options)?;
    let stopped = batch.convert_all(options, &typed, events.as_ref(), fit);
    if options.run.json {
        batch.print()?;
    }
    match stopped {
        Err(error) => Err(error),
        Ok(()) => batch.outcome(),
    }
}

/// Returns the recipe with the schemes that keep the limit of the output, where there is one.
fn within_budget(
    options: &ConvertOptions,
    file: RecipeFile,
    typed: &Typed,
    events: Option<&Events>,
) -> anyhow::Result<(RecipeFile, Option<Budgeted>)> {
    budget::refuse_idle(&options.budget)?;
    let Some(limit) = options.budget.to_file() else { return Ok((file, None)) };
    if options.inputs.len() > 1 {
        bail!(BadUsage("a budget is for one file; convert one input at a time".into()));
    }
    let groups = groups(options, file, typed)?;
    stop::listen(Work::Search, options.run.quiet)?;
    let budgeted =
        budget::keep(&options.budget, &limit, &groups[0][0], typed, &options.run, events)?;
    Ok((budgeted.recipe.file().clone(), Some(budgeted)))
}

/// Returns whether people, not programs, read what is written.
fn is_told(options: &ConvertOptions) -> bool {
    !options.events && !options.run.json && !options.run.quiet
}

/// Returns what Ctrl-C interrupts.
fn work(groups: &[Group]) -> Work {
    let is_nearest = |job: &Job| job.recipe.rounding() == Rounding::Nearest;
    match groups.iter().flatten().all(is_nearest) {
        true => Work::Tensors,
        false => Work::Search,
    }
}

fn create_folder(options: &ConvertOptions) -> anyhow::Result<()> {
    let Some(folder) = &options.out_dir else { return Ok(()) };
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{}: cannot create the folder", folder.display()))
        .map_err(|error| anyhow!("{error:#}"))
}

/// One or many inputs, and what has become of them.
struct Batch {
    inputs: usize,
    reports: Vec<Vec<Report>>,
    failed: Vec<Failure>,
}

struct Failure {
    input: String,
    /// Whether what was asked for is wrong with this input, not the input itself.
    is_bad_usage: bool,
}

impl Batch {
    /// Converts every group, one after the other.
    ///
    /// # Errors
    /// When someone asked to stop, or the only input fails.
    fn convert_all(
        &mut self,
        options: &ConvertOptions,
        typed: &Typed,
        events: Option<&Events>,
        groups: Vec<(&Group, Option<Prepared>)>,
    ) -> anyhow::Result<()> {
        for (group, prepared) in groups {
            // An input that was not held open is opened again.
            let prepared = prepared.map_or_else(|| prepare(group), Ok);
            let result = prepared.map_err(|error| typed.error(error));
            let result =
                result.and_then(|prepared| run_group(options, typed, events, group, prepared));
            let reports = self.passed(group, result)?;
            self.reports.extend(reports);
        }
        Ok(())
    }

    /// Passes a result on, so that one input that fails does not keep the others from being
    /// converted.
    fn passed<T>(&mut self, group: &Group, result: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if self.inputs == 1 => Err(error),
            Err(error) if is_stop(&error) => {
                let done = self.reports.len();
                Err(error.context(format!("stopped; {done} of {} inputs are done", self.inputs)))
            }
            Err(error) => {
                print_error(&error);
                // All jobs of a group have one input.
                let input = group[0].input.display().to_string();
                self.failed.push(Failure { input, is_bad_usage: is_bad_usage(&error) });
                Ok(None)
            }
        }
    }

    /// Prints one report for one output, a list for several.
    fn print(&self) -> anyhow::Result<()> {
        match &self.reports[..] {
            [reports] if self.inputs == 1 => print_json(&Reports::of(reports)),
            reports => print_json(&reports.concat()),
        }
        .map_err(|error| match error.is::<ReaderGone>() {
            true => error,
            false => anyhow!("{error}\n  what was converted is complete; its report is lost"),
        })
    }

    fn outcome(&self) -> anyhow::Result<bool> {
        if self.failed.is_empty() {
            return Ok(true);
        }
        let names: Vec<&str> = self.failed.iter().map(|failure| failure.input.as_str()).collect();
        let (failed, inputs) = (names.len(), self.inputs);
        let text = format!("{failed} of {inputs} inputs failed: {}", names.join(", "));
        match self.failed.iter().all(|failure| failure.is_bad_usage) {
            true => Err(BadUsage(text).into()),
            false => Err(anyhow!(text)),
        }
    }
}

/// Advice on adding the error back in ComfyUI: `docs/comfyui.md` has the measured errors of both nodes.
const LOADER_OF_ERRORS: &str = "in ComfyUI add it with `Load LoRA (Bypass)`: `Load LoRA` rounds every \
                                layer again, which makes the result worse than without";

fn extract(options: &ConvertOptions, job: &Job, rank: NonZeroUsize) -> anyhow::Result<()> {
    let (input, recipe, output) = (&job.input, &job.recipe, &job.output);
    let device = job.devices.named().first().copied().unwrap_or_default();
    let lora = extract_error_lora(input, recipe, output, rank, device, job.overwrite).map_err(
        |error| anyhow!("{error}\n  {} is complete, its adapter is missing", output.display()),
    )?;
    if is_told(options) {
        let most = if lora.rank < rank.get() { ", the highest that they have," } else { "" };
        let on_cpu = match lora.cpu_layers.as_slice() {
            [] => String::new(),
            [first, ..] => format!(
                "\n  {} computed on the CPU, where the device failed: `{first}`{}",
                counted(lora.cpu_layers.len(), "layer"),
                if lora.cpu_layers.len() > 1 { ", …" } else { "" }
            ),
        };
        tell(&format!(
            "{}: {} of rank {}{most} that leave {:.1} % of the error\n  {LOADER_OF_ERRORS}{on_cpu}",
            lora.path.display(),
            counted(lora.layers, "layer"),
            lora.rank,
            100.0 * lora.left
        ));
    }
    Ok(())
}

fn prepare(group: &Group) -> Result<Prepared, ConvertError> {
    Prepared::new(&group[0], &group[1..])
}

fn run_group(
    options: &ConvertOptions,
    typed: &Typed,
    events: Option<&Events>,
    group: &Group,
    prepared: Prepared,
) -> anyhow::Result<Vec<Report>> {
    let reports =
        carry_out(prepared, typed, &options.run, events, options.write.report.as_deref())?;
    for (job, report) in group.iter().zip(&reports) {
        if options.events {
            tell_done(report);
        } else if is_told(options) {
            tell(&summary::describe(report, typed));
        }
        if let Some(rank) = options.extract_error_lora {
            extract(options, job, rank)?;
        }
    }
    Ok(reports)
}
