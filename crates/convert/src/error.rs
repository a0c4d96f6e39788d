use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

use roundwise_compute::ComputeError;
use roundwise_layout::{Defect, Layout, LayoutError};
use roundwise_rounding::RoundingError;
use roundwise_stats::{StatsError, StatsErrorKind};
use roundwise_tensor_file::{TensorFileError, TensorFileErrorKind};

use crate::model::TranslationError;
use crate::recipe::text::sized;
use crate::recipe::{Command, Complaint, PlainDtype, RecipeError, Setting, Text};

/// Why a conversion did not happen. No output has appeared, unless the file's own error says so
/// ([`FolderNotSynced`](TensorFileErrorKind::FolderNotSynced)).
///
/// Displayed, it is [`ConvertError::text`] with the library's names for settings.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConvertError {
    /// A file could not be read or written.
    File(TensorFileError),
    /// A layer could not be packed or unpacked.
    Layout {
        /// The file.
        path: PathBuf,
        /// The error of the layout.
        source: LayoutError,
    },
    /// A weight could not be rounded.
    Rounding {
        /// The file.
        path: PathBuf,
        /// The weight.
        tensor: String,
        /// The error of the rounding.
        source: RoundingError,
    },
    /// The device that was asked for cannot be used.
    Device(ComputeError),
    /// Statistics of inputs could not be read, or are of another model.
    Statistics(StatsError),
    /// The recipe is wrong by itself.
    Recipe(RecipeError),
    /// The job does not fit a file.
    Misfit {
        /// The file.
        path: PathBuf,
        /// The misfits, with advice; at least one.
        complaints: Vec<Complaint>,
    },
    /// Names of another dialect cannot be translated into the model's own.
    Names {
        /// The file.
        path: PathBuf,
        /// Which tensor, and why.
        problem: Box<TranslationError>,
    },
    /// No program that opens such a file reads codes in it.
    Refused {
        /// The file.
        path: PathBuf,
        /// The model that was recognised, or the preset that was asked for.
        title: String,
        /// Why it is refused.
        reason: String,
        /// Advice.
        way_out: Text,
    },
    /// Layers are quantized already in a way that cannot be decoded.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The layers, with their defects.
        defects: Vec<Defect>,
        /// Whether a repair makes all of them good.
        is_repairable: bool,
    },
    /// A file of statistics stands where a model is meant.
    IsStatistics {
        /// The file.
        path: PathBuf,
    },
    /// No weight of the file is to be converted.
    NothingToConvert {
        /// The file.
        path: PathBuf,
        /// Reasons for which tensors are kept, with their number.
        reasons: Text,
    },
    /// The job is about codes, and the file has none.
    NothingInCodes {
        /// The file.
        path: PathBuf,
        /// Types of its blocks of GGUF, which no layout has a place for.
        blocks: Vec<&'static str>,
    },
    /// Layers have no place in a layout as they are.
    Immovable {
        /// The file.
        path: PathBuf,
        /// The layout that was asked for.
        layout: Layout,
        /// The layers, each with the obstacle.
        layers: Vec<(String, String)>,
    },
    /// The file has no defect that `repair` knows.
    NothingToRepair {
        /// The file.
        path: PathBuf,
    },
    /// The output would be taken for another model than the input.
    OtherModel {
        /// The output.
        path: PathBuf,
        /// The model in the input.
        before: String,
        /// The model that would be recognised in the output.
        after: String,
    },
    /// The output would replace an input.
    OutputIsInput {
        /// The file.
        path: PathBuf,
    },
    /// Two things would be written to one place.
    SamePlace {
        /// The place.
        path: PathBuf,
        /// The two contents that would be written there.
        contents: [String; 2],
    },
    /// A folder stands where a file is to be written.
    OutputIsFolder {
        /// The folder.
        path: PathBuf,
        /// The content that would be written.
        content: String,
    },
    /// A file stands where one is to be written.
    OutputExists {
        /// The file.
        path: PathBuf,
    },
    /// A folder for shards holds something already.
    FolderNotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The folder of an output is not there.
    NoFolder {
        /// The output.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// The written output differs from the computed one, so it does not get its name.
    WrongOutput {
        /// The unfinished file.
        path: PathBuf,
        /// The weight.
        tensor: String,
        /// The found and the expected value.
        problem: String,
    },
    /// The unfinished output of an earlier run belongs to another job.
    OtherRun {
        /// The unfinished file.
        path: PathBuf,
        /// The differences between the two jobs.
        differences: Vec<Text>,
    },
    /// Something went wrong, or the watcher asked to stop, after some tensors were finished.
    Unfinished {
        /// The error that ended the work.
        source: Box<ConvertError>,
        /// Tensors that are finished.
        finished: usize,
        /// Tensors of the input.
        tensors: usize,
        /// Where they lie.
        paths: Vec<PathBuf>,
    },
    /// Measuring ended after some layers, which are kept.
    MeasuringEnded {
        /// The error that ended the work.
        source: Box<ConvertError>,
        /// Layers that were measured.
        measured: usize,
        /// Layers that were to be.
        layers: usize,
        /// The file that keeps them.
        path: PathBuf,
    },
    /// Jobs that are to be done together differ in more than outputs, schemes and layouts.
    Apart {
        /// Output of one of them.
        path: PathBuf,
    },
    /// The parts of a model do not belong together.
    Parts {
        /// One of the parts.
        path: PathBuf,
        /// The problem with it.
        problem: String,
    },
    /// The work does not fit the memory that it may take.
    MemoryLimit {
        /// The input.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are allowed.
        limit: u64,
        /// Whether it is the method that keeps weights from being worked on by bands of rows.
        holds_weights_whole: bool,
    },
    /// The watcher asked to stop.
    Stopped,
}

