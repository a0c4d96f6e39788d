use roundwise_scheme::Tiling;
use roundwise_tensor_file::Checkpoint;

use crate::read::finite::FEW_BYTES;
use crate::read::foreign::parts::widened;
use crate::read::stored_layer::StoredLayer;

/// Returns what is odd about the scales of a tensor or of its rows, if anything is: no program chooses such numbers,
/// and a file that has them may be damaged. They are numbers all the same, and decoding multiplies by them.
pub(crate) fn odd_scales(file: &Checkpoint, layer: &StoredLayer) -> Option<&'static str> {
    let is_looked_at = matches!(layer.scheme.tiling(), Tiling::Tensor | Tiling::Row)
        && layer.scheme.log_range().is_none()
        && layer.experts.is_none();
    let header = file.get(layer.scale.as_ref().filter(|_| is_looked_at)?)?;
    if header.byte_len() > FEW_BYTES {
        return None;
    }
    let scales = widened(header.dtype, &file.read(header).ok()?);
    if scales.iter().any(|scale| *scale < 0.0) {
        return Some("negative");
    }
    if scales.iter().any(|scale| scale.is_subnormal()) {
        return Some("so small that GPUs take it for 0");
    }
    let zero = scales.iter().position(|scale| *scale == 0.0)?;
    has_codes(file, layer, zero).then_some("0, over codes that are not 0")
}

/// Tells whether any code of a row that has a scale of its own is another than 0, or any code at all where one scale is
/// for all.
fn has_codes(file: &Checkpoint, layer: &StoredLayer, row: usize) -> bool {
    let Some(codes) = file.get(&layer.weight()) else { return false };
    let bytes = file.read(codes).unwrap_or_default();
    let row_bytes = bytes.len() / layer.shape[0].max(1);
    let of_scale = match layer.scheme.tiling() {
        Tiling::Row => bytes.chunks(row_bytes.max(1)).nth(row).unwrap_or_default(),
        Tiling::Tensor | Tiling::Block { .. } => &bytes,
    };
    of_scale.iter().any(|code| *code != 0)
}
