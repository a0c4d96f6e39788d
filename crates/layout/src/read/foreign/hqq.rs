//! Codes of HQQ.
//!
//! # Source
//! `Quantizer.dequantize`, `BitPack` and `HQQLinear.state_dict` of hqq 0.2.8.

use std::ops::Range;
use std::sync::Arc;

use roundwise_tensor_file::{Checkpoint, Dtype, TensorFileError, TensorHeader};

use crate::names::weight_of;
use crate::read::foreign::fields::mask;
use crate::read::foreign::file::{ForeignFile, dtype_named};
use crate::read::foreign::layer::{Decode, LayerDescription, Recognised};
use crate::read::foreign::parts::{
    Numbers, PLAIN, bytes_of, integers, part, size, text, unexpected, words,
};
use crate::read::foreign::program::ForeignProgram;

pub(crate) const HQQ: ForeignProgram = ForeignProgram {
    name: "HQQ",
    told_by: "`X.W_q`, `X.scale`, `X.zero`, `X.shape`, `X.nbits`, `X.axis`",
    reads: "1, 2, 3, 4 and 8 bits along either axis",
    formula: "(code − zero) · scale",
    opened_by: "transformers with hqq",
};

/// Everything that the program stores of a layer beside its bias.
const PARTS: [&str; 18] = [
    "nbits",
    "group_size",
    "shape",
    "scale",
    "zero",
    "axis",
    "packing",
    "unpack_view_dtype",
    "view_as_float",
    "quant_scale",
    "quant_zero",
    "compute_dtype",
    "offload_meta",
    "encoded_state_dict",
    "stores_quant_config",
    "channel_wise",
    "optimize",
    "round_zero",
];

/// Recognises a layer by its packed codes.
pub(crate) fn recognise(file: &ForeignFile<'_>, header: &TensorHeader) -> Option<Recognised> {
    let layer = header.name.strip_suffix(".W_q")?;
    let found = find(file, layer, header);
    Some(Recognised { layer: layer.to_owned(), program: &HQQ, found })
}

/// How codes share a byte, or a word: those of the first rows in the highest bits.
#[derive(Clone, Copy, Debug)]
struct Packing {
    /// Bits of a code's field.
    bits: usize,
    /// Codes in a byte or word.
    codes: usize,
    /// Bytes of it.
    bytes: usize,
}

fn packing(name: &str) -> Option<Packing> {
    let (bits, codes, bytes) = match name {
        "8bit_u8" => (8, 1, 1),
        "4bit_u8" => (4, 2, 1),
        "3bit_32" => (3, 10, 4),
        "2bit_u8" => (2, 4, 1),
        "1bit_u8" => (1, 8, 1),
        _ => return None,
    };
    Some(Packing { bits, codes, bytes })
}

/// Returns the packing that the program has for so many bits.
fn packing_of_bits(bits: i64) -> &'static str {
    match bits {
        5..=8 => "8bit_u8",
        4 => "4bit_u8",
        3 => "3bit_32",
        2 => "2bit_u8",
        1 => "1bit_u8",
        _ => "",
    }
}

