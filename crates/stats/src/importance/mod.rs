//! Importance matrices of llama.cpp: `E[x_j²]` of every layer's inputs, in its own two containers.
//!
//! # Source
//! llama.cpp, `tools/imatrix/imatrix.cpp`: `save_imatrix`, `save_imatrix_legacy`.

mod cursor;
mod gguf;
mod legacy;
mod names;

use std::path::Path;

use roundwise_tensor_file::{Checkpoint, PlainFile, TensorFileError};

use crate::{LayerShape, LayerStatistics, SecondMoment, StatsError, StatsErrorKind as Kind};

pub use names::hugging_face_name;

/// An open importance matrix: places known, values unread.
#[derive(Debug)]
pub(crate) struct ImportanceMatrix {
    values: Values,
    /// Sorted by module.
    entries: Vec<Entry>,
}

/// The file that holds the values, all of them F32.
#[derive(Debug)]
enum Values {
    Gguf(Checkpoint),
    Legacy(PlainFile),
}

/// Where values begin.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// Number of the tensor in GGUF.
    tensor: usize,
    /// Bytes from the start of the tensor, or of the file where it has no tensors.
    offset: u64,
}

impl Values {
    fn path(&self) -> &Path {
        match self {
            Self::Gguf(file) => file.path(),
            Self::Legacy(file) => file.path(),
        }
    }

    /// Reads `count` values, which the file is known to have had when it was opened.
    fn floats(&self, place: Position, count: u64) -> Result<Vec<f32>, TensorFileError> {
        let mut bytes = vec![0; count as usize * 4];
        match self {
            Self::Gguf(file) => {
                file.read_into(&file.tensors()[place.tensor], place.offset, &mut bytes)?;
            }
            Self::Legacy(file) => file.read_into(place.offset, &mut bytes)?,
        }
        Ok(floats(&bytes))
    }
}

/// One layer's place in the file.
#[derive(Debug)]
struct Entry {
    module: String,
    columns: u64,
    /// Number of inputs that were seen.
    count: u64,
    /// The number that stored sums are divided by.
    divisor: f64,
    /// Sums of x_j².
    squares: Position,
    /// Sums of x_j, in newer files.
    sums: Option<Position>,
}

impl ImportanceMatrix {
    pub(crate) fn open_gguf(path: &Path) -> Result<Self, StatsError> {
        let file = Checkpoint::open(path)?;
        let entries = gguf::entries(&file)?;
        Self::of(Values::Gguf(file), entries)
    }

    pub(crate) fn open_legacy(file: PlainFile) -> Result<Self, StatsError> {
        let entries = legacy::entries(&file)?;
        Self::of(Values::Legacy(file), entries)
    }

    fn of(values: Values, mut entries: Vec<Entry>) -> Result<Self, StatsError> {
        // In the order of side-cars, which looking modules up relies on.
        entries.sort_by(|a, b| a.module.cmp(&b.module));
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].module == pair[1].module) {
            return Err(Kind::Duplicate.at_layer(values.path(), &pair[0].module));
        }
        if entries.is_empty() {
            return Err(Kind::Empty.at(values.path()));
        }
        Ok(Self { values, entries })
    }

    pub(crate) fn shapes(&self) -> Vec<LayerShape> {
        let shape = |entry: &Entry| LayerShape {
            module: entry.module.clone(),
            rows: 0,
            columns: entry.columns,
        };
        self.entries.iter().map(shape).collect()
    }

    pub(crate) fn count(&self, position: usize) -> u64 {
        self.entries[position].count
    }

    pub(crate) fn has_mean(&self, position: usize) -> bool {
        self.entries[position].sums.is_some()
    }

    pub(crate) fn layer(
        &self,
        position: usize,
    ) -> Result<Result<LayerStatistics, Kind>, StatsError> {
        let entry = &self.entries[position];
        let averages = |place| -> Result<Vec<f32>, TensorFileError> {
            let sums = self.values.floats(place, entry.columns)?;
            Ok(sums.iter().map(|&sum| (f64::from(sum) / entry.divisor) as f32).collect())
        };
        let diagonal = averages(entry.squares)?;
        let mean = entry.sums.map(averages).transpose()?;
        Ok(LayerStatistics::new(entry.count, mean, diagonal, SecondMoment::Diagonal))
    }
}

/// Reads little-endian F32.
fn floats(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<4>();
    values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// Returns the module of a weight's name.
fn module_of(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}
