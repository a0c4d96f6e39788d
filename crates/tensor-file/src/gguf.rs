//! Tensors of GGUF files: plain numbers, and 8-bit blocks (Q8_0) read as the F32 that they stand for.

use std::collections::HashMap;
use std::fs::File;

use crate::container::{Complaint, Contents, whole};
use crate::header::{Encoding, HEADER_LIMIT_BYTES, TensorHeader};
use crate::q8_0;
use crate::zip::read;
use crate::{Dtype, TensorFileErrorKind as Kind};

/// Read at once; a longer header is read again from its beginning.
const FIRST_BYTES: u64 = 1 << 20;

const STRING: u32 = 8;
const ARRAY: u32 = 9;
const UINT32: u32 = 4;

/// Arrays of arrays; nobody writes more than one level.
const NESTING_LIMIT: u32 = 4;

/// Names of shapes that a program for images changed, because GGUF knows four dimensions only.
const ORIGINAL_SHAPE: &str = "comfy.gguf.orig_shape.";

pub(crate) fn read_gguf(file: &File, file_bytes: u64) -> Result<Contents, Complaint> {
    let mut length = FIRST_BYTES.min(file_bytes);
    loop {
        let text = read(file, 0, length as usize).map_err(whole)?;
        match parse(&text, file_bytes) {
            Err((_, Kind::Gguf { problem: CUT, .. }))
                if length < file_bytes.min(HEADER_LIMIT_BYTES) =>
            {
                length = length.saturating_mul(4).min(file_bytes).min(HEADER_LIMIT_BYTES);
            }
            outcome => return outcome,
        }
    }
}

const CUT: &str = "its header is cut short";

fn parse(text: &[u8], file_bytes: u64) -> Result<Contents, Complaint> {
    let mut cursor = Cursor { text, at: 4 };
    let version = cursor.u32().map_err(whole)?;
    if !(2..=3).contains(&version) {
        return Err(whole(cursor.wrong("its version is neither 2 nor 3")));
    }
    let [tensors, keys] = [cursor.u64(), cursor.u64()];
    let (tensors, keys) = (tensors.map_err(whole)?, keys.map_err(whole)?);
    let values = Values::read(&mut cursor, keys).map_err(whole)?;
    let mut headers = vec![];
    for _ in 0..tensors {
        headers.push(tensor(&mut cursor, &values)?);
    }
    let start = (cursor.at as u64).next_multiple_of(values.alignment);
    for header in &mut headers {
        let stored = header.stored_bytes();
        let begin = start.checked_add(header.offset);
        let end = begin.and_then(|begin| begin.checked_add(stored));
        match (begin, end.filter(|&end| end <= file_bytes)) {
            (Some(begin), Some(_)) => header.offset = begin,
            _ => {
                let kind = Kind::Truncated { found: file_bytes, expected: end.unwrap_or(u64::MAX) };
                return Err((Some(header.name.clone()), kind));
            }
        }
    }
    let header = text[..cursor.at].to_vec();
    let unread_entries = usize::try_from(keys).unwrap_or(usize::MAX);
    Ok(Contents { header, unread_entries, tensors: headers, ..Contents::default() })
}

fn tensor(cursor: &mut Cursor<'_>, values: &Values) -> Result<TensorHeader, Complaint> {
    let name = cursor.string().map_err(whole)?.to_owned();
    let at = |kind| (Some(name.clone()), kind);
    let count = cursor.u32().map_err(at)?;
    if count > 4 {
        return Err(at(cursor.wrong("more than four dimensions")));
    }
    let mut shape = vec![];
    for _ in 0..count {
        shape.push(cursor.u64().map_err(at)?);
    }
    // The fastest dimension comes first in the file.
    shape.reverse();
    let kind = cursor.u32().map_err(at)?;
    let offset = cursor.u64().map_err(at)?;
    let (dtype, encoding) = match kind {
        0 => (Dtype::F32, Encoding::Plain),
        1 => (Dtype::F16, Encoding::Plain),
        30 => (Dtype::BF16, Encoding::Plain),
        8 => (Dtype::F32, Encoding::Q8_0),
        24 => (Dtype::I8, Encoding::Plain),
        25 => (Dtype::I16, Encoding::Plain),
        26 => (Dtype::I32, Encoding::Plain),
        27 => (Dtype::I64, Encoding::Plain),
        28 => (Dtype::F64, Encoding::Plain),
        found => return Err(at(Kind::GgufType { found })),
    };
    let is_whole = shape.last().is_some_and(|cols| cols.is_multiple_of(q8_0::BLOCK));
    if encoding == Encoding::Q8_0 && !is_whole {
        return Err(at(cursor.wrong("rows that are no whole number of blocks")));
    }
    if let Some(original) = values.original_shapes.get(&name) {
        let product = |shape: &[u64]| {
            shape.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent))
        };
        if product(original) != product(&shape) {
            return Err(at(cursor.wrong("its original shape has another number of elements")));
        }
        shape = original.clone();
    }
    let length = dtype.checked_byte_len(&shape).map_err(at)?;
    Ok(TensorHeader { name, dtype, shape, file: 0, offset, length, encoding })
}

