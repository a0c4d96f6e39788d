use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::disk::{folder_of, open_regular, read_exact_at};
use crate::header::{HEADER_LIMIT_BYTES, Ignored, Pairs};
use crate::lookalike::{TEXT, recognise_json, recognise_start};
use crate::{Remark, TensorFileError, TensorFileErrorKind as Kind};

/// A `*.index.json`: which file of the same folder holds which tensor.
#[derive(Debug)]
pub(crate) struct ShardIndex {
    path: PathBuf,
    /// (tensor, file name), sorted by tensor.
    places: Vec<(String, String)>,
    /// Keys that mean nothing here.
    unknown_keys: Vec<String>,
}

impl ShardIndex {
    /// Reads an index. Every shard must be a plain file name: an index may not reach out of its
    /// folder.
    pub(crate) fn open(path: &Path) -> Result<Self, TensorFileError> {
        let text = read_index(path)?;
        let raw = serde_json::from_slice(&text).map_err(|source| {
            let start = text.first_chunk().copied();
            let other = start.and_then(recognise_start).filter(|looks_like| *looks_like != TEXT);
            match other.or_else(|| recognise_json(&text)) {
                Some(looks_like) => Kind::NotIndex { looks_like }.at(path),
                None => Kind::IndexJson { source }.at(path),
            }
        });
        let raw: RawIndex = raw?;
        let mut places = raw.weight_map;
        if places.is_empty() {
            return Err(Kind::IndexEmpty.at(path));
        }
        // Doubles lie next to each other then, and `shard_of` can search by halves.
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
        Ok(Self { path: path.to_owned(), places, unknown_keys: raw.unknown_keys })
    }

    /// Returns the shards' paths, each once, sorted by name; all exist.
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

    /// Returns the name of the shard that a tensor is placed in.
    pub(crate) fn shard_of(&self, tensor: &str) -> Option<&str> {
        let place = self.places.binary_search_by(|(name, _)| name.as_str().cmp(tensor)).ok()?;
        Some(&self.places[place].1)
    }

    /// Refuses an index that places a tensor where it is not; returns remarks about entries that were
    /// passed over.
    ///
    /// `holder` gives the path of the shard that holds a tensor. Tensors that the index does not
    /// mention are allowed: the programs that load shards load them too. Names that no shard holds are
    /// passed over, as those programs do with tied weights, unless they are more than half of all:
    /// then the index is another model's.
    pub(crate) fn check_places<'a>(
        &self,
        holder: impl Fn(&str) -> Option<&'a Path>,
    ) -> Result<Vec<Remark>, TensorFileError> {
        let mut missing = vec![];
        // Through the headers of the shards, which were read already.
        for (tensor, shard) in &self.places {
            match holder(tensor) {
                None => missing.push((tensor, shard)),
                // A tensor in another shard than the index says may be left from an older save, and
                // nothing says which one is meant.
                Some(path) if path.file_name() == Some(shard.as_ref()) => {}
                Some(_) => return Err(self.not_in_shard(tensor, shard)),
            }
        }
        if let Some((tensor, shard)) = missing.first()
            && missing.len() > self.places.len() / 2
        {
            return Err(self.not_in_shard(tensor, shard));
        }
        let tensors: Vec<_> = missing.into_iter().map(|(tensor, _)| tensor.clone()).collect();
        let missing = (!tensors.is_empty()).then_some(Remark::NotInShards { tensors });
        let keys = self.unknown_keys.clone();
        let unknown = (!keys.is_empty()).then_some(Remark::IndexKeys { keys });
        Ok(missing.into_iter().chain(unknown).collect())
    }

    fn not_in_shard(&self, tensor: &str, shard: &str) -> TensorFileError {
        Kind::NotInShard { shard: shard.to_owned() }.at_tensor(&self.path, tensor)
    }
}

/// An index as it is written.
struct RawIndex {
    weight_map: Vec<(String, String)>,
    unknown_keys: Vec<String>,
}

impl<'de> Deserialize<'de> for RawIndex {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(IndexVisitor)
    }
}

struct IndexVisitor;

impl<'de> Visitor<'de> for IndexVisitor {
    type Value = RawIndex;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object with a `weight_map`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawIndex, A::Error> {
        let mut weight_map = None;
        let mut unknown_keys = vec![];
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "weight_map" => {
                    let Pairs(places) = map.next_value()?;
                    if weight_map.replace(places).is_some() {
                        return Err(A::Error::duplicate_field("weight_map"));
                    }
                }
                // It holds sizes, which the shards themselves tell better.
                "metadata" => drop(map.next_value::<Ignored>()?),
                _ => {
                    map.next_value::<Ignored>()?;
                    unknown_keys.push(key);
                }
            }
        }
        let weight_map = weight_map.ok_or_else(|| A::Error::missing_field("weight_map"))?;
        Ok(RawIndex { weight_map, unknown_keys })
    }
}

fn read_index(path: &Path) -> Result<Vec<u8>, TensorFileError> {
    let (file, metadata) = open_regular(path)?;
    let found = metadata.len();
    // Checked before memory is taken for it.
    if found > HEADER_LIMIT_BYTES {
        return Err(Kind::IndexTooLong { found, limit: HEADER_LIMIT_BYTES }.at(path));
    }
    let mut text = vec![0; found as usize];
    read_exact_at(&file, &mut text, 0).map_err(|error| Kind::io("read")(error).at(path))?;
    Ok(text)
}

fn is_plain_file_name(name: &str) -> bool {
    // Backslash and colon separate on Windows only, but an index must not mean one thing here and
    // another there.
    if name.contains(['/', '\\', ':', '\0']) {
        return false;
    }
    let mut parts = Path::new(name).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
}
