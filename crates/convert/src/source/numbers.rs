//! Plain numbers of every dtype, as bytes and as `f32`.

use half::{bf16, f16};
use roundwise_scheme::{FloatDtype, GridKind, Weight};
use roundwise_tensor_file::Dtype;

/// Returns the dtype of a weight; `None` for codes, integers and the like.
pub(crate) fn float_dtype(dtype: Dtype) -> Option<FloatDtype> {
    match dtype {
        Dtype::F64 => Some(FloatDtype::F64),
        Dtype::F32 => Some(FloatDtype::F32),
        Dtype::F16 => Some(FloatDtype::F16),
        Dtype::BF16 => Some(FloatDtype::BF16),
        _ => None,
    }
}

/// Returns the grid of FP8 numbers.
pub(crate) fn fp8_grid(dtype: Dtype) -> Option<GridKind> {
    match dtype {
        Dtype::F8E4M3 => Some(GridKind::E4m3),
        Dtype::F8E5M2 => Some(GridKind::E5m2),
        _ => None,
    }
}

/// Widens numbers to `f32`.
pub(crate) fn widened(dtype: FloatDtype, bytes: &[u8]) -> Vec<f32> {
    let count = bytes.len() / dtype.byte_len();
    let row = Weight::new(1, count, dtype, bytes).expect("as many numbers as there are bytes for");
    row.to_f32()
}

/// Appends numbers in a dtype of plain numbers; what F16 or BF16 has no room for becomes its largest.
pub(crate) fn narrow(dtype: Dtype, values: &[f32], bytes: &mut Vec<u8>) {
    let dtype = float_dtype(dtype).expect("the plan merges floating-point weights only");
    // A NaN passes through `clamp` and stays one.
    let within = |value: f32, largest: f32| value.clamp(-largest, largest);
    match dtype {
        FloatDtype::F64 => {
            bytes.extend(values.iter().flat_map(|value| f64::from(*value).to_le_bytes()));
        }
        FloatDtype::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
        FloatDtype::F16 => {
            let narrow = |value: &f32| f16::from_f32(within(*value, f16::MAX.to_f32()));
            bytes.extend(values.iter().flat_map(|value| narrow(value).to_le_bytes()));
        }
        FloatDtype::BF16 => {
            let narrow = |value: &f32| bf16::from_f32(within(*value, bf16::MAX.to_f32()));
            bytes.extend(values.iter().flat_map(|value| narrow(value).to_le_bytes()));
        }
    }
}

/// Returns the `[rows, cols]` of a weight that fits this machine's memory addresses; `None` for a
/// vector. Of a convolution all dimensions but the first are columns.
pub(crate) fn matrix_shape(shape: &[u64]) -> Option<[usize; 2]> {
    match shape {
        [] | [_] => None,
        [rows, rest @ ..] => {
            let cols = rest.iter().try_fold(1_u64, |cols, next| cols.checked_mul(*next))?;
            Some([usize::try_from(*rows).ok()?, usize::try_from(cols).ok()?])
        }
    }
}

/// Returns how many numbers a tensor of these sizes has.
pub(crate) fn element_count(sizes: &[u64]) -> u64 {
    // Saturating: a tensor without numbers, `[0, 2⁴⁰, 2⁴⁰]`, is a valid one of any other sizes.
    sizes.iter().fold(1, |count, size| count.saturating_mul(*size))
}
