//! FP8 experts in one tensor of three dimensions.
//!
//! # Source
//! `FP8Experts` and `FbgemmFp8Llama4TextExperts` of transformers 5.

use std::ops::Range;
use std::sync::Arc;

use roundwise_tensor_file::{Checkpoint, Dtype, TensorFileError, TensorHeader};
use serde_json::Value;

use crate::names::layer_of_weight;
use crate::read::foreign::file::ForeignFile;
use crate::read::foreign::layer::{Decode, LayerDescription, Recognised};
use crate::read::foreign::parts::{Numbers, PLAIN, byte_values, bytes_of, part, size, unexpected};
use crate::read::foreign::program::ForeignProgram;

pub(crate) const FP8: ForeignProgram = ForeignProgram {
    name: "transformers (FP8 experts)",
    told_by: "`X_scale_inv` or `X_scale` beside an FP8 `X` of three dimensions",
    reads: "blocks of 128×128 or of the configuration, rows, columns, one scale per expert",
    formula: "code · scale",
    opened_by: "transformers and vLLM",
};

/// Recognises a bank by its scales.
pub(crate) fn recognise(file: &ForeignFile<'_>, header: &TensorHeader) -> Option<Recognised> {
    let name = &header.name;
    let bank = name.strip_suffix("_scale_inv").or_else(|| name.strip_suffix("_scale"))?;
    let codes = part(file, bank).ok().filter(|_| layer_of_weight(bank).is_none())?;
    if !matches!(codes.dtype, Dtype::F8E4M3 | Dtype::F8E5M2) || codes.shape.len() != 3 {
        return None;
    }
    let found = find(file, codes, header);
    Some(Recognised { layer: bank.to_owned(), program: &FP8, found })
}

fn find(
    file: &ForeignFile<'_>,
    codes: &TensorHeader,
    scales: &TensorHeader,
) -> Result<LayerDescription, String> {
    let &[experts, rows, cols] = codes.shape.as_slice() else {
        return Err(unexpected(codes, &[Dtype::F8E4M3], "of three dimensions"));
    };
    let is_byte = matches!(scales.dtype, Dtype::F8E8M0 | Dtype::U8);
    if !is_byte && !PLAIN.contains(&scales.dtype) {
        return Err(unexpected(scales, &PLAIN, "of three dimensions"));
    }
    // 1. How many scales an expert has, down and across.
    let grid = match scales.shape[..] {
        [found] if found == experts => [1, 1],
        // Scales of columns, which some store as rows of the transposed matrix.
        [found, down, 1] if found == experts && down == cols && rows != cols => [1, cols],
        [found, down, 1] if found == experts && down == cols && cols > 1 => {
            let name = &scales.name;
            return Err(format!(
                "`{name}` may be of rows or of columns, of which there are as many"
            ));
        }
        [found, down, across] if found == experts => [down, across],
        _ => return Err(unexpected(scales, &PLAIN, &format!("[{experts}, down, across]"))),
    };
    // 2. The blocks that so many scales are of.
    let block = file.setting("weight_block_size").cloned();
    let block: Option<[u64; 2]> = block.and_then(|it: Value| serde_json::from_value(it).ok());
    // The configuration's block first, then what programs assume; the first that fits the scales'
    // shape.
    let tiles =
        [block.unwrap_or([128, 128]), [128, 128], [rows, 1], [1, cols], [rows, cols], [1, 32]];
    let fits = |tile: &[u64; 2]| {
        !tile.contains(&0) && [rows.div_ceil(tile[0]), cols.div_ceil(tile[1])] == grid
    };
    let tile = tiles.into_iter().find(fits).ok_or_else(|| {
        let (name, found, shape) = (&scales.name, &scales.shape, &codes.shape);
        format!("`{name}` has shape {found:?}, which fits no blocks of {shape:?}")
    })?;
    let input = format!("{}_input_scale", codes.name);
    let input = Some(input).filter(|name| file.get(name).is_some());
    let decoder = Bank {
        codes: codes.clone(),
        rows: size(rows)?,
        cols: size(cols)?,
        grid: [size(grid[0])?, size(grid[1])?],
        tile: [size(tile[0])?, size(tile[1])?],
        scales: Numbers::of(scales),
    };
    Ok(LayerDescription {
        name: codes.name.clone(),
        codes_tensor: codes.name.clone(),
        parts: std::iter::once(scales.name.clone()).chain(input).collect(),
        codes: format!("8 bits in blocks of {}×{}", tile[0], tile[1]),
        shape: codes.shape.clone(),
        dtype: file.model_dtype(),
        decoder: Arc::new(decoder),
    })
}

#[derive(Debug)]
struct Bank {
    codes: TensorHeader,
    rows: usize,
    cols: usize,
    /// Tiles of an expert.
    grid: [usize; 2],
    tile: [usize; 2],
    scales: Numbers,
}

impl Decode for Bank {
    fn decode(
        &self,
        file: &Checkpoint,
        rows: Range<usize>,
        values: &mut [f32],
    ) -> Result<(), TensorFileError> {
        let codes = bytes_of(file, &self.codes, rows.start * self.cols..rows.end * self.cols)?;
        let scales = self.scales.all(file)?;
        let table = byte_values(self.codes.dtype);
        let in_rows = values.chunks_exact_mut(self.cols).zip(codes.chunks_exact(self.cols));
        for (row, (values, codes)) in rows.zip(in_rows) {
            let (expert, inside) = (row / self.rows, row % self.rows);
            // Past the tiles of earlier experts, and the rows of tiles above in this one.
            let first = (expert * self.grid[0] + inside / self.tile[0]) * self.grid[1];
            for (col, (value, code)) in values.iter_mut().zip(codes).enumerate() {
                *value = table[usize::from(*code)] * scales[first + col / self.tile[1]];
            }
        }
        Ok(())
    }
}
