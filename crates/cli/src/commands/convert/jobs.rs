use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use roundwise_convert::plan::Part;
use roundwise_convert::run::{Target, check_apart, default_output, error_lora_path};
use roundwise_convert::source::for_input;
use roundwise_convert::tensor_file::Overwrite;
use roundwise_convert::{ConvertError, Job, Recipe, RecipeFile};

use crate::arguments::{ConvertOptions, SchemeOutput};
use crate::commands::places::{refuse_standard_output, refuse_weights, report_target};
use crate::outcome::BadUsage;
use crate::typed::Typed;

/// The jobs of one input: a single one, or one for each `--to`.
pub(super) type Group = Vec<Job>;

/// Returns one group per input. Everything that can be wrong with the names is found before any
/// work.
pub(super) fn groups(
    options: &ConvertOptions,
    file: RecipeFile,
    typed: &Typed,
) -> anyhow::Result<Vec<Group>> {
    let is_single = options.inputs.len() == 1;
    if options.output.is_some() && !is_single {
        bail!(BadUsage("--output names one file; several inputs need --out-dir".into()));
    }
    if options.to.iter().any(|to| to.file.is_some()) && !is_single {
        bail!(BadUsage(
            "--to SCHEME=FILE names one file; several inputs need --to SCHEME, and --out-dir"
                .into()
        ));
    }
    if options.write.report.is_some() && !is_single {
        bail!(BadUsage("--report names one file; convert one input at a time".into()));
    }
    for named in named_files(options) {
        refuse_standard_output(named)?;
    }
    let of_input = |input: &PathBuf| -> anyhow::Result<Group> {
        // What the input is decides which program it is for.
        let file = for_input(file.clone(), input, options.output.as_deref());
        let recipes = recipes(options, file, typed)?;
        Ok(recipes.iter().map(|(recipe, named)| job(options, input, recipe, *named)).collect())
    };
    let groups: Vec<Group> = options.inputs.iter().map(of_input).collect::<Result<_, _>>()?;
    check_apart(&targets(options, &groups), &read_files(options, &groups))?;
    options.write.report.iter().try_for_each(|report| refuse_weights(report, "the report"))?;
    Ok(groups)
}

/// Returns everything that is read.
fn read_files(options: &ConvertOptions, groups: &[Group]) -> Vec<PathBuf> {
    let beside = groups.iter().flatten().flat_map(Job::side_files);
    options.inputs.iter().chain(beside).chain(options.recipe.path()).cloned().collect()
}

/// Returns the files that were named on the command line.
fn named_files(options: &ConvertOptions) -> impl Iterator<Item = &PathBuf> {
    let outputs = options.to.iter().filter_map(|to| to.file.as_ref());
    options.output.iter().chain(outputs).chain(&options.write.report)
}

/// Returns a recipe for each output of an input, and the file that was named for it.
fn recipes<'a>(
    options: &'a ConvertOptions,
    file: RecipeFile,
    typed: &Typed,
) -> anyhow::Result<Vec<(Recipe, Option<&'a Path>)>> {
    let checked =
        |file: RecipeFile, typed: &Typed| file.check().map_err(|error| typed.error(error.into()));
    if options.to.is_empty() {
        return Ok(vec![(checked(file, typed)?, options.output.as_deref())]);
    }
    let of_output = |to: &'_ SchemeOutput| {
        let scheme = Some(to.scheme.clone());
        // So that an error names the `--to` that asked for this scheme.
        let typed = typed.clone().with_scheme(format!("--to {}", to.scheme));
        checked(RecipeFile { scheme, ..file.clone() }, &typed)
    };
    options.to.iter().map(|to| Ok((of_output(to)?, to.file.as_deref()))).collect()
}

fn job(options: &ConvertOptions, input: &Path, recipe: &Recipe, named: Option<&Path>) -> Job {
    let output = output_of(options, input, recipe, named);
    Job {
        part: options.part,
        limits: options.limits(),
        devices: options.device.clone().unwrap_or_default(),
        statistics: options.statistics.to_file(),
        ..options.write.job(&options.run, input.to_owned(), output, recipe.clone())
    }
}

/// Everything that is written, as messages call it.
fn targets(options: &ConvertOptions, groups: &[Group]) -> Vec<Target> {
    let content = |job: &Job| match options.to.is_empty() {
        true => job.input.display().to_string(),
        false => format!("{} as {}", job.input.display(), job.recipe.scheme()),
    };
    let jobs = || groups.iter().flatten();
    let outputs = jobs().map(|job| Target::output(job, content(job)));
    let adapter = |job: &Job| {
        let of = format!("the adapter of {}", content(job));
        Target::file(error_lora_path(&job.output), of, job.overwrite)
    };
    let adapters = jobs().filter(|_| options.extract_error_lora.is_some()).map(adapter);
    let losses = options.budget.cache().map(|path| {
        let content = "what layers lose in each scheme";
        Target::file(path, content, Overwrite::Replace)
    });
    outputs.chain(adapters).chain(report_target(&options.write)).chain(losses).collect()
}

/// Refuses places that cannot be written to. Runs after the checks of recipe and input, and before
/// any work.
pub(super) fn refuse_places(options: &ConvertOptions, groups: &[Group]) -> anyhow::Result<()> {
    let report = report_target(&options.write);
    for job in groups.iter().flatten() {
        let output = Target::output(job, "the output");
        // The folder of `--out-dir` need not exist: it is created.
        if job.output.parent() != options.out_dir.as_deref() {
            output.check_folder().map_err(with_out_dir)?;
        }
        output.check().map_err(with_out_dir)?;
        if options.extract_error_lora.is_some() {
            let path = error_lora_path(&job.output);
            Target::file(path, "its adapter", job.overwrite).check()?;
        }
    }
    if let Some(report) = report {
        report.check_folder()?;
        report.check()?;
    }
    Ok(())
}

/// A folder is named by `--out-dir`, not as the output.
fn with_out_dir(error: ConvertError) -> anyhow::Error {
    match &error {
        ConvertError::OutputIsFolder { .. } => {
            BadUsage(format!("{error}; `--out-dir` writes into a folder")).into()
        }
        ConvertError::NoFolder { .. } => anyhow!("{error}, or use `--out-dir`, which does"),
        _ => error.into(),
    }
}

fn output_of(
    options: &ConvertOptions,
    input: &Path,
    recipe: &Recipe,
    named: Option<&Path>,
) -> PathBuf {
    let output = named.map_or_else(|| default_of(options, input, recipe), Path::to_owned);
    match options.part {
        Some(part) => named_part(&output, part),
        None => output,
    }
}

fn default_of(options: &ConvertOptions, input: &Path, recipe: &Recipe) -> PathBuf {
    let default = default_output(input, recipe, options.limits());
    match &options.out_dir {
        Some(folder) => folder.join(default.file_name().unwrap_or(default.as_os_str())),
        None => default,
    }
}

/// Appends the part to a name, as in `model.part-03-of-16.safetensors`, so that all machines may
/// run one command.
fn named_part(output: &Path, part: Part) -> PathBuf {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    // The part goes before the extension, by which programs choose their reader.
    let base = name.strip_suffix(".safetensors").unwrap_or(&name);
    output.with_file_name(format!("{base}.{}.safetensors", part.file_part()))
}