/// The values that matter.
struct Values {
    /// Bytes; a power of two.
    alignment: u64,
    original_shapes: HashMap<String, Vec<u64>>,
}

impl Values {
    fn read(cursor: &mut Cursor<'_>, keys: u64) -> Result<Self, Kind> {
        let mut values = Self { alignment: 32, original_shapes: HashMap::new() };
        for _ in 0..keys {
            let key = cursor.string()?;
            let kind = cursor.u32()?;
            let tensor = key.strip_prefix(ORIGINAL_SHAPE);
            match (key, kind, tensor) {
                ("general.alignment", UINT32, _) => {
                    values.alignment = u64::from(cursor.u32()?);
                    if !values.alignment.is_power_of_two() {
                        return Err(cursor.wrong("its alignment is no power of two"));
                    }
                }
                (_, ARRAY, Some(tensor)) => {
                    let shape = cursor.shape()?;
                    values.original_shapes.insert(tensor.to_owned(), shape);
                }
                _ => cursor.skip_value(kind, NESTING_LIMIT)?,
            }
        }
        Ok(values)
    }
}

/// Where one is in the header.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: u64) -> Result<&'a [u8], Kind> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let taken = taken.ok_or_else(|| self.wrong(CUT))?;
        self.at += taken.len();
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, Kind> {
        Ok(u32::from_le_bytes(*self.take(4)?.first_chunk().expect("four bytes were taken")))
    }

    fn u64(&mut self) -> Result<u64, Kind> {
        Ok(u64::from_le_bytes(*self.take(8)?.first_chunk().expect("eight bytes were taken")))
    }

    fn string(&mut self) -> Result<&'a str, Kind> {
        let length = self.u64()?;
        let text = self.take(length)?;
        std::str::from_utf8(text).map_err(|_| self.wrong("a text is not UTF-8"))
    }

    /// The rest of an array of 32-bit numbers.
    fn shape(&mut self) -> Result<Vec<u64>, Kind> {
        let kind = self.u32()?;
        let count = self.u64()?;
        if !matches!(kind, 4 | 5) || count > crate::RANK_LIMIT as u64 {
            return Err(self.wrong("an original shape is no list of numbers"));
        }
        (0..count).map(|_| self.u32().map(u64::from)).collect()
    }

    /// Passes over a value; time is proportional to the bytes that the file has for it.
    fn skip_value(&mut self, kind: u32, nesting: u32) -> Result<(), Kind> {
        if let Some(bytes) = fixed_bytes(kind) {
            return self.take(bytes).map(drop);
        }
        match kind {
            STRING => self.string().map(drop),
            ARRAY if nesting > 0 => {
                let element = self.u32()?;
                let count = self.u64()?;
                if let Some(bytes) = fixed_bytes(element) {
                    return self.take(count.saturating_mul(bytes)).map(drop);
                }
                (0..count).try_for_each(|_| self.skip_value(element, nesting - 1))
            }
            _ => Err(self.wrong("a value of an unknown type")),
        }
    }

    fn wrong(&self, problem: &'static str) -> Kind {
        Kind::Gguf { problem, offset: self.at as u64 }
    }
}

/// Bytes of a value that is a number.
fn fixed_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}
