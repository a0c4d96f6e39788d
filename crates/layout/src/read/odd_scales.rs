use roundwise_scheme::{QuantizedMatrix, Tiling};
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
    let is_zero = scales.contains(&0.0) && hides_weights(file, layer)?;
    is_zero.then_some("0, over codes that are not 0")
}

/// Tells whether any code under a scale of 0 stands for another number than 0. Not all such codes are bytes of 0:
/// floating-point grids have a −0, and some programs add half of the range to integers.
fn hides_weights(file: &Checkpoint, layer: &StoredLayer) -> Option<bool> {
    let stored = layer.read(file).ok()?;
    let [rows, cols] = stored.shape();
    let (scales, codes) = (stored.scales(), stored.codes().to_vec());
    // Under scales of 1 the codes decode to their own numbers.
    let unscaled = QuantizedMatrix::from_parts(
        stored.scheme(),
        stored.shape(),
        codes,
        vec![1.0; scales.len()],
    );
    let unscaled = unscaled.ok()?;
    let mut values = vec![0.0; cols];
    let mut is_hidden = |row: usize| {
        unscaled.decode_row(row, &mut values);
        values.iter().any(|value| *value != 0.0)
    };
    let scale_of = |row: usize| if scales.len() == 1 { scales[0] } else { scales[row] };
    Some((0..rows).any(|row| scale_of(row) == 0.0 && is_hidden(row)))
}
