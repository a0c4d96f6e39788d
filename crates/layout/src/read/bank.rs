use roundwise_tensor_file::{Checkpoint, TensorHeader};

use crate::layout::Layout;
use crate::marker::Marker;
use crate::opened_by::reads_banks;
use crate::read::packed::checked_layer;
use crate::read::stored_layer::StoredLayer;

/// Recognises a bank of experts of ComfyUI's: `[experts, rows, cols]` codes, and in every tensor of scales those of
/// each expert behind each other; `None` for any other weight.
///
/// # Errors
/// One line that says why the weight cannot be read: what was found and what was expected.
///
/// # Source
/// `MoEExperts` in ComfyUI's `ops.py`.
pub(crate) fn recognise_bank(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
    marker: &Marker,
    marked_scale: &str,
) -> Result<Option<StoredLayer>, String> {
    let &[experts, rows, stored_cols] = weight.shape.as_slice() else { return Ok(None) };
    let Some(scale) = file.get(&format!("{layer}.{marked_scale}")) else { return Ok(None) };
    // Without a scale for each expert it is a weight of three dimensions like any other, such as a
    // convolution's.
    let Some((_, of_each)) = scale.shape.split_first().filter(|(first, _)| **first == experts)
    else {
        return Ok(None);
    };
    let is_packed = marker.unrotated_scheme(&[])?.code_bits() == 4;
    let cols = if is_packed { stored_cols.saturating_mul(2) } else { stored_cols };
    let size =
        |count: u64| usize::try_from(count).map_err(|_| format!("{count} is too large here"));
    let padded = [size(rows)?, size(cols)?];
    let scheme = marker.scheme(of_each, padded[1])?;
    if !reads_banks(Layout::Comfy, scheme) {
        return Ok(None);
    }
    let stored = checked_layer(file, layer, marker, scheme, padded, Some(size(experts)?))?;
    Ok(Some(StoredLayer { scale: Some(scale.name.clone()), ..stored }))
}