impl ConvertError {
    /// Says that something does not fit a file.
    pub fn misfit(path: impl Into<PathBuf>, problem: impl Into<Text>) -> Self {
        Self::Misfit { path: path.into(), complaints: vec![Complaint::of_all(problem)] }
    }

    /// Returns the name of the kind of error, which stays what it is while messages change.
    pub fn kind(&self) -> &'static str {
        match self {
            ConvertError::File(_) => "file",
            ConvertError::Layout { .. } => "layout",
            ConvertError::Rounding { .. } => "rounding",
            ConvertError::Device(_) => "device",
            ConvertError::Statistics(_) => "statistics",
            ConvertError::Recipe(_) => "recipe",
            ConvertError::Misfit { .. } => "misfit",
            ConvertError::Names { .. } => "names",
            ConvertError::Refused { .. } => "refused",
            ConvertError::Unreadable { .. } => "unreadable",
            ConvertError::IsStatistics { .. } => "is_statistics",
            ConvertError::NothingToConvert { .. } => "nothing_to_convert",
            ConvertError::NothingInCodes { .. } => "nothing_in_codes",
            ConvertError::Immovable { .. } => "immovable",
            ConvertError::NothingToRepair { .. } => "nothing_to_repair",
            ConvertError::OtherModel { .. } => "other_model",
            ConvertError::OutputIsInput { .. } => "output_is_input",
            ConvertError::SamePlace { .. } => "same_place",
            ConvertError::OutputIsFolder { .. } => "output_is_folder",
            ConvertError::OutputExists { .. } => "output_exists",
            ConvertError::FolderNotEmpty { .. } => "folder_not_empty",
            ConvertError::NoFolder { .. } => "no_folder",
            ConvertError::WrongOutput { .. } => "wrong_output",
            ConvertError::OtherRun { .. } => "other_run",
            ConvertError::Unfinished { .. } => "unfinished",
            ConvertError::MeasuringEnded { .. } => "measuring_ended",
            ConvertError::Apart { .. } => "apart",
            ConvertError::Parts { .. } => "parts",
            ConvertError::MemoryLimit { .. } => "memory_limit",
            ConvertError::Stopped => "stopped",
        }
    }

    /// Returns the message, the settings that it names apart from the words around them:
    /// [`ConvertError::problem`], and where something helps [`ConvertError::help`] on a line of its own,
    /// indented by two.
    pub fn text(&self) -> Text {
        match self.help() {
            Some(help) => self.problem() + "\n  " + help,
            None => self.problem(),
        }
    }

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
            ConvertError::NothingInCodes { path, blocks } if blocks.is_empty() => {
                at(path) + "nothing is in codes: every tensor holds plain numbers already"
            }
            ConvertError::NothingInCodes { path, blocks } => {
                let blocks = blocks.join(", ");
                at(path)
                    + format!("holds blocks of GGUF ({blocks}), which no layout has a place for")
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

    /// Returns a way out, where there is one that the problem does not name: settings to change, and
    /// commands.
    pub fn help(&self) -> Option<Text> {
        let named = |key: &str| Setting::new(key).quoted();
        Some(match self {
            ConvertError::File(error) => return help_of_file(error),
            ConvertError::Statistics(error) => return help_of_statistics(error),
            ConvertError::Names { path, problem } if problem.is_about_codes() => {
                let dtype = problem.dtype_of_numbers().map(|it| PlainDtype::of_numbers(Some(it)));
                let input = path.as_path().into();
                let two_steps = Command::DequantizeThenConvert { input, dtype };
                Text::from("it takes two steps: ") + two_steps
            }
            ConvertError::Names { .. } => {
                Text::from("`")
                    + Setting::new("names")
                    + " keep` with scheme `bf16` or `fp16` leaves the names as they are; codes need \
                       the model's own"
            }
            ConvertError::Refused { way_out, .. } => way_out.clone(),
            ConvertError::Unreadable { is_repairable: true, .. } => {
                Text::from(Command::Repair) + " repairs it"
            }
            ConvertError::Unreadable { is_repairable: false, .. } => {
                "no repair is known: start from the original weights".into()
            }
            ConvertError::IsStatistics { path } => {
                Text::from("convert the model with ")
                    + Setting::new("statistics")
                    + format!(" {} to use them; ", path.display())
                    + Command::ShowStatistics
                    + " lists them"
            }
            ConvertError::NothingInCodes { blocks, .. } => {
                let into_codes = Text::from(Command::Convert) + " turns them into codes";
                match blocks.is_empty() {
                    true => into_codes,
                    false => into_codes + ", " + Command::Dequantize + " into plain numbers",
                }
            }
            ConvertError::Immovable { .. } => {
                Text::from(Command::Convert)
                    + " rounds anew, "
                    + Command::Dequantize
                    + " gives plain numbers"
            }
            ConvertError::OtherModel { .. } => {
                Text::from("keep the layers that it looks at (")
                    + named("keep")
                    + "), and report this as a bug"
            }
            ConvertError::OutputIsInput { .. } => {
                Text::from("name another output (") + named("output") + ")"
            }
            ConvertError::OutputIsFolder { content, .. } => {
                format!("name a file for {content}").into()
            }
            ConvertError::OutputExists { .. } => {
                Text::from("name another file, or ") + named("overwrite") + " to replace it"
            }
            ConvertError::FolderNotEmpty { .. } => {
                "shards are written into a new folder; name another, or remove this one".into()
            }
            ConvertError::NoFolder { .. } => "create it first".into(),
            ConvertError::WrongOutput { .. } => {
                Text::from("this is a bug, or memory or disk are failing; ")
                    + named("starts_over")
                    + " starts over, "
                    + named("verifies")
                    + " decides whether the output is read again at all"
            }
            ConvertError::OtherRun { .. } => {
                Text::from("the former input and settings continue it; ")
                    + named("starts_over")
                    + " starts over without it"
            }
            ConvertError::Unfinished { .. } => {
                Text::from(Command::Again)
                    + " continues; with "
                    + named("starts_over")
                    + " it starts over\n  to give it up, remove that and the `.journal` beside it"
            }
            ConvertError::MeasuringEnded { .. } => Text::from(Command::Again) + " continues",
            ConvertError::Parts { .. } => {
                Text::from("conversions with ")
                    + named("part")
                    + " 1/N to N/N, by one version, of one input, by one recipe, make parts that do"
            }
            ConvertError::MemoryLimit { holds_weights_whole: false, .. } => {
                named("limits.memory_bytes") + " cannot be lower than that"
            }
            ConvertError::MemoryLimit { holds_weights_whole: true, .. } => {
                Text::from("learned rounding holds a weight whole; nearest rounding, without ")
                    + named("method")
                    + " and "
                    + named("statistics")
                    + ", takes it by bands of rows"
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

    /// Returns what is wrong setting by setting, for front ends that show it beside each.
    pub fn complaints(&self) -> &[Complaint] {
        match self {
            ConvertError::Recipe(error) => &error.complaints,
            ConvertError::Misfit { complaints, .. } => complaints,
            _ => &[],
        }
    }

    /// Returns the error without what is left behind.
    pub fn cause(&self) -> &ConvertError {
        match self {
            ConvertError::Unfinished { source, .. }
            | ConvertError::MeasuringEnded { source, .. } => (**source).cause(),
            other => other,
        }
    }
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

impl Error for ConvertError {
    /// Returns what lies behind the error, unless its text is the error's own.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ConvertError::File(error) => error.source(),
            ConvertError::Device(error) => error.source(),
            ConvertError::Statistics(error) => error.source(),
            ConvertError::Layout { source, .. } => Some(source),
            ConvertError::Rounding { source, .. } => Some(source),
            ConvertError::Unfinished { source, .. }
            | ConvertError::MeasuringEnded { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<TensorFileError> for ConvertError {
    fn from(error: TensorFileError) -> Self {
        Self::File(error)
    }
}

impl From<ComputeError> for ConvertError {
    fn from(error: ComputeError) -> Self {
        Self::Device(error)
    }
}

impl From<StatsError> for ConvertError {
    fn from(error: StatsError) -> Self {
        Self::Statistics(error)
    }
}

impl From<RecipeError> for ConvertError {
    fn from(error: RecipeError) -> Self {
        Self::Recipe(error)
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

/// The file's own help, with settings and commands in it.
fn help_of_file(error: &TensorFileError) -> Option<Text> {
    match error.kind() {
        TensorFileErrorKind::UnfinishedChanged => {
            Some(Setting::new("starts_over").quoted() + " starts over")
        }
        TensorFileErrorKind::TrailingBytes { .. } => {
            Some(Text::from(Command::Repair) + " writes the file without them")
        }
        TensorFileErrorKind::MetadataValue { .. } => {
            Some(Text::from(Command::Repair) + " makes it a string")
        }
        TensorFileErrorKind::PartDtype { .. } => Some(
            Text::from("layers that are joined need one dtype: `")
                + Setting::new("names")
                + " keep` with scheme `bf16` makes a file of one, whose names are translated then",
        ),
        TensorFileErrorKind::Exists => {
            let overwrite = Setting::new("overwrite").quoted();
            Some(Text::from("name another file, or ") + overwrite + " to replace it")
        }
        _ => error.help().map(Text::from),
    }
}

fn help_of_statistics(error: &StatsError) -> Option<Text> {
    match error.kind() {
        StatsErrorKind::File(error) => help_of_file(error),
        StatsErrorKind::AnotherModel { .. } => {
            let partly = Setting::new("statistics.allow_partial").quoted();
            let collect = "collect them from this model, or go on with the layers that fit (";
            Some(Text::from(collect) + partly + ")")
        }
        _ => error.help().map(Text::from),
    }
}

/// Names a few layers in full, and how many more there are.
fn list_immovable(layout: Layout, layers: &[(String, String)]) -> String {
    const SHOWN: usize = 5;
    let subject = match layers.len() {
        1 => "1 layer cannot".to_owned(),
        count => format!("{count} layers cannot"),
    };
    let mut lines = vec![format!("{subject} go to layout `{layout}` as they are")];
    let shown = layers.iter().take(SHOWN);
    lines.extend(
        shown.map(|(layer, problem)| format!("  `{layer}`: {}", problem.replace('\n', "\n  "))),
    );
    if layers.len() > SHOWN {
        lines.push(format!("  and {} more", layers.len() - SHOWN));
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
