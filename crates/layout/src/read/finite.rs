//! Scales that are no numbers: everything that they scale would be lost.

use roundwise_scheme::ScaleNumbers;
use roundwise_tensor_file::{Checkpoint, Dtype};

/// Longest tensor of scales that is read when a file is opened: a few pages, which cost as much as
/// reading a marker. Longer ones are checked when the layer is read.
pub(crate) const FEW_BYTES: u64 = 1 << 14;

/// Looks for a NaN or an infinity in a tensor of scales, if it is small. Bytes of unknown meaning and
/// missing tensors pass.
///
/// - `numbers`: what bytes stand for, where that is known
///
/// # Errors
/// One line that names the tensor and the place.
pub(crate) fn check_small_scale(
    file: &Checkpoint,
    name: &str,
    numbers: Option<ScaleNumbers>,
) -> Result<(), String> {
    let Some(header) = file.get(name).filter(|header| header.byte_len() <= FEW_BYTES) else {
        return Ok(());
    };
    let dtype = match (header.dtype, numbers) {
        // Where numbers of 32 bits are expected, bytes are powers of two.
        (Dtype::U8, Some(ScaleNumbers::F32 | ScaleNumbers::E8m0)) => Dtype::F8E8M0,
        (Dtype::U8, Some(ScaleNumbers::E4m3)) => Dtype::F8E4M3,
        (dtype, _) => dtype,
    };
    let known = [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F8E8M0, Dtype::F8E4M3];
    if !known.contains(&dtype) {
        return Ok(());
    }
    let bytes = file.read(header).map_err(|error| error.to_string())?;
    match first_not_finite(dtype, &bytes) {
        None => Ok(()),
        Some(at) => Err(format!("`{name}` is no number at {at}: a NaN or an infinity")),
    }
}

/// Returns the index of the first NaN or infinity.
fn first_not_finite(dtype: Dtype, bytes: &[u8]) -> Option<usize> {
    // All exponent bits set: infinity or NaN, whatever the mantissa.
    let halves = |exponent: u16| {
        let is_none = move |bytes: &[u8; 2]| u16::from_le_bytes(*bytes) & exponent == exponent;
        bytes.as_chunks().0.iter().position(is_none)
    };
    match dtype {
        // A number beyond F32 becomes an infinity before anything is multiplied by it.
        Dtype::F64 => {
            let numbers = bytes.as_chunks().0.iter();
            numbers
                .map(|bytes| f64::from_le_bytes(*bytes) as f32)
                .position(|number| !number.is_finite())
        }
        Dtype::F32 => {
            let numbers = bytes.as_chunks().0.iter();
            numbers.map(|bytes| f32::from_le_bytes(*bytes)).position(|number| !number.is_finite())
        }
        Dtype::F16 => halves(0x7C00),
        Dtype::BF16 => halves(0x7F80),
        Dtype::F8E8M0 => bytes.iter().position(|&byte| byte == u8::MAX),
        Dtype::F8E4M3 => bytes.iter().position(|&byte| byte & 0x7F == 0x7F),
        _ => None,
    }
}
