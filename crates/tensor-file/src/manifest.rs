use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::header::{HEADER_LIMIT_BYTES, METADATA_KEY, RANK_LIMIT};
use crate::source_file::LENGTH_BYTES;
use crate::{Dtype, TensorFileError, TensorFileErrorKind as Kind};

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name, unique in the file and not `__metadata__`.
    pub name: String,
    /// Storage type of the elements.
    pub dtype: Dtype,
    /// Extents, slowest first; `[]` is one element.
    pub shape: Vec<u64>,
}

/// How tensors are shared out over the files of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharding {
    /// Beginning of the files' names: `model` or `diffusion_pytorch_model`.
    pub stem: String,
    /// Most bytes of tensors in a file; a tensor larger than that has a file of its own.
    pub limit_bytes: u64,
}

/// Names, dtypes, shapes and offsets of what is to be written, one file or the shards of a folder:
/// everything but the data.
///
/// Headers are byte for byte what the reference writer (safetensors 0.8) makes, except that
/// metadata keys are sorted, so that equal contents are equal files.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// At least one.
    files: Vec<PlannedFile>,
    /// In file order, file after file.
    tensors: Vec<TensorSpec>,
    /// Place of the tensor at each index of `tensors`.
    places: Vec<Place>,
    /// Indices into `tensors`, sorted by name.
    by_name: Vec<usize>,
    /// Name and text of the index, where there are several files.
    index: Option<(String, String)>,
}

/// A file to be written.
#[derive(Clone, Debug)]
pub(crate) struct PlannedFile {
    /// Its name in the folder; nothing for a file that is not in a folder of its own.
    pub(crate) name: String,
    header: Vec<u8>,
    pub(crate) bytes: u64,
}

impl PlannedFile {
    /// Returns everything before the first tensor: the length of the header, and the header.
    pub(crate) fn start_bytes(&self) -> Vec<u8> {
        let length = (self.header.len() as u64).to_le_bytes();
        debug_assert_eq!(length.len() as u64, LENGTH_BYTES);
        [&length[..], &self.header].concat()
    }
}

/// Place of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Index of the file.
    pub(crate) file: usize,
    /// Bounds in that file.
    pub(crate) range: Range<u64>,
}

impl Place {
    pub(crate) fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

impl Manifest {
    /// Places the tensors: sorted by dtype ([`Dtype`]'s order), then by name.
    ///
    /// # Errors
    /// Two tensors of one name, the name `__metadata__`, a size that is not a whole number of
    /// bytes or overflows, more than [`RANK_LIMIT`] dimensions, or a header past
    /// [`HEADER_LIMIT_BYTES`]. There is no file yet, so the error's path is `manifest`.
    pub fn new(
        metadata: BTreeMap<String, String>,
        mut tensors: Vec<TensorSpec>,
    ) -> Result<Self, TensorFileError> {
        let path = Path::new("manifest");
        check_names(path, &tensors)?;
        tensors.sort_by(|a, b| a.dtype.cmp(&b.dtype).then_with(|| a.name.cmp(&b.name)));
        let by_name = sorted_by_name(&tensors);
        // Offsets in a header count from the start of the data, so they do not depend on how long
        // it is.
        let mut ranges = placed(path, &tensors)?;
        let header = header_json(&metadata, &tensors, &ranges);
        // Refused here as well as on reading: a file that no reader takes must not be begun.
        let header_bytes = header.len() as u64;
        if header_bytes > HEADER_LIMIT_BYTES {
            let limit = HEADER_LIMIT_BYTES;
            return Err(Kind::HeaderTooLong { found: header_bytes, limit }.at(path));
        }
        let data_start = LENGTH_BYTES + header_bytes;
        for range in &mut ranges {
            *range = data_start + range.start..data_start + range.end;
        }
        let bytes = ranges.last().map_or(data_start, |range| range.end);
        let files = vec![PlannedFile { name: String::new(), header, bytes }];
        let places = ranges.into_iter().map(|range| Place { file: 0, range }).collect();
        Ok(Self { files, tensors, places, by_name, index: None })
    }

