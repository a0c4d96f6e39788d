use roundwise_scheme::{GridKind, LogRange, Scheme, Tiling};
use roundwise_tensor_file::{Checkpoint, Dtype, TensorHeader};

use crate::legacy::{SCALE_FORMAT, SCALED_FP16, scale_format};
use crate::marker::Marker;
use crate::read::bank::recognise_bank;
use crate::read::foreign::file::ForeignFile;
use crate::read::packed::recognise_packed;
use crate::read::scales::{check_scale, find_scale, infer_tiling, refuse_unknown_scales};
use crate::read::servers::recognise_servers;
use crate::read::side_tensors::{SIDE_PARTS, file_part};
use crate::read::spelling::Spelling;
use crate::read::stored_layer::{StoredLayer, matrix_shape};

/// Recognises the stored layer behind a weight, `None` for a weight that is plain numbers.
///
/// - `marker`: the layer's marker, `None` where it has none
/// - `marked_scale`: what the scale of a marked layer is called
///
/// # Errors
/// One line that says why the weight cannot be read: what was found and what was expected.
pub(crate) fn recognise(
    file: &ForeignFile<'_>,
    weight: &TensorHeader,
    layer: &str,
    marker: Option<&Marker>,
    marked_scale: &str,
) -> Result<Option<StoredLayer>, String> {
    // 1. Markers and the spellings of servers, which say the scheme themselves.
    if weight.element_count() == 0 {
        return Ok(None);
    }
    if let Some(marker) = marker {
        if let Some(bank) = recognise_bank(file, weight, layer, marker, marked_scale)? {
            return Ok(Some(bank));
        }
        if let Some(packed) = recognise_packed(file, weight, layer, marker)? {
            return Ok(Some(packed));
        }
    }
    // A marked layer is ComfyUI's, which packs codes differently under the same names.
    let from_servers = match marker {
        Some(_) => None,
        None => recognise_servers(file, weight, layer)?,
    };
    if let Some(stored) = from_servers {
        return Ok(Some(stored));
    }
    // 2. Codes by the dtype of the weight; anything else is plain numbers, or an error.
    let Some(grid) = code_grid(weight.dtype).or_else(|| scaled_f16(file, weight, layer)) else {
        refuse_other_codes(file, weight, layer, marker)?;
        return Ok(None);
    };
    let shape = matrix_shape(weight)?;
    let (spelling, scale) = find_scale(file, layer, marker.map(|_| marked_scale));
    if spelling != Spelling::Comfy {
        refuse_unknown_scales(file, weight, layer, scale)?;
    }
    // 3. The scheme by marker and scale. FP8 without either is a scheme as well: its codes are the weights.
    let scheme = match (marker, scale) {
        (Some(marker), Some(scale)) => marker.scheme(&scale.shape, shape[1])?,
        (Some(marker), None) => {
            marker.unrotated_scheme(&[])?;
            return Err(format!("is marked `{}`, but has no `weight_scale`", marker.format));
        }
        (None, Some(scale)) if spelling == Spelling::ComfyLegacy && scale.dtype == Dtype::U8 => {
            logarithmic_scheme(file, layer, scale)?
        }
        (None, Some(scale)) => Scheme::scaled(grid, infer_tiling(file, spelling, scale, shape)),
        // An I8 vector is data, such as a counter; with two dimensions or more it could be a weight
        // whose scale was lost.
        (None, None) if grid == GridKind::Int8 && weight.shape.len() < 2 => return Ok(None),
        (None, None) if grid == GridKind::Int8 => {
            return Err("holds INT8 codes, but has no `weight_scale`".to_owned());
        }
        (None, None) => Scheme::scaled(grid, Tiling::Tensor),
    };
    // 4. Does all of it agree? A file that contradicts itself is refused; taking one side's word would guess.
    if scheme.grid() != grid {
        let (marked, found) = (scheme.grid().name(), weight.dtype);
        return Err(format!("is marked {marked}, but its weight is {found}"));
    }
    if let Some(scale) = scale {
        check_scale(scale, scheme, shape, spelling)?;
    }
    let scale = scale.map(|header| header.name.clone());
    let stored_shape = shape;
    let layer = layer.to_owned();
    let experts = None;
    Ok(Some(StoredLayer { layer, scheme, shape, stored_shape, spelling, scale, experts }))
}

