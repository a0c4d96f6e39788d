use std::path::PathBuf;

use roundwise_compute::ComputeError;
use roundwise_layout::{Defect, Layout, LayoutError};
use roundwise_rounding::RoundingError;
use roundwise_stats::StatsError;
use roundwise_tensor_file::TensorFileError;

use crate::recipe::{RecipeError, Setting, Text};

/// Why a conversion did not happen. No output has appeared, unless the file's own error says so
/// ([`FolderNotSynced`](roundwise_tensor_file::TensorFileErrorKind::FolderNotSynced)).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// A layer could not be packed or unpacked.
    #[error("{}: {source}", .path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// The error of the layout.
        source: LayoutError,
    },
    /// A weight could not be rounded.
    #[error("{}: tensor `{tensor}`: {source}", .path.display())]
    Rounding {
        /// The file.
        path: PathBuf,
        /// The weight.
        tensor: String,
        /// The error of the layout.
        source: RoundingError,
    },
    /// The device that was asked for cannot be used.
    #[error(transparent)]
    Device(#[from] ComputeError),
    /// Statistics of inputs could not be read, or are of another model.
    #[error(transparent)]
    Statistics(#[from] StatsError),
    /// The recipe is wrong by itself.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The recipe does not fit this file.
    #[error("{}: {problem}", .path.display())]
    Misfit {
        /// The file.
        path: PathBuf,
        /// Which part does not fit, and what helps.
        problem: String,
    },
    /// Whoever opens such a file has no path for codes.
    #[error("{}: {title} is not converted\n  {reason}\n  {way_out}; `--as KIND` insists", .path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The model that was recognised, or the preset that was asked for.
        title: String,
        /// Why it is refused.
        reason: String,
        /// Advice.
        way_out: String,
    },
    /// Layers are quantized already in a way that cannot be decoded.
    #[error("{}: {}", .path.display(), list_defects(.defects))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The layers, with what is wrong.
        defects: Vec<Defect>,
    },
    /// A file of statistics stands where a model is meant.
    #[error(
        "{}: holds statistics of a model's inputs, not a model\n  `roundwise convert MODEL --stats {}` \
         uses them, `roundwise stats show` lists them",
        .path.display(), .path.display()
    )]
    IsStatistics {
        /// The file.
        path: PathBuf,
    },
    /// No weight of the file is to be converted.
    #[error("{}: nothing to convert\n  {reasons}", .path.display())]
    NothingToConvert {
        /// The file.
        path: PathBuf,
        /// Reasons for which tensors are kept, with their number.
        reasons: String,
    },
    /// Codes were to become something else, and there are none.
    #[error(
        "{}: nothing is in codes: every tensor holds plain numbers already\n  `roundwise convert` turns them into codes",
        .path.display()
    )]
    NothingInCodes {
        /// The file.
        path: PathBuf,
    },
    /// Layers have no place in a layout as they are.
    #[error("{}: {}", .path.display(), list_immovable(*.layout, .layers))]
    Immovable {
        /// The file.
        path: PathBuf,
        /// Where they were to go.
        layout: Layout,
        /// The layers, with what keeps each.
        layers: Vec<(String, String)>,
    },
    /// Nothing of what `repair` knows is wrong with the file.
    #[error("{}: nothing to repair", .path.display())]
    NothingToRepair {
        /// The file.
        path: PathBuf,
    },
    /// The output would be taken for another model than the input.
    #[error(
        "{}: would be recognised as {after}, the input is {before}\n  a loader would build the wrong \
         model; keep the layers that it looks at (`--keep`), and report this as a bug",
        .path.display()
    )]
    OtherModel {
        /// The output.
        path: PathBuf,
        /// The model in the input.
        before: String,
        /// The model that would be recognised in the output.
        after: String,
    },
    /// The output would replace an input.
    #[error("{}: this is an input, which an output here would replace\n  name another output (`-o`)", .path.display())]
    OutputIsInput {
        /// The file.
        path: PathBuf,
    },
    /// Two things would be written to one place.
    #[error("{} and {} would both become {}", .contents[0], .contents[1], .path.display())]
    SamePlace {
        /// The place.
        path: PathBuf,
        /// What would be written there.
        contents: [String; 2],
    },
    /// A folder stands where a file is to be written.
    #[error("{}: is a folder\n  name a file for {content}", .path.display())]
    OutputIsFolder {
        /// The folder.
        path: PathBuf,
        /// What would be written.
        content: String,
    },
    /// A file stands where one is to be written.
    #[error("{}", self.text())]
    OutputExists {
        /// The file.
        path: PathBuf,
    },
    /// A folder for shards holds something already.
    #[error(
        "{}: exists already\n  shards are written into a new folder; name another, or remove this one",
        .path.display()
    )]
    FolderNotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The folder of an output is not there.
    #[error("{}: there is no folder {}\n  create it first", .path.display(), .folder.display())]
    NoFolder {
        /// The output.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
    },
    /// The written output differs from the computed one, so it does not get its name.
    #[error(
        "{}: tensor `{tensor}`: {problem}\n  this is a bug, or memory or disk are failing; `--fresh` starts over, `--no-verify` takes it as it is",
        .path.display()
    )]
    WrongOutput {
        /// The unfinished file.
        path: PathBuf,
        /// The weight.
        tensor: String,
        /// What was found, and what was expected.
        problem: String,
    },
    /// The unfinished output of an earlier run belongs to another job.
    #[error("{}", self.text())]
    OtherRun {
        /// The unfinished file.
        path: PathBuf,
        /// The differences between the two jobs.
        differences: Vec<Text>,
    },
    /// Something went wrong, or the watcher asked to stop, after some tensors were finished.
    #[error(
        "{}\n  {finished} of {tensors} tensors are finished, in {}\n  the same command continues; with `--fresh` it starts over",
        cause(.source), listed(.paths)
    )]
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
    /// Jobs that are to be done together differ in more than outputs, schemes and layouts.
    #[error("{}: cannot be made together with the others, from which it differs in more than scheme and layout", .path.display())]
    Apart {
        /// Output of one of them.
        path: PathBuf,
    },
    /// The parts of a model do not belong together.
    #[error(
        "{}: {problem}\n  `convert … --part 1/N` to `N/N`, with one version, input and recipe, make parts that do",
        .path.display()
    )]
    Parts {
        /// One of the parts.
        path: PathBuf,
        /// The problem with it.
        problem: String,
    },
    /// The work does not fit the memory that it may take.
    #[error("{}: needs {} MiB of memory at least, {} are allowed\n  {help}", .path.display(), needed.div_ceil(1 << 20), limit >> 20)]
    MemoryLimit {
        /// The input.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are allowed.
        limit: u64,
        /// A way to need less.
        help: &'static str,
    },
    /// The watcher asked to stop.
    #[error("stopped; nothing was written")]
    Stopped,
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ")
}

