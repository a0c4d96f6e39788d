use std::collections::{BTreeMap, HashMap};

use super::GgufValue;
use super::cursor::Cursor;
use super::tensor_type::tensor_type;
use super::value::{self, ARRAY, INT32, UINT32, memory_bytes};
use crate::container::{Complaint, Contents, whole};
use crate::header::{Encoding, TensorHeader};
use crate::{RANK_LIMIT, TensorFileErrorKind as Kind};

/// Most dimensions of a tensor in the container.
const GGUF_RANK_LIMIT: u32 = 4;

/// Beginning of the keys of original shapes, which ComfyUI-GGUF writes for tensors that it had to
/// reshape.
const ORIGINAL_SHAPE: &str = "comfy.gguf.orig_shape.";

/// Most memory that kept entries may take; those that recognition needs take a few kilobytes.
const ENTRIES_LIMIT_BYTES: usize = 4 << 20;

/// Reads a whole header from the beginning of a file; fails with [`CUT`](super::cursor::CUT) where that
/// is too short.
pub(super) fn parse(text: &[u8], file_bytes: u64) -> Result<Contents, Complaint> {
    let mut cursor = Cursor::new(text);
    check_version(&mut cursor).map_err(whole)?;
    let (tensors, keys) = (cursor.u64().map_err(whole)?, cursor.u64().map_err(whole)?);
    let entries = Entries::read(&mut cursor, keys).map_err(whole)?;
    // Not `with_capacity`: the count is the file's claim, while each tensor read takes bytes of it.
    let mut headers = vec![];
    for _ in 0..tensors {
        headers.push(tensor(&mut cursor, &entries.original_shapes)?);
    }
    let start = (cursor.at() as u64).next_multiple_of(entries.alignment);
    for header in &mut headers {
        place(header, start, file_bytes).map_err(|kind| (Some(header.name.clone()), kind))?;
    }
    Ok(Contents {
        header: text[..cursor.at()].to_vec(),
        gguf_metadata: entries.kept,
        unread_entries: usize::try_from(keys).unwrap_or(usize::MAX),
        tensors: headers,
        ..Contents::default()
    })
}

fn check_version(cursor: &mut Cursor<'_>) -> Result<(), Kind> {
    let version = cursor.u32()?;
    match (version, version.swap_bytes()) {
        // Version 1 had counts of 32 bits.
        (2..=3, _) => Ok(()),
        // Version 3 differs from 2 in that it may be big-endian; nothing says so but the number
        // itself.
        (_, 2..=3) => Err(cursor.wrong("its numbers are big-endian")),
        _ => Err(cursor.wrong("its version is neither 2 nor 3")),
    }
}

/// Makes an offset into the data one into the file, inside which the tensor must lie.
fn place(header: &mut TensorHeader, start: u64, file_bytes: u64) -> Result<(), Kind> {
    let begin = start.checked_add(header.offset);
    let end = begin.and_then(|begin| begin.checked_add(header.stored_bytes()));
    match (begin, end.filter(|&end| end <= file_bytes)) {
        (Some(begin), Some(_)) => {
            header.offset = begin;
            Ok(())
        }
        _ => Err(Kind::Truncated { found: file_bytes, expected: end.unwrap_or(u64::MAX) }),
    }
}

fn tensor(
    cursor: &mut Cursor<'_>,
    original_shapes: &HashMap<&str, Vec<u64>>,
) -> Result<TensorHeader, Complaint> {
    let name = cursor.text().map_err(whole)?;
    described(cursor, name, original_shapes.get(name)).map_err(|kind| (Some(name.to_owned()), kind))
}

fn described(
    cursor: &mut Cursor<'_>,
    name: &str,
    original_shape: Option<&Vec<u64>>,
) -> Result<TensorHeader, Kind> {
    let rank = cursor.u32()?;
    if rank > GGUF_RANK_LIMIT {
        return Err(cursor.wrong("more than four dimensions"));
    }
    let mut shape = (0..rank).map(|_| cursor.u64()).collect::<Result<Vec<_>, _>>()?;
    // The fastest dimension comes first in the file.
    shape.reverse();
    let number = cursor.u32()?;
    let offset = cursor.u64()?;
    let (dtype, encoding) = tensor_type(number)?;
    if let Encoding::Blocks(block) = encoding
        && !shape.last().is_some_and(|columns| columns.is_multiple_of(block.weights()))
    {
        return Err(cursor.wrong("rows that are no whole number of blocks"));
    }
    if let Some(original) = original_shape {
        // Blocks follow the stored rows, so the original shape changes what rows mean and not where
        // a number lies.
        if product(original) != product(&shape) {
            return Err(cursor.wrong("its original shape has another number of elements"));
        }
        shape.clone_from(original);
    }
    let length = dtype.checked_byte_len(&shape)?;
    Ok(TensorHeader { name: name.to_owned(), dtype, shape, file: 0, offset, length, encoding })
}

fn product(shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent))
}

/// The entries that matter to this crate, and those that are kept for others.
struct Entries<'a> {
    /// Bytes; a power of two.
    alignment: u64,
    original_shapes: HashMap<&'a str, Vec<u64>>,
    kept: BTreeMap<String, GgufValue>,
}

impl<'a> Entries<'a> {
    fn read(cursor: &mut Cursor<'a>, keys: u64) -> Result<Self, Kind> {
        let mut entries =
            // 32 is the container's default for files without the entry.
            Self { alignment: 32, original_shapes: HashMap::new(), kept: BTreeMap::new() };
        // A budget for all entries, since a header may have thousands that are short enough each.
        let mut budget = ENTRIES_LIMIT_BYTES;
        for _ in 0..keys {
            let key = cursor.text()?;
            let kind = cursor.u32()?;
            if let (ARRAY, Some(tensor)) = (kind, key.strip_prefix(ORIGINAL_SHAPE)) {
                // Kept whatever the budget: its length has a limit of its own, and without it a
                // shape would be wrong.
                entries.original_shapes.insert(tensor, original_shape(cursor)?);
                continue;
            }
            let value = value::read(cursor, kind)?;
            match (key, kind, &value) {
                ("general.alignment", UINT32, Some(GgufValue::Unsigned(alignment))) => {
                    entries.alignment = *alignment;
                    if !alignment.is_power_of_two() {
                        return Err(cursor.wrong("its alignment is no power of two"));
                    }
                }
                // The other parts are other files, which are not looked for.
                ("split.count", _, Some(GgufValue::Unsigned(parts @ 2..))) => {
                    return Err(Kind::GgufPart { parts: *parts });
                }
                _ => {}
            }
            let taken = value.as_ref().map_or(0, |value| memory_bytes(value) + key.len());
            if let (Some(value), Some(left)) = (value, budget.checked_sub(taken)) {
                budget = left;
                entries.kept.insert(key.to_owned(), value);
            }
        }
        Ok(entries)
    }
}

/// Reads the rest of an array of 32-bit numbers.
fn original_shape(cursor: &mut Cursor<'_>) -> Result<Vec<u64>, Kind> {
    let element = cursor.u32()?;
    let count = cursor.u64()?;
    if !matches!(element, UINT32 | INT32) || count > RANK_LIMIT as u64 {
        return Err(cursor.wrong("an original shape is no list of numbers"));
    }
    (0..count).map(|_| cursor.u32().map(u64::from)).collect()
}
