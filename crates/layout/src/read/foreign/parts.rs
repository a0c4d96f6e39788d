//! The tensors of a layer, checked by dtype and shape before anything is read.

use std::ops::Range;

use roundwise_grid::{E4m3, E5m2, Grid};
use roundwise_tensor_file::{Checkpoint, Dtype, TensorFileError, TensorHeader};

use crate::marker::MARKER_LIMIT_BYTES;

/// Finds a tensor of a layer.
///
/// # Errors
/// One line, when it is missing.
pub(crate) fn part<'a>(file: &'a Checkpoint, name: &str) -> Result<&'a TensorHeader, String> {
    file.get(name).ok_or_else(|| format!("`{name}` is missing"))
}

/// Checks the dtype and the shape of a tensor.
///
/// # Errors
/// One line, found and expected.
pub(crate) fn expect(header: &TensorHeader, dtypes: &[Dtype], shape: &[u64]) -> Result<(), String> {
    match dtypes.contains(&header.dtype) && header.shape == shape {
        true => Ok(()),
        false => Err(unexpected(header, dtypes, &format!("{shape:?}"))),
    }
}

/// Returns one line about what a tensor is and what it should be.
pub(crate) fn unexpected(header: &TensorHeader, dtypes: &[Dtype], shape: &str) -> String {
    let dtypes: Vec<&str> = dtypes.iter().map(|dtype| dtype.name()).collect();
    let TensorHeader { name, dtype, shape: found, .. } = header;
    format!("`{name}` is {dtype} {found:?}, expected {} {shape}", dtypes.join(" or "))
}

/// Returns the extents of a matrix.
///
/// # Errors
/// One line, when it is none.
pub(crate) fn matrix(header: &TensorHeader, dtypes: &[Dtype]) -> Result<[u64; 2], String> {
    match header.shape[..] {
        [rows, cols] if dtypes.contains(&header.dtype) => Ok([rows, cols]),
        _ => Err(unexpected(header, dtypes, "of two dimensions")),
    }
}

/// Dtypes that scales and zero points have as plain numbers.
pub(crate) const PLAIN: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::BF16];

/// A tensor that is read as F32 numbers.
#[derive(Clone, Debug)]
pub(crate) struct Numbers(TensorHeader);

impl Numbers {
    /// Takes a tensor of one of the [`PLAIN`] dtypes and of this shape.
    ///
    /// # Errors
    /// One line, found and expected.
    pub(crate) fn find(file: &Checkpoint, name: &str, shape: &[u64]) -> Result<Self, String> {
        let header = part(file, name)?;
        expect(header, &PLAIN, shape)?;
        Ok(Self(header.clone()))
    }

    /// Takes a tensor of a dtype that [`Numbers::read`] knows, of any shape.
    pub(crate) fn of(header: &TensorHeader) -> Self {
        Self(header.clone())
    }

    /// Returns the dtype, where it is one of 16 bits.
    pub(crate) fn half_dtype(&self) -> Option<Dtype> {
        Some(self.0.dtype).filter(|dtype| matches!(dtype, Dtype::F16 | Dtype::BF16))
    }

    /// Returns how many they are.
    pub(crate) fn count(&self) -> u64 {
        self.0.element_count()
    }

    /// Reads some of the numbers. Bytes are powers of two.
    pub(crate) fn read(
        &self,
        file: &Checkpoint,
        elements: Range<usize>,
    ) -> Result<Vec<f32>, TensorFileError> {
        let width = (self.0.dtype.bits() / 8) as usize;
        let bytes = bytes_of(file, &self.0, elements.start * width..elements.end * width)?;
        Ok(widened(self.0.dtype, &bytes))
    }

    /// Reads all of them.
    pub(crate) fn all(&self, file: &Checkpoint) -> Result<Vec<f32>, TensorFileError> {
        Ok(widened(self.0.dtype, &file.read(&self.0)?))
    }
}

/// Widens numbers to F32, exactly, and rounds those of 64 bits; bytes are powers of two, as E8M0 has
/// them.
pub(crate) fn widened(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let width = (dtype.bits() / 8).max(1) as usize;
    let mut values = vec![0.0; bytes.len() / width];
    match dtype {
        // Rounded, as by the programs themselves, which compute with F32.
        Dtype::F64 => values
            .iter_mut()
            .zip(bytes.as_chunks().0)
            .for_each(|(value, bytes)| *value = f64::from_le_bytes(*bytes) as f32),
        Dtype::F32 => roundwise_grid::widen_f32(bytes, &mut values),
        Dtype::F16 => roundwise_grid::widen_f16(bytes, &mut values),
        Dtype::BF16 => roundwise_grid::widen_bf16(bytes, &mut values),
        Dtype::F8E8M0 | Dtype::U8 => {
            values.iter_mut().zip(bytes).for_each(|(value, byte)| *value = power_of_two(*byte));
        }
        // No other dtype is taken for scales.
        _ => values.clear(),
    }
    values
}

