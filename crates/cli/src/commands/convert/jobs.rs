use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::bail;
use roundwise_convert::plan::Share;
use roundwise_convert::run::{default_output, error_lora_path};
use roundwise_convert::tensor_file::check_writable;
use roundwise_convert::{ConvertError, Job, Recipe, RecipeFile, Source};

use crate::arguments::{ConvertOptions, SchemeOutput};
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
    let recipes = recipes(options, file, typed)?;
    let of_input = |input: &PathBuf| -> Group {
        recipes.iter().map(|(recipe, named)| job(options, input, recipe, *named)).collect()
    };
    let groups: Vec<Group> = options.inputs.iter().map(of_input).collect();
    refuse_bad_names(options, groups.iter().flatten())?;
    Ok(groups)
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
        let typed = typed.clone().with_scheme(format!("--to {}", to.scheme));
        checked(RecipeFile { scheme, ..file.clone() }, &typed)
    };
    options.to.iter().map(|to| Ok((of_output(to)?, to.file.as_deref()))).collect()
}

fn job(options: &ConvertOptions, input: &Path, recipe: &Recipe, named: Option<&Path>) -> Job {
    let output = output_of(options, input, recipe, named);
    Job {
        share: options.part,
        limits: options.limits(),
        devices: options.device.clone().unwrap_or_default(),
        statistics: options.statistics.to_file(),
        ..options.write.job(&options.run, input.to_owned(), output, recipe.clone())
    }
}

fn refuse_bad_names<'a>(
    options: &ConvertOptions,
    jobs: impl Iterator<Item = &'a Job>,
) -> anyhow::Result<()> {
    let of_job = |job: &'a Job| {
        let input = job.input.display();
        let content = match options.to.is_empty() {
            true => input.to_string(),
            false => format!("{input} as {}", job.recipe.scheme()),
        };
        Target { content, path: &job.output }
    };
    let mut targets: Vec<Target<'_>> = jobs.map(of_job).collect();
    if let Some(report) = &options.write.report {
        targets.push(Target { content: "the report".to_owned(), path: report });
    }
    refuse_collisions(&targets)?;
    refuse_inputs(&targets, &options.inputs)?;
    Ok(())
}

/// Refuses places that cannot be written to. Runs after the checks of recipe and input, and before
/// any work.
pub(super) fn refuse_places(options: &ConvertOptions, groups: &[Group]) -> anyhow::Result<()> {
    let report = options.write.report.as_deref();
    for named in named_files(options).filter(|named| Some(named.as_path()) != report) {
        refuse_missing_folder(named, "create it first, or use `--out-dir`, which does")?;
    }
    for job in groups.iter().flatten() {
        refuse_place(&job.output, options.write.force, options.write.shard_size.is_some())?;
        if options.extract_error_lora.is_some() {
            refuse_place(&error_lora_path(&job.output), options.write.force, false)?;
        }
    }
    report.map_or(Ok(()), |report| refuse_report(report, options.write.force))
}

/// Refuses an output that may not be written, or whose place is taken.
///
/// - `is_folder`: whether shards are written
pub(in crate::commands) fn refuse_place(
    output: &Path,
    is_forced: bool,
    is_folder: bool,
) -> anyhow::Result<()> {
    match is_folder {
        true => refuse_full_folder(output)?,
        false => refuse_unfit(
            output,
            is_forced,
            "name a file in it; `convert --out-dir` writes into a folder",
        )?,
    }
    Ok(check_writable(output)?)
}

pub(in crate::commands) fn refuse_report(report: &Path, is_forced: bool) -> anyhow::Result<()> {
    refuse_unfit(report, is_forced, "name a file for the report")?;
    refuse_missing_folder(report, "create it first")?;
    Ok(check_writable(report)?)
}

/// Refuses one name for both the output and the report.
pub(in crate::commands) fn refuse_one_place(output: &Path, report: &Path) -> anyhow::Result<()> {
    let output = Target { content: "the output".to_owned(), path: output };
    refuse_collisions(&[output, Target { content: "the report".to_owned(), path: report }])
}

