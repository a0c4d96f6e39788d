//! Tensors of files that `torch.save` wrote: a pickle that names them, and their bytes beside it.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;

use crate::container::{Complaint, Contents, whole};
use crate::header::{Encoding, TensorHeader};
use crate::pickle::{Id, PICKLE_LIMIT_BYTES, Pickle, ResolvedView, Value};
use crate::zip::{self, entries};
use crate::{Dtype, TensorFileErrorKind as Kind};

/// Where the bytes of each storage lie.
type Storages = BTreeMap<String, Range<u64>>;

/// A ZIP archive, as PyTorch writes it since 1.6.
pub(crate) fn read_zip(file: &File, file_bytes: u64) -> Result<Contents, Complaint> {
    let entries = entries(file, file_bytes).map_err(whole)?;
    let pickles: Vec<&String> =
        entries.keys().filter(|name| *name == "data.pkl" || name.ends_with("/data.pkl")).collect();
    let [name] = pickles[..] else {
        return Err(whole(Kind::Zip { problem: "it holds no single data.pkl" }));
    };
    let folder = name.trim_end_matches("data.pkl");
    let entry = |name: &str| entries.get(&format!("{folder}{name}"));
    if let Some(order) = entry("byteorder") {
        let length = (order.end - order.start).min(8) as usize;
        if zip::read(file, order.start, length).map_err(whole)? != b"little" {
            return Err(whole(Kind::Zip { problem: "its numbers are big-endian" }));
        }
    }
    let text = read_pickle_text(file, &entries[name])?;
    let pickle = Pickle::read(&text).map_err(whole)?;
    let data = format!("{folder}data/");
    let storages = entries
        .iter()
        .filter_map(|(name, range)| Some((name.strip_prefix(&data)?.to_owned(), range.clone())));
    let tensors = tensors_of(&pickle, &storages.collect())?;
    Ok(Contents { header: text, tensors, ..Contents::default() })
}

fn read_pickle_text(file: &File, range: &Range<u64>) -> Result<Vec<u8>, Complaint> {
    let length = range.end - range.start;
    match usize::try_from(length).ok().filter(|&length| length <= PICKLE_LIMIT_BYTES) {
        Some(length) => zip::read(file, range.start, length).map_err(whole),
        None => Err(whole(Kind::PickleTooLong { limit: PICKLE_LIMIT_BYTES as u64 })),
    }
}

/// Pickles one after the other: a magic number, a version, facts about the machine, the tensors, the
/// order of the storages; then each storage with its number of elements in front.
pub(crate) fn read_legacy(file: &File, file_bytes: u64) -> Result<Contents, Complaint> {
    let length = file_bytes.min(2 * PICKLE_LIMIT_BYTES as u64) as usize;
    let mut text = zip::read(file, 0, length).map_err(whole)?;
    let mut at = 0;
    let mut next = || {
        let pickle = Pickle::read(&text[at..])?;
        at += pickle.bytes;
        Ok(pickle)
    };
    for _ in 0..3 {
        next().map_err(whole)?;
    }
    let pickle = next().map_err(whole)?;
    let order = next().map_err(whole)?;
    let storages = places(file, file_bytes, &pickle, &order, at as u64)?;
    let tensors = tensors_of(&pickle, &storages)?;
    text.truncate(at);
    Ok(Contents { header: text, tensors, ..Contents::default() })
}

fn places(
    file: &File,
    file_bytes: u64,
    pickle: &Pickle,
    order: &Pickle,
    mut at: u64,
) -> Result<Storages, Complaint> {
    const COUNT_BYTES: u64 = 8;
    let sizes: BTreeMap<&str, u64> = pickle
        .storages()
        .map(|storage| (storage.key.as_str(), storage.dtype.map_or(8, Dtype::bits) / 8))
        .collect();
    let Value::List(keys) = order.root() else {
        return Err(whole(Kind::Pickle { problem: "an order that is no list", offset: at }));
    };
    let mut storages = Storages::new();
    for key in keys {
        let known = match order.get(*key) {
            Value::Text(key) => sizes.get_key_value(key.as_str()),
            _ => None,
        };
        let unknown = Kind::Pickle { problem: "a storage that no tensor names", offset: at };
        let (key, element_bytes) = known.ok_or_else(|| whole(unknown))?;
        let count = zip::read(file, at, COUNT_BYTES as usize).map_err(whole)?;
        let count = count.iter().rev().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
        let start = at + COUNT_BYTES;
        let bytes = count.checked_mul(*element_bytes);
        let end = bytes.and_then(|bytes| start.checked_add(bytes));
        let end = end.filter(|&end| end <= file_bytes).ok_or_else(|| {
            whole(Kind::Truncated { found: file_bytes, expected: end.unwrap_or(u64::MAX) })
        })?;
        storages.insert((*key).to_owned(), start..end);
        at = end;
    }
    Ok(storages)
}