fn code_grid(dtype: Dtype) -> Option<GridKind> {
    match dtype {
        Dtype::F8E4M3 => Some(GridKind::E4m3),
        Dtype::F8E5M2 => Some(GridKind::E5m2),
        Dtype::I8 => Some(GridKind::Int8),
        _ => None,
    }
}

/// Returns the grid of F16 numbers that the file says have scales; others are plain weights.
fn scaled_f16(file: &Checkpoint, weight: &TensorHeader, layer: &str) -> Option<GridKind> {
    let is_scaled = weight.dtype == Dtype::F16
        && file.get(&format!("{layer}.scale_weight")).is_some()
        && file_part(file, layer, SCALED_FP16).is_some();
    is_scaled.then_some(GridKind::F16)
}

/// Finds out what a scale of one byte stands for, as the file's `scale_format` says: the bytes 8 and
/// the decimal exponents of the range.
fn logarithmic_scheme(
    file: &Checkpoint,
    layer: &str,
    scale: &TensorHeader,
) -> Result<Scheme, String> {
    // A scale that the layers of a module share is written as `[1]`, one of its own as `[]`.
    let is_shared = !scale.shape.is_empty();
    let unknown = |found: String| {
        Err(format!(
            "`{}` is a logarithm in a range that the file does not tell: `scale_format` is {found}, \
             expected [8, 12, 6] or [8, 10, 2]",
            scale.name
        ))
    };
    let Some(format) = file_part(file, layer, SCALE_FORMAT) else {
        return unknown("missing".to_owned());
    };
    if format.dtype != Dtype::U8 || format.byte_len() > LONGEST_FORMAT {
        return unknown(format!("{} {:?}", format.dtype, format.shape));
    }
    let bytes = file.read(format).map_err(|error| error.to_string())?;
    let range = LogRange::ALL.into_iter().find(|range| bytes == scale_format(*range));
    match range {
        Some(range) => Ok(Scheme::logarithmic(range, is_shared)),
        None => unknown(format!("{bytes:?}")),
    }
}

/// Most bytes of a `scale_format` that are read: ours has three, published files have one.
const LONGEST_FORMAT: u64 = 8;

/// Refuses plain numbers that are marked, and codes of another kind that have scales.
fn refuse_other_codes(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
    marker: Option<&Marker>,
) -> Result<(), String> {
    let found = weight.dtype;
    if let Some(marker) = marker {
        marker.unrotated_scheme(&[])?;
        return Err(format!("is marked `{}`, but its weight is {found}", marker.format));
    }
    if matches!(found, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        return Ok(());
    }
    match SIDE_PARTS.iter().find(|part| file.get(&format!("{layer}.{part}")).is_some()) {
        Some(part) => Err(format!(
            "its weight is {found} beside `{part}`; codes are read from F8_E4M3, F8_E5M2 and I8"
        )),
        None if is_no_number(found) && weight.shape.len() > 1 => Err(format!(
            "its weight is {found}, which no model has as numbers: codes of a program that is not known"
        )),
        None => Ok(()),
    }
}

/// Tells whether weights of a dtype can only be codes: whole numbers, and floating-point numbers that
/// are scaled wherever they stand. I64 are indices, as torch makes them, which no program packs codes into.
fn is_no_number(dtype: Dtype) -> bool {
    match dtype {
        Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::C64 | Dtype::I64 => false,
        Dtype::Bool
        | Dtype::U64
        | Dtype::U32
        | Dtype::I32
        | Dtype::U16
        | Dtype::I16
        | Dtype::I8
        | Dtype::U8
        | Dtype::F8E5M2Fnuz
        | Dtype::F8E4M3Fnuz
        | Dtype::F8E8M0
        | Dtype::F8E4M3
        | Dtype::F8E5M2
        | Dtype::F6E3M2
        | Dtype::F6E2M3
        | Dtype::F4 => true,
    }
}
