use half::{bf16, f16};
use roundwise_rounding::{BiasCorrection, Linear};
use roundwise_scheme::{FloatDtype, QuantizedMatrix};
use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::run::round::seed_of;
use crate::source::Source;
use crate::source::numbers::{float_dtype, narrow};

/// Returns the bytes of a layer's bias after its correction, in the bias's own dtype.
///
/// - `bias`: `[rows of the weight]`, a plain floating-point dtype
///
/// # Errors
/// When the bias cannot be read.
pub(crate) fn corrected(
    correction: BiasCorrection,
    source: &Source,
    bias: &TensorHeader,
    layer: Linear<'_>,
    rounded: &QuantizedMatrix,
) -> Result<Vec<u8>, ConvertError> {
    let mut bytes = source.checkpoint.read_reusing(bias, Vec::new())?;
    // Adapters may change a bias too (`diff_b`).
    if source.adapters().change(&bias.name) {
        bytes.clear();
        narrow(bias.dtype, &source.merged_numbers(bias)?, &mut bytes);
    }
    let dtype = float_dtype(bias.dtype).expect("the plan corrects plain biases only");
    let Some(change) = correction.change_of_bias(layer, rounded, seed_of(&bias.name)) else {
        return Ok(bytes);
    };
    let (bytes, change) = (&bytes, &change);
    Ok(match dtype {
        FloatDtype::F16 => {
            added(bytes, change, f16::from_le_bytes, |sum| f16::from_f64(sum).to_le_bytes())
        }
        FloatDtype::BF16 => {
            added(bytes, change, bf16::from_le_bytes, |sum| bf16::from_f64(sum).to_le_bytes())
        }
        FloatDtype::F32 => {
            added(bytes, change, f32::from_le_bytes, |sum| (sum as f32).to_le_bytes())
        }
        FloatDtype::F64 => added(bytes, change, f64::from_le_bytes, f64::to_le_bytes),
    })
}

/// Adds a change to every number of a dtype. A change is small: a number whose sum the dtype has no room for is
/// left as it was, which is better than an infinity.
fn added<N: Into<f64>, const WIDTH: usize>(
    bytes: &[u8],
    change: &[f32],
    number: impl Fn([u8; WIDTH]) -> N,
    stored: impl Fn(f64) -> [u8; WIDTH],
) -> Vec<u8> {
    let (values, _) = bytes.as_chunks();
    // In F64, which holds every number of the four dtypes exactly.
    let sums = values.iter().zip(change).map(|(value, change)| {
        let sum = stored(number(*value).into() + f64::from(*change));
        if number(sum).into().is_finite() { sum } else { *value }
    });
    sums.flatten().collect()
}
