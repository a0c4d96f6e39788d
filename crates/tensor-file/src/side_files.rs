use std::path::{Path, PathBuf};

use crate::disk::{folder_of, open_regular};
use crate::locate::WEIGHT_ENDINGS;
use crate::{Checkpoint, TensorFileError, TensorFileErrorKind as Kind};

/// Endings of an index, and of weight files that are not read.
const OTHER_WEIGHTS: [&str; 5] = [".index.json", ".onnx", ".onnx_data", ".h5", ".msgpack"];

/// What lies beside a model that was downloaded and is no part of it.
const OF_DOWNLOADS: [&str; 5] = [".cache", ".git", ".gitattributes", ".gitignore", ".DS_Store"];

/// Longer files are no configuration or tokenizer.
const LIMIT_BYTES: u64 = 256 << 20;

impl Checkpoint {
    /// Lists the files in the checkpoint's folder beside its weights, sorted by name: configuration,
    /// tokenizer, licence. Hidden files and folders do not belong to it. Nothing for a checkpoint that
    /// is one file.
    ///
    /// # Errors
    /// [`Kind::LinkLeaves`] for a link to somewhere else, but for the `blobs` of a Hugging Face cache:
    /// the maker of a folder may not choose which of the user's files are copied.
    pub fn side_files(&self) -> Result<Vec<PathBuf>, TensorFileError> {
        let Some(folder) = self.folder() else { return Ok(vec![]) };
        let mut paths = vec![];
        for path in list(&folder)? {
            let name = name_of(&path);
            let mut weights = WEIGHT_ENDINGS.iter().chain(&OTHER_WEIGHTS);
            let is_weight = weights.any(|ending| name.ends_with(ending));
            if !is_weight && !self.passes_over(&path) {
                check(&folder, &path)?;
                paths.push(path);
            }
        }
        Ok(paths)
    }

    /// Lists the names of folders, hidden files and the description of an adapter in the checkpoint's folder, which
    /// [`Self::side_files`] passes over, sorted and without those that programs of Git and Hugging Face leave in every download.
    pub fn passed_over_beside(&self) -> Vec<String> {
        let paths = self.folder().and_then(|folder| list(&folder).ok()).unwrap_or_default();
        let names = paths.iter().filter(|path| self.passes_over(path)).map(|path| name_of(path));
        names.filter(|name| !OF_DOWNLOADS.contains(&name.as_str())).collect()
    }

    /// Returns whether something in the folder does not belong to the model: what is hidden, folders, with links to them,
    /// and the description of an adapter whose weights do not go along, for which programs would look.
    fn passes_over(&self, path: &Path) -> bool {
        let name = name_of(path);
        let is_adapter = |path: &Path| name_of(path).starts_with("adapter_model");
        let describes_other = name == "adapter_config.json"
            && !self.files().iter().any(|file| is_adapter(file.path()));
        name.starts_with('.') || path.is_dir() || describes_other
    }

    /// Tells whether it was opened as a single weight file, so that what lies beside it is not its own.
    pub fn is_lone_file(&self) -> bool {
        self.folder().is_none()
    }

    /// Returns the folder that holds nothing but this model.
    fn folder(&self) -> Option<PathBuf> {
        match self.path().is_dir() {
            true => Some(self.path().to_owned()),
            false => self.is_index().then(|| folder_of(self.path())),
        }
    }
}

/// Lists a folder, sorted by name.
fn list(folder: &Path) -> Result<Vec<PathBuf>, TensorFileError> {
    let failed = |error| Kind::io("list")(error).at(folder);
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    paths.sort();
    Ok(paths)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn check(folder: &Path, path: &Path) -> Result<(), TensorFileError> {
    // Compared after links are followed: a link in a downloaded folder may lead to any file of the
    // user's.
    let resolved =
        |path: &Path| path.canonicalize().map_err(|error| Kind::io("open")(error).at(path));
    let (target, folder) = (resolved(path)?, resolved(folder)?);
    // A Hugging Face cache holds `snapshots/COMMIT/FILE` as links into `blobs`, two folders up.
    let blobs = folder.parent().and_then(Path::parent).map(|repository| repository.join("blobs"));
    let is_inside = target.parent() == Some(&folder) || target.parent() == blobs.as_deref();
    if !is_inside {
        return Err(Kind::LinkLeaves { target: target.display().to_string() }.at(path));
    }
    let found = open_regular(path)?.1.len();
    match found > LIMIT_BYTES {
        true => Err(Kind::SideFileTooLong { found, limit: LIMIT_BYTES }.at(path)),
        false => Ok(()),
    }
}
