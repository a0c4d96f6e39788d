//! Codes of torchao, as its support for safetensors flattens them.
//!
//! # Source
//! `flatten_tensor_state_dict` and the tensor classes of torchao 0.18.

use std::ops::Range;
use std::sync::Arc;

use roundwise_tensor_file::{Checkpoint, Dtype, TensorFileError, TensorHeader};
use serde_json::Value;

use crate::read::foreign::file::{ForeignFile, dtype_named};
use crate::read::foreign::layer::{Decode, LayerDescription, Recognised};
use crate::read::foreign::parts::{
    Numbers, PLAIN, byte_values, bytes_of, expect, matrix, part, size, widened,
};
use crate::read::foreign::program::ForeignProgram;

pub(crate) const TORCHAO: ForeignProgram = ForeignProgram {
    name: "torchao",
    told_by: "`X._weight_qdata`, `X._weight_scale`, a header entry `X.weight`",
    reads: "`Float8Tensor`, `Int8Tensor`, `IntxUnpackedToInt8Tensor`",
    formula: "(code − zero) · scale",
    opened_by: "transformers and diffusers with torchao",
};

/// Entry of the header that lists the tensors.
pub(crate) const TENSOR_NAMES: &str = "tensor_names";

/// Recognises a layer by its codes and by the header's entry about it.
pub(crate) fn recognise(file: &ForeignFile<'_>, header: &TensorHeader) -> Option<Recognised> {
    let (layer, tensor) = header.name.rsplit_once("._")?;
    let name = format!("{layer}.{}", tensor.strip_suffix("_qdata")?);
    let entry = file.metadata().get(&name)?;
    let entry: Value = serde_json::from_str(entry).unwrap_or_default();
    let found = find(file, &name, &entry, header);
    let layer = crate::names::layer_of(&name).to_owned();
    Some(Recognised { layer, program: &TORCHAO, found })
}

fn find(
    file: &ForeignFile<'_>,
    name: &str,
    entry: &Value,
    codes: &TensorHeader,
) -> Result<LayerDescription, String> {
    const BYTES: [Dtype; 3] = [Dtype::I8, Dtype::F8E4M3, Dtype::F8E5M2];
    // 1. The class, which says what the codes stand for.
    let class = entry.get("_type").and_then(Value::as_str).unwrap_or("nothing");
    let known = ["Float8Tensor", "Int8Tensor", "IntxUnpackedToInt8Tensor"];
    if !known.contains(&class) {
        return Err(format!("it is a `{class}`; of its classes are read {}", known.join(", ")));
    }
    let data = entry.get("_data");
    let setting = |key: &str| data.and_then(|data| data.get(key));
    let [rows, cols] = matrix(codes, &BYTES)?;
    // 2. Blocks, with a scale and maybe a zero point each.
    let tile = setting("block_size").and_then(|it| serde_json::from_value(it.clone()).ok());
    let tile: [u64; 2] = tile.ok_or("its header entry has no `block_size` of two numbers")?;
    if tile.contains(&0) {
        return Err("its blocks have size 0".to_owned());
    }
    let grid = [rows.div_ceil(tile[0]), cols.div_ceil(tile[1])];
    let stem = codes.name.strip_suffix("qdata").unwrap_or_default();
    let scale = part(file, &format!("{stem}scale"))?;
    // A single scale may be stored without dimensions.
    let is_single = grid == [1, 1] && scale.element_count() == 1;
    let scales = match is_single && PLAIN.contains(&scale.dtype) {
        true => Numbers::of(scale),
        false => Numbers::find(file, &scale.name, &grid)?,
    };
    let mut parts = vec![scale.name.clone()];
    let zeros = file.get(&format!("{stem}zero_point"));
    if let Some(zeros) = zeros {
        expect(zeros, &[Dtype::I8, Dtype::F32, Dtype::F16, Dtype::BF16], &grid)?;
        parts.push(zeros.name.clone());
    }
    // Scales of activations do not change the weight, and are of use beside the codes only; but a
    // factor of the inputs was divided out of the weight.
    for prepared in ["act_pre_scale", "act_quant_scale", "act_scale", "act_zero_point"] {
        let name = format!("{stem}{prepared}");
        match file.get(&name) {
            Some(_) if prepared == "act_pre_scale" => {
                return Err(format!("its inputs are scaled by `{name}`, which is not read"));
            }
            Some(_) => parts.push(name),
            None => {}
        }
    }
    let dtype = setting("dtype").and_then(|dtype| dtype.get("_data")).and_then(Value::as_str);
    let dtype = dtype.and_then(dtype_named).or(scales.half_dtype());
    let decoder = Tiles {
        codes: codes.clone(),
        cols: size(cols)?,
        tile: [size(tile[0])?, size(tile[1])?],
        across: size(grid[1])?,
        scales,
        zeros: zeros.cloned(),
    };
    let [high, wide] = tile.map(|size| size.to_string());
    Ok(LayerDescription {
        name: name.to_owned(),
        codes_tensor: codes.name.clone(),
        parts,
        codes: format!("8 bits ({class}) in blocks of {high}×{wide}"),
        shape: vec![rows, cols],
        dtype: dtype.or_else(|| file.model_dtype()),
        decoder: Arc::new(decoder),
    })
}

/// A code to a byte, and a scale to a tile.
#[derive(Debug)]
struct Tiles {
    codes: TensorHeader,
    cols: usize,
    tile: [usize; 2],
    /// Tiles in a row of them.
    across: usize,
    scales: Numbers,
    zeros: Option<TensorHeader>,
}

impl Tiles {
    fn read_zeros(&self, file: &Checkpoint) -> Result<Vec<f32>, TensorFileError> {
        let Some(header) = &self.zeros else { return Ok(vec![]) };
        let bytes = file.read(header)?;
        Ok(match header.dtype {
            Dtype::I8 => bytes.into_iter().map(|byte| f32::from(byte as i8)).collect(),
            dtype => widened(dtype, &bytes),
        })
    }
}

impl Decode for Tiles {
    fn decode(
        &self,
        file: &Checkpoint,
        rows: Range<usize>,
        values: &mut [f32],
    ) -> Result<(), TensorFileError> {
        let codes = bytes_of(file, &self.codes, rows.start * self.cols..rows.end * self.cols)?;
        let down = rows.start / self.tile[0]..rows.end.div_ceil(self.tile[0]);
        let tiles = down.start * self.across..down.end * self.across;
        let first_tile = tiles.start;
        let (scales, zeros) = (self.scales.read(file, tiles)?, self.read_zeros(file)?);
        let table = byte_values(self.codes.dtype);
        let in_rows = values.chunks_exact_mut(self.cols).zip(codes.chunks_exact(self.cols));
        for (row, (values, codes)) in rows.zip(in_rows) {
            let first = row / self.tile[0] * self.across;
            let tiles = values.chunks_mut(self.tile[1]).zip(codes.chunks(self.tile[1]));
            for (tile, (values, codes)) in (first..).zip(tiles) {
                // Scales were read for these rows, zero points for all.
                let (scale, zero) =
                    (scales[tile - first_tile], zeros.get(tile).copied().unwrap_or(0.0));
                for (value, code) in values.iter_mut().zip(codes) {
                    *value = (table[usize::from(*code)] - zero) * scale;
                }
            }
        }
        Ok(())
    }
}