fn find(
    file: &ForeignFile<'_>,
    layer: &str,
    codes: &TensorHeader,
) -> Result<LayerDescription, String> {
    let name = |end: &str| format!("{layer}.{end}");
    let one = |end: &str| match integers(file, &name(end))?.as_slice() {
        [number] => Ok(*number),
        many => Err(format!("`{layer}.{end}` holds {} numbers, expected one", many.len())),
    };
    // 1. What is not read.
    for quantized in ["quant_scale", "quant_zero"] {
        if file.get(&name(quantized)).is_some() && one(quantized)? != 0 {
            return Err("its scales or zero points are codes, which are not read".to_owned());
        }
    }
    // 2. Shape, packing and axis.
    let shape = integers(file, &name("shape"))?;
    let shape = shape.iter().map(|&size| u64::try_from(size).ok()).collect::<Option<Vec<u64>>>();
    let shape = shape.filter(|shape| shape.len() == 2);
    let shape = shape.ok_or_else(|| format!("`{layer}.shape` is no shape of a matrix"))?;
    let packed = match file.get(&name("packing")) {
        Some(_) => text(file, &name("packing"))?,
        None => packing_of_bits(one("nbits")?).to_owned(),
    };
    let packing =
        packing(&packed).ok_or_else(|| format!("its packing is `{packed}`, which is not known"))?;
    let axis = one("axis")?;

    // 3. Whether the bytes are as many as such codes take.
    let [packed_rows, _] = codes.shape[..] else {
        return Err(unexpected(codes, &[Dtype::U8, Dtype::I32], "of two dimensions"));
    };
    // The same bytes may be stored as numbers of 16 or 32 bits.
    let row_bytes = codes.byte_len().checked_div(packed_rows).unwrap_or(0);
    let width = row_bytes / packing.bytes as u64;
    let rows = packed_rows.checked_mul(packing.codes as u64);
    let count = shape[0].checked_mul(shape[1]).filter(|&count| count > 0 && width > 0);
    let (Some(rows), Some(count)) = (rows, count) else {
        return Err(format!("`{}` is empty or past all memory", codes.name));
    };
    let used_rows = count / width;
    // Only fields that do not fill a word have rows to spare.
    let spare = rows.checked_sub(used_rows).unwrap_or(u64::MAX);
    let is_whole = used_rows * width == count && row_bytes == width * packing.bytes as u64;
    if !is_whole || spare >= packing.codes as u64 || (packing.bits != 3 && spare != 0) {
        return Err(unexpected(
            codes,
            &[Dtype::U8, Dtype::I32],
            &format!("that hold {count} codes packed as `{packed}`"),
        ));
    }
    // 4. Scales and zero points: one for each group, or one for all.
    let scale_count = match axis {
        1 => used_rows,
        0 => width,
        _ => return Err(format!("its axis is {axis}, expected 0 or 1")),
    };
    let mut numbers = vec![];
    for end in ["scale", "zero"] {
        let header = part(file, &name(end))?;
        let count = header.element_count();
        if !PLAIN.contains(&header.dtype) || ![1, scale_count].contains(&count) {
            return Err(unexpected(header, &PLAIN, &format!("of {scale_count} elements")));
        }
        numbers.push(Numbers::of(header));
    }
    let half_dtype = numbers[0].half_dtype();
    let told =
        file.get(&name("compute_dtype")).and_then(|_| text(file, &name("compute_dtype")).ok());
    let [scales, zeros] = <[Numbers; 2]>::try_from(numbers).expect("two were found");
    let parts = PARTS.map(name).into_iter().filter(|part| file.get(part).is_some());
    let decoder = Packed {
        codes: codes.clone(),
        packing,
        packed_rows: size(packed_rows)?,
        width: size(width)?,
        cols: size(shape[1])?,
        axis,
        scales,
        zeros,
    };
    let group = if axis == 1 { width } else { used_rows };
    let bits = one("nbits").unwrap_or(packing.bits as i64);
    Ok(LayerDescription {
        name: weight_of(layer),
        codes_tensor: codes.name.clone(),
        parts: parts.collect(),
        codes: format!("{bits} bits in groups of {group} along axis {axis}"),
        shape,
        dtype: told.as_deref().and_then(dtype_named).or(half_dtype).or_else(|| file.model_dtype()),
        decoder: Arc::new(decoder),
    })
}

/// The flattened weight as rows of a group each, or as columns of a group each; rows share bytes with
/// rows that lie further down.
#[derive(Debug)]
struct Packed {
    codes: TensorHeader,
    packing: Packing,
    packed_rows: usize,
    /// Numbers in a row of groups.
    width: usize,
    /// Numbers in a row of the weight.
    cols: usize,
    axis: i64,
    scales: Numbers,
    zeros: Numbers,
}

impl Decode for Packed {
    fn decode(
        &self,
        file: &Checkpoint,
        rows: Range<usize>,
        values: &mut [f32],
    ) -> Result<(), TensorFileError> {
        let Packing { bits, codes: per_word, bytes: word_bytes } = self.packing;
        let in_part = self.packed_rows * self.width;
        let end = rows.end * self.cols;
        let start = rows.start * self.cols;
        // Those along axis 1 follow one another as their groups do; all of the others may be needed.
        let first = if self.axis == 1 { start / self.width } else { 0 };
        let read = |numbers: &Numbers| match self.axis == 1 && numbers.count() > 1 {
            true => numbers.read(file, first..end.div_ceil(self.width)),
            false => numbers.all(file),
        };
        let (scales, zeros) = (read(&self.scales)?, read(&self.zeros)?);
        let [one_scale, one_zero] = [&self.scales, &self.zeros].map(|it| it.count() == 1);
        let mut at = start;
        // The rows that have the same bits of their bytes lie one behind the other.
        while at < end {
            let part = at / in_part;
            let until = end.min((part + 1) * in_part);
            let place = at - part * in_part..until - part * in_part;
            let bytes =
                bytes_of(file, &self.codes, place.start * word_bytes..place.end * word_bytes)?;
            let stored: Vec<u32> = match word_bytes {
                4 => words(&bytes),
                _ => bytes.into_iter().map(u32::from).collect(),
            };
            // The first part of the rows lies in the highest bits.
            let shift = bits * (per_word - 1 - part);
            for (value, word) in values[at - start..until - start].iter_mut().zip(stored) {
                let code = (word >> shift & mask(bits)) as f32;
                let group = if self.axis == 1 { at / self.width } else { at % self.width };
                let [scale, zero] =
                    [one_scale, one_zero].map(|one| if one { 0 } else { group - first });
                *value = (code - zeros[zero]) * scales[scale];
                at += 1;
            }
        }
        Ok(())
    }
}
