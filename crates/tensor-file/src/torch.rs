//! Tensors of files that `torch.save` wrote: a pickle that names them, and their bytes beside it.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;

use crate::container::{Complaint, Contents, whole};
use crate::header::{Encoding, TensorHeader};
use crate::no_tensor::{NoTensors, is_flat_parameter};
use crate::pickle::{
    Element, Id, PICKLE_LIMIT_BYTES, Pickle, ResolvedView, Value, is_tensor_maker,
};
use crate::state_dict;
use crate::strided::{is_contiguous, span};
use crate::zip::{self, entries};
use crate::{Remark, TensorFileErrorKind as Kind};

/// Bounds in the file of each storage's bytes, by its name.
type Storages = BTreeMap<String, Range<u64>>;

/// Reads a ZIP archive, as PyTorch writes it since 1.6.
pub(crate) fn read_zip(file: &File, file_bytes: u64) -> Result<Contents, Complaint> {
    let entries = entries(file, file_bytes).map_err(whole)?;
    let pickles: Vec<&String> =
        entries.keys().filter(|name| *name == "data.pkl" || name.ends_with("/data.pkl")).collect();
    let [name] = pickles[..] else {
        return Err(whole(Kind::Zip { problem: "it holds no single data.pkl" }));
    };
    let folder = name.trim_end_matches("data.pkl");
    // Older versions of PyTorch do not write `byteorder`.
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
    let contents = contents_of(&pickle, &storages.collect())?;
    Ok(Contents { header: text, ..contents })
}

fn read_pickle_text(file: &File, range: &Range<u64>) -> Result<Vec<u8>, Complaint> {
    let length = range.end - range.start;
    match usize::try_from(length).ok().filter(|&length| length <= PICKLE_LIMIT_BYTES) {
        Some(length) => zip::read(file, range.start, length).map_err(whole),
        None => Err(whole(Kind::PickleTooLong { limit: PICKLE_LIMIT_BYTES as u64 })),
    }
}

/// Reads the container before that, pickles one after the other: a magic number, a version, facts
/// about the machine, the tensors, the order of the storages; then each storage with its number of
/// elements in front.
pub(crate) fn read_legacy(file: &File, file_bytes: u64) -> Result<Contents, Complaint> {
    // Only one of the five pickles is long; a file with more than twice the limit is reported as cut
    // short.
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
    let contents = contents_of(&pickle, &storages)?;
    text.truncate(at);
    Ok(Contents { header: text, ..contents })
}

fn places(
    file: &File,
    file_bytes: u64,
    pickle: &Pickle,
    order: &Pickle,
    mut at: u64,
) -> Result<Storages, Complaint> {
    const COUNT_BYTES: u64 = 8;
    let elements: BTreeMap<&str, Element> =
        pickle.storages().map(|(key, storage)| (key, storage.element)).collect();
    let Value::List(keys) = order.get(order.root()) else {
        return Err(whole(Kind::Pickle { problem: "an order that is no list", offset: at }));
    };
    let mut storages = Storages::new();
    for key in keys {
        let wrong = |problem| whole(Kind::Pickle { problem, offset: at });
        let known = order.text(*key).and_then(|key| elements.get_key_value(key));
        let (key, element) = known.ok_or_else(|| wrong("a storage that no tensor names"))?;
        let element_bytes = match element {
            Element::Number(dtype) => dtype.bits() / 8,
            Element::Byte => 1,
            Element::Unknown => return Err(wrong("a storage of numbers that are not known here")),
        };
        let count = zip::read(file, at, COUNT_BYTES as usize).map_err(whole)?;
        let count = count.iter().rev().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte));
        let start = at + COUNT_BYTES;
        let bytes = count.checked_mul(element_bytes);
        let end = bytes.and_then(|bytes| start.checked_add(bytes));
        let end = end.filter(|&end| end <= file_bytes).ok_or_else(|| {
            whole(Kind::Truncated { found: file_bytes, expected: end.unwrap_or(u64::MAX) })
        })?;
        storages.insert((*key).to_owned(), start..end);
        at = end;
    }
    Ok(storages)
}

/// Finds the tensors of the model's dictionary by their names. Weights in another form are refused; other
/// entries are passed over.
fn contents_of(pickle: &Pickle, storages: &Storages) -> Result<Contents, Complaint> {
    let dictionary = state_dict::choose(pickle).map_err(whole)?;
    let mut values = BTreeMap::<&str, Id>::new();
    for &(key, value) in dictionary.entries {
        let Some(name) = pickle.text(key) else { continue };
        // Before any name is copied: entries may share one text.
        if values.insert(name, value).is_some() {
            return Err((Some(name.to_owned()), Kind::DuplicateTensor));
        }
    }
    let mut tensors = vec![];
    let mut others = NoTensors::new(pickle);
    for (name, value) in values {
        let at = |kind| (Some(name.to_owned()), kind);
        match (pickle.get(value), pickle.maker(value)) {
            (Value::Tensor(_), _) if is_flat_parameter(name) => {
                return Err(at(Kind::FlatParameter));
            }
            (Value::Tensor(view), _) => {
                let view = pickle.resolve(view).map_err(at)?;
                tensors.push(placed(name, view, storages).map_err(at)?);
            }
            (_, Some(call)) if is_tensor_maker(&call) => return Err(at(Kind::TensorCall { call })),
            _ => others.look_at(name, value).map_err(at)?,
        }
    }
    let mut remarks = dictionary.remarks;
    if !others.numbers.is_empty() {
        remarks.push(Remark::NumbersLeftOut { numbers: others.numbers });
    }
    Ok(Contents { tensors, remarks, ..Contents::default() })
}

fn placed(name: &str, view: ResolvedView<'_>, storages: &Storages) -> Result<TensorHeader, Kind> {
    let ResolvedView { storage, dtype, offset, shape, strides } = view;
    let length = dtype.checked_byte_len(&shape)?;
    let element_bytes = dtype.bits() / 8;
    let (encoding, span_bytes) = if is_contiguous(&shape, &strides) {
        (Encoding::Plain, Some(length))
    } else {
        match span(&shape, &strides) {
            Some(span) => (Encoding::Strided(strides.into()), span.checked_mul(element_bytes)),
            None => return Err(Kind::StridesOverlap { shape, strides }),
        }
    };
    let missing = || Kind::StorageMissing { storage: storage.to_owned() };
    let range = storages.get(storage).ok_or_else(missing)?;
    let expected = offset.checked_mul(element_bytes).and_then(|start| {
        let end = start.checked_add(span_bytes?)?;
        let begin = range.start.checked_add(start)?;
        Some((begin, end))
    });
    let found = range.end - range.start;
    // Inside its own storage, not only inside the file: others lie behind it.
    match expected.filter(|(_, end)| *end <= found) {
        Some((offset, _)) => {
            let name = name.to_owned();
            Ok(TensorHeader { name, dtype, shape, file: 0, offset, length, encoding })
        }
        None => {
            let expected = expected.map_or(u64::MAX, |(_, end)| end);
            Err(Kind::DataLength { found, expected, dtype, shape })
        }
    }
}
