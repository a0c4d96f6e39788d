//! The container of newer programs: GGUF with `general.type` = `imatrix`.

use std::collections::BTreeMap;

use roundwise_tensor_file::PlainFile;

use super::cursor::Cursor;
use super::{Entry, floats, module_of};
use crate::{StatsError, StatsErrorKind as Kind};

/// Type number of F32 tensors.
const F32: u32 = 0;

/// Type numbers of metadata values that are looked into.
const UINT32: u32 = 4;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Levels of arrays in arrays that are read; programs write one at most.
const NESTING_LIMIT: u32 = 4;

/// A tensor's place.
struct Tensor {
    /// `[columns, matrices]`; 1 where a dimension is not there.
    extents: [u64; 2],
    /// Byte of the file.
    offset: u64,
}

/// Finds every layer's place.
///
/// For each weight there are `NAME.in_sum2` `[columns, matrices]`, `NAME.counts`
/// `[1, matrices]` and, in newer files, `NAME.in_sum`; other tensors are left alone, as llama.cpp does.
///
/// `E[x_j²] = in_sum2 / counts`, `E[x_j] = in_sum / counts`. Each expert of a stack is a layer of its
/// own, `NAME.3`; experts that were never asked are left out.
pub(super) fn entries(file: &PlainFile) -> Result<Vec<Entry>, StatsError> {
    let mut cursor = Cursor::new(file);
    cursor.skip("GGUF", 4)?;
    let version = cursor.u32("version")?;
    if !(2..=3).contains(&version) {
        return Err(Kind::GgufVersion { found: version }.at(file.path()));
    }
    let n_tensors = cursor.u64("number of tensors")?;
    let n_keys = cursor.u64("number of keys")?;
    let metadata = Metadata::read(&mut cursor, n_keys)?;
    if metadata.kind.as_deref() != Some("imatrix") {
        return Err(Kind::NotImportanceMatrix { found: metadata.kind }.at(file.path()));
    }
    let tensors = read_tensors(file, &mut cursor, n_tensors, metadata.alignment)?;
    let mut entries = Vec::new();
    for (name, squares) in &tensors {
        if let Some(weight) = name.strip_suffix(".in_sum2") {
            entries.extend(layers(file, &tensors, weight, squares)?);
        } else if let Some(weight) = name.strip_suffix(".counts")
            && !tensors.contains_key(&format!("{weight}.in_sum2"))
        {
            return Err(Kind::MissingPart { part: "in_sum2" }.at_layer(file.path(), weight));
        }
    }
    Ok(entries)
}

/// Returns the layers of one weight: one, or one for each expert.
fn layers(
    file: &PlainFile,
    tensors: &BTreeMap<String, Tensor>,
    weight: &str,
    squares: &Tensor,
) -> Result<Vec<Entry>, StatsError> {
    let part = |part| tensors.get(&format!("{weight}.{part}"));
    let at = |kind: Kind| kind.at_layer(file.path(), weight);
    let counts = part("counts").ok_or_else(|| at(Kind::MissingPart { part: "counts" }))?;
    let sums = part("in_sum");
    let [columns, matrices] = squares.extents;
    let length = |part, found: [u64; 2], expected: [u64; 2]| {
        let product = |extents: [u64; 2]| extents[0].saturating_mul(extents[1]) as usize;
        Kind::Length { part, found: product(found), expected: product(expected) }
    };
    if counts.extents != [1, matrices] {
        return Err(at(length("counts", counts.extents, [1, matrices])));
    }
    if let Some(sums) = sums.filter(|sums| sums.extents != squares.extents) {
        return Err(at(length("in_sum", sums.extents, squares.extents)));
    }
    let mut layers = Vec::new();
    for (matrix, count) in floats(file, counts.offset, matrices)?.into_iter().enumerate() {
        // F32 counts whole numbers exactly up to here, and nobody has seen more tokens.
        const MOST: f32 = 1e18;
        if !(0.0..=MOST).contains(&count) {
            return Err(at(Kind::NotFinite { part: "counts", index: matrix, found: count }));
        }
        if count.round() < 1.0 {
            continue;
        }
        let module = module_of(weight);
        let within = |tensor: &Tensor| tensor.offset + matrix as u64 * columns * 4;
        layers.push(Entry {
            module: if matrices == 1 { module.to_owned() } else { format!("{module}.{matrix}") },
            columns,
            count: count.round() as u64,
            divisor: f64::from(count),
            squares: within(squares),
            sums: sums.map(within),
        });
    }
    Ok(layers)
}

