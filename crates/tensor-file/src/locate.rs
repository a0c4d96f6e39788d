//! From the path that somebody typed to the files that hold the tensors.

use std::path::{Path, PathBuf};

use crate::numbered_shards::{NumberedShard, of_one_model};
use crate::{TensorFileError, TensorFileErrorKind as Kind};

/// The files that a path stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Located {
    /// One file that holds everything.
    Single(PathBuf),
    /// The file that transformers reads of a model's folder, and the names of others that hold weights.
    OfSeveral(PathBuf, Vec<String>),
    /// An index beside its shards.
    Index(PathBuf),
    /// All shards of a model, by their numbers, without an index.
    Shards(Vec<PathBuf>),
}

/// Finds the files of a path: by the name for files (`.json` is an index) and by the contents for folders.
pub(crate) fn locate(path: &Path) -> Result<Located, TensorFileError> {
    let metadata = std::fs::metadata(path).map_err(|error| Kind::io("open")(error).at(path))?;
    if metadata.is_dir() {
        return locate_in_folder(path);
    }
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    Ok(if is_json { Located::Index(path.to_owned()) } else { Located::Single(path.to_owned()) })
}

/// Endings of the names of weight files that are read.
pub const WEIGHT_ENDINGS: [&str; 6] = [".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".gguf"];

/// Returns the ending of a name of weights, in small letters and with its dot; `None` for any other name.
pub fn ending_of_weights(path: &Path) -> Option<&'static str> {
    let ending = format!(".{}", path.extension()?.to_string_lossy().to_lowercase());
    WEIGHT_ENDINGS.into_iter().find(|known| *known == ending)
}

fn is_weights(name: &str) -> bool {
    WEIGHT_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Returns whether a training run leaves files of this name beside its model, which are no models.
fn is_of_training(name: &str) -> bool {
    const PARTS: [&str; 6] =
        ["training_args.", "trainer_state.", "optimizer.", "scheduler.", "scaler.", "rng_state"];
    PARTS.iter().any(|part| name.starts_with(part))
}

fn locate_in_folder(folder: &Path) -> Result<Located, TensorFileError> {
    let mut indexes = Vec::new();
    let mut singles = Vec::new();
    let mut pickled_indexes = Vec::new();
    let mut others = Vec::new();
    let list = std::fs::read_dir(folder).map_err(|error| Kind::io("list")(error).at(folder))?;
    for entry in list {
        let entry = entry.map_err(|error| Kind::io("list")(error).at(folder))?;
        // Somebody who names a folder does not mean hidden files, such as unfinished outputs.
        let name = entry.file_name().to_string_lossy().into_owned();
        // Statistics lie beside the weights that they are of.
        if name.starts_with('.') || name.ends_with(".stats.safetensors") || is_of_training(&name) {
            continue;
        }
        if name.ends_with(".bin.index.json") {
            pickled_indexes.push((name, entry.path()));
        } else if name.ends_with(".index.json") {
            indexes.push((name, entry.path()));
        } else if name.ends_with(".safetensors") {
            singles.push((name, entry.path()));
        } else if is_weights(&name) {
            others.push((name, entry.path()));
        }
    }
    // In the order of what is likely meant: an index before single files, safetensors before pickles.
    let groups = [indexes, singles, pickled_indexes, others];
    let mut candidates = groups.into_iter().find(|group| !group.is_empty()).unwrap_or_default();
    candidates.sort();
    match candidates.as_slice() {
        [] => Err(match folders_with_weights(folder) {
            folders if folders.is_empty() => Kind::FolderWithoutTensors,
            folders => Kind::FolderOfModels { folders },
        }
        .at(folder)),
        [(name, path)] if name.ends_with(".json") => Ok(Located::Index(path.clone())),
        files => {
            let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
            match (of_one_model(&names), files) {
                (Some(shard), _) => all_shards(folder, &shard, &names),
                (None, [(_, path)]) => Ok(Located::Single(path.clone())),
                (None, _) if is_of_transformers(folder, &names) => {
                    let others = names.into_iter().filter(|name| name != OF_TRANSFORMERS);
                    Ok(Located::OfSeveral(folder.join(OF_TRANSFORMERS), others.collect()))
                }
                (None, _) => Err(Kind::FolderAmbiguous { found: files.len(), names }.at(folder)),
            }
        }
    }
}

/// The weights of a folder with a `config.json`, for transformers. Other programs may have theirs beside it, such as
/// Mistral's `consolidated.safetensors`.
const OF_TRANSFORMERS: &str = "model.safetensors";

/// Returns whether transformers reads one of several files of a folder, and nothing of the others: an adapter beside the
/// model it would add.
fn is_of_transformers(folder: &Path, names: &[String]) -> bool {
    let has_adapter = names.iter().any(|name| name.starts_with("adapter_model"));
    let has_model = names.iter().any(|name| name == OF_TRANSFORMERS);
    has_model && !has_adapter && folder.join("config.json").is_file()
}

/// Takes the shards of a model that has no index, none of which may be missing.
fn all_shards(
    folder: &Path,
    shard: &NumberedShard,
    found: &[String],
) -> Result<Located, TensorFileError> {
    let missing: Vec<String> = shard.names().filter(|name| !found.contains(name)).collect();
    match missing.is_empty() {
        true => Ok(Located::Shards(shard.names().map(|name| folder.join(name)).collect())),
        false => Err(Kind::ShardsMissing { missing }.at(folder)),
    }
}

/// Lists the folders inside a folder that hold weights, as those of a diffusers pipeline do; none where
/// they cannot be read.
fn folders_with_weights(folder: &Path) -> Vec<String> {
    // A folder that cannot be listed is left out: this only makes the message more useful.
    let list = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    // One level deep, as a pipeline of diffusers has its models.
    let inside = list(folder).filter(|entry| {
        let mut files = list(&entry.path());
        entry.path().is_dir() && files.any(|file| is_weights(&file.file_name().to_string_lossy()))
    });
    let mut names: Vec<String> =
        inside.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
