use roundwise_scheme::{QuantizedMatrix, Scheme, Tiling};

use crate::error::LayoutError;

/// Puts codes and scales of experts behind each other, one expert in memory beside them.
pub(crate) fn joined(
    experts: impl Iterator<Item = Result<QuantizedMatrix, LayoutError>>,
) -> Result<(Vec<u8>, Vec<f32>), LayoutError> {
    let (mut codes, mut scales) = (vec![], vec![]);
    for expert in experts {
        let expert = expert?;
        codes.extend_from_slice(expert.codes());
        // The factor that all scales of an expert share is multiplied into them already.
        scales.extend_from_slice(expert.scales());
    }
    Ok((codes, scales))
}

/// Returns the scheme and shape of the one matrix that decodes to the numbers of all experts, in their order. An expert
/// that has one scale becomes a row; the rows of any other come below those of the experts before it.
pub(crate) fn scheme_of_joined(
    scheme: Scheme,
    experts: usize,
    [rows, cols]: [usize; 2],
) -> (Scheme, [usize; 2]) {
    match scheme.tiling() {
        Tiling::Tensor => (Scheme::scaled(scheme.grid(), Tiling::Row), [experts, rows * cols]),
        Tiling::Row | Tiling::Block { .. } => (scheme, [experts * rows, cols]),
    }
}
