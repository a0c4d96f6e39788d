//! Codes of GPTQ, as AutoGPTQ and GPTQModel write them.
//!
//! # Source
//! `QuantLinear` of AutoGPTQ 0.7 and GPTQModel 7.7, packings `gptq` and `gptq_v2`.

use std::ops::Range;
use std::sync::Arc;

use roundwise_tensor_file::{Checkpoint, Dtype, TensorFileError, TensorHeader};
use serde_json::Value;

use crate::names::weight_of;
use crate::read::foreign::fields::{field, mask};
use crate::read::foreign::file::ForeignFile;
use crate::read::foreign::layer::{Decode, LayerDescription, Recognised};
use crate::read::foreign::parts::{Numbers, columns_of, expect, matrix, part, size, words};
use crate::read::foreign::program::ForeignProgram;

pub(crate) const GPTQ: ForeignProgram = ForeignProgram {
    name: "GPTQ",
    told_by: "`X.qweight`, `X.qzeros`, `X.scales`, maybe `X.g_idx`",
    reads: "2, 3, 4 and 8 bits, groups in any order, zero points of `gptq` and `gptq_v2`",
    formula: "(code − zero) · scale, zero + 1 in `gptq`",
    opened_by: "transformers with GPTQModel, and vLLM",
};

/// Recognises a layer by its packed codes: the columns of the matrix, one word below the other.
pub(crate) fn recognise(file: &ForeignFile<'_>, header: &TensorHeader) -> Option<Recognised> {
    let layer = header.name.strip_suffix(".qweight")?;
    let [zeros, scales] = ["qzeros", "scales"].map(|end| file.get(&format!("{layer}.{end}")));
    // AWQ's tensors have the same names. It packs rows: its codes have an eighth of the columns of its
    // scales. `g_idx` is GPTQ's alone.
    let is_packed_along_columns = scales?.shape.last() == header.shape.last();
    zeros.filter(|_| is_packed_along_columns || file.get(&format!("{layer}.g_idx")).is_some())?;
    let found = find(file, layer, header);
    Some(Recognised { layer: layer.to_owned(), program: &GPTQ, found })
}

/// The number to add to a stored zero point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ZeroPoints {
    /// 0.
    Own,
    /// 1, which was subtracted from each by itself.
    LessOne,
    /// 1, which was subtracted from whole words, so that it could borrow from the next field.
    LessOneByWord,
}

fn find(
    file: &ForeignFile<'_>,
    layer: &str,
    codes: &TensorHeader,
) -> Result<LayerDescription, String> {
    let name = |end: &str| format!("{layer}.{end}");
    // 1. Rows and groups: codes, scales and zero points lie transposed.
    let scales_header = part(file, &name("scales"))?;
    let [groups, rows] = matrix(scales_header, &crate::read::foreign::parts::PLAIN)?;
    let [code_words, found_rows] = matrix(codes, &[Dtype::I32, Dtype::U32])?;
    if found_rows != rows {
        return Err(format!("`{}` has {found_rows} columns, `{layer}.scales` {rows}", codes.name));
    }
    // 2. The bits of a code.
    let zeros = part(file, &name("qzeros"))?;
    let [zero_groups, zero_words] = matrix(zeros, &[Dtype::I32, Dtype::U32])?;
    // The bits follow from the zero points, whose number of fields is known; codes would need the
    // columns.
    let bits = rows_bits(zero_words, rows).filter(|bits| [2, 3, 4, 8].contains(bits));
    let Some(bits) = bits.filter(|_| zero_groups == groups) else {
        let [found, scales] = [&zeros.shape, &scales_header.shape];
        return Err(format!("its zero points {found:?} are not 2, 3, 4 or 8 bits of {scales:?}"));
    };
    check_settings(file, bits)?;
    // 3. Columns, and how many of them are a group.
    // Codes of 3 bits cross the ends of words, so that the division may leave a rest: such words hold
    // no whole number of codes.
    let cols = code_words.checked_mul(32).map(|all| all / bits);
    let cols = cols.filter(|cols| cols * bits == code_words * 32 && *cols > 0 && groups > 0);
    let cols = cols.ok_or_else(|| format!("`{}` holds no whole number of codes", codes.name))?;
    let mut parts = vec![zeros.name.clone(), scales_header.name.clone()];
    let group = group_size(file, cols, groups)
        .ok_or_else(|| format!("{cols} columns are no {groups} groups of a size that is told"))?;
    // 4. Which group each column is of, where they are not in order.
    let groups_of = match file.get(&name("g_idx")) {
        Some(header) => {
            expect(header, &[Dtype::I32, Dtype::I64], &[cols])?;
            parts.push(header.name.clone());
            group_of_columns(file, header, [groups, group])?
        }
        // Without the order, columns would get the scales of others.
        None if groups > 1 && is_reordered(file) => {
            return Err(format!(
                "`{}` is missing, and its columns are in another order",
                name("g_idx")
            ));
        }
        None => None,
    };
    let zero_points = zero_points(file, zeros, [groups, rows, bits])?;
    let numbers = Numbers::find(file, &scales_header.name, &[groups, rows])?;
    let in_order = if groups_of.is_some() { ", in another order" } else { "" };
    let decoder = Columns {
        codes: codes.clone(),
        zeros: zeros.clone(),
        rows: size(rows)?,
        cols: size(cols)?,
        groups: size(groups)?,
        bits: size(bits)?,
        group: size(group)?,
        group_of: groups_of,
        zero_points,
        scales: numbers.clone(),
    };
    Ok(LayerDescription {
        name: weight_of(layer),
        codes_tensor: codes.name.clone(),
        parts,
        codes: format!("{bits} bits in groups of {group}{in_order}"),
        shape: vec![rows, cols],
        dtype: numbers.half_dtype().or_else(|| file.model_dtype()),
        decoder: Arc::new(decoder),
    })
}

