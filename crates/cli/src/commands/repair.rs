use anyhow::bail;
use roundwise_convert::RecipeFile;
use roundwise_convert::inspect::{Diagnosis, diagnose};
use roundwise_convert::layout::{Defect, Layout};

use super::rewrite;
use crate::arguments::{RepairOptions, RewriteOptions, WriteOptions};
use crate::console::{print, print_json};
use crate::outcome::BadUsage;
use crate::text::{counted, path, plain};

pub(crate) fn run(options: &RepairOptions) -> anyhow::Result<bool> {
    refuse_idle_flags(options)?;
    // A program is told by an event that nothing is wrong, or too much.
    if options.write && options.rewrite.events {
        return write_repaired(options);
    }
    let diagnosis = diagnose(&options.rewrite.input)?;
    if options.write && !diagnosis.is_file_sound() {
        return write_repaired(options);
    }
    if options.rewrite.run.json {
        print_json(&diagnosis)?;
    } else if !options.rewrite.run.quiet {
        print(&describe(options, &diagnosis))?;
    }
    Ok(diagnosis.is_file_sound() && diagnosis.contradictions.is_empty())
}

fn write_repaired(options: &RepairOptions) -> anyhow::Result<bool> {
    let recipe = RecipeFile { repair: Some(true), ..RecipeFile::default() };
    rewrite::run(&options.rewrite, None, recipe)
}

/// Refuses flags about the repaired file where none is written.
fn refuse_idle_flags(options: &RepairOptions) -> anyhow::Result<()> {
    let RewriteOptions { output, write, no_provenance, events, .. } = &options.rewrite;
    // Every field by name, so that a new flag cannot be forgotten in the list below.
    let WriteOptions { force, fresh, no_verify, shard_size, report } = write;
    let given = [
        ("--output", output.is_some()),
        ("--force", *force),
        ("--fresh", *fresh),
        ("--no-verify", *no_verify),
        ("--shard-size", shard_size.is_some()),
        ("--no-provenance", *no_provenance),
        ("--report", report.is_some()),
        ("--events", *events),
    ];
    match given.iter().find(|(_, is_given)| *is_given && !options.write) {
        None => Ok(()),
        Some((flag, _)) => bail!(BadUsage(format!(
            "`{flag}` is about the repaired file, and none is written without `--write`"
        ))),
    }
}

fn describe(options: &RepairOptions, diagnosis: &Diagnosis) -> String {
    let input = path(&options.rewrite.input);
    let configuration = describe_configuration(diagnosis);
    if diagnosis.is_file_sound() {
        return format!("{input}: nothing to repair{configuration}");
    }
    let mut text = format!(
        "{input}: {} that can be repaired, {} that cannot\n",
        counted(diagnosis.repairs.len(), "defect"),
        diagnosis.defects.len(),
    );
    for repair in &diagnosis.repairs {
        text += &describe_defect("wrong", &repair.defect);
        text += &format!("  remedy: {}\n", plain(&repair.remedy));
    }
    for defect in &diagnosis.defects {
        text += &describe_defect("without remedy", defect);
    }
    text += match diagnosis.defects.is_empty() {
        true => "nothing was written; `--write` writes the repaired file",
        false => "not all of it can be repaired: start from the original weights",
    };
    text + &configuration
}

/// Describes what the configuration beside a file says otherwise than its codes.
fn describe_configuration(diagnosis: &Diagnosis) -> String {
    let Some(first) = diagnosis.contradictions.first() else { return String::new() };
    let contradictions = &diagnosis.contradictions;
    let layout = diagnosis.servers_layout.unwrap_or(Layout::CompressedTensors);
    let others = match contradictions.len() - 1 {
        0 => String::new(),
        others => format!("and {} of other layers\n", counted(others, "contradiction")),
    };
    format!(
        "\n{}{others}with the model's own `config.json` beside it, `roundwise migrate --to {layout}` writes what it says of codes anew",
        describe_defect("beside the file", first)
    )
}

fn describe_defect(verdict: &str, defect: &Defect) -> String {
    let subject = match defect.layer.as_str() {
        "" => "the file".to_owned(),
        layer => format!("`{}`", plain(layer)),
    };
    let problem = plain(&defect.problem);
    format!("{verdict}: {subject} {problem}\n  breaks {}\n", defect.breaks)
}
