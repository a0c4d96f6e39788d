use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use roundwise_convert::{
    ConvertError, Device, Job, Layout, Overwrite, Recipe, Report, Rounding, RoundingTotals, Scheme,
    Source, client, convert, default_output, write_text_atomically,
};

use crate::arguments::ConvertOptions;
use crate::console::{print_error, tell, width};
use crate::outcome::{BadUsage, is_bad_usage, is_stop};
use crate::progress::Progress;
use crate::stop;
use crate::table::Table;
use crate::text::{bytes, counted, path, percent, plain, seconds};

/// Reasons for keeping tensors that the summary lists.
const REASONS_SHOWN: usize = 8;
/// Layers with the largest error that the summary lists.
const WORST_SHOWN: usize = 3;

pub(crate) fn run(options: &ConvertOptions) -> anyhow::Result<bool> {
    let recipe = Recipe::check(options.recipe.to_recipe_file()?).map_err(ConvertError::from)?;
    // Nearest codes are chosen on the CPU, whatever `auto` would find.
    let elsewhere = options.device.filter(|device| !matches!(device, Device::Auto | Device::Cpu));
    if let (Some(device), Rounding::Nearest) = (elsewhere, recipe.rounding()) {
        bail!(BadUsage(format!(
            "--device {device} does not apply to method `nearest`: it computes nothing there\n  \
             `--method principal` does"
        )));
    }
    let jobs = jobs(options, &recipe)?;
    limit_threads(options.run.threads());
    stop::listen()?;
    let mut reports = vec![];
    let mut failed = vec![];
    let mut stopped = None;
    for job in &jobs {
        match run_job(options, job) {
            Ok(report) => reports.push(report),
            Err(error) if jobs.len() == 1 => return Err(error),
            Err(error) if is_stop(&error) => {
                let done = format!("stopped; {} of {} inputs are done", reports.len(), jobs.len());
                stopped = Some(error.context(done));
                break;
            }
            Err(error) => {
                print_error(&error);
                failed.push((job.input.display().to_string(), is_bad_usage(&error)));
            }
        }
    }
    if options.run.json {
        tell(&match &reports[..] {
            [report] if jobs.len() == 1 => serde_json::to_string_pretty(report)?,
            reports => serde_json::to_string_pretty(reports)?,
        });
    }
    match stopped {
        Some(error) => Err(error),
        None if failed.is_empty() => Ok(true),
        None => Err(some_failed(&failed, jobs.len())),
    }
}

/// - `failed`: inputs, and whether what was asked for was wrong with them, not the files
fn some_failed(failed: &[(String, bool)], jobs: usize) -> anyhow::Error {
    let names: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
    let text = format!("{} of {jobs} inputs failed: {}", failed.len(), names.join(", "));
    match failed.iter().all(|(_, is_bad_usage)| *is_bad_usage) {
        true => BadUsage(text).into(),
        false => anyhow!(text),
    }
}

/// Searches share one pool of threads; `--threads` bounds it, too.
fn limit_threads(threads: std::num::NonZeroUsize) {
    // A pool that exists already has a size of its own, which changes no result.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build_global();
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
        tell(&describe(&report));
    }
    Ok(report)
}

/// One job per input; everything that can be wrong with the names is found before any work.
fn jobs(options: &ConvertOptions, recipe: &Recipe) -> anyhow::Result<Vec<Job>> {
    let is_single = options.inputs.len() == 1;
    if options.output.is_some() && !is_single {
        bail!(BadUsage("--output names one file; several inputs need --out-dir".into()));
    }
    if options.report.is_some() && !is_single {
        bail!(BadUsage("--report names one file; convert one input at a time".into()));
    }
    let overwrite = if options.force { Overwrite::Replace } else { Overwrite::Refuse };
    for named in options.output.iter().chain(&options.report) {
        refuse_standard_output(named)?;
    }
    let jobs: Vec<Job> = options
        .inputs
        .iter()
        .map(|input| Job {
            input: input.clone(),
            output: output_of(options, input, recipe),
            recipe: recipe.clone(),
            threads: options.run.threads(),
            device: options.device.unwrap_or_default(),
            overwrite,
            hash_input: options.report.is_some(),
        })
        .collect();
    let mut targets: Vec<Target<'_>> = jobs
        .iter()
        .map(|job| Target { content: job.input.display().to_string(), path: &job.output })
        .collect();
    if let Some(report) = &options.report {
        targets.push(Target { content: "the report".to_owned(), path: report });
    }
    refuse_collisions(&targets)?;
    refuse_inputs(&targets, &options.inputs)?;
    for target in &targets {
        refuse_unfit(target.path, options.force)?;
    }
    Ok(jobs)
}

