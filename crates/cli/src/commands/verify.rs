use anyhow::bail;
use roundwise_convert::inspect::{Biases, Finding, LayerError, Verification};
use roundwise_convert::report::has_lost_all;
use roundwise_convert::verify;
use roundwise_convert::{ConvertError, Watch};

use crate::arguments::VerifyOptions;
use crate::console::{print, print_json, width};
use crate::events::{Events, tell_done, telling};
use crate::outcome::BadUsage;
use crate::progress::Progress;
use crate::stop::{self, Work};
use crate::table::Table;
use crate::text::{counted, path, percent, plain};
use crate::typed::Typed;

const WORST_SHOWN: usize = 5;
/// Most findings that are listed one by one.
const FINDINGS_SHOWN: usize = 20;

pub(crate) fn run(options: &VerifyOptions) -> anyhow::Result<bool> {
    telling(options.events, compare(options))
}

fn compare(options: &VerifyOptions) -> anyhow::Result<bool> {
    refuse_same(options)?;
    stop::listen(Work::Looking, options.run.quiet)?;
    let verification = match options.events {
        true => verify_watched(options, &Events::listen())?,
        false => {
            let progress = Progress::new(&options.converted, options.run.quiet || options.run.json);
            let verification = verify_watched(options, &progress);
            progress.finish();
            verification?
        }
    };
    if options.events {
        tell_done(&verification);
    } else if options.run.json {
        print_json(&verification)?;
    } else if !options.run.quiet {
        print(&describe(&verification))?;
    }
    Ok(verification.ok)
}

fn verify_watched(
    options: &VerifyOptions,
    watch: &dyn Watch,
) -> Result<Verification, ConvertError> {
    let threads = options.run.threads();
    let biases = match options.corrected_biases {
        true => Biases::MayBeCorrected,
        false => Biases::Same,
    };
    let statistics = options.statistics.to_file();
    verify(&options.original, &options.converted, biases, statistics.as_ref(), threads, watch)
}

/// Refuses to compare a file with itself, which finds nothing, whatever is wrong with it.
fn refuse_same(options: &VerifyOptions) -> anyhow::Result<()> {
    // Compared by canonical path, since a symbolic link is another name of the same file.
    let [original, converted] =
        [&options.original, &options.converted].map(|path| path.canonicalize().ok());
    // A file that does not exist has no canonical path; the comparison itself reports it.
    match original.is_some() && original == converted {
        true => bail!(BadUsage(format!(
            "{}: is both files; name the original first, then what was made of it\n  `roundwise \
             inspect` looks at one file",
            path(&options.original)
        ))),
        false => Ok(()),
    }
}

/// Returns whether the files look swapped: they differ, and only the first one holds codes.
fn looks_swapped(verification: &Verification) -> bool {
    !verification.ok && verification.layers.is_empty() && verification.original_layers > 0
}

fn describe(verification: &Verification) -> String {
    let mut text = format!(
        "{}: {} in codes, {} identical, {} removed\n",
        path(&verification.converted),
        counted(verification.layers.len(), "layer"),
        counted(verification.identical_tensors, "tensor"),
        verification.removed_names.len(),
    );
    let mut layers: Vec<_> = verification.layers.iter().collect();
    layers.sort_by(|a, b| b.weight_error.total_cmp(&a.weight_error));
    let mut table = Table::new(&["largest errors", "scheme", "‖E‖/‖W‖"]);
    for layer in layers.iter().take(WORST_SHOWN) {
        table.row(vec![layer.name.clone(), layer.scheme.clone(), percent(layer.weight_error)]);
    }
    if !table.is_empty() {
        text += &table.render(width());
    }
    text += &describe_outputs(verification);
    text += &describe_findings(&verification.findings);
    let is_lost = |layer: &&LayerError| has_lost_all(layer.weight_error);
    let lost: Vec<&LayerError> = layers.iter().copied().filter(is_lost).collect();
    text += &match (verification.ok, lost.as_slice()) {
        (true, []) => "everything is in order".to_owned(),
        (true, [first, ..]) => format!(
            "the codes are those of the original, but {} lost all that they hold, such as `{}`: their numbers are \
             too small for the scheme, and every code is 0",
            counted(lost.len(), "layer"),
            plain(&first.name),
        ),
        (false, _) => "verification failed".to_owned(),
    };
    if !verification.merged_adapters.is_empty() {
        text += &format!(
            "\n  {} went into it, whose changes the original does not have: compare it with the original after \
             the same merge, as `roundwise convert --scheme bf16 --merge-lora …` writes it",
            plain(&verification.merged_adapters.join(" and ")),
        );
    }
    if looks_swapped(verification) {
        text += "\n  the first file is in codes and the second is not: where the second was not decoded from the \
                 first, they are swapped (`roundwise verify ORIGINAL CONVERTED`)";
    }
    text
}

/// Describes the error of the layers' outputs, where there are statistics.
fn describe_outputs(verification: &Verification) -> String {
    let judged = |layer: &LayerError| layer.output_error.zip(layer.nearest_output_error);
    let pairs: Vec<(f64, f64)> = verification.layers.iter().filter_map(judged).collect();
    if pairs.is_empty() {
        return String::new();
    }
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
    let (stored, nearest) = (mean(|pair| pair.0), mean(|pair| pair.1));
    let ratio = if nearest > 0.0 { stored / nearest } else { 1.0 };
    format!(
        "outputs of {}: mean relative error² {stored:.3e}, of nearest codes {nearest:.3e} ({})\n",
        counted(pairs.len(), "layer"),
        percent(ratio),
    )
}

/// Describes the first findings, one line each, in the order of names; findings about the file as a
/// whole come first.
pub(crate) fn describe_findings(findings: &[Finding]) -> String {
    let mut text: String = findings.iter().take(FINDINGS_SHOWN).map(describe_finding).collect();
    if findings.len() > FINDINGS_SHOWN {
        text += &format!("… and {} more (`--json` lists all)\n", findings.len() - FINDINGS_SHOWN);
    }
    text
}

fn describe_finding(finding: &Finding) -> String {
    let subject = match finding.tensor.as_str() {
        "" => "the file".to_owned(),
        tensor => format!("`{}`", plain(tensor)),
    };
    let problem = Typed::default().text(&finding.problem);
    let breaks = match finding.breaks {
        "" => String::new(),
        breaks => format!("  breaks {breaks}\n"),
    };
    format!("wrong: {subject} {}\n{breaks}", plain(&problem))
}
