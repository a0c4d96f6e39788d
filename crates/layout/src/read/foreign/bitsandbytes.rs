//! Codes of bitsandbytes.
//!
//! # Source
//! `QuantState` and `dequantize_4bit` of bitsandbytes 0.50; Dettmers et al., QLoRA, 2023, appendix E.

use std::ops::Range;
use std::sync::Arc;

use roundwise_tensor_file::{Checkpoint, Dtype, TensorFileError, TensorHeader};
use serde::Deserialize;

use crate::read::foreign::file::{ForeignFile, dtype_named};
use crate::read::foreign::layer::{Decode, LayerDescription, Recognised};
use crate::read::foreign::parts::{
    Numbers, bytes_of, expect, integers, part, size, text, unexpected,
};
use crate::read::foreign::program::ForeignProgram;

pub(crate) const NF4: ForeignProgram = ForeignProgram {
    name: "bitsandbytes (NF4)",
    told_by: "`X.weight.quant_state.bitsandbytes__nf4`, `X.weight.absmax`",
    reads: "blocks of any size, scales as F32 or nested in 8 bits",
    formula: "table[code] · absmax",
    opened_by: "transformers and diffusers with bitsandbytes",
};

pub(crate) const FP4: ForeignProgram = ForeignProgram {
    name: "bitsandbytes (FP4)",
    told_by: "`X.weight.quant_state.bitsandbytes__fp4`, `X.weight.absmax`",
    reads: "blocks of any size, scales as F32 or nested in 8 bits",
    formula: "table[code] · absmax",
    opened_by: "transformers and diffusers with bitsandbytes",
};

pub(crate) const INT8: ForeignProgram = ForeignProgram {
    name: "bitsandbytes (INT8)",
    told_by: "`X.SCB` beside an I8 `X.weight`",
    reads: "rows",
    formula: "code · SCB / 127",
    opened_by: "transformers and diffusers with bitsandbytes",
};

/// The values of NF4 codes: quantiles of a normal distribution, as published.
const NF4_TABLE: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The values of FP4 codes of positive sign, as the kernels have them.
const FP4_TABLE: [f32; 8] =
    [0.0, 0.005_208_333_5, 0.666_666_7, 1.0, 0.333_333_34, 0.5, 0.166_666_67, 0.25];

fn fp4_table() -> [f32; 16] {
    std::array::from_fn(|code| if code < 8 { FP4_TABLE[code] } else { -FP4_TABLE[code - 8] })
}

/// Recognises a layer by the tensor that describes its codes.
pub(crate) fn recognise(file: &ForeignFile<'_>, header: &TensorHeader) -> Option<Recognised> {
    // The state names the kind of codes; `absmax` and `quant_map` alone are the same for both.
    let name = &header.name;
    let kinds = [
        (".quant_state.bitsandbytes__nf4", &NF4, NF4_TABLE),
        (".quant_state.bitsandbytes__fp4", &FP4, fp4_table()),
    ];
    for (end, program, table) in kinds {
        if let Some(weight) = name.strip_suffix(end) {
            let found = four_bits(file, weight, header, table);
            return Some(Recognised { layer: layer(weight), program, found });
        }
    }
    let inside = name.strip_suffix(".SCB")?;
    let weight = match inside.strip_suffix(".weight") {
        Some(_) => inside.to_owned(),
        None => format!("{inside}.weight"),
    };
    file.get(&weight)?;
    let found = rows(file, &weight, inside, header);
    Some(Recognised { layer: layer(&weight), program: &INT8, found })
}

fn layer(weight: &str) -> String {
    crate::names::layer_of(weight).to_owned()
}

/// The JSON of `quant_state`.
#[derive(Deserialize)]
struct State {
    blocksize: u64,
    shape: Vec<u64>,
    dtype: Option<String>,
    nested_blocksize: Option<u64>,
    nested_offset: Option<f64>,
}

