//! Codes of AWQ, as AutoAWQ's `gemm` packs them.
//!
//! # Source
//! `dequantize_gemm` of AutoAWQ 0.2.9.

use std::ops::Range;
use std::sync::Arc;

use roundwise_tensor_file::{Checkpoint, Dtype, TensorFileError, TensorHeader};

use crate::names::weight_of;
use crate::read::foreign::file::ForeignFile;
use crate::read::foreign::layer::{Decode, LayerDescription, Recognised};
use crate::read::foreign::parts::{Numbers, PLAIN, columns_of, expect, matrix, part, size, words};
use crate::read::foreign::program::ForeignProgram;

pub(crate) const AWQ: ForeignProgram = ForeignProgram {
    name: "AWQ",
    told_by: "`X.qweight` of an eighth of the columns of `X.scales`, `X.qzeros`",
    reads: "4 bits in the order of `gemm`",
    formula: "(code − zero) · scale",
    opened_by: "transformers with AutoAWQ or GPTQModel, and vLLM",
};

/// Rows whose codes share a word.
const PER_WORD: u64 = 8;

/// The place in a word, in fields of 4 bits, of each of eight rows.
// The inverse of its order of packing: 0 2 4 6 1 3 5 7.
const PLACES: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// Recognises a layer by its packed codes: the transposed matrix, eight of its rows to a word.
pub(crate) fn recognise(file: &ForeignFile<'_>, header: &TensorHeader) -> Option<Recognised> {
    // Names are those of GPTQ, which is asked first and takes what is packed along the columns.
    let layer = header.name.strip_suffix(".qweight")?;
    let [zeros, scales] = ["qzeros", "scales"].map(|end| file.get(&format!("{layer}.{end}")));
    zeros?;
    scales?;
    let found = find(file, layer, header);
    Some(Recognised { layer: layer.to_owned(), program: &AWQ, found })
}

fn find(
    file: &ForeignFile<'_>,
    layer: &str,
    codes: &TensorHeader,
) -> Result<LayerDescription, String> {
    const WORDS: [Dtype; 2] = [Dtype::I32, Dtype::U32];
    let scales = part(file, &format!("{layer}.scales"))?;
    let [groups, rows] = matrix(scales, &PLAIN)?;
    let [cols, row_words] = matrix(codes, &WORDS)?;
    let told = file.text("version");
    if let Some(packing) = told.filter(|told| told.contains("gemv") || told.contains("marlin")) {
        return Err(format!("its packing is `{packing}`; that of `gemm` is read"));
    }
    if row_words.checked_mul(PER_WORD) != Some(rows) {
        return Err(format!(
            "`{}` is {:?} beside scales {:?}: neither the packing of GPTQ nor that of AWQ's `gemm`",
            codes.name, codes.shape, scales.shape
        ));
    }
    // Zero points are packed like codes, and without the 1 that GPTQ subtracts from them.
    let zeros = part(file, &format!("{layer}.qzeros"))?;
    expect(zeros, &WORDS, &[groups, row_words])?;
    let group = cols.checked_div(groups).filter(|group| group.checked_mul(groups) == Some(cols));
    let group = group.filter(|&group| group > 0);
    let group = group.ok_or_else(|| format!("{cols} columns are no {groups} equal groups"))?;
    let numbers = Numbers::find(file, &scales.name, &[groups, rows])?;
    let decoder = Transposed {
        codes: codes.clone(),
        zeros: zeros.clone(),
        rows: size(rows)?,
        cols: size(cols)?,
        group: size(group)?,
        scales: numbers.clone(),
    };
    Ok(LayerDescription {
        name: weight_of(layer),
        codes_tensor: codes.name.clone(),
        parts: vec![zeros.name.clone(), scales.name.clone()],
        codes: format!("4 bits in groups of {group}"),
        shape: vec![rows, cols],
        dtype: numbers.half_dtype().or_else(|| file.model_dtype()),
        decoder: Arc::new(decoder),
    })
}

/// The transposed matrix, eight of its rows to a word.
#[derive(Debug)]
struct Transposed {
    codes: TensorHeader,
    zeros: TensorHeader,
    rows: usize,
    cols: usize,
    group: usize,
    scales: Numbers,
}

impl Decode for Transposed {
    fn decode(
        &self,
        file: &Checkpoint,
        rows: Range<usize>,
        values: &mut [f32],
    ) -> Result<(), TensorFileError> {
        let per_word = PER_WORD as usize;
        // A word holds eight rows of the weight, so whole words are read.
        let in_words = rows.start / per_word..rows.end.div_ceil(per_word);
        let (first, width) = (in_words.start, in_words.len());
        let row_bytes = self.rows / per_word * 4;
        let shape = [self.cols, row_bytes];
        let columns = in_words.start * 4..in_words.end * 4;
        let codes = words(&columns_of(file, &self.codes, shape, columns.clone())?);
        let groups = self.cols / self.group;
        let zeros = words(&columns_of(file, &self.zeros, [groups, row_bytes], columns)?);
        let scales = self.scales.all(file)?;
        for (row, values) in rows.zip(values.chunks_exact_mut(self.cols)) {
            let (word, shift) = (row / per_word - first, PLACES[row % per_word] * 4);
            let code = |words: &[u32], at: usize| (words[at * width + word] >> shift & 0xF) as f32;
            for (group, values) in values.chunks_exact_mut(self.group).enumerate() {
                let (zero, scale) = (code(&zeros, group), scales[group * self.rows + row]);
                for (col, value) in values.iter_mut().enumerate() {
                    *value = (code(&codes, group * self.group + col) - zero) * scale;
                }
            }
        }
        Ok(())
    }
}
