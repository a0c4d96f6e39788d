use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::Dtype;
use crate::arrange::Piece;
use crate::blocks::BlockType;
use crate::metadata_value::MetadataValue;

/// Longest header that is read or written, as in the reference implementation.
pub const HEADER_LIMIT_BYTES: u64 = 100_000_000;

/// Most dimensions of a tensor; NumPy stops at 64 too.
pub const RANK_LIMIT: usize = 64;

/// Header key of the file's own metadata, which no tensor may have as its name.
pub(crate) const METADATA_KEY: &str = "__metadata__";

/// One tensor of a [`Checkpoint`](crate::Checkpoint).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorHeader {
    /// Name, unique in the checkpoint.
    pub name: String,
    /// Storage type of the elements.
    pub dtype: Dtype,
    /// Extents, slowest first; `[]` is one element.
    pub shape: Vec<u64>,
    /// Index into the checkpoint's files.
    pub(crate) file: usize,
    /// First byte, counted from the start of that file.
    pub(crate) offset: u64,
    /// Bytes of data, equal to `dtype.byte_len(shape)`.
    pub(crate) length: u64,
    pub(crate) encoding: Encoding,
}

/// How the numbers of a tensor are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As they are, row after row.
    #[default]
    Plain,
    /// As they are, in another order: elements from one index to the next of each dimension.
    Strided(Box<[u64]>),
    /// F32 in GGUF's blocks.
    Blocks(BlockType),
    /// As rows of stored tensors, from the first to the last.
    Arranged(Box<[Piece]>),
}

impl Encoding {
    /// Tells whether the place of an element in the file follows from its row-major index alone, so
    /// that another shape of as many elements changes nothing.
    pub(crate) fn is_shapeless(&self) -> bool {
        match self {
            Encoding::Plain | Encoding::Blocks(_) | Encoding::Arranged(_) => true,
            Encoding::Strided(_) => false,
        }
    }
}

impl TensorHeader {
    /// Returns the bytes of its data, once decoded.
    pub fn byte_len(&self) -> u64 {
        self.length
    }

    /// Returns the name that the file gives to its numbers: that of the dtype, or of the blocks, such as `Q4_K`,
    /// that they are decoded from on reading.
    pub fn stored_as(&self) -> &'static str {
        match self.encoding {
            Encoding::Plain | Encoding::Strided(_) => self.dtype.name(),
            Encoding::Blocks(block) => block.name(),
            Encoding::Arranged(ref pieces) => {
                let mut names = pieces.iter().map(|piece| piece.tensor.stored_as());
                let first = names.next().unwrap_or(self.dtype.name());
                if names.all(|name| name == first) { first } else { self.dtype.name() }
            }
        }
    }

    /// Returns whether the file holds it row after row, so that some rows are read as they are.
    pub fn is_stored_by_rows(&self) -> bool {
        self.encoding == Encoding::Plain
    }

    /// Returns whether some of it is in blocks of GGUF, which are decoded to F32 on reading.
    pub fn is_in_blocks(&self) -> bool {
        match self.encoding {
            Encoding::Plain | Encoding::Strided(_) => false,
            Encoding::Blocks(_) => true,
            Encoding::Arranged(ref pieces) => {
                pieces.iter().any(|piece| piece.tensor.is_in_blocks())
            }
        }
    }

    /// Returns the bytes that the file has for it.
    pub fn stored_bytes(&self) -> u64 {
        match self.encoding {
            Encoding::Plain | Encoding::Strided(_) => self.length,
            Encoding::Blocks(block) => block.stored_bytes(self.length),
            Encoding::Arranged(ref pieces) => {
                pieces.iter().fold(0, |sum, piece| sum.saturating_add(piece.stored_bytes()))
            }
        }
    }

    /// Returns the product of the shape.
    pub fn element_count(&self) -> u64 {
        self.shape.iter().fold(1, |count, &extent| count.saturating_mul(extent))
    }
}

/// Header as written: entries in file order, repeated keys kept, nothing checked but the JSON.
///
/// Keys are kept in lists because a map would silently drop the first of two equal names.
#[derive(Debug, Default)]
pub(crate) struct RawHeader {
    pub(crate) tensors: Vec<(String, RawTensor)>,
    /// One for each time that the key occurs.
    pub(crate) metadata: Vec<Pairs<MetadataValue>>,
}

/// One tensor's entry, unchecked. A field that is not understood could change what the others
/// mean, so it is an error.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTensor {
    pub(crate) dtype: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) data_offsets: (u64, u64),
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut header = RawHeader::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA_KEY {
                // Some writers put `null` for no metadata.
                header.metadata.push(map.next_value::<Option<_>>()?.unwrap_or_default());
            } else {
                header.tensors.push((name, map.next_value()?));
            }
        }
        Ok(header)
    }
}

/// JSON object as a list of its entries, repeated keys kept.
#[derive(Debug)]
pub(crate) struct Pairs<V>(pub(crate) Vec<(String, V)>);

impl<V> Default for Pairs<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(PairsVisitor(std::marker::PhantomData))
    }
}

struct PairsVisitor<V>(std::marker::PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for PairsVisitor<V> {
    type Value = Pairs<V>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<V>, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

/// JSON value that is allowed but means nothing here.
pub(crate) type Ignored = IgnoredAny;
