use half::{bf16, f16};
use roundwise_scheme::{QuantizedMatrix, Weight, WeightKind};
use roundwise_tensor_file::TensorHeader;

use crate::rounder::seed_of;
use crate::source::weight_kind;
use crate::{BiasCorrection, ConvertError, Source};

/// The bytes of a layer's bias after its correction, in the bias's own dtype.
///
/// - `bias`: `[rows of the weight]`, a plain floating-point dtype
///
/// # Errors
/// When the bias cannot be read.
pub(crate) fn corrected(
    correction: BiasCorrection,
    source: &Source,
    bias: &TensorHeader,
    weight: &Weight<'_>,
    rounded: &QuantizedMatrix,
) -> Result<Vec<u8>, ConvertError> {
    let bytes = source.checkpoint.read_reusing(bias, Vec::new())?;
    let kind = weight_kind(bias.dtype).expect("the plan corrects plain biases only");
    let Some(change) = correction.of(weight, rounded, seed_of(&bias.name)) else {
        return Ok(bytes);
    };
    let values = Weight::new(1, change.len(), kind, &bytes)
        .expect("the plan corrects biases with a number for every row")
        .to_f32();
    let sums = values.iter().zip(&change).map(|(value, change)| value + change);
    Ok(match kind {
        WeightKind::F64 => sums.flat_map(|sum| f64::from(sum).to_le_bytes()).collect(),
        WeightKind::F32 => sums.flat_map(f32::to_le_bytes).collect(),
        WeightKind::F16 => sums.flat_map(|sum| f16::from_f32(sum).to_le_bytes()).collect(),
        WeightKind::BF16 => sums.flat_map(|sum| bf16::from_f32(sum).to_le_bytes()).collect(),
    })
}
