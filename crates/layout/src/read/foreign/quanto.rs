//! Codes of optimum-quanto.
//!
//! # Source
//! `QBytesTensor`, `QBitsTensor` and `PackedTensor` of optimum-quanto 0.2.7.

use std::ops::Range;
use std::sync::Arc;

use roundwise_tensor_file::{Checkpoint, Dtype, TensorFileError, TensorHeader};

use crate::names::{bias_of, layer_of};
use crate::read::foreign::fields::mask;
use crate::read::foreign::file::ForeignFile;
use crate::read::foreign::layer::{Decode, LayerDescription, Recognised};
use crate::read::foreign::parts::{
    Numbers, PLAIN, byte_values, bytes_of, matrix, part, size, unexpected, widened,
};
use crate::read::foreign::program::ForeignProgram;

pub(crate) const BYTES: ForeignProgram = ForeignProgram {
    name: "quanto",
    told_by: "`X.weight._data`, `X.weight._scale`",
    reads: "qint8, qfloat8 (E4M3, E5M2), by row or whole",
    formula: "code · scale",
    opened_by: "optimum-quanto, and diffusers and transformers with it",
};

pub(crate) const BITS: ForeignProgram = ForeignProgram {
    name: "quanto (qint4, qint2)",
    told_by: "`X.weight._data._data`, `X.weight._scale`, `X.weight._shift`",
    reads: "groups, of layers with a bias, which tells their number of rows",
    formula: "code · scale − shift",
    opened_by: "optimum-quanto, and diffusers and transformers with it",
};

/// Recognises a layer by its codes.
pub(crate) fn recognise(file: &ForeignFile<'_>, header: &TensorHeader) -> Option<Recognised> {
    let name = &header.name;
    if let Some(weight) = name.strip_suffix("._data._data") {
        let found = bits(file, weight, header);
        return Some(Recognised { layer: layer_of(weight).to_owned(), program: &BITS, found });
    }
    let weight = name.strip_suffix("._data")?;
    file.get(&format!("{weight}._scale"))?;
    let found = bytes(file, weight, header);
    Some(Recognised { layer: layer_of(weight).to_owned(), program: &BYTES, found })
}

/// Returns the scales of activations, which belong to the codes; they are ones where nothing is scaled.
fn activation_scales(file: &Checkpoint, weight: &str) -> impl Iterator<Item = String> {
    let layer = layer_of(weight);
    let names = ["input_scale", "output_scale"].map(|end| format!("{layer}.{end}"));
    names.into_iter().filter(|name| file.get(name).is_some())
}

fn bytes(
    file: &ForeignFile<'_>,
    weight: &str,
    codes: &TensorHeader,
) -> Result<LayerDescription, String> {
    const DTYPES: [Dtype; 3] = [Dtype::I8, Dtype::F8E4M3, Dtype::F8E5M2];
    let scale = part(file, &format!("{weight}._scale"))?;
    let (Some(&rows), true) = (codes.shape.first(), DTYPES.contains(&codes.dtype)) else {
        return Err(unexpected(codes, &DTYPES, "of one dimension or more"));
    };
    let is_by_row = scale.element_count() == rows && scale.shape.first() == Some(&rows);
    if !PLAIN.contains(&scale.dtype) || !(is_by_row || scale.element_count() == 1) {
        return Err(unexpected(scale, &PLAIN, &format!("[{rows}, 1] or of one element")));
    }
    let cols = codes.shape[1..].iter().try_fold(1_u64, |cols, &next| cols.checked_mul(next));
    let numbers = Numbers::of(scale);
    let decoder = Bytes {
        codes: codes.clone(),
        cols: size(codes.shape.last().copied().unwrap_or(1))?,
        per_scale: size(cols.ok_or("its shape is past all memory")?)?,
        scales: numbers.clone(),
        is_by_row,
    };
    let kind = if codes.dtype == Dtype::I8 { "qint8" } else { "qfloat8" };
    let tiles = if is_by_row { "in rows" } else { "with one scale" };
    Ok(LayerDescription {
        name: weight.to_owned(),
        codes_tensor: codes.name.clone(),
        parts: std::iter::once(scale.name.clone()).chain(activation_scales(file, weight)).collect(),
        codes: format!("8 bits ({kind}) {tiles}"),
        shape: codes.shape.clone(),
        dtype: numbers.half_dtype().or_else(|| file.model_dtype()),
        decoder: Arc::new(decoder),
    })
}

/// A code to a byte.
#[derive(Debug)]
struct Bytes {
    codes: TensorHeader,
    cols: usize,
    /// Numbers that share a scale, where there is one for each.
    per_scale: usize,
    scales: Numbers,
    is_by_row: bool,
}

impl Decode for Bytes {
    fn decode(
        &self,
        file: &Checkpoint,
        rows: Range<usize>,
        values: &mut [f32],
    ) -> Result<(), TensorFileError> {
        let start = rows.start * self.cols;
        let codes = bytes_of(file, &self.codes, start..rows.end * self.cols)?;
        let scales = self.scales.all(file)?;
        let table = byte_values(self.codes.dtype);
        for (at, (value, code)) in values.iter_mut().zip(codes).enumerate() {
            let scale = if self.is_by_row { (start + at) / self.per_scale } else { 0 };
            *value = table[usize::from(code)] * scales[scale];
        }
        Ok(())
    }
}

