use roundwise_scheme::{QuantizedMatrix, Scheme, SchemeError, Tiling};

/// Puts the matrices of experts into one that decodes to the same numbers in the same order.
///
/// Where an expert has one scale it becomes a row; else its rows come below those of the experts before it. What
/// all scales of an expert share is in them already.
///
/// # Errors
/// As [`QuantizedMatrix::from_parts`].
pub(crate) fn joined(
    experts: &[QuantizedMatrix],
    scheme: Scheme,
    [rows, cols]: [usize; 2],
) -> Result<QuantizedMatrix, SchemeError> {
    let (scheme, shape) = match scheme.tiling() {
        Tiling::Tensor => {
            (Scheme::scaled(scheme.grid(), Tiling::Row), [experts.len(), rows * cols])
        }
        Tiling::Row | Tiling::Block { .. } => (scheme, [experts.len() * rows, cols]),
    };
    let codes = experts.iter().flat_map(|expert| expert.codes().iter().copied()).collect();
    let scales: Vec<f32> = experts.iter().flat_map(|expert| expert.scales()).copied().collect();
    QuantizedMatrix::from_parts(scheme, shape, codes, scales)
}