/// Returns the bits of each of `count` fields that fill words exactly.
fn rows_bits(words: u64, count: u64) -> Option<u64> {
    let all = words.checked_mul(32)?;
    all.checked_div(count).filter(|bits| bits.checked_mul(count) == Some(all))
}

/// Refuses packings that the configuration names and that are not known here.
fn check_settings(file: &ForeignFile<'_>, bits: u64) -> Result<(), String> {
    let told = file.text("checkpoint_format").or_else(|| file.text("format"));
    if let Some(packing) = told.filter(|told| !["gptq", "gptq_v2"].contains(&told.as_str())) {
        return Err(format!("its packing is `{packing}`; those of `gptq` and `gptq_v2` are read"));
    }
    if let Some(packing) = file.text("packing_format").filter(|told| !is_of_auto_round(told)) {
        return Err(format!(
            "its packing is `{packing}`; those of `gptq` and `auto_round` are read"
        ));
    }
    let methods = ["gptq", "auto-round", "auto_round", "intel/auto-round"];
    if let Some(method) = file.text("quant_method").filter(|told| !methods.contains(&told.as_str()))
    {
        return Err(format!("it is packed as by GPTQ, and the configuration says `{method}`"));
    }
    match file.setting("bits").and_then(Value::as_u64) {
        // Some layers may have other bits than most.
        Some(told) if told != bits && file.setting("dynamic").is_none() => {
            Err(format!("its zero points are of {bits} bits, the configuration says {told}"))
        }
        _ => Ok(()),
    }
}

/// Tells whether a packing is one of AutoRound's, which may be GPTQ's.
fn is_of_auto_round(packing: &str) -> bool {
    let after = packing.strip_prefix("auto_round").or_else(|| packing.strip_prefix("auto-round"));
    after.is_some_and(|after| after.is_empty() || after.contains("gptq"))
}

/// Tells whether the configuration says that columns are in the order of their activations.
fn is_reordered(file: &ForeignFile<'_>) -> bool {
    file.setting("desc_act").and_then(Value::as_bool) == Some(true)
}

/// Returns how many columns share a scale.
fn group_size(file: &ForeignFile<'_>, cols: u64, groups: u64) -> Option<u64> {
    let told = file.setting("group_size").and_then(Value::as_i64).and_then(|size| match size {
        -1 => Some(cols),
        size => u64::try_from(size).ok(),
    });
    let even = || cols.is_multiple_of(groups).then(|| cols / groups);
    let fits = |group: &u64| *group > 0 && cols.div_ceil(*group) == groups;
    told.filter(fits).or_else(even)
}

/// Reads the group of each column; none where they follow one another.
///
/// - `group`: columns of a group
fn group_of_columns(
    file: &Checkpoint,
    header: &TensorHeader,
    [groups, group]: [u64; 2],
) -> Result<Option<Vec<u32>>, String> {
    let bytes = file.read(header).map_err(|error| error.to_string())?;
    let wide = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let indices: Vec<u64> = match header.dtype {
        Dtype::I64 => bytes.as_chunks().0.iter().map(wide).collect(),
        _ => words(&bytes).into_iter().map(u64::from).collect(),
    };
    if let Some(wrong) = indices.iter().find(|index| **index >= groups) {
        return Err(format!("`{}` holds {wrong}, of {groups} groups", header.name));
    }
    let follows = |(column, index): (usize, &u64)| column as u64 / group == *index;
    let is_plain = indices.iter().enumerate().all(follows);
    Ok((!is_plain).then(|| indices.iter().map(|index| *index as u32).collect()))
}

