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

/// Names, dtypes, shapes and offsets of a file to be written: everything but the data.
///
/// The header is byte for byte what the reference writer (safetensors 0.8) makes, except that
/// metadata keys are sorted, so that equal contents are equal files.
#[derive(Clone, Debug)]
pub struct Manifest {
    header: Vec<u8>,
    /// In file order.
    tensors: Vec<TensorSpec>,
    /// Bounds in the file of the tensor at the same index.
    ranges: Vec<Range<u64>>,
    /// Indices into `tensors`, sorted by name.
    by_name: Vec<usize>,
    file_bytes: u64,
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
        tensors.sort_by(|a, b| a.dtype.cmp(&b.dtype).then_with(|| a.name.cmp(&b.name)));
        let by_name = sorted_by_name(&tensors);
        if let Some(pair) =
            by_name.windows(2).find(|pair| tensors[pair[0]].name == tensors[pair[1]].name)
        {
            return Err(Kind::DuplicateTensor.at_tensor(path, &tensors[pair[0]].name));
        }

        let mut ranges = placed(path, &tensors)?;
        let header = header_json(&metadata, &tensors, &ranges);
        let header_bytes = header.len() as u64;
        if header_bytes > HEADER_LIMIT_BYTES {
            let limit = HEADER_LIMIT_BYTES;
            return Err(Kind::HeaderTooLong { found: header_bytes, limit }.at(path));
        }
        let data_start = LENGTH_BYTES + header_bytes;
        for range in &mut ranges {
            *range = data_start + range.start..data_start + range.end;
        }
        let file_bytes = ranges.last().map_or(data_start, |range| range.end);
        Ok(Self { header, tensors, ranges, by_name, file_bytes })
    }

    /// Size of the finished file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Header JSON with its padding, without its length.
    pub fn header_bytes(&self) -> &[u8] {
        &self.header
    }

    /// Everything before the first tensor: the length of the header, and the header.
    pub(crate) fn start_bytes(&self) -> Vec<u8> {
        let length = (self.header.len() as u64).to_le_bytes();
        debug_assert_eq!(length.len() as u64, LENGTH_BYTES);
        [&length[..], &self.header].concat()
    }

    /// Whether every tensor lies where it does in `other`.
    pub(crate) fn has_places_of(&self, other: &Self) -> bool {
        self.tensors == other.tensors && self.ranges == other.ranges
    }

    /// The tensors, in file order.
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// Index of a tensor in [`Self::tensors`].
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        let place =
            self.by_name.binary_search_by(|&index| self.tensors[index].name.as_str().cmp(name));
        Some(self.by_name[place.ok()?])
    }

    pub(crate) fn range(&self, position: usize) -> Range<u64> {
        self.ranges[position].clone()
    }
}

fn sorted_by_name(tensors: &[TensorSpec]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by(|&a, &b| tensors[a].name.cmp(&tensors[b].name));
    order
}

/// Bounds of each tensor, counted from the start of the data.
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