fn bits(
    file: &ForeignFile<'_>,
    weight: &str,
    codes: &TensorHeader,
) -> Result<LayerDescription, String> {
    let [packed_rows, group] = matrix(codes, &[Dtype::U8])?;
    let name = |end: &str| format!("{weight}.{end}");
    // 1. Scales and shifts, which tell the number of groups.
    let scale = part(file, &name("_scale"))?;
    let [groups, 1] = matrix(scale, &PLAIN)? else {
        return Err(unexpected(
            scale,
            &PLAIN,
            "[groups, 1]: scales along the last axis are not read",
        ));
    };
    let shift = part(file, &name("_shift"))?;
    let is_whole = matches!(shift.dtype, Dtype::I8 | Dtype::U8);
    if shift.element_count() != groups || !(is_whole || PLAIN.contains(&shift.dtype)) {
        return Err(unexpected(shift, &PLAIN, &format!("[{groups}, 1]")));
    }
    // 2. The bits of a code, by the number of groups that share the bytes of a row.
    let bits = [4_u64, 2].into_iter().find(|bits| groups.div_ceil(8 / bits) == packed_rows);
    // One or two groups are packed into one row with either number of bits.
    let bits = bits.filter(|_| groups > 2);
    let bits = bits.ok_or_else(|| format!("`{}` is no packing of {groups} groups", codes.name))?;
    // 3. The shape.
    // The shape was flattened away with the class; the bias is all that is left of it in the file.
    let bias = file.get(&bias_of(layer_of(weight))).filter(|bias| bias.shape.len() == 1);
    let rows = bias.map(TensorHeader::element_count).ok_or(
        "the file does not tell its number of rows, for lack of a bias; load it with quanto and save it \
         dequantized",
    )?;
    let count = groups.checked_mul(group).ok_or("its shape is past all memory")?;
    let cols = count.checked_div(rows).filter(|cols| cols.checked_mul(rows) == Some(count));
    let cols = cols.filter(|cols| group > 0 && cols.is_multiple_of(group));
    let cols = cols.ok_or_else(|| format!("{groups} groups of {group} are not {rows} rows"))?;
    let numbers = Numbers::of(scale);
    let decoder = Bits {
        codes: codes.clone(),
        bits: size(bits)?,
        packed_rows: size(packed_rows)?,
        group: size(group)?,
        cols: size(cols)?,
        scales: numbers.clone(),
        shift: shift.clone(),
    };
    let parts = [scale.name.clone(), shift.name.clone()];
    Ok(LayerDescription {
        name: weight.to_owned(),
        codes_tensor: codes.name.clone(),
        parts: parts.into_iter().chain(activation_scales(file, weight)).collect(),
        codes: format!("{bits} bits (qint{bits}) in groups of {group}"),
        shape: vec![rows, cols],
        dtype: numbers.half_dtype().or_else(|| file.model_dtype()),
        decoder: Arc::new(decoder),
    })
}

/// A group to a row; a row shares bytes with rows further down, whose codes lie in higher bits.
#[derive(Debug)]
struct Bits {
    codes: TensorHeader,
    bits: usize,
    packed_rows: usize,
    group: usize,
    cols: usize,
    scales: Numbers,
    shift: TensorHeader,
}

impl Decode for Bits {
    fn decode(
        &self,
        file: &Checkpoint,
        rows: Range<usize>,
        values: &mut [f32],
    ) -> Result<(), TensorFileError> {
        let scales = self.scales.all(file)?;
        let shift = file.read(&self.shift)?;
        // Shifts that are whole numbers are zero points; others are multiplied by the scale already.
        let [zeros, shifts]: [Vec<f32>; 2] = match self.shift.dtype {
            Dtype::I8 => [shift.iter().map(|&zero| f32::from(zero as i8)).collect(), vec![]],
            Dtype::U8 => [shift.iter().map(|&zero| f32::from(zero)).collect(), vec![]],
            dtype => [vec![], widened(dtype, &shift)],
        };
        let of = |numbers: &[f32], group: usize| numbers.get(group).copied().unwrap_or(0.0);
        let first = rows.start * self.cols / self.group;
        for (at, values) in values.chunks_exact_mut(self.group).enumerate() {
            let group = first + at;
            // Rows of groups are packed a part of the matrix apart: the first part in the low bits.
            let (part, row) = (group / self.packed_rows, group % self.packed_rows);
            let place = row * self.group..(row + 1) * self.group;
            let bytes = bytes_of(file, &self.codes, place)?;
            let (zero, scale, shift) = (of(&zeros, group), scales[group], of(&shifts, group));
            for (value, byte) in values.iter_mut().zip(bytes) {
                let code = (u32::from(byte) >> (self.bits * part) & mask(self.bits)) as f32;
                *value = scale * (code - zero) - shift;
            }
        }
        Ok(())
    }
}