/// Returns the power of two that an E8M0 byte stands for by its specification: `2^(e − 127)`, NaN for
/// 255. Readers of MXFP8 take 0 for a scale of 0, see [`roundwise_grid::E8m0`].
pub(crate) fn power_of_two(byte: u8) -> f32 {
    const BELOW_NORMAL: u32 = 1 << 22;
    // Code 0 is 2⁻¹²⁷, half of the smallest normal number.
    match byte {
        u8::MAX => f32::NAN,
        0 => f32::from_bits(BELOW_NORMAL),
        exponent => f32::from_bits(u32::from(exponent) << 23),
    }
}

/// Returns the number of every byte of a dtype of codes: FP8, else whole numbers with a sign.
pub(crate) fn byte_values(dtype: Dtype) -> [f32; 256] {
    std::array::from_fn(|code| match dtype {
        Dtype::F8E4M3 => E4m3::decode(code as u8),
        Dtype::F8E5M2 => E5m2::decode(code as u8),
        _ => f32::from(code as u8 as i8),
    })
}

/// Reads some bytes of a tensor.
pub(crate) fn bytes_of(
    file: &Checkpoint,
    header: &TensorHeader,
    range: Range<usize>,
) -> Result<Vec<u8>, TensorFileError> {
    let mut bytes = vec![0; range.len()];
    file.read_into(header, range.start as u64, &mut bytes)?;
    Ok(bytes)
}

/// Reads some columns of a matrix, row-major: all rows at once where all columns are wanted.
///
/// - `shape`: rows and bytes in a row
/// - `columns`: in bytes
pub(crate) fn columns_of(
    file: &Checkpoint,
    header: &TensorHeader,
    [rows, row_bytes]: [usize; 2],
    columns: Range<usize>,
) -> Result<Vec<u8>, TensorFileError> {
    // One reading instead of one per row.
    if columns.len() == row_bytes {
        return bytes_of(file, header, 0..rows * row_bytes);
    }
    let mut bytes = vec![0; rows * columns.len()];
    for (row, bytes) in bytes.chunks_exact_mut(columns.len().max(1)).enumerate() {
        file.read_into(header, (row * row_bytes + columns.start) as u64, bytes)?;
    }
    Ok(bytes)
}

/// Reads little-endian words of 32 bits.
pub(crate) fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
}

/// Most elements of a tensor that is read before the layer is known to be one.
const FEW: u64 = 64;

/// Reads a few integers of any width.
///
/// # Errors
/// One line, when they are too many, of another dtype, or cannot be read.
pub(crate) fn integers(file: &Checkpoint, name: &str) -> Result<Vec<i64>, String> {
    let header = part(file, name)?;
    let dtypes = [Dtype::I64, Dtype::I32, Dtype::I16, Dtype::I8, Dtype::U8, Dtype::Bool];
    if header.element_count() > FEW || !dtypes.contains(&header.dtype) {
        return Err(unexpected(header, &dtypes, "of a few elements"));
    }
    let bytes = file.read(header).map_err(|error| error.to_string())?;
    let whole = |bytes: &[u8]| -> i64 {
        let is_signed = !matches!(header.dtype, Dtype::U8 | Dtype::Bool);
        let is_negative = is_signed && bytes.last().is_some_and(|last| last & 0x80 != 0);
        let mut wide = [if is_negative { 0xFF } else { 0 }; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        i64::from_le_bytes(wide)
    };
    let width = (header.dtype.bits() / 8).max(1) as usize;
    Ok(bytes.chunks_exact(width).map(whole).collect())
}

/// Reads a text that is stored as bytes.
///
/// # Errors
/// One line, when it is too long, no text, or cannot be read.
pub(crate) fn text(file: &Checkpoint, name: &str) -> Result<String, String> {
    let header = part(file, name)?;
    if header.dtype != Dtype::U8 || header.byte_len() > MARKER_LIMIT_BYTES {
        return Err(unexpected(header, &[Dtype::U8], "of a short text"));
    }
    let bytes = file.read(header).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| format!("`{name}` is not UTF-8"))
}

/// Returns a size that memory addresses can hold.
///
/// # Errors
/// One line.
pub(crate) fn size(count: u64) -> Result<usize, String> {
    usize::try_from(count).map_err(|_| format!("{count} is too large for this machine"))
}