fn four_bits(
    file: &Checkpoint,
    weight: &str,
    state_header: &TensorHeader,
    table: [f32; 16],
) -> Result<LayerDescription, String> {
    // 1. The state: a JSON text, stored as bytes.
    let state = text(file, &state_header.name)?;
    let state: State = serde_json::from_str(&state)
        .map_err(|error| format!("`{}` is not understood: {error}", state_header.name))?;
    // The JSON may say anything: the length of the codes has to agree with it before it is used.
    let count = state.shape.iter().try_fold(1_u64, |count, &next| count.checked_mul(next));
    let count = count.ok_or_else(|| format!("its shape is {:?}, past all memory", state.shape))?;
    // 2. Codes, as many as the shape says.
    let codes = part(file, weight)?;
    // Some files store the bytes as numbers of two or four bytes each, so that no dtype is asked for.
    if codes.byte_len() != count.div_ceil(2) {
        let expected = format!("that hold {count} codes of 4 bits");
        return Err(unexpected(codes, &[Dtype::U8], &expected));
    }
    if state.blocksize == 0 {
        return Err("its blocks have size 0".to_owned());
    }
    // 3. Blocks and their scales, which may be codes as well.
    let blocks = count.div_ceil(state.blocksize);
    let name = |end: &str| format!("{weight}.{end}");
    let mut parts = vec![state_header.name.clone(), name("absmax")];
    parts.extend(check_table(file, &name("quant_map"), table)?);
    let absmax = part(file, &name("absmax"))?;
    let (scales, nested) = match file.get(&name("nested_absmax")) {
        None => (Scales::Plain(Numbers::find(file, &absmax.name, &[blocks])?), ""),
        Some(_) => {
            expect(absmax, &[Dtype::U8], &[blocks])?;
            let of = state.nested_blocksize.filter(|&of| of > 0);
            let (Some(of), Some(offset)) = (of, state.nested_offset) else {
                return Err(
                    "its `quant_state` has no `nested_blocksize` and `nested_offset`".into()
                );
            };
            let (levels, map) = (name("nested_absmax"), name("nested_quant_map"));
            let nested = Nested {
                codes: absmax.clone(),
                levels: Numbers::find(file, &levels, &[blocks.div_ceil(of)])?,
                map: Numbers::find(file, &map, &[256])?,
                block: size(of)?,
                offset: offset as f32,
            };
            parts.extend([levels, map]);
            (Scales::Nested(Box::new(nested)), ", scales in 8 bits")
        }
    };
    let cols = size(state.shape.last().copied().unwrap_or_default())?;
    let block = size(state.blocksize)?;
    let decoder =
        FourBits { codes: codes.clone(), count: size(count)?, cols, block, table, scales };
    Ok(LayerDescription {
        name: weight.to_owned(),
        codes_tensor: weight.to_owned(),
        parts,
        codes: format!("4 bits in blocks of {block}{nested}"),
        shape: state.shape,
        dtype: state.dtype.as_deref().and_then(dtype_named),
        decoder: Arc::new(decoder),
    })
}

/// Checks that a file's table is the one that its codes are named after: programs decode with that,
/// whatever the file says.
fn check_table(file: &Checkpoint, name: &str, table: [f32; 16]) -> Result<Option<String>, String> {
    /// Tables that went through 16 bits are off by so much.
    const SLACK: f32 = 2e-3;
    if file.get(name).is_none() {
        return Ok(None);
    }
    let found = Numbers::find(file, name, &[16])?.all(file).map_err(|error| error.to_string())?;
    let is_it = found.iter().zip(table).all(|(found, value)| (found - value).abs() <= SLACK);
    match is_it {
        true => Ok(Some(name.to_owned())),
        false => Err(format!("`{name}` is another table than the one of its kind of codes")),
    }
}

/// The largest magnitudes of blocks.
#[derive(Debug)]
enum Scales {
    Plain(Numbers),
    Nested(Box<Nested>),
}

/// Largest magnitudes that are codes themselves: `map[code] · level + offset`.
#[derive(Debug)]
struct Nested {
    codes: TensorHeader,
    levels: Numbers,
    map: Numbers,
    block: usize,
    offset: f32,
}

