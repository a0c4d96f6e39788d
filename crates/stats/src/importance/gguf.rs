//! The container of newer programs: GGUF with `general.type` = `imatrix`.

use roundwise_tensor_file::{Checkpoint, Dtype, GgufValue};

use super::{Entry, Position, floats, module_of};
use crate::{StatsError, StatsErrorKind as Kind};

/// A part of a weight's statistics: F32, a row for each matrix.
struct Sums {
    /// Number of the tensor.
    tensor: usize,
    columns: u64,
    matrices: u64,
}

/// Finds every layer. For each weight there are `NAME.in_sum2` `[matrices, columns]`, `NAME.counts`
/// `[matrices, 1]` and, in newer files, `NAME.in_sum`; other tensors are left alone, as llama.cpp
/// does.
///
/// `E[x_j²] = in_sum2 / counts`, `E[x_j] = in_sum / counts`. Each expert of a stack is a layer of its
/// own, `NAME.3`; experts that were never asked are left out.
pub(super) fn entries(file: &Checkpoint) -> Result<Vec<Entry>, StatsError> {
    let kind = file.gguf_metadata().get("general.type").and_then(GgufValue::as_text);
    if kind != Some("imatrix") {
        return Err(Kind::NotImportanceMatrix { found: kind.map(str::to_owned) }.at(file.path()));
    }
    let mut entries = Vec::new();
    for header in file.tensors() {
        if let Some(weight) = header.name.strip_suffix(".in_sum2") {
            entries.extend(layers(file, weight)?);
        } else if let Some(weight) = header.name.strip_suffix(".counts")
            && file.get(&format!("{weight}.in_sum2")).is_none()
        {
            return Err(Kind::MissingPart { part: "in_sum2" }.at_layer(file.path(), weight));
        }
    }
    Ok(entries)
}

/// Returns the layers of one weight: one, or one for each expert.
fn layers(file: &Checkpoint, weight: &str) -> Result<Vec<Entry>, StatsError> {
    let at = |kind: Kind| kind.at_layer(file.path(), weight);
    let required = |part| {
        let found = find(file, weight, part).map_err(at)?;
        found.ok_or_else(|| at(Kind::MissingPart { part }))
    };
    let (squares, counts) = (required("in_sum2")?, required("counts")?);
    let sums = find(file, weight, "in_sum").map_err(at)?;
    let Sums { columns, matrices, .. } = squares;
    check_extents("counts", &counts, 1, matrices).map_err(at)?;
    if let Some(sums) = &sums {
        check_extents("in_sum", sums, columns, matrices).map_err(at)?;
    }
    let mut layers = Vec::new();
    let counts = floats(&file.read(&file.tensors()[counts.tensor])?);
    for (matrix, count) in counts.into_iter().enumerate() {
        // Fits the I64 that counts are stored as, and is more than any run sees.
        const MOST: f32 = 1e18;
        if !(0.0..=MOST).contains(&count) {
            return Err(at(Kind::NotFinite { part: "counts", index: matrix, found: count }));
        }
        // An expert that no token was sent to.
        if count.round() < 1.0 {
            continue;
        }
        let module = module_of(weight);
        let within =
            |part: &Sums| Position { tensor: part.tensor, offset: matrix as u64 * columns * 4 };
        layers.push(Entry {
            module: if matrices == 1 { module.to_owned() } else { format!("{module}.{matrix}") },
            columns,
            count: count.round() as u64,
            divisor: f64::from(count),
            squares: within(&squares),
            sums: sums.as_ref().map(within),
        });
    }
    Ok(layers)
}

/// Finds a part of a weight's statistics, where the file has it.
fn find(file: &Checkpoint, weight: &str, part: &'static str) -> Result<Option<Sums>, Kind> {
    let name = format!("{weight}.{part}");
    let Ok(tensor) = file.tensors().binary_search_by(|header| header.name.cmp(&name)) else {
        return Ok(None);
    };
    let header = &file.tensors()[tensor];
    // Writers may leave out dimensions of 1.
    let slowest = header.shape.len().saturating_sub(2);
    let (outer, inner) = header.shape.split_at(slowest);
    let (matrices, columns) = match *inner {
        [] => (1, 1),
        [columns] => (1, columns),
        [matrices, columns, ..] => (matrices, columns),
    };
    let is_matrix = outer.iter().all(|&extent| extent == 1) && matrices > 0 && columns > 0;
    if !is_matrix || header.stored_as() != Dtype::F32.name() {
        return Err(Kind::PartShape {
            part,
            found_dtype: header.dtype,
            found_shape: header.shape.clone(),
            expected_dtype: Dtype::F32,
            expected: "[matrices, columns]".to_owned(),
        });
    }
    Ok(Some(Sums { tensor, columns, matrices }))
}

fn check_extents(name: &'static str, part: &Sums, columns: u64, matrices: u64) -> Result<(), Kind> {
    if (part.columns, part.matrices) == (columns, matrices) {
        return Ok(());
    }
    let product = |columns: u64, matrices: u64| columns.saturating_mul(matrices) as usize;
    Err(Kind::Length {
        part: name,
        found: product(part.columns, part.matrices),
        expected: product(columns, matrices),
    })
}