/// The two values that are used.
struct Metadata {
    /// `general.type`.
    kind: Option<String>,
    /// `general.alignment`, bytes.
    alignment: u64,
}

impl Metadata {
    fn read(cursor: &mut Cursor<'_>, n_keys: u64) -> Result<Self, StatsError> {
        let mut metadata = Self { kind: None, alignment: 32 };
        for _ in 0..n_keys {
            let length = cursor.u64("length of a key")?;
            let key = cursor.text("key", length)?;
            let offset = cursor.offset();
            let kind = cursor.u32("type of a value")?;
            match (key.as_str(), kind) {
                ("general.type", STRING) => {
                    let length = cursor.u64("length of a value")?;
                    metadata.kind = Some(cursor.text("general.type", length)?);
                }
                ("general.alignment", UINT32) => {
                    let found = cursor.u32("general.alignment")?;
                    if !found.is_power_of_two() {
                        let expected = "a power of two";
                        return Err(cursor.field("alignment", i128::from(found), offset, expected));
                    }
                    metadata.alignment = u64::from(found);
                }
                _ => skip_value(cursor, kind, offset, NESTING_LIMIT)?,
            }
        }
        Ok(metadata)
    }
}

/// Passes over a value; time is proportional to the bytes that the file has for it.
fn skip_value(
    cursor: &mut Cursor<'_>,
    kind: u32,
    offset: u64,
    nesting: u32,
) -> Result<(), StatsError> {
    if let Some(bytes) = fixed_bytes(kind) {
        return cursor.skip("value", bytes);
    }
    match kind {
        STRING => {
            let length = cursor.u64("length of a value")?;
            cursor.skip("value", length)
        }
        ARRAY if nesting > 0 => {
            let offset = cursor.offset();
            let element = cursor.u32("type of an array")?;
            let length = cursor.u64("length of an array")?;
            if let Some(bytes) = fixed_bytes(element) {
                return cursor.skip("array", length.saturating_mul(bytes));
            }
            for _ in 0..length {
                skip_value(cursor, element, offset, nesting - 1)?;
            }
            Ok(())
        }
        _ => Err(cursor.field("type of a value", i128::from(kind), offset, "0 to 12")),
    }
}

/// Returns the bytes of a metadata value that is a number.
fn fixed_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// Reads the directory of tensors: those of F32 and at most two dimensions that lie inside the file.
fn read_tensors(
    file: &PlainFile,
    cursor: &mut Cursor<'_>,
    n_tensors: u64,
    alignment: u64,
) -> Result<BTreeMap<String, Tensor>, StatsError> {
    let mut tensors = BTreeMap::new();
    for _ in 0..n_tensors {
        let length = cursor.u64("length of a tensor's name")?;
        let name = cursor.text("tensor's name", length)?;
        let offset = cursor.offset();
        let n_dimensions = cursor.u32("number of dimensions")?;
        if n_dimensions > 4 {
            let found = i128::from(n_dimensions);
            return Err(cursor.field("number of dimensions", found, offset, "at most 4"));
        }
        let mut extents = [1; 2];
        for dimension in 0..n_dimensions as usize {
            let offset = cursor.offset();
            let extent = cursor.u64("extent")?;
            match extents.get_mut(dimension) {
                Some(slot) if extent > 0 => *slot = extent,
                None if extent == 1 => {}
                _ => return Err(cursor.field("extent", i128::from(extent), offset, "a matrix")),
            }
        }
        let at = cursor.offset();
        let kind = cursor.u32("type of a tensor")?;
        if kind != F32 {
            return Err(cursor.field("type of a tensor", i128::from(kind), at, "0, which is F32"));
        }
        let offset = cursor.u64("offset of a tensor")?;
        if tensors.insert(name.clone(), Tensor { extents, offset }).is_some() {
            return Err(Kind::Duplicate.at_layer(file.path(), &name));
        }
    }
    // Lossless: the cursor is inside the file, whose length is signed.
    let data_start = cursor.offset().next_multiple_of(alignment);
    for (name, tensor) in &mut tensors {
        let values = tensor.extents[0].saturating_mul(tensor.extents[1]);
        let needed = values.saturating_mul(4);
        let start = data_start.saturating_add(tensor.offset);
        let available = file.bytes().saturating_sub(start);
        if needed > available {
            let kind = Kind::EndsEarly { what: "tensor", offset: start, needed, available };
            return Err(kind.at_layer(file.path(), name));
        }
        tensor.offset = start;
    }
    Ok(tensors)
}