    /// Shares the tensors out over files by name, each file as full as its limit allows. All get the
    /// same metadata. Several files get an index.
    ///
    /// # Errors
    /// Those of [`Manifest::new`].
    pub fn sharded(
        metadata: &BTreeMap<String, String>,
        mut tensors: Vec<TensorSpec>,
        sharding: &Sharding,
    ) -> Result<Self, TensorFileError> {
        let path = Path::new("manifest");
        check_names(path, &tensors)?;
        // By name, so that a layer's tensors stay together in a shard; inside a shard the dtype
        // counts again.
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let groups = grouped(path, tensors, sharding.limit_bytes)?;
        // The names of shards hold their number, which is known only now.
        let count = groups.len();
        let mut whole =
            Self { files: vec![], tensors: vec![], places: vec![], by_name: vec![], index: None };
        for (number, group) in groups.into_iter().enumerate() {
            let mut shard = Self::new(metadata.clone(), group)?;
            for file in &mut shard.files {
                file.name = shard_name(&sharding.stem, number, count);
            }
            whole.files.append(&mut shard.files);
            whole.tensors.append(&mut shard.tensors);
            let place = |place: Place| Place { file: number, ..place };
            whole.places.extend(shard.places.into_iter().map(place));
        }
        whole.by_name = sorted_by_name(&whole.tensors);
        if count > 1 {
            let name = format!("{}.safetensors.index.json", sharding.stem);
            whole.index = Some((name, whole.index_json()));
        }
        Ok(whole)
    }

    fn index_json(&self) -> String {
        let name = |index: &usize| {
            let file = &self.files[self.places[*index].file];
            (self.tensors[*index].name.clone(), file.name.clone().into())
        };
        let weight_map: serde_json::Map<_, _> = self.by_name.iter().map(name).collect();
        let total_size: u64 = self.places.iter().map(Place::bytes).sum();
        let index = serde_json::json!({
            "metadata": { "total_size": total_size },
            "weight_map": weight_map,
        });
        format!("{index:#}\n")
    }

    /// Returns the size of all finished files together, the index included.
    pub fn file_bytes(&self) -> u64 {
        let index = self.index.as_ref().map_or(0, |(_, text)| text.len() as u64);
        self.files.iter().map(|file| file.bytes).fold(index, u64::saturating_add)
    }

    /// Returns the number of files with tensors.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Returns whether the files make up a folder of their own.
    pub(crate) fn is_folder(&self) -> bool {
        !self.files[0].name.is_empty()
    }

    /// Returns the header JSON of the first file with its padding, without its length.
    pub fn header_bytes(&self) -> &[u8] {
        &self.files[0].header
    }

    pub(crate) fn files(&self) -> &[PlannedFile] {
        &self.files
    }

    /// Returns the name and text of the index, where there are several files.
    pub(crate) fn index(&self) -> Option<(&str, &str)> {
        self.index.as_ref().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Returns whether every tensor lies where it does in `other`.
    pub(crate) fn has_places_of(&self, other: &Self) -> bool {
        self.tensors == other.tensors && self.places == other.places
    }

    /// Returns the tensors, in file order.
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// Returns the index of a tensor in [`Self::tensors`].
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        let place =
            self.by_name.binary_search_by(|&index| self.tensors[index].name.as_str().cmp(name));
        Some(self.by_name[place.ok()?])
    }

