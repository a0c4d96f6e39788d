//! Safetensors files put together by hand, so that the crates under test do not judge themselves.
//!
//! The layout is that of the specification: eight bytes of header length (little-endian), a JSON
//! header padded with spaces to a multiple of 8, the bytes of the tensors without gaps.

use crate::weights::Matrix;

/// One tensor of a hand-made file.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Name in the header; must not need JSON escapes beyond `"` and `\`.
    pub name: String,
    /// Dtype in the header, such as `BF16`; not checked.
    pub dtype: String,
    /// Shape in the header; not checked against the bytes.
    pub shape: Vec<usize>,
    /// Content, little-endian.
    pub bytes: Vec<u8>,
}

impl Tensor {
    /// Returns a tensor of any dtype, right or wrong.
    pub fn new(name: &str, dtype: &str, shape: &[usize], bytes: Vec<u8>) -> Tensor {
        Tensor { name: name.into(), dtype: dtype.into(), shape: shape.into(), bytes }
    }

    /// Returns a matrix as F32.
    pub fn f32(name: &str, matrix: &Matrix) -> Tensor {
        Tensor::new(name, "F32", &matrix.shape(), f32_bytes(&matrix.values))
    }

    /// Returns a matrix as BF16, rounded to nearest.
    pub fn bf16(name: &str, matrix: &Matrix) -> Tensor {
        Tensor::new(name, "BF16", &matrix.shape(), bf16_bytes(&matrix.values))
    }

    /// Returns a matrix as F16, rounded to nearest; past 65504 infinity.
    pub fn f16(name: &str, matrix: &Matrix) -> Tensor {
        Tensor::new(name, "F16", &matrix.shape(), f16_bytes(&matrix.values))
    }
}

/// Returns the bytes of a file with these tensors, in this order, and no metadata.
pub fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    safetensors_with_metadata(tensors, &[])
}

/// Returns the bytes of a file with these tensors and `__metadata__`, which is left out when it has
/// no entries.
pub fn safetensors_with_metadata(tensors: &[Tensor], metadata: &[(&str, &str)]) -> Vec<u8> {
    let data: Vec<u8> = tensors.iter().flat_map(|tensor| tensor.bytes.clone()).collect();
    with_header(&header(tensors, metadata), &data)
}

/// Returns a file from any header text and any data; the header is padded, nothing is checked.
pub fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    let padded = header.len().next_multiple_of(8);
    let mut file = (padded as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(8 + padded, b' ');
    file.extend_from_slice(data);
    file
}

/// Returns the header text of [`safetensors_with_metadata`], without padding; edit it to make a
/// broken file with [`with_header`].
pub fn header(tensors: &[Tensor], metadata: &[(&str, &str)]) -> String {
    let mut entries = Vec::new();
    if !metadata.is_empty() {
        let pairs: Vec<String> = metadata
            .iter()
            .map(|(key, value)| format!("{}:{}", quoted(key), quoted(value)))
            .collect();
        entries.push(format!("\"__metadata__\":{{{}}}", pairs.join(",")));
    }
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.bytes.len();
        let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
        entries.push(format!(
            "{}:{{\"dtype\":{},\"shape\":[{}],\"data_offsets\":[{start},{end}]}}",
            quoted(&tensor.name),
            quoted(&tensor.dtype),
            shape.join(",")
        ));
        start = end;
    }
    format!("{{{}}}", entries.join(","))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Returns the values as little-endian F32.
pub fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Returns the values as little-endian BF16, nearest with ties to even.
pub fn bf16_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|&value| bf16_bits(value).to_le_bytes()).collect()
}

/// Returns the values as little-endian F16, nearest with ties to even.
pub fn f16_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|&value| f16_bits(value).to_le_bytes()).collect()
}

/// Returns the BF16 of one value; NaN keeps its sign and becomes the quiet 0x7FC0.
pub fn bf16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 & 0x8000 | 0x7FC0;
    }
    let odd = bits >> 16 & 1;
    (bits.wrapping_add(0x7FFF + odd) >> 16) as u16
}

/// Returns the F16 of one value; NaN keeps its sign and becomes the quiet 0x7E00.
pub fn f16_bits(value: f32) -> u16 {
    let sign = (value.to_bits() >> 16) as u16 & 0x8000;
    if value.is_nan() {
        return sign | 0x7E00;
    }
    let magnitude = f64::from(value.abs());
    if magnitude >= 65520.0 {
        return sign | 0x7C00; // halfway between 65504 and the next step goes to infinity
    }
    // Biased exponent of the binade, 1 for the smallest normal one and everything below.
    let exponent = ((value.to_bits() >> 23 & 0xFF) as i32 - 112).max(1);
    let step = 2f64.powi(exponent - 25);
    let steps = (magnitude / step).round_ties_even() as i32; // exact: a power of two
    sign | ((exponent - 1) * 1024 + steps) as u16
}
