mod help;
mod problem;

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use roundwise_compute::ComputeError;
use roundwise_layout::{Defect, Layout, LayoutError};
use roundwise_rounding::RoundingError;
use roundwise_stats::StatsError;
use roundwise_tensor_file::TensorFileError;

use crate::model::TranslationError;
use crate::recipe::{Complaint, RecipeError, Text};

/// Why a conversion did not happen. No output has appeared, unless the file's own error says so
/// ([`FolderNotSynced`](roundwise_tensor_file::TensorFileErrorKind::FolderNotSynced)).
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
        /// Number of its weights in codes without scales, which no layout moves.
        unscaled: usize,
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
    /// The name of an output is not that of what is written.
    UnfitName {
        /// The name.
        path: PathBuf,
        /// Whether a folder is written; otherwise a file of weights.
        is_folder: bool,
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
            ConvertError::UnfitName { .. } => "unfit_name",
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
