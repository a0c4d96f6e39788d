use std::path::{Path, PathBuf};

use crate::disk::{folder_of, open_regular};
use crate::{Checkpoint, TensorFileError, TensorFileErrorKind as Kind};

/// Endings of files that hold weights, in any container.
const WEIGHTS: [&str; 11] = [
    ".safetensors",
    ".index.json",
    ".bin",
    ".pt",
    ".pth",
    ".ckpt",
    ".gguf",
    ".onnx",
    ".onnx_data",
    ".h5",
    ".msgpack",
];

/// Longer ones are no configuration.
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
        let folder = match self.path().is_dir() {
            true => self.path().to_owned(),
            false if self.is_index() => folder_of(self.path()),
            false => return Ok(vec![]),
        };
        let list = std::fs::read_dir(&folder);
        let mut paths = vec![];
        for entry in list.map_err(|error| Kind::io("list")(error).at(&folder))? {
            let path = entry.map_err(|error| Kind::io("list")(error).at(&folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_weight = WEIGHTS.iter().any(|ending| name.ends_with(ending));
            // Links to folders are folders here, and are passed over like them.
            if !is_weight && !name.starts_with('.') && !path.is_dir() {
                check(&folder, &path)?;
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }
}

fn check(folder: &Path, path: &Path) -> Result<(), TensorFileError> {
    let resolved =
        // Compared after links are followed: a link in a downloaded folder may lead to any file of
        // the user's.
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
