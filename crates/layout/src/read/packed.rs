use roundwise_scheme::Scheme;
use roundwise_tensor_file::{Checkpoint, Dtype, TensorHeader};

use crate::marker::Marker;
use crate::packing::{LayerTensor, Packing};
use crate::read::spelling::Spelling;
use crate::read::stored_layer::{StoredLayer, matrix_shape};

/// Recognises a weight whose codes are packed or whose scales are bytes, `None` for the marker of any
/// other.
///
/// # Errors
/// One line that says why the weight cannot be read: what was found and what was expected.
pub(crate) fn recognise_packed(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
    marker: &Marker,
) -> Result<Option<StoredLayer>, String> {
    let stored_cols = weight.shape.last().map_or(0, |&cols| usize::try_from(cols).unwrap_or(0));
    let packed = marker.unrotated_scheme(&[])?.code_bits() == 4;
    let cols = if packed { stored_cols.saturating_mul(2) } else { stored_cols };
    // The formats in question do not depend on the shape of the scales.
    let scheme = match marker.scheme(&[], cols) {
        Ok(scheme) if packed || scheme.has_block_scales() => scheme,
        Err(problem) if packed => return Err(problem),
        Ok(_) | Err(_) => return Ok(None),
    };
    if weight.shape.len() != 2 {
        return Err(format!("is marked `{}`, but is {}-D", marker.format, weight.shape.len()));
    }
    let [rows, _] = matrix_shape(weight)?;
    checked_layer(file, layer, marker, scheme, [rows, cols], None).map(Some)
}

/// Returns a layer of ComfyUI's once all of its tensors are as readers need them.
///
/// - `padded`: shape of the stored codes, of a bank those of each expert
/// - `experts`: how many matrices lie behind each other, where the layer is a bank
///
/// # Errors
/// One line that says why the layer cannot be read: what was found and what was expected.
pub(crate) fn checked_layer(
    file: &Checkpoint,
    layer: &str,
    marker: &Marker,
    scheme: Scheme,
    padded @ [rows, cols]: [usize; 2],
    experts: Option<usize>,
) -> Result<StoredLayer, String> {
    let shape = match marker.orig_shape.as_deref() {
        // Only codes with block scales are padded: 4-bit integers have the shape of their codes.
        Some(shape) if scheme.has_block_scales() => logical_shape(shape)?,
        _ => padded,
    };
    scheme.covers(rows, cols).map_err(|error| error.to_string())?;
    let parts = Packing::found(scheme, shape, padded)?.parts();
    for part in &parts {
        check_part(file, layer, marker, part, experts.map(|experts| experts as u64))?;
    }
    refuse_scaled_inputs(file, layer)?;
    Ok(StoredLayer {
        layer: layer.to_owned(),
        scheme,
        shape,
        stored_shape: padded,
        spelling: Spelling::Comfy,
        scale: parts.get(1).map(|part| format!("{layer}.{}", part.name)),
        experts,
    })
}

/// Refuses a layer whose stored numbers are those of a weight with divided columns, and whose inputs are multiplied.
fn refuse_scaled_inputs(file: &Checkpoint, layer: &str) -> Result<(), String> {
    let pre_scale = format!("{layer}.pre_quant_scale");
    match file.get(&pre_scale) {
        Some(_) => Err(format!("its inputs are scaled by `{pre_scale}`, which is not read")),
        None => Ok(()),
    }
}

/// Returns the shape that a marker tells, of a weight or of each expert's.
fn logical_shape(shape: &[u64]) -> Result<[usize; 2], String> {
    let size = |size: u64| usize::try_from(size).ok();
    let found = match shape {
        [rows, cols] => size(*rows).zip(size(*cols)),
        _ => None,
    };
    found.map(|(rows, cols)| [rows, cols]).ok_or(format!("`orig_shape` is {shape:?}, no matrix"))
}

/// Checks that a tensor has the dtype and the shape that readers need; some take more than one dtype.
///
/// - `experts`: how many matrices lie behind each other, where the layer is a bank
fn check_part(
    file: &Checkpoint,
    layer: &str,
    marker: &Marker,
    part: &LayerTensor,
    experts: Option<u64>,
) -> Result<(), String> {
    let name = format!("{layer}.{}", part.name);
    let Some(found) = file.get(&name) else {
        // Evenly spaced levels need no table.
        if part.name == "weight_codebook" {
            return Ok(());
        }
        return Err(format!("is marked `{}`, but has no `{}`", marker.format, part.name));
    };
    let is_dtype = found.dtype == part.dtype
        || match (part.name, part.dtype) {
            ("weight_scale" | "weight_s_rel", Dtype::F8E4M3) => found.dtype == Dtype::U8,
            ("weight_scale", Dtype::U8) => found.dtype == Dtype::F8E8M0,
            ("weight_scale", Dtype::F32) if experts.is_some() => {
                matches!(found.dtype, Dtype::F64 | Dtype::BF16 | Dtype::F16)
            }
            _ => false,
        };
    let of_each = part.shape.iter().map(|&size| size as u64);
    let expected: Vec<u64> = experts.into_iter().chain(of_each).collect();
    // Experts may share a single number, `[]`; `[1]` would be a list for one expert.
    let is_single = match experts {
        None => expected.is_empty() && found.shape == [1],
        Some(_) => part.shape.is_empty() && found.shape.is_empty(),
    };
    if !is_dtype || (found.shape != expected && !is_single) {
        return Err(format!(
            "`{name}` is {} {:?}, format `{}` needs {} {expected:?}",
            found.dtype, found.shape, marker.format, part.dtype
        ));
    }
    Ok(())
}
