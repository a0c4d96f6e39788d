use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::disk::{folder_of, open_regular, read_exact_at};
use crate::header::{HEADER_LIMIT_BYTES, Ignored, Pairs};
use crate::{TensorFileError, TensorFileErrorKind as Kind};

/// A `*.index.json`: which file of the same folder holds which tensor.
#[derive(Debug)]
pub(crate) struct ShardIndex {
    path: PathBuf,
    /// (tensor, file name), sorted by tensor.
    places: Vec<(String, String)>,
}

/// The index as written. `metadata` holds sizes that the shards themselves tell better.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIndex {
    #[serde(default, rename = "metadata")]
    _metadata: Option<Ignored>,
    weight_map: Pairs<String>,
}

impl ShardIndex {
    /// Reads an index. Every shard must be a plain file name: an index may not reach out of its
    /// folder.
    pub(crate) fn open(path: &Path) -> Result<Self, TensorFileError> {
        let text = read_index(path)?;
        let raw: RawIndex =
            serde_json::from_slice(&text).map_err(|source| Kind::IndexJson { source }.at(path))?;
        let mut places = raw.weight_map.0;
        if places.is_empty() {
            return Err(Kind::IndexEmpty.at(path));
        }
        places.sort();
        if let Some(pair) = places.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Kind::IndexDuplicate.at_tensor(path, &pair[0].0));
        }
        for (tensor, shard) in &places {
            if !is_plain_file_name(shard) {
                let kind = Kind::IndexFileName { found: shard.clone() };
                return Err(kind.at_tensor(path, tensor));
            }
        }
        Ok(Self { path: path.to_owned(), places })
    }

    /// The shards' paths, each once, sorted by name; all exist.
    pub(crate) fn shard_paths(&self) -> Result<Vec<PathBuf>, TensorFileError> {
        let folder = folder_of(&self.path);
        let shards: BTreeSet<&str> = self.places.iter().map(|(_, shard)| shard.as_str()).collect();
        shards
            .into_iter()
            .map(|shard| {
                let path = folder.join(shard);
                if path.exists() {
                    Ok(path)
                } else {
                    Err(Kind::ShardMissing { shard: shard.to_owned() }.at(&self.path))
                }
            })
            .collect()
    }

    /// Refuses an index that places a tensor where it is not.
    ///
    /// `holder` gives the file name of the shard that holds a tensor. Tensors that the index
    /// does not mention are allowed: the programs that load shards load them too.
    pub(crate) fn check_places<'a>(
        &self,
        holder: impl Fn(&str) -> Option<&'a Path>,
    ) -> Result<(), TensorFileError> {
        for (tensor, shard) in &self.places {
            if holder(tensor).and_then(Path::file_name) != Some(shard.as_ref()) {
                let kind = Kind::NotInShard { shard: shard.clone() };
                return Err(kind.at_tensor(&self.path, tensor));
            }
        }
        Ok(())
    }
}

fn read_index(path: &Path) -> Result<Vec<u8>, TensorFileError> {
    let (file, metadata) = open_regular(path)?;
    let found = metadata.len();
    if found > HEADER_LIMIT_BYTES {
        return Err(Kind::IndexTooLong { found, limit: HEADER_LIMIT_BYTES }.at(path));
    }
    let mut text = vec![0; found as usize];
    read_exact_at(&file, &mut text, 0).map_err(|error| Kind::io("read")(error).at(path))?;
    Ok(text)
}

fn is_plain_file_name(name: &str) -> bool {
    // Backslash and colon separate on Windows only, but an index that means one thing here and
    // another there is not worth having.
    if name.contains(['/', '\\', ':', '\0']) {
        return false;
    }
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}
