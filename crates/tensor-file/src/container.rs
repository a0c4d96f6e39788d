//! Opens a file of any container, recognised by its first bytes, whatever its name.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use crate::disk::{open_regular, read_exact_at};
use crate::gguf::{GgufValue, read_gguf};
use crate::header::{HEADER_LIMIT_BYTES, TensorHeader};
use crate::metadata_value::checked_metadata;
use crate::source_file::{LENGTH_BYTES, SourceFile};
use crate::tiling::checked_tensors;
use crate::torch::{read_legacy, read_zip};
use crate::{Remark, TensorFileError, TensorFileErrorKind as Kind};

/// Everything but the numbers of a file of any container.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Bytes that distinguish files of equal length: all that is not tensor data, as stored.
    pub(crate) header: Vec<u8>,
    pub(crate) metadata: BTreeMap<String, String>,
    /// Entries of a GGUF header.
    pub(crate) gguf_metadata: BTreeMap<String, GgufValue>,
    /// Number of entries that are not among `metadata`.
    pub(crate) unread_entries: usize,
    /// Choices that were made, and parts that were passed over.
    pub(crate) remarks: Vec<Remark>,
    /// Defects that leave one way to read the file.
    pub(crate) defects: Vec<Kind>,
    /// Any order.
    pub(crate) tensors: Vec<TensorHeader>,
}

/// An error, and the tensor that it is about.
pub(crate) type Complaint = (Option<String>, Kind);

/// Makes the complaint about the file as a whole.
pub(crate) fn whole(kind: Kind) -> Complaint {
    (None, kind)
}

/// Opens a file and reads what it says about its tensors. It is number `number` of its checkpoint.
pub(crate) fn open(path: &Path, number: usize) -> Result<(SourceFile, Contents), TensorFileError> {
    let (file, metadata) = open_regular(path)?;
    let bytes = metadata.len();
    let reader = match Container::of(&file, bytes) {
        Container::Safetensors => return open_safetensors(path, number),
        Container::Zip => read_zip,
        Container::Pickle => read_legacy,
        Container::Gguf => read_gguf,
    };
    let mut contents = reader(&file, bytes).map_err(|(tensor, kind)| match tensor {
        Some(tensor) => kind.at_tensor(path, &tensor),
        None => kind.at(path),
    })?;
    // Names of safetensors are checked with their places, in `checked_tensors`; those of other
    // containers here.
    contents.tensors.sort_by(|a, b| a.name.cmp(&b.name));
    for tensor in &mut contents.tensors {
        tensor.file = number;
    }
    if let Some(pair) = contents.tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(Kind::DuplicateTensor.at_tensor(path, &pair[0].name));
    }
    let header = std::mem::take(&mut contents.header);
    Ok((SourceFile { path: path.to_owned(), file, bytes, header }, contents))
}

fn open_safetensors(path: &Path, number: usize) -> Result<(SourceFile, Contents), TensorFileError> {
    let file = SourceFile::open(path)?;
    let raw = file.parse()?;
    let (metadata, odd) = checked_metadata(raw.metadata).map_err(|kind| kind.at(path))?;
    let region = file.data_region(number);
    let (tensors, end) = checked_tensors(path, raw.tensors, region)?;
    let data_bytes = region.bytes;
    let trailing = (end < data_bytes).then_some(Kind::TrailingBytes { end, data_bytes });
    let odd = odd.into_iter().map(|odd| Kind::MetadataValue { key: odd.key, found: odd.found });
    let defects = trailing.into_iter().chain(odd).collect();
    Ok((file, Contents { metadata, tensors, defects, ..Contents::default() }))
}

enum Container {
    Safetensors,
    /// PyTorch since 1.6.
    Zip,
    /// PyTorch before that.
    Pickle,
    Gguf,
}

impl Container {
    fn of(file: &File, bytes: u64) -> Self {
        let mut length = [0; LENGTH_BYTES as usize];
        let mut after = [0];
        if bytes < LENGTH_BYTES || read_exact_at(file, &mut length, 0).is_err() {
            return Self::Safetensors;
        }
        // A file that ends here leaves the 0.
        let _ = read_exact_at(file, &mut after, LENGTH_BYTES);
        // A small length before a `{` is a header of safetensors, even where its bytes spell another
        // container's name.
        if u64::from_le_bytes(length) <= HEADER_LIMIT_BYTES && after == *b"{" {
            return Self::Safetensors;
        }
        match length {
            [b'P', b'K', 3, 4, ..] => Self::Zip,
            [b'G', b'G', b'U', b'F', ..] => Self::Gguf,
            // The number that `torch.save` put in front.
            // It is 0x1950a86a20f9469cfc6c, stored from its lowest byte, of which eight are looked
            // at here.
            [0x80, 2..=5, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46] => Self::Pickle,
            _ => Self::Safetensors,
        }
    }
}