    pub(crate) fn place(&self, position: usize) -> Place {
        self.places[position].clone()
    }
}

fn check_names(path: &Path, tensors: &[TensorSpec]) -> Result<(), TensorFileError> {
    let by_name = sorted_by_name(tensors);
    let is_repeated = |pair: &&[usize]| tensors[pair[0]].name == tensors[pair[1]].name;
    match by_name.windows(2).find(is_repeated) {
        Some(pair) => Err(Kind::DuplicateTensor.at_tensor(path, &tensors[pair[0]].name)),
        None => Ok(()),
    }
}

/// Cuts tensors into runs that hold at most `limit_bytes` bytes, or one tensor.
fn grouped(
    path: &Path,
    tensors: Vec<TensorSpec>,
    limit_bytes: u64,
) -> Result<Vec<Vec<TensorSpec>>, TensorFileError> {
    let mut groups = vec![vec![]];
    let mut filled = 0_u64;
    for tensor in tensors {
        let length = spec_bytes(&tensor).map_err(|kind| kind.at_tensor(path, &tensor.name))?;
        // A tensor of more than the limit begins a shard, and the next tensor begins another.
        let last: &mut Vec<TensorSpec> = groups.last_mut().expect("there is always one");
        if last.is_empty() || filled.saturating_add(length) <= limit_bytes {
            last.push(tensor);
            filled = filled.saturating_add(length);
        } else {
            groups.push(vec![tensor]);
            filled = length;
        }
    }
    Ok(groups)
}

/// Returns the name of a shard as Hugging Face's libraries give it; a single one has no number.
fn shard_name(stem: &str, number: usize, count: usize) -> String {
    match count {
        1 => format!("{stem}.safetensors"),
        _ => format!("{stem}-{:05}-of-{count:05}.safetensors", number + 1),
    }
}

fn sorted_by_name(tensors: &[TensorSpec]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by(|&a, &b| tensors[a].name.cmp(&tensors[b].name));
    order
}

/// Returns the bounds of each tensor, counted from the start of the data.
fn placed(path: &Path, tensors: &[TensorSpec]) -> Result<Vec<Range<u64>>, TensorFileError> {
    // Room for the header and for file systems, whose lengths are signed.
    const DATA_LIMIT_BYTES: u64 = i64::MAX as u64 - HEADER_LIMIT_BYTES - LENGTH_BYTES;
    let mut begin = 0_u64;
    let mut ranges = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let length = spec_bytes(tensor).map_err(|kind| kind.at_tensor(path, &tensor.name))?;
        let end = begin
            .checked_add(length)
            .filter(|&end| end <= DATA_LIMIT_BYTES)
            .ok_or_else(|| Kind::FileTooLong.at_tensor(path, &tensor.name))?;
        ranges.push(begin..end);
        begin = end;
    }
    Ok(ranges)
}

fn spec_bytes(tensor: &TensorSpec) -> Result<u64, Kind> {
    if tensor.name == METADATA_KEY {
        return Err(Kind::ReservedName);
    }
    let found = tensor.shape.len();
    if found > RANK_LIMIT {
        return Err(Kind::TooManyDimensions { found, limit: RANK_LIMIT });
    }
    tensor.dtype.checked_byte_len(&tensor.shape)
}

fn header_json(
    metadata: &BTreeMap<String, String>,
    tensors: &[TensorSpec],
    ranges: &[Range<u64>],
) -> Vec<u8> {
    let contents = Contents { metadata, tensors, ranges };
    let mut json = serde_json::to_vec(&contents).expect("strings and numbers always serialise");
    // A multiple of 8, as in the reference writer: the data then begin aligned to their widest
    // element.
    let padded = json.len().next_multiple_of(8);
    json.resize(padded, b' ');
    json
}

struct Contents<'a> {
    metadata: &'a BTreeMap<String, String>,
    tensors: &'a [TensorSpec],
    ranges: &'a [Range<u64>],
}

#[derive(serde::Serialize)]
struct Entry<'a> {
    dtype: &'static str,
    shape: &'a [u64],
    data_offsets: [u64; 2],
}

impl Serialize for Contents<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA_KEY, self.metadata)?;
        }
        for (tensor, range) in self.tensors.iter().zip(self.ranges) {
            let entry = Entry {
                dtype: tensor.dtype.name(),
                shape: &tensor.shape,
                data_offsets: [range.start, range.end],
            };
            map.serialize_entry(&tensor.name, &entry)?;
        }
        map.end()
    }
}