/// The tensors of a dictionary by their names, which may lie inside another one, as training programs
/// save them.
fn tensors_of(pickle: &Pickle, storages: &Storages) -> Result<Vec<TensorHeader>, Complaint> {
    let entries = state_dict(pickle).ok_or_else(|| whole(Kind::NoStateDict))?;
    let mut tensors = vec![];
    for (key, value) in entries {
        let (Value::Text(name), Value::Tensor(view)) = (pickle.get(*key), pickle.get(*value))
        else {
            continue;
        };
        let at = |kind| (Some(name.clone()), kind);
        let damaged = Kind::Pickle { problem: "a tensor of another form", offset: 0 };
        let view = pickle.resolve(view).ok_or_else(|| at(damaged))?;
        tensors.push(placed(name, view, storages).map_err(at)?);
    }
    Ok(tensors)
}

fn state_dict(pickle: &Pickle) -> Option<&[(Id, Id)]> {
    let dict = |id| match pickle.get(id) {
        Value::Dict(entries) => Some(&entries[..]),
        _ => None,
    };
    let holds_tensors = |entries: &&[(Id, Id)]| {
        entries.iter().any(|(_, value)| matches!(pickle.get(*value), Value::Tensor(_)))
    };
    let Value::Dict(root) = pickle.root() else { return None };
    if holds_tensors(&&root[..]) {
        return Some(root);
    }
    let is_state = |key: &Id| matches!(pickle.get(*key), Value::Text(key) if key == "state_dict");
    if let Some((_, value)) = root.iter().find(|(key, _)| is_state(key)) {
        return dict(*value).filter(holds_tensors);
    }
    let mut inner = root.iter().filter_map(|(_, value)| dict(*value)).filter(holds_tensors);
    // Of several nobody can say which one is meant.
    inner.next().filter(|_| inner.next().is_none())
}

fn placed(name: &str, view: ResolvedView<'_>, storages: &Storages) -> Result<TensorHeader, Kind> {
    let ResolvedView { storage, dtype, offset, shape, strides } = view;
    let length = dtype.checked_byte_len(&shape)?;
    if !is_contiguous(&shape, &strides) {
        return Err(Kind::NotContiguous { shape, strides });
    }
    let missing = || Kind::StorageMissing { storage: storage.key.clone() };
    let range = storages.get(&storage.key).ok_or_else(missing)?;
    let expected = offset.checked_mul(dtype.bits() / 8).and_then(|start| {
        let end = start.checked_add(length)?;
        let begin = range.start.checked_add(start)?;
        Some((begin, end))
    });
    let found = range.end - range.start;
    match expected.filter(|(_, end)| *end <= found) {
        Some((offset, _)) => Ok(TensorHeader {
            name: name.to_owned(),
            dtype,
            shape,
            file: 0,
            offset,
            length,
            encoding: Encoding::Plain,
        }),
        None => {
            let expected = expected.map_or(u64::MAX, |(_, end)| end);
            Err(Kind::DataLength { found, expected, dtype, shape })
        }
    }
}

/// Whether the elements lie one after the other, row after row. Strides of extents 1 say nothing.
fn is_contiguous(shape: &[u64], strides: &[u64]) -> bool {
    if shape.contains(&0) {
        return true;
    }
    let mut expected = 1_u64;
    for (&extent, &stride) in shape.iter().zip(strides).rev() {
        if extent != 1 && stride != expected {
            return false;
        }
        expected = expected.saturating_mul(extent);
    }
    true
}
