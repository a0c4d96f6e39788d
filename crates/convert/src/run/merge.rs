use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use roundwise_tensor_file::{
    Checkpoint, Manifest, Overwrite, PIECE_BYTES, TensorFileWriter, TensorSpec, pieces,
};

use crate::error::ConvertError;
use crate::plan::part::{PartEntry, header_hash};
use crate::report::watch::{Event, Phase, Watch, notice};
use crate::source::finished::check_all_finished;
use crate::source::incomplete::PART_KEY;

/// A merged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Number of tensors.
    pub tensors: usize,
    /// Size of the file.
    pub bytes: u64,
}

/// Puts the parts of a model together: the file that one machine would have made, byte for byte.
///
/// # Errors
/// [`ConvertError::Parts`] when a part is missing or given twice, or parts were made by other versions,
/// recipes or from other inputs, and whatever the files answer.
pub fn merge(
    parts: &[PathBuf],
    output: &Path,
    overwrite: Overwrite,
    watch: &dyn Watch,
) -> Result<Merged, ConvertError> {
    // 1. Every part names the whole that it belongs to.
    let opened = parts
        .iter()
        .map(|path| {
            let checkpoint = Checkpoint::open(path)?;
            check_all_finished(&checkpoint)?;
            let entry = checkpoint.metadata().get(PART_KEY).ok_or("it is no part of a model");
            let entry = entry.and_then(|text| {
                serde_json::from_str(text).map_err(|_| "another version of roundwise made it")
            });
            let entry: PartEntry = entry.map_err(|problem| complaint(path, problem))?;
            Ok((checkpoint, entry))
        })
        .collect::<Result<Vec<_>, ConvertError>>()?;
    check(&opened)?;
    // 2. The header of the whole, compared with the hash that the parts hold.
    let mut metadata = opened[0].0.metadata().clone();
    // It is what parts alone have; without it the header is that of the file that one machine would
    // have made.
    metadata.remove(PART_KEY);
    let manifest = merged_manifest(&opened, metadata)?;
    if let Some((checkpoint, _)) = opened.iter().find(|(part, _)| part.same_file_as(output)) {
        return Err(ConvertError::OutputIsInput { path: checkpoint.path().to_owned() });
    }
    let writer = TensorFileWriter::create(output, manifest, overwrite)?;
    opened.iter().for_each(|(part, _)| writer.limit_permissions(part.files()));
    let tensors = opened.iter().map(|(part, _)| part.tensors().len()).sum();
    let bytes = opened.iter().map(|(part, _)| part.total_bytes()).sum();
    notice(watch, Event::Phase { name: Phase::Merging, tensors, bytes })?;
    // 3. All tensors, piece by piece.
    let mut memory = vec![0; PIECE_BYTES as usize];
    for (part, _) in &opened {
        for tensor in part.tensors() {
            // A tensor without elements has no pieces, and has to be written all the same.
            if tensor.byte_len() == 0 {
                writer.write(&tensor.name, &[])?;
            }
            for piece in pieces(tensor.byte_len()) {
                let buffer = &mut memory[..(piece.end - piece.start) as usize];
                part.read_into(tensor, piece.start, buffer)?;
                writer.write_part(&tensor.name, piece.start, buffer)?;
                notice(watch, Event::Advanced { bytes: buffer.len() as u64 })?;
            }
        }
    }
    notice(watch, Event::Phase { name: Phase::Syncing, tensors: 0, bytes: 0 })?;
    Ok(Merged { tensors, bytes: writer.commit()?.bytes })
}

type OpenedPart = (Checkpoint, PartEntry);

fn complaint(path: &Path, problem: impl Into<String>) -> ConvertError {
    ConvertError::Parts { path: path.to_owned(), problem: problem.into() }
}

/// Checks that the parts belong to one whole, and that each is there once.
fn check(opened: &[OpenedPart]) -> Result<(), ConvertError> {
    let Some((first, expected)) = opened.first() else {
        return Err(complaint(Path::new("."), "no part was given"));
    };
    let mut numbers = BTreeMap::<usize, &Path>::new();
    for (part, entry) in opened {
        // First what the parts say of themselves: their headers would differ as well, without
        // saying why.
        if let Some(difference) = difference(entry, expected) {
            let other = first.path().display();
            return Err(complaint(part.path(), format!("{difference} than {other}")));
        }
        let strip = |part: &Checkpoint| {
            let mut metadata = part.metadata().clone();
            metadata.remove(PART_KEY);
            metadata
        };
        if strip(part) != strip(first) || entry.header != expected.header {
            let other = first.path().display();
            let problem = format!("is of another input, or was made another way, than {other}");
            return Err(complaint(part.path(), problem));
        }
        if let Some(other) = numbers.insert(entry.part, part.path()) {
            let problem = format!("is part {} of {}, as {}", entry.part, entry.of, other.display());
            return Err(complaint(part.path(), problem));
        }
    }
    let missing: Vec<String> = (1..=expected.of)
        .filter(|number| !numbers.contains_key(number))
        // A few are enough to see which machine is missing.
        .take(8)
        .map(|number| number.to_string())
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => {
            let (found, of) = (opened.len(), expected.of);
            let parts = if missing.len() == 1 { "part" } else { "parts" };
            let missing = missing.join(", ");
            let problem = format!("{found} of {of} parts were given; missing: {parts} {missing}");
            Err(complaint(first.path(), problem))
        }
    }
}

fn difference(entry: &PartEntry, expected: &PartEntry) -> Option<&'static str> {
    let differences = [
        (entry.version != expected.version, "was made by another version"),
        (entry.of != expected.of, "is of another number of parts"),
        (entry.recipe != expected.recipe, "was made by another recipe"),
        (entry.statistics != expected.statistics, "was made with other statistics"),
        (entry.device != expected.device, "was computed on another kind of device"),
    ];
    differences.into_iter().find(|(differs, _)| *differs).map(|(_, words)| words)
}

fn merged_manifest(
    opened: &[OpenedPart],
    metadata: BTreeMap<String, String>,
) -> Result<Manifest, ConvertError> {
    let spec = |tensor: &roundwise_tensor_file::TensorHeader| TensorSpec {
        name: tensor.name.clone(),
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
    };
    let specs = opened.iter().flat_map(|(part, _)| part.tensors().iter().map(spec)).collect();
    let manifest = Manifest::new(metadata, specs)?;
    // Every part has planned the whole file and recorded the hash of its header, so that a tensor
    // that is missing, there twice or of another shape shows here.
    match header_hash(&manifest) == opened[0].1.header {
        true => Ok(manifest),
        false => {
            Err(complaint(opened[0].0.path(), "and the others do not add up to what was planned"))
        }
    }
}
