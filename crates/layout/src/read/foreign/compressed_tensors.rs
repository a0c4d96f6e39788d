//! Packed integers of compressed-tensors, as llm-compressor writes them.
//!
//! # Source
//! `pack_quantized` of compressed-tensors 0.20.

use std::ops::Range;
use std::sync::Arc;

use roundwise_tensor_file::{Checkpoint, Dtype, TensorFileError, TensorHeader};
use serde_json::Value;

use crate::names::weight_of;
use crate::read::foreign::fields::{bits_of, field};
use crate::read::foreign::file::ForeignFile;
use crate::read::foreign::layer::{Decode, LayerDescription, Recognised};
use crate::read::foreign::parts::{
    Numbers, PLAIN, bytes_of, expect, integers, matrix, part, size, unexpected, words,
};
use crate::read::foreign::program::ForeignProgram;

pub(crate) const PACKED: ForeignProgram = ForeignProgram {
    name: "compressed-tensors (pack-quantized)",
    told_by: "an I32 `X.weight_packed`, `X.weight_shape`, `X.weight_scale`",
    reads: "2 to 8 bits in rows or groups, with or without zero points",
    formula: "(code − zero) · scale",
    opened_by: "vLLM, and transformers with compressed-tensors",
};

/// Recognises a layer by its packed codes.
pub(crate) fn recognise(file: &ForeignFile<'_>, header: &TensorHeader) -> Option<Recognised> {
    let layer = header.name.strip_suffix(".weight_packed")?;
    // A global scale is that of NVFP4, which a scheme here describes.
    let is_two_level = file.get(&format!("{layer}.weight_global_scale")).is_some();
    // Beside `meta` half of the columns are left out, which no shape tells.
    let is_sparse = file.get(&format!("{layer}.meta")).is_some();
    if header.dtype != Dtype::I32 || is_two_level || is_sparse {
        return None;
    }
    let found = find(file, layer, header);
    Some(Recognised { layer: layer.to_owned(), program: &PACKED, found })
}

fn find(
    file: &ForeignFile<'_>,
    layer: &str,
    codes: &TensorHeader,
) -> Result<LayerDescription, String> {
    let name = |end: &str| format!("{layer}.{end}");
    // Packed codes do not tell their shape by themselves.
    let shape_name = name("weight_shape");
    let shape @ [rows, cols] = stored_shape(file, &shape_name)?;
    let [found_rows, row_words] = matrix(codes, &[Dtype::I32])?;
    let bits = bits_in_words(row_words, cols).filter(|_| found_rows == rows).ok_or_else(|| {
        let found = &codes.shape;
        format!("`{}` is {found:?}, which tells no number of bits for {shape:?}", codes.name)
    })?;
    let scale = part(file, &name("weight_scale"))?;
    let groups = groups_of(scale, shape)?;
    // One number stands for all groups, whatever its shape.
    let is_single = scale.element_count() == 1;
    let scales = Numbers::find(file, &scale.name, &scale.shape)?;
    let zeros = zero_points(file, &name("weight_zero_point"), [rows, bits, groups])?;
    if file.get(&name("weight_g_idx")).is_some() {
        return Err(format!("its columns are in the order of `{layer}.weight_g_idx`"));
    }
    let mut parts = vec![shape_name, scale.name.clone()];
    parts.extend(zeros.map(|zeros| zeros.name.clone()));
    // Scales of the inputs are of use beside the codes only, and go with them.
    let dense = ["input_scale", "input_zero_point", "input_global_scale"].map(name);
    parts.extend(dense.into_iter().filter(|name| file.get(name).is_some()));
    let decoder = Packed {
        codes: codes.clone(),
        row_words: size(row_words)?,
        bits: size(bits)?,
        cols: size(cols)?,
        groups: size(groups)?,
        scales: scales.clone(),
        is_single,
        zeros: zeros.cloned(),
    };
    let tiles = match (is_single, groups) {
        (true, _) => "with one scale".to_owned(),
        (false, 1) => "in rows".to_owned(),
        (false, _) => format!("in groups of {}", cols / groups),
    };
    Ok(LayerDescription {
        name: weight_of(layer),
        codes_tensor: codes.name.clone(),
        parts,
        codes: format!("{bits} bits {tiles}"),
        shape: shape.to_vec(),
        dtype: scales.half_dtype().or_else(|| file.model_dtype()),
        decoder: Arc::new(decoder),
    })
}

