//! Shared by the commands that turn one file into another without rounding anything.

use roundwise_convert::run::{Target, check_apart, default_output};
use roundwise_convert::source::StatisticsFile;
use roundwise_convert::{ConvertError, Job, Prepared, Recipe, RecipeFile};

use super::conversion::carry_out;
use super::places::{refuse_standard_output, refuse_weights, report_target};
use super::summary;
use crate::arguments::RewriteOptions;
use crate::console::{print_json, tell};
use crate::events::{Events, tell_done, telling};
use crate::stop::{self, Work};
use crate::typed::Typed;

pub(crate) fn run(
    options: &RewriteOptions,
    statistics: Option<StatisticsFile>,
    recipe: RecipeFile,
) -> anyhow::Result<bool> {
    telling(options.events, rewrite(options, statistics, recipe))
}

fn rewrite(
    options: &RewriteOptions,
    statistics: Option<StatisticsFile>,
    recipe: RecipeFile,
) -> anyhow::Result<bool> {
    let provenance = options.no_provenance.then_some(false);
    let recipe = RecipeFile { provenance, ..recipe };
    let typed = Typed::as_flags(&recipe);
    let recipe = recipe.check().map_err(|error| typed.error(error.into()))?;
    let job = Job { statistics, ..job(options, recipe)? };
    // The input is checked before the places: what is wrong with it is the more useful complaint.
    let prepared = Prepared::new(&job, &[]).map_err(|error| typed.error(error))?;
    refuse_places(options, &job).map_err(|error| typed.error(error))?;
    stop::listen(Work::Tensors, options.run.quiet)?;
    let report = options.write.report.as_deref();
    let events = options.events.then(Events::listen);
    for report in carry_out(prepared, &typed, &options.run, events.as_ref(), report)? {
        if options.events {
            tell_done(&report);
        } else if options.run.json {
            print_json(&report)?;
        } else if !options.run.quiet {
            tell(&summary::describe(&report, &typed));
        }
    }
    Ok(true)
}

fn job(options: &RewriteOptions, recipe: Recipe) -> anyhow::Result<Job> {
    // `.` and `..` have no name of their own; the folder that they stand for has one.
    let input = match options.input.file_name() {
        Some(_) => options.input.clone(),
        None => options.input.canonicalize().unwrap_or_else(|_| options.input.clone()),
    };
    for named in options.output.iter().chain(&options.write.report) {
        refuse_standard_output(named)?;
    }
    let report = options.write.report.iter();
    report.into_iter().try_for_each(|report| refuse_weights(report, "the report"))?;
    let limits = options.write.limits();
    let limits = limits.for_rewriting(&recipe, &options.input, options.output.as_deref());
    let default = || default_output(&input, &recipe, limits);
    let output = options.output.clone().unwrap_or_else(default);
    let job =
        Job { limits, ..options.write.job(&options.run, options.input.clone(), output, recipe) };
    Target::output(&job, "the output").check_name()?;
    Ok(job)
}

/// Refuses places of output and report that cannot be written to. Runs after the input was checked.
fn refuse_places(options: &RewriteOptions, job: &Job) -> Result<(), ConvertError> {
    let output = Target::output(job, "the output");
    output.check_folder()?;
    output.check()?;
    let Some(report) = report_target(&options.write) else { return Ok(()) };
    check_apart(&[output, report.clone()], std::slice::from_ref(&options.input))?;
    report.check_folder()?;
    report.check()
}
