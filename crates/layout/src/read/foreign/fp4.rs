//! MXFP4: two E2M1 codes to a byte, the even one in the low half, and a power of two per 32.
//!
//! # Source
//! OCP microscaling specification 1.0; `convert_moe_packed_tensors` and `Fp8Dequantize` of
//! transformers 5; `mxfp4_pack_quantized` of compressed-tensors 0.20.

use std::ops::Range;
use std::sync::Arc;

use roundwise_grid::{E2m1, Grid};
use roundwise_tensor_file::{Checkpoint, Dtype, TensorFileError, TensorHeader};

use crate::names::{layer_of, weight_of};
use crate::read::foreign::file::ForeignFile;
use crate::read::foreign::layer::{Decode, LayerDescription, Recognised};
use crate::read::foreign::parts::{Numbers, bytes_of, expect, matrix, part, size, unexpected};
use crate::read::foreign::program::ForeignProgram;

pub(crate) const GPT_OSS: ForeignProgram = ForeignProgram {
    name: "gpt-oss (MXFP4)",
    told_by: "`X_blocks`, `X_scales`, of four and three dimensions",
    reads: "banks of experts, transposed as transformers has them",
    formula: "E2M1 · 2^(scale − 127)",
    opened_by: "transformers, vLLM and SGLang",
};

pub(crate) const DEEPSEEK: ForeignProgram = ForeignProgram {
    name: "DeepSeek (FP4)",
    told_by: "`X.scale` F8_E8M0 `[N, K / 32]` beside an I8 `X.weight`",
    reads: "matrices",
    formula: "E2M1 · 2^(scale − 127)",
    opened_by: "DeepSeek's own program, transformers and vLLM",
};

pub(crate) const COMPRESSED: ForeignProgram = ForeignProgram {
    name: "compressed-tensors (MXFP4)",
    told_by: "a U8 `X.weight_packed`, `X.weight_scale` of bytes `[N, K / 32]`",
    reads: "matrices",
    formula: "E2M1 · 2^(scale − 127)",
    opened_by: "vLLM, and transformers with compressed-tensors",
};

/// Columns that share a scale.
const BLOCK: u64 = 32;
const BYTES: [Dtype; 2] = [Dtype::U8, Dtype::F8E8M0];

/// Returns the values of E2M1 codes.
fn e2m1_values() -> [f32; 16] {
    std::array::from_fn(|code| E2m1::decode(code as u8))
}

/// Recognises a layer by its codes, or by its scales where nothing else tells what the codes are.
pub(crate) fn recognise(file: &ForeignFile<'_>, header: &TensorHeader) -> Option<Recognised> {
    let name = &header.name;
    if let Some(bank) = name.strip_suffix("_blocks") {
        let scales = file.get(&format!("{bank}_scales"))?;
        let found = find_bank(file, bank, header, scales);
        return Some(Recognised { layer: layer_of(bank).to_owned(), program: &GPT_OSS, found });
    }
    if let Some(layer) = name.strip_suffix(".weight_packed") {
        let scales = file.get(&format!("{layer}.weight_scale"))?;
        let is_mx = header.dtype == Dtype::U8 && BYTES.contains(&scales.dtype);
        // With a factor for all scales it is NVFP4, which is packed in the same way.
        let is_two_level = file.get(&format!("{layer}.weight_global_scale")).is_some();
        return (is_mx && !is_two_level).then(|| {
            let extra = [format!("{layer}.input_global_scale")];
            let extra = extra.into_iter().filter(|name| file.get(name).is_some()).collect();
            let found = find(file, layer, header, scales, extra);
            Recognised { layer: layer.to_owned(), program: &COMPRESSED, found }
        });
    }
    let layer = name.strip_suffix(".scale").filter(|_| header.dtype == Dtype::F8E8M0)?;
    let codes = part(file, &weight_of(layer)).ok()?;
    let is_packed = matches!(codes.dtype, Dtype::I8 | Dtype::U8);
    is_packed.then(|| {
        let found = find(file, layer, codes, header, vec![]);
        Recognised { layer: layer.to_owned(), program: &DEEPSEEK, found }
    })
}

fn find(
    file: &ForeignFile<'_>,
    layer: &str,
    codes: &TensorHeader,
    scales: &TensorHeader,
    extra: Vec<String>,
) -> Result<LayerDescription, String> {
    let [rows, row_bytes] = matrix(codes, &[Dtype::I8, Dtype::U8])?;
    let cols = row_bytes.checked_mul(2).ok_or("its shape is past all memory")?;
    expect(scales, &BYTES, &[rows, cols.div_ceil(BLOCK)])?;
    let rows_of = Rows { codes: codes.clone(), cols: size(cols)?, scales: Numbers::of(scales) };
    Ok(LayerDescription {
        name: weight_of(layer),
        codes_tensor: codes.name.clone(),
        parts: std::iter::once(scales.name.clone()).chain(extra).collect(),
        codes: format!("4 bits in groups of {BLOCK}"),
        shape: vec![rows, cols],
        dtype: file.model_dtype(),
        decoder: Arc::new(rows_of),
    })
}