/// `-` means standard output elsewhere; here it would be a file of that name.
fn refuse_standard_output(named: &Path) -> anyhow::Result<()> {
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

/// The path with its folder in one spelling; the file need not exist.
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

/// No input may be replaced, whichever job it belongs to.
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

fn refuse_unfit(target: &Path, is_forced: bool) -> anyhow::Result<()> {
    if target.is_dir() {
        bail!(BadUsage(format!(
            "{}: is a folder\n  `--out-dir` writes into one",
            target.display()
        )));
    }
    if target.exists() && !is_forced {
        bail!("{}: exists already\n  use `--force` to replace it", target.display());
    }
    match place(target).parent() {
        Some(folder) if !folder.is_dir() => {
            bail!("{}: there is no folder {}", target.display(), folder.display())
        }
        _ => Ok(()),
    }
}

fn output_of(options: &ConvertOptions, input: &Path, recipe: &Recipe) -> PathBuf {
    // `.` and `..` have no name of their own; the folder that they stand for has one.
    let named = match input.file_name() {
        Some(_) => input.to_owned(),
        None => input.canonicalize().unwrap_or_else(|_| input.to_owned()),
    };
    let default = default_output(&named, recipe);
    match (&options.output, &options.out_dir) {
        (Some(output), _) => output.clone(),
        (None, Some(folder)) => folder.join(default.file_name().unwrap_or(default.as_os_str())),
        (None, None) => default,
    }
}

fn describe(report: &Report) -> String {
    let mut text = format!("{} → {}\n", path(&report.input), path(&report.output));
    text += &format!(
        "  {} (preset {}): {} converted, {} kept, {} removed\n",
        report.architecture, report.preset, report.converted, report.kept, report.removed
    );
    text += &format!(
        "  {} → {} in {}, {} of it for the final sync\n",
        bytes(report.input_bytes),
        bytes(report.output_bytes),
        seconds(report.seconds),
        seconds(report.sync_seconds),
    );
    text += &describe_schemes(report);
    text += &report.rounding.as_ref().map(describe_rounding).unwrap_or_default();
    for note in &report.notes {
        text += &format!("  note: {}\n", plain(note));
    }
    text += &describe_kept(report);
    text += &describe_worst(report);
    text
}

/// Layers per scheme and who opens the file.
fn describe_schemes(report: &Report) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for scheme in report.layers.iter().filter_map(|layer| layer.scheme.as_deref()) {
        *counts.entry(scheme).or_default() += 1;
    }
    let layout: Option<Layout> = report.layout.parse().ok();
    let mut text = String::new();
    for (name, count) in counts {
        let scheme: Option<Scheme> = name.parse().ok();
        let opener = layout.zip(scheme).map_or("", |(layout, scheme)| client(layout, scheme).name);
        text += &format!("  {}: {name}, opened by {opener}\n", counted(count, "weight"));
    }
    text
}

/// What learned rounding did, over all weights.
fn describe_rounding(totals: &RoundingTotals) -> String {
    let objective = match totals.objective_ratio {
        Some(ratio) => format!("objective {} of nearest, ", percent(ratio)),
        None => String::new(),
    };
    let mut text = format!(
        "  method {} on {}: {objective}‖E‖ {:+.2} %; nearest codes stored for {} of {}\n",
        totals.method,
        totals.device,
        (totals.weight_error_ratio - 1.0) * 100.0,
        totals.kept_nearest,
        counted(totals.layers, "weight"),
    );
    if totals.failed > 0 {
        text += &format!(
            "  warning: the search of {} failed; nearest codes are stored (`--report` says why)\n",
            counted(totals.failed, "weight"),
        );
    }
    if !totals.is_reproducible {
        text += "  the last bits may differ from run to run on this device\n";
    }
    text
}

fn describe_kept(report: &Report) -> String {
    let mut groups = BTreeMap::<(&str, &str), Vec<&str>>::new();
    for layer in report.layers.iter().filter(|layer| layer.decision != "quantize") {
        let group = groups.entry((layer.decision, layer.reason.as_str())).or_default();
        group.push(&layer.name);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.cmp(&b.0)));
    let mut table = Table::new(&["tensors", "", "because"]);
    for ((decision, reason), names) in groups.iter().take(REASONS_SHOWN) {
        let verb = match *decision {
            "remove" => "removed",
            "decode" => "decoded",
            "correct" => "corrected",
            _ => "kept",
        };
        let because = match names[..] {
            [name] => format!("{reason}: {name}"),
            _ => (*reason).to_owned(),
        };
        table.row(vec![names.len().to_string(), verb.to_owned(), because]);
    }
    let mut text = if table.is_empty() { String::new() } else { table.render(width()) };
    if groups.len() > REASONS_SHOWN {
        text += &format!(
            "  and {} (`roundwise plan` lists all)\n",
            counted(groups.len() - REASONS_SHOWN, "more reason")
        );
    }
    text
}

fn describe_worst(report: &Report) -> String {
    let mut table = Table::new(&["largest errors", "scheme", "‖E‖/‖W‖"]);
    for layer in report.worst_layers(WORST_SHOWN) {
        table.row(vec![
            layer.name.clone(),
            layer.scheme.clone().unwrap_or_default(),
            layer.weight_error.map(percent).unwrap_or_default(),
        ]);
    }
    if let Some(error) = report.weight_error {
        table.row(vec!["all weights together".to_owned(), String::new(), percent(error)]);
    }
    table.render(width()) + &warn_of_ruined(report)
}

/// A relative error that no 8-bit scheme has unless its scale does not suit the matrix.
const RUINED: f64 = 0.10;

fn warn_of_ruined(report: &Report) -> String {
    // Four bits lose as much as that everywhere.
    let has_8_bits = |name: &String| name.parse::<Scheme>().is_ok_and(|it| it.code_bits() >= 8);
    let layers = report.layers.iter().filter(|layer| layer.scheme.as_ref().is_some_and(has_8_bits));
    let errors = layers.filter_map(|layer| layer.weight_error);
    match errors.filter(|error| *error > RUINED).count() {
        0 => String::new(),
        count => format!(
            "  warning: {} lost more than {}: one scale covers values of very different size\n  \
             `--scheme int8-row` or `fp8` suits them better\n",
            counted(count, "weight"),
            percent(RUINED),
        ),
    }
}
