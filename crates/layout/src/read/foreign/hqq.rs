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
    for quantized in ["quant_scale", "quant_zero"] {
        if file.get(&name(quantized)).is_some() && number(file, &name(quantized))? != 0 {
            return Err("its scales or zero points are codes, which are not read".to_owned());
        }
    }
    let shape = integers(file, &name("shape"))?;
    let shape = shape.iter().map(|&size| u64::try_from(size).ok()).collect::<Option<Vec<u64>>>();
    let shape = shape.and_then(|shape| <[u64; 2]>::try_from(shape).ok());
    let shape = shape.ok_or_else(|| format!("`{layer}.shape` is no shape of a matrix"))?;
    let packed = match file.get(&name("packing")) {
        Some(_) => text(file, &name("packing"))?,
        None => packing_of_bits(number(file, &name("nbits"))?).to_owned(),
    };
    let packing =
        packing(&packed).ok_or_else(|| format!("its packing is `{packed}`, which is not known"))?;
    let axis = number(file, &name("axis"))?;
    let extent = Extent::of(codes, shape, packing, &packed)?;
    // Along axis 1 a group is a row of the flattened weight, along axis 0 a column of it.
    let (scale_count, group) = match axis {
        1 => (extent.used_rows, extent.width),
        0 => (extent.width, extent.used_rows),
        _ => return Err(format!("its axis is {axis}, expected 0 or 1")),
    };
    let [scales, zeros] = ["scale", "zero"].map(|end| numbers(file, &name(end), scale_count));
    let (scales, zeros) = (scales?, zeros?);
    let half_dtype = scales.half_dtype();
    let told =
        file.get(&name("compute_dtype")).and_then(|_| text(file, &name("compute_dtype")).ok());
    let parts = PARTS.map(name).into_iter().filter(|part| file.get(part).is_some());
    let decoder = Packed {
        codes: codes.clone(),
        packing,
        packed_rows: size(extent.packed_rows)?,
        width: size(extent.width)?,
        cols: size(shape[1])?,
        axis,
        scales,
        zeros,
    };
    let bits = number(file, &name("nbits")).unwrap_or(packing.bits as i64);
    Ok(LayerDescription {
        name: weight_of(layer),
        codes_tensor: codes.name.clone(),
        parts: parts.collect(),
        codes: format!("{bits} bits in groups of {group} along axis {axis}"),
        shape: shape.to_vec(),
        dtype: told.as_deref().and_then(dtype_named).or(half_dtype).or_else(|| file.model_dtype()),
        decoder: Arc::new(decoder),
    })
}

/// Reads a tensor that holds one number.
fn number(file: &ForeignFile<'_>, name: &str) -> Result<i64, String> {
    match integers(file, name)?.as_slice() {
        [number] => Ok(*number),
        many => Err(format!("`{name}` holds {} numbers, expected one", many.len())),
    }
}

/// Finds scales or zero points: one for all, or one for each group.
fn numbers(file: &ForeignFile<'_>, name: &str, groups: u64) -> Result<Numbers, String> {
    let header = part(file, name)?;
    match PLAIN.contains(&header.dtype) && [1, groups].contains(&header.element_count()) {
        true => Ok(Numbers::of(header)),
        false => Err(unexpected(header, &PLAIN, &format!("of {groups} elements"))),
    }
}

/// How the flattened weight lies in rows of packed codes.
struct Extent {
    /// Rows of bytes or words.
    packed_rows: u64,
    /// Rows of codes, without those that only fill up words.
    used_rows: u64,
    /// Codes in a row.
    width: u64,
}

impl Extent {
    fn of(
        codes: &TensorHeader,
        [rows, cols]: [u64; 2],
        packing: Packing,
        packed: &str,
    ) -> Result<Self, String> {
        let [packed_rows, _] = codes.shape[..] else {
            return Err(unexpected(codes, &[Dtype::U8, Dtype::I32], "of two dimensions"));
        };
        // The same bytes may be stored as numbers of 16 or 32 bits.
        let row_bytes = codes.byte_len().checked_div(packed_rows).unwrap_or(0);
        let width = row_bytes / packing.bytes as u64;
        let all_rows = packed_rows.checked_mul(packing.codes as u64);
        let count = rows.checked_mul(cols).filter(|&count| count > 0 && width > 0);
        let (Some(all_rows), Some(count)) = (all_rows, count) else {
            return Err(format!("`{}` is empty or past all memory", codes.name));
        };
        let used_rows = count / width;
        // Only with codes of 3 bits, ten to a word, may the last rows of the words be unused.
        let spare = all_rows.checked_sub(used_rows).unwrap_or(u64::MAX);
        let is_whole = used_rows * width == count && row_bytes == width * packing.bytes as u64;
        if !is_whole || spare >= packing.codes as u64 || (packing.bits != 3 && spare != 0) {
            let expected = format!("that hold {count} codes packed as `{packed}`");
            return Err(unexpected(codes, &[Dtype::U8, Dtype::I32], &expected));
        }
        Ok(Self { packed_rows, used_rows, width })
    }
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
        // Along axis 1 scales lie in the order of the rows, so that a part is enough; along axis 0
        // every row needs all of them.
        let first = if self.axis == 1 { start / self.width } else { 0 };
        let read = |numbers: &Numbers| match self.axis == 1 && numbers.count() > 1 {
            true => numbers.read(file, first..end.div_ceil(self.width)),
            false => numbers.all(file),
        };
        let (scales, zeros) = (read(&self.scales)?, read(&self.zeros)?);
        let [one_scale, one_zero] = [&self.scales, &self.zeros].map(|it| it.count() == 1);
        let mut at = start;
        // All rows that lie in the same bits of their bytes follow one another: one part of the matrix
        // after the other.
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
