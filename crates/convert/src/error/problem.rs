//! What is wrong, in a sentence for every error.

use std::path::Path;

use roundwise_layout::{Defect, Layout};

use crate::error::ConvertError;
use crate::recipe::text::sized;
use crate::recipe::{Command, Text};

impl ConvertError {
    /// Returns what is wrong, the file first.
    pub fn problem(&self) -> Text {
        match self {
            ConvertError::File(error) => error.problem().into(),
            ConvertError::Layout { path, source } => at(path) + source.to_string(),
            ConvertError::Rounding { path, tensor, source } => {
                at(path) + format!("tensor `{tensor}`: {source}")
            }
            ConvertError::Device(error) => error.to_string().into(),
            ConvertError::Statistics(error) => error.problem().into(),
            ConvertError::Recipe(error) => error.text(),
            ConvertError::Misfit { path, complaints } => {
                at(path) + Text::lines(complaints.iter().map(|it| it.problem.clone()))
            }
            ConvertError::Names { path, problem } => at(path) + problem.to_string(),
            ConvertError::Refused { path, title, reason, .. } => {
                at(path) + format!("not converted: {title}\n  {reason}")
            }
            ConvertError::Unreadable { path, defects, .. } => at(path) + list_defects(defects),
            ConvertError::IsStatistics { path } => {
                at(path) + "holds statistics of a model's inputs, not a model"
            }
            ConvertError::NothingToConvert { path, reasons } => {
                at(path) + "nothing to convert\n  " + reasons.clone()
            }
            ConvertError::NothingInCodes { path, blocks, unscaled } => {
                at(path) + nothing_in_codes(blocks, *unscaled)
            }
            ConvertError::Immovable { path, layout, layers } => {
                at(path) + list_immovable(*layout, layers)
            }
            ConvertError::NothingToRepair { path } => at(path) + "nothing to repair",
            ConvertError::OtherModel { path, before, after } => {
                at(path)
                    + format!("would be recognised as {after}, the input is {before}\n  ")
                    + "a loader would build the wrong model"
            }
            ConvertError::OutputIsInput { path } => {
                at(path) + "this is an input, which an output here would replace"
            }
            ConvertError::SamePlace { path, contents: [first, second] } => {
                format!("{first} and {second} would both become {}", path.display()).into()
            }
            ConvertError::UnfitName { path, is_folder: true } => {
                at(path) + "the output is a folder, and this is the name of a file"
            }
            ConvertError::UnfitName { path, .. } => {
                at(path) + "outputs are safetensors, whatever their name"
            }
            ConvertError::OutputIsFolder { path, .. } => at(path) + "is a folder",
            ConvertError::OutputExists { path } | ConvertError::FolderNotEmpty { path } => {
                at(path) + "exists already"
            }
            ConvertError::NoFolder { path, folder } => {
                at(path) + format!("there is no folder {}", folder.display())
            }
            ConvertError::WrongOutput { path, tensor, problem } => {
                at(path) + format!("tensor `{tensor}`: {problem}")
            }
            ConvertError::OtherRun { path, differences } => {
                let differences = Text::joined(differences.iter().cloned(), "\n  ");
                at(path) + "is the unfinished output of another run\n  " + differences
            }
            ConvertError::Unfinished { source, finished, tensors, paths } => {
                let source = ended(source);
                let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
                let paths = paths.join(" and ");
                source + format!("\n  {finished} of {tensors} tensors are finished, in {paths}")
            }
            ConvertError::MeasuringEnded { source, measured, layers, path } => {
                let kept = format!("{measured} of {layers} layers are measured, and kept in");
                ended(source) + format!("\n  {kept} {}", path.display())
            }
            ConvertError::Apart { path } => {
                at(path)
                    + "cannot be made together with the others, from which it differs in more than \
                       scheme and layout"
            }
            ConvertError::Parts { path, problem } => at(path) + problem.as_str(),
            ConvertError::MemoryLimit { path, needed, limit, .. } => {
                // Rounded up, so that the number that is shown is enough as a limit.
                let needed = needed.div_ceil(1 << 20);
                let limit = sized(*limit);
                at(path) + format!("needs {needed} MiB of memory at least, {limit} are allowed")
            }
            ConvertError::Stopped => "stopped; nothing was written".into(),
        }
    }
}

/// Returns the text of what ended work of which something is kept.
fn ended(source: &ConvertError) -> Text {
    match source {
        // Not its own text, which says that nothing was written.
        ConvertError::Stopped => "stopped".into(),
        source => source.text(),
    }
}

fn at(path: &Path) -> Text {
    format!("{}: ", path.display()).into()
}

/// Says why nothing of a file moves to another layout or becomes plain numbers.
fn nothing_in_codes(blocks: &[&str], unscaled: usize) -> String {
    match (blocks, unscaled) {
        ([], 0) => "nothing is in codes: every tensor holds plain numbers already".to_owned(),
        ([], 1) => "one weight is in codes without scales, which stay in every layout".to_owned(),
        ([], _) => {
            format!("{unscaled} weights are in codes without scales, which stay in every layout")
        }
        (blocks, _) => {
            format!("holds blocks of GGUF ({}), which no layout has a place for", blocks.join(", "))
        }
    }
}

/// Names each problem once, with the first of its layers, and how many more problems there are.
fn list_immovable(layout: Layout, layers: &[(String, String)]) -> String {
    const SHOWN: usize = 5;
    let subject = match layers.len() {
        1 => "1 layer cannot".to_owned(),
        count => format!("{count} layers cannot"),
    };
    let mut lines = vec![format!("{subject} go to layout `{layout}` as they are")];
    // In the order in which they are first met.
    let mut problems: Vec<(&str, Vec<&str>)> = vec![];
    for (layer, problem) in layers {
        match problems.iter_mut().find(|(known, _)| known == problem) {
            Some((_, layers)) => layers.push(layer),
            None => problems.push((problem, vec![layer])),
        }
    }
    lines.extend(problems.iter().take(SHOWN).map(|(problem, layers)| {
        let others = match layers.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        format!("  `{}`{others}: {}", layers[0], problem.replace('\n', "\n  "))
    }));
    if problems.len() > SHOWN {
        let (others, s) =
            (problems.len() - SHOWN, if problems.len() == SHOWN + 1 { "" } else { "s" });
        lines.push(format!("  and {others} other problem{s}"));
    }
    lines.join("\n")
}

/// Names a few defects in full, and how many more there are.
fn list_defects(defects: &[Defect]) -> Text {
    const SHOWN: usize = 5;
    let mut lines = vec![format!(
        "{} already quantized in a way that cannot be decoded",
        if defects.len() == 1 {
            "1 layer is".into()
        } else {
            format!("{} layers are", defects.len())
        }
    )];
    lines.extend(defects.iter().take(SHOWN).map(|defect| {
        let layer = if defect.layer.is_empty() { "header" } else { &defect.layer };
        format!("  `{layer}` {}", defect.problem)
    }));
    let list = Text::from(lines.join("\n"));
    match defects.len().checked_sub(SHOWN) {
        None | Some(0) => list,
        Some(more) => list + format!("\n  and {more} more (") + Command::Inspect + " lists all)",
    }
}
