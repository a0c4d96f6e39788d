//! Importance matrices of llama.cpp: `E[x_j²]` of every layer's inputs, in its own two containers.
//!
//! # Source
//! llama.cpp, `tools/imatrix/imatrix.cpp`: `save_imatrix`, `save_imatrix_legacy`.

mod cursor;
mod gguf;
mod legacy;
mod names;

use roundwise_tensor_file::{PlainFile, TensorFileError};

use crate::{LayerShape, LayerStatistics, SecondMoment, StatsError, StatsErrorKind as Kind};

pub use names::hugging_face_name;

/// An open importance matrix: places known, values unread.
#[derive(Debug)]
pub(crate) struct ImportanceMatrix {
    file: PlainFile,
    /// Sorted by module.
    entries: Vec<Entry>,
}

/// One layer's place in the file. Offsets are bytes from its start; values are F32.
#[derive(Debug)]
struct Entry {
    module: String,
    columns: u64,
    /// Number of inputs that were seen.
    count: u64,
    /// The number that stored sums are divided by.
    divisor: f64,
    /// Sums of x_j².
    squares: u64,
    /// Sums of x_j, in newer files.
    sums: Option<u64>,
}

impl ImportanceMatrix {
    pub(crate) fn open_gguf(file: PlainFile) -> Result<Self, StatsError> {
        let entries = gguf::entries(&file)?;
        Self::of(file, entries)
    }

    pub(crate) fn open_legacy(file: PlainFile) -> Result<Self, StatsError> {
        let entries = legacy::entries(&file)?;
        Self::of(file, entries)
    }

    fn of(file: PlainFile, mut entries: Vec<Entry>) -> Result<Self, StatsError> {
        entries.sort_by(|a, b| a.module.cmp(&b.module));
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].module == pair[1].module) {
            return Err(Kind::Duplicate.at_layer(file.path(), &pair[0].module));
        }
        if entries.is_empty() {
            return Err(Kind::Empty.at(file.path()));
        }
        Ok(Self { file, entries })
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
        let averages = |offset| -> Result<Vec<f32>, TensorFileError> {
            let sums = floats(&self.file, offset, entry.columns)?;
            Ok(sums.iter().map(|&sum| (f64::from(sum) / entry.divisor) as f32).collect())
        };
        let diagonal = averages(entry.squares)?;
        let mean = entry.sums.map(averages).transpose()?;
        Ok(LayerStatistics::new(entry.count, mean, diagonal, SecondMoment::Diagonal))
    }
}

/// Reads `count` F32, which the file is known to have had when it was opened.
fn floats(file: &PlainFile, offset: u64, count: u64) -> Result<Vec<f32>, TensorFileError> {
    let mut bytes = vec![0; count as usize * 4];
    file.read_into(offset, &mut bytes)?;
    let (values, _) = bytes.as_chunks::<4>();
    Ok(values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

/// Returns the module of a weight's name.
fn module_of(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}
