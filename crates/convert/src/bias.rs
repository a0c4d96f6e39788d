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
    let corrected = |value: f64, change: f32| value + f64::from(change);
    if kind == WeightKind::F64 {
        let (values, _) = bytes.as_chunks();
        let sums = values
            .iter()
            .zip(&change)
            .map(|(value, change)| corrected(f64::from_le_bytes(*value), *change).to_le_bytes());
        return Ok(sums.flatten().collect());
    }
    let values = Weight::new(1, change.len(), kind, &bytes)
        .expect("the plan corrects biases with a number for every row")
        .to_f32();
    let sums = values.iter().zip(&change).map(|(value, change)| {
        let sum = corrected(f64::from(*value), *change) as f32;
        // A correction is small; where the dtype ends, none is better than infinity.
        let is_finite = match kind {
            WeightKind::F16 => f16::from_f32(sum).is_finite(),
            WeightKind::BF16 => bf16::from_f32(sum).is_finite(),
            WeightKind::F32 | WeightKind::F64 => sum.is_finite(),
        };
        if is_finite { sum } else { *value }
    });
    Ok(match kind {
        WeightKind::F16 => sums.flat_map(|sum| f16::from_f32(sum).to_le_bytes()).collect(),
        WeightKind::BF16 => sums.flat_map(|sum| bf16::from_f32(sum).to_le_bytes()).collect(),
        WeightKind::F32 | WeightKind::F64 => sums.flat_map(f32::to_le_bytes).collect(),
    })
}
