//! The numbers of an adapter's tensors, of whatever dtype.

use roundwise_grid::{E4m3, E5m2, Grid};
use roundwise_tensor_file::{Dtype, TensorHeader};

use crate::error::ConvertError;
use crate::source::adapter::tensors::AdapterTensors;
use crate::source::numbers::{float_dtype, widened};

/// Returns whether a tensor holds numbers that can be added to weights; FP8 without scales does.
pub(super) fn is_numeric(dtype: Dtype) -> bool {
    float_dtype(dtype).is_some() || matches!(dtype, Dtype::F8E4M3 | Dtype::F8E5M2)
}

/// Returns the numbers of a tensor: codes with scales are decoded.
///
/// # Errors
/// When the file cannot be read, [`ConvertError::Misfit`] for a NaN or an infinity.
pub(super) fn numbers(
    file: &AdapterTensors,
    header: &TensorHeader,
) -> Result<Vec<f32>, ConvertError> {
    if let Some(values) = file.decoded(header)? {
        return finite(file, header, values);
    }
    let bytes = file.checkpoint.read(header)?;
    let values = match (float_dtype(header.dtype), header.dtype) {
        (Some(kind), _) => widened(kind, &bytes),
        (None, Dtype::F8E4M3) => bytes.iter().map(|code| E4m3::decode(*code)).collect(),
        (None, Dtype::F8E5M2) => bytes.iter().map(|code| E5m2::decode(*code)).collect(),
        (None, other) => {
            return Err(misfit(file, header, &format!("is {other}, expected numbers")));
        }
    };
    finite(file, header, values)
}

/// Refuses a NaN and an infinity.
fn finite(
    file: &AdapterTensors,
    header: &TensorHeader,
    values: Vec<f32>,
) -> Result<Vec<f32>, ConvertError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(at) => {
            let found = if values[at].is_nan() { "a NaN" } else { "an infinity" };
            let problem = format!(
                "holds {found} at element {at}, which would spoil the whole layer\n  \
                 its training has failed; take an earlier save of it"
            );
            Err(misfit(file, header, &problem))
        }
    }
}

/// Returns the only number of a tensor, which may be a whole number.
///
/// # Errors
/// As [`numbers`], and for more numbers than one.
pub(super) fn number(file: &AdapterTensors, header: &TensorHeader) -> Result<f32, ConvertError> {
    if header.element_count() != 1 {
        return Err(misfit(file, header, "is no single number"));
    }
    let whole = |width: usize, is_signed: bool| -> Result<f32, ConvertError> {
        let bytes = file.checkpoint.read(header)?;
        // Two's complement: the sign fills the bytes above.
        let fill = if is_signed && bytes[width - 1] >= 0x80 { 0xff } else { 0 };
        // 128 bits hold every signed and unsigned number of 64.
        let mut wide = [fill; 16];
        wide[..width].copy_from_slice(&bytes[..width]);
        Ok(i128::from_le_bytes(wide) as f32)
    };
    match header.dtype {
        Dtype::I64 => whole(8, true),
        Dtype::I32 => whole(4, true),
        Dtype::I16 => whole(2, true),
        Dtype::I8 => whole(1, true),
        Dtype::U64 => whole(8, false),
        Dtype::U32 => whole(4, false),
        Dtype::U16 => whole(2, false),
        Dtype::U8 => whole(1, false),
        _ => Ok(numbers(file, header)?[0]),
    }
}

/// Returns an error about a tensor, with the file that holds it.
fn misfit(file: &AdapterTensors, header: &TensorHeader, problem: &str) -> ConvertError {
    let checkpoint = &file.checkpoint;
    let path = checkpoint.holder(&header.name).unwrap_or(checkpoint.path());
    ConvertError::misfit(path, format!("tensor `{}` {problem}", header.name))
}
