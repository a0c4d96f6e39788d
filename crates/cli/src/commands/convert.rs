use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::bail;
use roundwise_convert::{
    ConvertError, Job, Layout, Overwrite, Recipe, Report, Scheme, client, convert, default_output,
    write_text_atomically,
};

use crate::arguments::ConvertOptions;
use crate::console::{print, print_json, width};
use crate::outcome::BadUsage;
use crate::progress::Progress;
use crate::stop;
use crate::table::Table;
use crate::text::{bytes, counted, percent, seconds};

/// Reasons for keeping tensors that the summary lists.
const REASONS_SHOWN: usize = 8;
/// Layers with the largest error that the summary lists.
const WORST_SHOWN: usize = 3;

pub(crate) fn run(options: &ConvertOptions) -> anyhow::Result<bool> {
    let recipe = Recipe::check(options.recipe.to_recipe_file()?).map_err(ConvertError::from)?;
    let jobs = jobs(options, &recipe)?;
    stop::listen()?;
    let mut reports = vec![];
    for job in &jobs {
        let progress = Progress::new(&job.input, options.run.quiet || options.run.json);
        let result = convert(job, &progress);
        progress.finish();
        let report = result?;
        if let Some(path) = &options.report {
            let text = serde_json::to_string_pretty(&report)? + "\n";
            write_text_atomically(path, &text, job.overwrite)?;
        }
        if !options.run.json && !options.run.quiet {
            print(&describe(&report))?;
        }
        reports.push(report);
    }
    if options.run.json {
        match &reports[..] {
            [report] => print_json(report)?,
            reports => print_json(&reports)?,
        }
    }
    Ok(true)
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
    let mut outputs = BTreeMap::<PathBuf, &Path>::new();
    let mut jobs = vec![];
    for input in &options.inputs {
        let output = output_of(options, input, recipe);
        if !options.force {
            refuse_existing(&output)?;
        }
        if let Some(other) = outputs.insert(output.clone(), input) {
            bail!(BadUsage(format!(
                "{} and {} would both become {}",
                other.display(),
                input.display(),
                output.display()
            )));
        }
        jobs.push(Job {
            input: input.clone(),
            output,
            recipe: recipe.clone(),
            threads: options.run.threads(),
            overwrite,
            hash_input: options.report.is_some(),
        });
    }
    if let Some(report) = options.report.as_ref().filter(|_| !options.force) {
        refuse_existing(report)?;
    }
    Ok(jobs)
}

fn output_of(options: &ConvertOptions, input: &Path, recipe: &Recipe) -> PathBuf {
    let default = default_output(input, recipe);
    match (&options.output, &options.out_dir) {
        (Some(output), _) => output.clone(),
        (None, Some(folder)) => folder.join(default.file_name().unwrap_or(default.as_os_str())),
        (None, None) => default,
    }
}

fn refuse_existing(path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        bail!("{}: exists already\n  use `--force` to replace it", path.display());
    }
    Ok(())
}

fn describe(report: &Report) -> String {
    let mut text = format!("{} → {}\n", report.input.display(), report.output.display());
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

fn describe_kept(report: &Report) -> String {
    let mut counts = BTreeMap::<(&str, &str), usize>::new();
    for layer in report.layers.iter().filter(|layer| layer.decision != "quantize") {
        *counts.entry((layer.decision, layer.reason.as_str())).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let mut table = Table::new(&["tensors", "", "because"]);
    for ((decision, reason), count) in counts.iter().take(REASONS_SHOWN) {
        let verb = match *decision {
            "remove" => "removed",
            "decode" => "decoded",
            _ => "kept",
        };
        table.row(vec![count.to_string(), verb.to_owned(), (*reason).to_owned()]);
    }
    let mut text = if table.is_empty() { String::new() } else { table.render(width()) };
    if counts.len() > REASONS_SHOWN {
        text += &format!(
            "  and {} (`roundwise plan` lists all)\n",
            counted(counts.len() - REASONS_SHOWN, "more reason")
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
    table.render(width())
}