fn cause(source: &ConvertError) -> String {
    match source {
        ConvertError::Stopped => "stopped".to_owned(),
        source => source.to_string(),
    }
}

impl ConvertError {
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
            ConvertError::Apart { .. } => "apart",
            ConvertError::Parts { .. } => "parts",
            ConvertError::MemoryLimit { .. } => "memory_limit",
            ConvertError::Stopped => "stopped",
        }
    }

    /// Returns the message, the settings that it names apart from the words around them.
    pub fn text(&self) -> Text {
        match self {
            ConvertError::Recipe(error) => error.text(),
            ConvertError::OutputExists { path } => {
                let exists =
                    format!("{}: exists already\n  name another file, or ", path.display());
                Text::from(exists) + Setting::new("overwrite").quoted() + " to replace it"
            }
            ConvertError::OtherRun { path, differences } => {
                let of_another =
                    format!("{}: is the unfinished output of another run\n  ", path.display());
                let help = "\n  the former command continues it; `--fresh` starts over without it";
                Text::from(of_another) + Text::joined(differences.iter().cloned(), "\n  ") + help
            }
            error => error.to_string().into(),
        }
    }

    /// The error without what is left behind.
    pub fn cause(&self) -> &ConvertError {
        match self {
            ConvertError::Unfinished { source, .. } => source.cause(),
            other => other,
        }
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
    lines.push(
        "  `roundwise convert` rounds anew, `roundwise dequantize` gives plain numbers".to_owned(),
    );
    lines.join("\n")
}

/// Names a few defects in full, and how many more there are.
fn list_defects(defects: &[Defect]) -> String {
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
    if defects.len() > SHOWN {
        lines.push(format!("  and {} more (`roundwise inspect` lists all)", defects.len() - SHOWN));
    }
    lines.push("  start from the original weights".to_owned());
    lines.join("\n")
}
