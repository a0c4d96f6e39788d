//! Checks of the places that files are written to, before any work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use roundwise_tensor_file::{
    Overwrite, check_writable, ending_of_weights, is_vacant, name_one_file,
};

use crate::error::ConvertError;
use crate::run::job::Job;
use crate::source::Source;

/// A file, or a folder of shards, that is going to be written.
#[derive(Clone, Debug)]
pub struct Target {
    content: String,
    path: PathBuf,
    overwrite: Overwrite,
    kind: TargetKind,
}

/// What a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TargetKind {
    /// A file of weights.
    Weights,
    /// A folder with weights and what lies beside them.
    Folder,
    /// Another file, such as a report.
    Other,
}

/// Ending of the name of a file of weights that is written.
const ENDING: &str = ".safetensors";

impl Target {
    /// Describes the output of a job.
    ///
    /// - `content`: what messages call it, such as `the output`
    pub fn output(job: &Job, content: impl Into<String>) -> Self {
        let kind = match job.output_limits().shard_bytes {
            Some(_) => TargetKind::Folder,
            None => TargetKind::Weights,
        };
        Self { kind, ..Self::file(&job.output, content, job.overwrite) }
    }

    /// Describes a file that is written beside outputs, such as a report.
    ///
    /// - `content`: what messages call it, such as `the report`
    pub fn file(
        path: impl Into<PathBuf>,
        content: impl Into<String>,
        overwrite: Overwrite,
    ) -> Self {
        Self { content: content.into(), path: path.into(), overwrite, kind: TargetKind::Other }
    }

    /// Checks that it can be written where it is to be.
    ///
    /// A folder that does not exist yet is no obstacle; [`Target::check_folder`] asks for it.
    ///
    /// # Errors
    /// [`ConvertError::UnfitName`], [`ConvertError::OutputIsFolder`], [`ConvertError::OutputExists`] and
    /// [`ConvertError::FolderNotEmpty`] for what is there already; [`ConvertError::File`] where no file
    /// can be made.
    pub fn check(&self) -> Result<(), ConvertError> {
        let path = || self.path.clone();
        let is_folder = self.kind == TargetKind::Folder;
        if is_folder && !is_vacant(&self.path) {
            // Nobody knows what else is in a folder, so that none is ever replaced.
            return Err(ConvertError::FolderNotEmpty { path: path() });
        }
        if !is_folder && self.path.is_dir() {
            let content = self.content.clone();
            return Err(ConvertError::OutputIsFolder { path: path(), content });
        }
        self.check_name()?;
        // A file is known by its name, so that somebody may want it replaced.
        let is_there = || self.path.symlink_metadata().is_ok();
        if !is_folder && self.overwrite == Overwrite::Refuse && is_there() {
            return Err(ConvertError::OutputExists { path: path() });
        }
        Ok(check_writable(&self.path)?)
    }

    /// Checks that its name says what is written: programs choose their reader by it.
    ///
    /// # Errors
    /// [`ConvertError::UnfitName`].
    pub fn check_name(&self) -> Result<(), ConvertError> {
        let ending = ending_of_weights(&self.path);
        let is_fit = match self.kind {
            TargetKind::Weights => ending.is_none_or(|ending| ending == ENDING),
            TargetKind::Folder => ending.is_none(),
            TargetKind::Other => true,
        };
        let (path, is_folder) = (self.path.clone(), self.kind == TargetKind::Folder);
        if is_fit { Ok(()) } else { Err(ConvertError::UnfitName { path, is_folder }) }
    }

    /// Checks that the folder that it is to lie in is there: one inside a name may be a slip.
    ///
    /// # Errors
    /// [`ConvertError::NoFolder`].
    pub fn check_folder(&self) -> Result<(), ConvertError> {
        match place_of(&self.path).parent() {
            // A path without a name, such as `.`, has no folder: it is one.
            Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
                let (path, folder) = (self.path.clone(), folder.to_owned());
                Err(ConvertError::NoFolder { path, folder })
            }
            _ => Ok(()),
        }
    }
}

/// Checks that no target lands on another one, or on a file of an input.
///
/// - `inputs`: of all jobs, and whatever else they read; one that cannot be opened says so when its turn comes
///
/// # Errors
/// [`ConvertError::SamePlace`], [`ConvertError::OutputIsInput`].
pub fn check_apart(targets: &[Target], inputs: &[PathBuf]) -> Result<(), ConvertError> {
    let mut places = BTreeMap::<PathBuf, &Target>::new();
    for target in targets {
        if let Some(other) = places.insert(place_of(&target.path), target) {
            return Err(ConvertError::SamePlace {
                path: target.path.clone(),
                contents: [other, target].map(|target| target.content.clone()),
            });
        }
    }
    // Inputs are opened only where it matters: what is not there yet is no file of an input.
    let existing: Vec<&Target> = targets.iter().filter(|target| target.path.exists()).collect();
    if existing.is_empty() {
        return Ok(());
    }
    // By the open files, as `Prepared::new` compares them: links lead past names.
    for target in &existing {
        if inputs.iter().any(|input| name_one_file(input, &target.path)) {
            return Err(ConvertError::OutputIsInput { path: target.path.clone() });
        }
    }
    // A folder or an index stands for its files.
    for source in inputs.iter().filter_map(|input| Source::open(input).ok()) {
        let replaced = existing.iter().find(|target| source.checkpoint.same_file_as(&target.path));
        if let Some(target) = replaced {
            return Err(ConvertError::OutputIsInput { path: target.path.clone() });
        }
    }
    Ok(())
}

/// Returns the path with its folder in one spelling; the file need not exist.
fn place_of(path: &Path) -> PathBuf {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Only the folder: the file need not exist, and where it is a link, that link is what a rename
    // replaces.
    match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}
