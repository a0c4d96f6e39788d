//! The way out of every error that has one.

use std::path::Path;

use roundwise_stats::{StatsError, StatsErrorKind};
use roundwise_tensor_file::{TensorFileError, TensorFileErrorKind};

use crate::error::ConvertError;
use crate::model::TranslationError;
use crate::recipe::{Command, PlainDtype, Setting, Text};

impl ConvertError {
    /// Returns a way out, where there is one that the problem does not name: settings to change, and
    /// commands.
    pub fn help(&self) -> Option<Text> {
        Some(match self {
            ConvertError::File(error) => return file(error),
            ConvertError::Statistics(error) => return statistics(error),
            ConvertError::Names { path, problem } => names(path, problem),
            ConvertError::Refused { way_out, .. } => way_out.clone(),
            ConvertError::Unreadable { is_repairable, .. } => unreadable(*is_repairable),
            ConvertError::IsStatistics { path } => is_statistics(path),
            ConvertError::NothingInCodes { blocks, unscaled, .. } => {
                nothing_in_codes(!blocks.is_empty(), *unscaled > 0)
            }
            ConvertError::Immovable { .. } => immovable(),
            ConvertError::OtherModel { .. } => other_model(),
            ConvertError::OutputIsInput { .. } => {
                Text::from("name another output (") + named("output") + ")"
            }
            ConvertError::UnfitName { is_folder: true, .. } => "name a folder".into(),
            ConvertError::UnfitName { path, .. } => {
                format!("name {}", path.with_extension("safetensors").display()).into()
            }
            ConvertError::OutputIsFolder { content, .. } => {
                format!("name a file for {content}").into()
            }
            ConvertError::OutputExists { .. } => output_exists(),
            ConvertError::FolderNotEmpty { .. } => {
                "the output is a folder, which is made anew; name another, or remove this one"
                    .into()
            }
            ConvertError::NoFolder { .. } => "create it first".into(),
            ConvertError::WrongOutput { .. } => wrong_output(),
            ConvertError::OtherRun { .. } => {
                Text::from("the former input and settings continue it; ")
                    + starts_over()
                    + " without it"
            }
            ConvertError::Unfinished { source, .. } => unfinished(source),
            ConvertError::MeasuringEnded { .. } => continues(),
            ConvertError::Parts { .. } => parts(),
            ConvertError::MemoryLimit { holds_weights_whole, .. } => {
                memory_limit(*holds_weights_whole)
            }
            ConvertError::Layout { .. }
            | ConvertError::Rounding { .. }
            | ConvertError::Device(_)
            | ConvertError::Recipe(_)
            | ConvertError::Misfit { .. }
            | ConvertError::NothingToConvert { .. }
            | ConvertError::NothingToRepair { .. }
            | ConvertError::SamePlace { .. }
            | ConvertError::Apart { .. }
            | ConvertError::Stopped => return None,
        })
    }
}

/// Returns the help of a file's own error, which knows no settings and no commands.
fn file(error: &TensorFileError) -> Option<Text> {
    Some(match error.kind() {
        TensorFileErrorKind::UnfinishedChanged => starts_over(),
        TensorFileErrorKind::TrailingBytes { .. } => {
            Text::from(Command::Repair) + " writes the file without them"
        }
        TensorFileErrorKind::MetadataValue { .. } => {
            Text::from(Command::Repair) + " makes it a string"
        }
        TensorFileErrorKind::PartDtype { .. } => {
            Text::from("layers that are joined need one dtype: `")
                + Setting::new("names")
                + " keep` with scheme `bf16` makes a file of one, whose names are translated then"
        }
        TensorFileErrorKind::Exists => output_exists(),
        _ => return error.help().map(Text::from),
    })
}

fn statistics(error: &StatsError) -> Option<Text> {
    match error.kind() {
        StatsErrorKind::File(error) => file(error),
        StatsErrorKind::AnotherModel { .. } => {
            let collect = "collect them from this model, or go on with the layers that fit (";
            Some(Text::from(collect) + named("statistics.allow_partial") + ")")
        }
        _ => error.help().map(Text::from),
    }
}

fn names(path: &Path, problem: &TranslationError) -> Text {
    if problem.is_about_codes() {
        let dtype = problem.dtype_of_numbers().map(|it| PlainDtype::of_numbers(Some(it)));
        let two_steps = Command::DequantizeThenConvert { input: path.into(), dtype };
        return Text::from("it takes two steps: ") + two_steps;
    }
    Text::from("`")
        + Setting::new("names")
        + " keep` with scheme `bf16` or `fp16` leaves the names as they are; codes need the model's own"
}

fn unreadable(is_repairable: bool) -> Text {
    match is_repairable {
        true => Text::from(Command::Repair) + " repairs it",
        false => "no repair is known: start from the original weights".into(),
    }
}

fn is_statistics(path: &Path) -> Text {
    Text::from("convert the model with ")
        + Setting::new("statistics")
        + format!(" {} to use them; ", path.display())
        + Command::ShowStatistics
        + " lists them"
}

fn nothing_in_codes(has_blocks: bool, has_unscaled: bool) -> Text {
    match (has_blocks, has_unscaled) {
        (false, true) => {
            Text::from(Command::Convert) + " keeps such codes, and gives them scales and markers"
        }
        (false, false) => Text::from(Command::Convert) + " turns them into codes",
        (true, _) => {
            let into_codes = Text::from(Command::Convert) + " turns them into codes, ";
            into_codes + Command::Dequantize + " into plain numbers"
        }
    }
}

fn immovable() -> Text {
    Text::from(Command::Convert) + " rounds anew, " + Command::Dequantize + " gives plain numbers"
}

fn other_model() -> Text {
    Text::from("keep the layers that it looks at (") + named("keep") + "), and report this as a bug"
}

fn output_exists() -> Text {
    Text::from("name another file, or ") + named("overwrite") + " to replace it"
}

fn wrong_output() -> Text {
    Text::from("this is a bug, or memory or disk are failing; ")
        + starts_over()
        + ", "
        + named("verifies")
        + " decides whether the output is read again at all"
}

fn unfinished(why: &ConvertError) -> Text {
    const GIVE_UP: &str = "to give it up, remove that and the `.journal` beside it";
    match why {
        // What is wrong with the input or an adapter would end it again.
        ConvertError::Misfit { .. }
        | ConvertError::Layout { .. }
        | ConvertError::Rounding { .. } => {
            Text::from(Command::Again) + " would end here again\n  " + GIVE_UP
        }
        _ => continues() + "; with " + named("starts_over") + " it starts over\n  " + GIVE_UP,
    }
}

fn parts() -> Text {
    Text::from("conversions with ")
        + named("part")
        + " 1/N to N/N, by one version, of one input, by one recipe, make parts that do"
}

fn memory_limit(holds_weights_whole: bool) -> Text {
    match holds_weights_whole {
        false => named("limits.memory_bytes") + " cannot be lower than that",
        true => {
            Text::from("learned rounding holds a weight whole; nearest rounding, without ")
                + named("method")
                + " and "
                + named("statistics")
                + ", takes it by bands of rows"
        }
    }
}

fn continues() -> Text {
    Text::from(Command::Again) + " continues"
}

fn starts_over() -> Text {
    named("starts_over") + " starts over"
}

/// Names a setting in backticks.
fn named(key: &str) -> Text {
    Setting::new(key).quoted()
}