/// Reads the shape of the weight, which the file holds as numbers.
fn stored_shape(file: &ForeignFile<'_>, name: &str) -> Result<[u64; 2], String> {
    let found = integers(file, name)?;
    let shape: Option<Vec<u64>> = found.iter().map(|size| u64::try_from(*size).ok()).collect();
    let shape = shape.and_then(|shape| <[u64; 2]>::try_from(shape).ok());
    shape.ok_or_else(|| format!("`{name}` is {found:?}, no shape of a matrix"))
}

/// Returns the number of bits of a field, of which a row has so many words.
fn bits_in_words(row_words: u64, cols: u64) -> Option<u64> {
    // Earlier versions left the last bits of a word unused where 32 is no multiple of the field. Such
    // fields are accepted only where that would take another number of words.
    bits_of(row_words, cols, &[2, 3, 4, 5, 6, 7, 8]).filter(|&bits| {
        32 % bits == 0 || cols.div_ceil(32 / bits) != cols.saturating_mul(bits).div_ceil(32)
    })
}

/// Returns the number of groups of a row, by the scales.
fn groups_of(scale: &TensorHeader, [rows, cols]: [u64; 2]) -> Result<u64, String> {
    match scale.shape[..] {
        [] | [1] => Ok(1),
        [found] if found == rows => Ok(1),
        [found, groups] if found == rows && groups > 0 && cols.is_multiple_of(groups) => Ok(groups),
        _ => Err(unexpected(scale, &PLAIN, &format!("[{rows}, groups]"))),
    }
}

/// Returns the zero points, if there are any.
fn zero_points<'a>(
    file: &'a ForeignFile<'_>,
    name: &str,
    [rows, bits, groups]: [u64; 3],
) -> Result<Option<&'a TensorHeader>, String> {
    let Some(zeros) = file.get(name) else {
        // Without its zero points such a layer would decode to wrong numbers, and nothing else would
        // show it.
        return match is_asymmetric(file) {
            true => Err(format!("`{name}` is missing, and the codes have zero points")),
            false => Ok(None),
        };
    };
    let down = rows.checked_mul(bits).ok_or("its shape is past all memory")?.div_ceil(32);
    expect(zeros, &[Dtype::I32], &[down, groups])?;
    Ok(Some(zeros))
}

/// Tells whether the configuration says of all groups of layers that their codes have zero points.
fn is_asymmetric(file: &ForeignFile<'_>) -> bool {
    let groups = file.setting("config_groups").and_then(Value::as_object);
    let mut groups = groups.into_iter().flat_map(|groups| groups.values()).peekable();
    let is_symmetric = |group: &Value| group.get("weights")?.get("symmetric")?.as_bool();
    groups.peek().is_some() && groups.all(|group| is_symmetric(group) == Some(false))
}

/// Rows of fields that cross words; zero points packed downwards.
#[derive(Debug)]
struct Packed {
    codes: TensorHeader,
    row_words: usize,
    bits: usize,
    cols: usize,
    groups: usize,
    scales: Numbers,
    is_single: bool,
    zeros: Option<TensorHeader>,
}

impl Decode for Packed {
    fn decode(
        &self,
        file: &Checkpoint,
        rows: Range<usize>,
        values: &mut [f32],
    ) -> Result<(), TensorFileError> {
        let row_bytes = self.row_words * 4;
        let codes =
            words(&bytes_of(file, &self.codes, rows.start * row_bytes..rows.end * row_bytes)?);
        let of_rows = rows.start * self.groups..rows.end * self.groups;
        let first = rows.start;
        let scales = self.scales.read(file, if self.is_single { 0..1 } else { of_rows })?;
        let zeros = self.zeros.as_ref().map(|zeros| file.read(zeros)).transpose()?;
        let zeros = zeros.map(|bytes| words(&bytes));
        // Codes were made positive for packing, and so were zero points.
        let middle = 1_i32 << (self.bits - 1);
        let group_cols = self.cols / self.groups;
        let in_rows = values.chunks_exact_mut(self.cols).zip(codes.chunks_exact(self.row_words));
        for (row, (values, codes)) in rows.zip(in_rows) {
            for (group, values) in values.chunks_exact_mut(group_cols).enumerate() {
                let scale = if self.is_single { 0 } else { (row - first) * self.groups + group };
                let zero = zeros.as_ref().map_or(middle, |zeros| {
                    field(|word| zeros[word * self.groups + group], row, self.bits) as i32
                });
                for (col, value) in (group * group_cols..).zip(values) {
                    let code = field(|word| codes[word], col, self.bits) as i32;
                    *value = (code - zero) as f32 * scales[scale];
                }
            }
        }
        Ok(())
    }
}
