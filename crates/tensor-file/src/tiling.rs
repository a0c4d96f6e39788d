//! Checks that a header's tensors tile the file's data: in order, without overlap or hole.

use std::path::Path;

use crate::header::{Encoding, RANK_LIMIT, RawTensor, TensorHeader};
use crate::{Dtype, TensorFileError, TensorFileErrorKind as Kind};

/// The place of a file's tensor data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataRegion {
    /// Index of the file in its checkpoint.
    pub(crate) file: usize,
    /// First byte of the data, counted from the start of the file.
    pub(crate) start: u64,
    /// Bytes from there to the end of the file.
    pub(crate) bytes: u64,
}

/// Returns the tensors of a raw header, sorted by name, and the byte of the data where they end.
pub(crate) fn checked_tensors(
    path: &Path,
    raw: Vec<(String, RawTensor)>,
    region: DataRegion,
) -> Result<(Vec<TensorHeader>, u64), TensorFileError> {
    let mut tensors = raw
        .into_iter()
        .map(|(name, entry)| match checked_tensor(&name, entry, region) {
            Ok(tensor) => Ok(tensor),
            Err(kind) => Err(kind.at_tensor(path, &name)),
        })
        .collect::<Result<Vec<_>, _>>()?;

    // Names before places: two entries with one name may overlap as well, and the message about the
    // name is of more use.
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(Kind::DuplicateTensor.at_tensor(path, &pair[0].name));
    }
    let end = check_tiling(path, &tensors, region)?;
    Ok((tensors, end))
}

fn checked_tensor(name: &str, entry: RawTensor, region: DataRegion) -> Result<TensorHeader, Kind> {
    let RawTensor { dtype, shape, data_offsets: (begin, end) } = entry;
    let dtype = Dtype::from_name(&dtype).ok_or(Kind::UnknownDtype { found: dtype })?;
    if shape.len() > RANK_LIMIT {
        return Err(Kind::TooManyDimensions { found: shape.len(), limit: RANK_LIMIT });
    }
    let expected = dtype.checked_byte_len(&shape)?;
    let length = end.checked_sub(begin).ok_or(Kind::OffsetsReversed { begin, end })?;
    if length != expected {
        return Err(Kind::DataLength { found: length, expected, dtype, shape });
    }
    if end > region.bytes {
        return Err(Kind::OffsetsPastEnd { end, data_bytes: region.bytes });
    }
    // Cannot overflow: `begin` is inside the file, whose length is a `u64`.
    let offset = region.start + begin;
    Ok(TensorHeader {
        name: name.to_owned(),
        dtype,
        shape,
        file: region.file,
        offset,
        length,
        encoding: Encoding::Plain,
    })
}

fn check_tiling(
    path: &Path,
    tensors: &[TensorHeader],
    region: DataRegion,
) -> Result<u64, TensorFileError> {
    let mut placed: Vec<&TensorHeader> = tensors.iter().collect();
    // Empty tensors before others at the same place: they overlap nothing.
    placed.sort_by_key(|tensor| (tensor.offset, tensor.length));

    // The reference reader refuses holes too: bytes that no tensor has could hide another file.
    let mut expected = 0;
    let mut other = "";
    for tensor in placed {
        let begin = tensor.offset - region.start;
        if begin > expected {
            return Err(Kind::Hole { begin, expected }.at_tensor(path, &tensor.name));
        }
        if begin < expected {
            let kind = Kind::Overlap { begin, expected, other: other.to_owned() };
            return Err(kind.at_tensor(path, &tensor.name));
        }
        expected = begin + tensor.length;
        other = &tensor.name;
    }
    Ok(expected)
}