/// Refuses `-`, which means standard output elsewhere; here it would be a file of that name.
pub(in crate::commands) fn refuse_standard_output(named: &Path) -> anyhow::Result<()> {
    if named == Path::new("-") {
        bail!(BadUsage(
            "`-`: nothing is written to standard output; name a file (`./-` for one called so)\n  \
             `--json` prints the report"
                .into()
        ));
    }
    Ok(())
}

/// A file that will be written.
struct Target<'a> {
    content: String,
    path: &'a Path,
}

fn refuse_collisions(targets: &[Target<'_>]) -> anyhow::Result<()> {
    let mut places = BTreeMap::<PathBuf, &Target<'_>>::new();
    for target in targets {
        if let Some(other) = places.insert(place(target.path), target) {
            bail!(BadUsage(format!(
                "{} and {} would both become {}",
                other.content,
                target.content,
                target.path.display()
            )));
        }
    }
    Ok(())
}

/// Returns the path with its folder in one spelling; the file need not exist.
fn place(path: &Path) -> PathBuf {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

/// Refuses outputs that would replace an input, whichever job it belongs to.
fn refuse_inputs(targets: &[Target<'_>], inputs: &[PathBuf]) -> anyhow::Result<()> {
    let existing: Vec<_> = targets.iter().filter(|target| target.path.exists()).collect();
    if existing.is_empty() {
        return Ok(());
    }
    // An input that cannot be opened says so when its turn comes.
    for source in inputs.iter().filter_map(|input| Source::open(input).ok()) {
        for target in &existing {
            if source.checkpoint.same_file_as(target.path) {
                bail!(ConvertError::OutputIsInput { path: target.path.to_owned() });
            }
        }
    }
    Ok(())
}

/// Shards need a folder of their own, which `--force` does not replace either: nobody knows what else
/// is in it.
fn refuse_full_folder(target: &Path) -> anyhow::Result<()> {
    let is_empty = match std::fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !target.exists(),
    };
    match is_empty {
        true => Ok(()),
        false => bail!(
            "{}: exists already\n  shards are written into a new folder; name another, or remove this one",
            target.display()
        ),
    }
}

fn refuse_unfit(target: &Path, is_forced: bool, of_folder: &str) -> anyhow::Result<()> {
    if target.is_dir() {
        bail!(BadUsage(format!("{}: is a folder\n  {of_folder}", target.display())));
    }
    if target.exists() && !is_forced {
        bail!(
            "{}: exists already\n  name another file, or `--force` to replace it",
            target.display()
        );
    }
    Ok(())
}

/// Refuses a file in a folder that does not exist: `--out-dir` creates its folder, but one inside
/// the name of a file may be a slip.
pub(in crate::commands) fn refuse_missing_folder(named: &Path, help: &str) -> anyhow::Result<()> {
    match place(named).parent() {
        Some(folder) if !folder.is_dir() => {
            bail!("{}: there is no folder {}\n  {help}", named.display(), folder.display())
        }
        _ => Ok(()),
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
        Some(share) => named_part(&output, share),
        None => output,
    }
}

fn default_of(options: &ConvertOptions, input: &Path, recipe: &Recipe) -> PathBuf {
    // `.` and `..` have no name of their own; the folder that they stand for has one.
    let input = match input.file_name() {
        Some(_) => input.to_owned(),
        None => input.canonicalize().unwrap_or_else(|_| input.to_owned()),
    };
    let default = default_output(&input, recipe, options.limits());
    match &options.out_dir {
        Some(folder) => folder.join(default.file_name().unwrap_or(default.as_os_str())),
        None => default,
    }
}

/// Appends the part to a name, as in `model.part-03-of-16.safetensors`, so that all machines may
/// run one command.
fn named_part(output: &Path, share: Share) -> PathBuf {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let base = name.strip_suffix(".safetensors").unwrap_or(&name);
    output.with_file_name(format!("{base}.{}.safetensors", share.file_part()))
}