#[derive(Debug)]
struct Rows {
    codes: TensorHeader,
    cols: usize,
    scales: Numbers,
}

impl Decode for Rows {
    fn decode(
        &self,
        file: &Checkpoint,
        rows: Range<usize>,
        values: &mut [f32],
    ) -> Result<(), TensorFileError> {
        let table = e2m1_values();
        let row_bytes = self.cols / 2;
        let blocks = self.cols.div_ceil(BLOCK as usize);
        let codes = bytes_of(file, &self.codes, rows.start * row_bytes..rows.end * row_bytes)?;
        let scales = self.scales.read(file, rows.start * blocks..rows.end * blocks)?;
        let in_rows = values.chunks_exact_mut(self.cols).zip(codes.chunks_exact(row_bytes));
        for ((values, codes), scales) in in_rows.zip(scales.chunks_exact(blocks)) {
            let in_blocks = values.chunks_mut(BLOCK as usize).zip(codes.chunks(BLOCK as usize / 2));
            for ((values, codes), scale) in in_blocks.zip(scales) {
                // ggml and others halve a block; here neighbours share a byte.
                for (pair, byte) in values.chunks_exact_mut(2).zip(codes) {
                    pair[0] = table[usize::from(byte & 0xF)] * scale;
                    pair[1] = table[usize::from(byte >> 4)] * scale;
                }
            }
        }
        Ok(())
    }
}

/// Finds a bank whose experts are `[rows, groups, bytes]` in the file, and `[cols, rows]` as the model's
/// program wants them.
fn find_bank(
    file: &ForeignFile<'_>,
    bank: &str,
    codes: &TensorHeader,
    scales: &TensorHeader,
) -> Result<LayerDescription, String> {
    let &[experts, rows, groups, bytes] = codes.shape.as_slice() else {
        return Err(unexpected(codes, &[Dtype::U8], "of four dimensions"));
    };
    if bytes.checked_mul(2) != Some(BLOCK) {
        return Err(format!("its blocks are of {bytes} bytes, expected {}", BLOCK / 2));
    }
    expect(codes, &[Dtype::U8], &codes.shape)?;
    expect(scales, &BYTES, &[experts, rows, groups])?;
    let cols = groups.checked_mul(BLOCK).ok_or("its shape is past all memory")?;
    let decoder = Bank {
        codes: codes.clone(),
        rows: size(rows)?,
        groups: size(groups)?,
        scales: Numbers::of(scales),
    };
    Ok(LayerDescription {
        name: bank.to_owned(),
        codes_tensor: codes.name.clone(),
        parts: vec![scales.name.clone()],
        codes: format!("4 bits in groups of {BLOCK}"),
        shape: vec![experts, cols, rows],
        dtype: file.model_dtype(),
        decoder: Arc::new(decoder),
    })
}

#[derive(Debug)]
struct Bank {
    codes: TensorHeader,
    /// Rows of an expert in the file, columns of what it is decoded to.
    rows: usize,
    groups: usize,
    scales: Numbers,
}

impl Decode for Bank {
    fn decode(
        &self,
        file: &Checkpoint,
        rows: Range<usize>,
        values: &mut [f32],
    ) -> Result<(), TensorFileError> {
        const HALF: usize = BLOCK as usize / 2;
        let height = self.groups * BLOCK as usize;
        let mut values = values;
        let mut at = rows.start;
        while at < rows.end {
            let expert = at / height;
            let until = rows.end.min((expert + 1) * height);
            let first = expert * self.rows * self.groups;
            let last = first + self.rows * self.groups;
            // Experts are transposed, so that a few of its rows need all of its codes: one expert
            // at a time is read.
            let codes = bytes_of(file, &self.codes, first * HALF..last * HALF)?;
            let scales = self.scales.read(file, first..last)?;
            let (mine, rest) = values.split_at_mut((until - at) * self.rows);
            self.turn(&codes, &scales, at % height, mine);
            values = rest;
            at = until;
        }
        Ok(())
    }
}

impl Bank {
    /// Decodes some rows of one expert, which are columns of its codes.
    ///
    /// - `first`: the first of these rows
    fn turn(&self, codes: &[u8], scales: &[f32], first: usize, mut values: &mut [f32]) {
        const BLOCK_ROWS: usize = BLOCK as usize;
        let table = e2m1_values();
        let mut next = first;
        // The rows of one group together: they are written side by side, and its bytes are read once.
        while !values.is_empty() {
            let (group, inside) = (next / BLOCK_ROWS, next % BLOCK_ROWS);
            let height = (BLOCK_ROWS - inside).min(values.len() / self.rows);
            let (mine, rest) = values.split_at_mut(height * self.rows);
            for row in 0..self.rows {
                let place = row * self.groups + group;
                let (codes, _) =
                    codes[place * (BLOCK_ROWS / 2)..].as_chunks::<{ BLOCK_ROWS / 2 }>();
                for line in 0..height {
                    let column = inside + line;
                    let code = codes[0][column / 2] >> (column % 2 * 4) & 0xF;
                    mine[line * self.rows + row] = table[usize::from(code)] * scales[place];
                }
            }
            values = rest;
            next += height;
        }
    }
}