impl Scales {
    fn read(&self, file: &Checkpoint, blocks: Range<usize>) -> Result<Vec<f32>, TensorFileError> {
        let nested = match self {
            Scales::Plain(numbers) => return numbers.read(file, blocks),
            Scales::Nested(nested) => nested,
        };
        let first = blocks.start / nested.block;
        let levels = nested.levels.read(file, first..blocks.end.div_ceil(nested.block))?;
        let map = nested.map.all(file)?;
        let codes = bytes_of(file, &nested.codes, blocks.clone())?;
        let scale = |(block, code): (usize, &u8)| {
            map[usize::from(*code)] * levels[block / nested.block - first] + nested.offset
        };
        Ok(blocks.zip(&codes).map(scale).collect())
    }
}

/// Two codes to a byte, the first in the high half, blocks over the flattened weight.
#[derive(Debug)]
struct FourBits {
    codes: TensorHeader,
    count: usize,
    cols: usize,
    block: usize,
    table: [f32; 16],
    scales: Scales,
}

impl Decode for FourBits {
    fn decode(
        &self,
        file: &Checkpoint,
        rows: Range<usize>,
        values: &mut [f32],
    ) -> Result<(), TensorFileError> {
        // Blocks go over the flattened weight, across the ends of rows.
        let start = rows.start * self.cols;
        let end = (rows.end * self.cols).min(self.count);
        let first_byte = start / 2;
        let bytes = bytes_of(file, &self.codes, first_byte..end.div_ceil(2))?;
        let first_block = start / self.block;
        let scales = self.scales.read(file, first_block..end.div_ceil(self.block))?;
        let mut at = start;
        while at < end {
            let block = at / self.block;
            let scale = scales[block - first_block];
            let until = end.min((block + 1).saturating_mul(self.block));
            // Sixteen products for a block instead of one for each weight.
            let scaled = self.table.map(|value| value * scale);
            for value in &mut values[at - start..until - start] {
                let byte = bytes[at / 2 - first_byte];
                let code = if at.is_multiple_of(2) { byte >> 4 } else { byte & 0xF };
                *value = scaled[usize::from(code)];
                at += 1;
            }
        }
        Ok(())
    }
}

fn rows(
    file: &ForeignFile<'_>,
    weight: &str,
    inside: &str,
    scales: &TensorHeader,
) -> Result<LayerDescription, String> {
    let codes = part(file, weight)?;
    let &[rows, cols] = codes.shape.as_slice() else {
        return Err(unexpected(codes, &[Dtype::I8], "of two dimensions"));
    };
    expect(codes, &[Dtype::I8], &[rows, cols])?;
    // Some store it as a vector, some as a matrix of one column.
    if scales.element_count() != rows || scales.shape.len() > 2 {
        return Err(unexpected(scales, &[Dtype::F32], &format!("[{rows}]")));
    }
    let numbers = Numbers::find(file, &scales.name, &scales.shape)?;
    let mut parts = vec![scales.name.clone()];
    let order = format!("{inside}.weight_format");
    // 0 is row-major; the other numbers are layouts of kernels for certain cards.
    if file.get(&order).is_some() {
        if integers(file, &order)? != [0] {
            return Err(format!("`{order}` says that its codes lie in the tiles of a kernel"));
        }
        parts.push(order);
    }
    Ok(LayerDescription {
        name: weight.to_owned(),
        codes_tensor: weight.to_owned(),
        parts,
        codes: "8 bits in rows".to_owned(),
        shape: codes.shape.clone(),
        dtype: file.model_dtype(),
        decoder: Arc::new(Rows { codes: codes.clone(), cols: size(cols)?, scales: numbers }),
    })
}

/// Bytes with a sign, scaled by row.
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
        /// The factor that the program multiplies by instead of dividing.
        const ONE_127TH: f32 = 1.0 / 127.0;
        let codes = bytes_of(file, &self.codes, rows.start * self.cols..rows.end * self.cols)?;
        let scales = self.scales.read(file, rows)?;
        let in_rows = values.chunks_exact_mut(self.cols).zip(codes.chunks_exact(self.cols));
        for ((values, codes), scale) in in_rows.zip(scales) {
            for (value, code) in values.iter_mut().zip(codes) {
                *value = f32::from(*code as i8) * scale * ONE_127TH;
            }
        }
        Ok(())
    }
}