/// Finds out how zero points are stored: as the configuration says, else, where all are the middle of
/// their range, as only one of both ways gives.
fn zero_points(
    file: &ForeignFile<'_>,
    zeros: &TensorHeader,
    [groups, rows, bits]: [u64; 3],
) -> Result<ZeroPoints, String> {
    let told = file.text("checkpoint_format").or_else(|| file.text("format"));
    let told = told.or_else(|| file.text("packing_format"));
    let method = file.text("quant_method");
    // AutoRound has packings of both kinds, of which only `auto_round:gptq` and the like say which they are.
    let is_of_auto_round = method.as_ref().is_some_and(|method| method.contains("round"));
    let is_told = (method.is_some() || file.setting("bits").is_some()) && !is_of_auto_round;
    match told.as_deref() {
        Some("gptq_v2") => return Ok(ZeroPoints::Own),
        Some(packing) if packing.contains("gptq") => return Ok(less_one(file, bits)),
        None if is_told => return Ok(less_one(file, bits)),
        Some(_) | None => {}
    }
    let stored = words(&file.read(zeros).map_err(|error| error.to_string())?);
    let (rows, bits) = (size(rows)?, size(bits)?);
    let per_group = stored.len() / size(groups)?.max(1);
    let middle = 1_u32 << (bits - 1);
    let all = |expected: u32| {
        stored
            .chunks(per_group.max(1))
            .all(|stored| (0..rows).all(|row| field(|at| stored[at], row, bits) == expected))
    };
    // Only symmetric codes tell: all of their zero points are the middle, stored as it is or less 1.
    match (all(middle), all(middle - 1)) {
        (true, _) => Ok(ZeroPoints::Own),
        (_, true) => Ok(ZeroPoints::LessOne),
        _ => Err(format!(
            "`{}` may be stored as in `gptq` or as in `gptq_v2`; `config.json` or `quantize_config.json` \
             beside the file tells",
            zeros.name
        )),
    }
}

/// Returns what zero points lack in packing `gptq`: GPTQModel takes the ones off whole words, which matters
/// where a zero point is 0.
fn less_one(file: &ForeignFile<'_>, bits: u64) -> ZeroPoints {
    let maker = file.setting("meta").and_then(|meta| meta.get("quantizer"));
    let is_gptqmodel = maker.is_some_and(|maker| maker.to_string().contains("gptqmodel"));
    match is_gptqmodel && bits != 3 {
        true => ZeroPoints::LessOneByWord,
        false => ZeroPoints::LessOne,
    }
}

/// Columns of codes, packed downwards; groups of columns of the weight.
#[derive(Debug)]
struct Columns {
    codes: TensorHeader,
    zeros: TensorHeader,
    rows: usize,
    cols: usize,
    groups: usize,
    bits: usize,
    group: usize,
    /// The group of each column, where they do not follow one another.
    group_of: Option<Vec<u32>>,
    zero_points: ZeroPoints,
    scales: Numbers,
}

impl Columns {
    fn zero(&self, stored: &[u32], row: usize) -> f32 {
        // A field that overflows carries into the next one, as it borrowed from there when it was
        // written.
        let ones = (0..32 / self.bits).fold(0_u32, |ones, at| ones | 1 << (at * self.bits));
        let zero = match self.zero_points {
            ZeroPoints::Own => field(|at| stored[at], row, self.bits),
            ZeroPoints::LessOne => {
                field(|at| stored[at], row, self.bits).wrapping_add(1) & mask(self.bits)
            }
            ZeroPoints::LessOneByWord => field(|at| stored[at].wrapping_add(ones), row, self.bits),
        };
        zero as f32
    }
}

impl Decode for Columns {
    fn decode(
        &self,
        file: &Checkpoint,
        rows: Range<usize>,
        values: &mut [f32],
    ) -> Result<(), TensorFileError> {
        let height = self.cols * self.bits / 32;
        let shape = [height, self.rows * 4];
        // A row of the weight is a column of words, and a word has 4 bytes.
        let codes = words(&columns_of(file, &self.codes, shape, rows.start * 4..rows.end * 4)?);
        let zeros = words(&file.read(&self.zeros)?);
        let zero_words = zeros.len() / self.groups;
        let scales = self.scales.all(file)?;
        let (width, first) = (rows.len(), rows.start);
        let mut pairs = vec![(0.0, 0.0); self.groups];
        for (at, values) in values.chunks_exact_mut(self.cols).enumerate() {
            let row = first + at;
            for (group, pair) in pairs.iter_mut().enumerate() {
                let stored = &zeros[group * zero_words..][..zero_words];
                *pair = (self.zero(stored, row), scales[group * self.rows + row]);
            }
            for (col, value) in values.iter_mut().enumerate() {
                let group = match &self.group_of {
                    Some(groups) => groups[col] as usize,
                    None => col / self.group,
                };
                let code = field(|word| codes[word * width + at], col, self.bits);
                let (zero, scale) = pairs[group];
                *value = (code as f32 - zero) * scale;
            }
        }
        Ok(())
    }
}
