//! What the commands share that turn one file into another without rounding anything.

use anyhow::anyhow;
use roundwise_convert::{
    ConvertError, Devices, Job, Limits, Overwrite, Recipe, RecipeFile, Report, StatisticsFile,
    check, convert, default_output, write_text_atomically,
};

use crate::arguments::RewriteOptions;
use crate::commands::convert::{jobs, summary};
use crate::console::{print_json, tell};
use crate::progress::Progress;
use crate::stop;

pub(crate) fn run(
    options: &RewriteOptions,
    statistics: Option<StatisticsFile>,
    recipe: RecipeFile,
) -> anyhow::Result<bool> {
    let provenance = options.no_provenance.then_some(false);
    let recipe = RecipeFile { provenance, ..recipe }.typed_as_flags();
    let recipe = Recipe::check(recipe).map_err(ConvertError::from)?;
    let job = Job { statistics, ..job(options, recipe)? };
    check(&job)?;
    refuse_existing(options, &job)?;
    stop::listen()?;
    let progress = Progress::new(&job.input, options.run.quiet || options.run.json);
    let result = convert(&job, &progress);
    progress.finish();
    let report = result?;
    write_report(options, &job, &report)?;
    if options.run.json {
        print_json(&report)?;
    } else if !options.run.quiet {
        tell(&summary::describe(&report));
    }
    Ok(true)
}

fn job(options: &RewriteOptions, recipe: Recipe) -> anyhow::Result<Job> {
    let input = match options.input.file_name() {
        Some(_) => options.input.clone(),
        None => options.input.canonicalize().unwrap_or_else(|_| options.input.clone()),
    };
    for named in options.output.iter().chain(&options.report) {
        jobs::refuse_standard_output(named)?;
    }
    let limits = Limits { shard_bytes: options.shard_size, ..Limits::default() };
    let output = options.output.clone().unwrap_or_else(|| default_output(&input, &recipe, limits));
    Ok(Job {
        input: options.input.clone(),
        output,
        recipe,
        threads: options.run.threads(),
        devices: Devices::default(),
        statistics: None,
        starts_over: options.fresh,
        overwrite: if options.force { Overwrite::Replace } else { Overwrite::Refuse },
        verifies: !options.no_verify,
        hash_input: options.report.is_some(),
        limits,
        share: None,
    })
}

/// What is wrong with the places of the output and the report, told after what is wrong with the input.
fn refuse_existing(options: &RewriteOptions, job: &Job) -> anyhow::Result<()> {
    jobs::refuse_missing_folder(&job.output, "create it first")?;
    jobs::refuse_place(&job.output, options.force, options.shard_size.is_some())?;
    let Some(report) = &options.report else { return Ok(()) };
    jobs::refuse_one_place(&job.output, report)?;
    jobs::refuse_report(report, options.force)
}

fn write_report(options: &RewriteOptions, job: &Job, report: &Report) -> anyhow::Result<()> {
    let Some(path) = &options.report else { return Ok(()) };
    let text = serde_json::to_string_pretty(report)? + "\n";
    write_text_atomically(path, &text, job.overwrite).map_err(|error| {
        anyhow!("{error}\n  {} is complete, its report is missing", job.output.display())
    })
}
