//! Safetensors files, written without the project's own code, so that they stay what they are.

use serde_json::{Map, Value, json};

use crate::random_model::Random;

/// A tensor with its bytes.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

impl Tensor {
    pub(crate) fn new(name: &str, dtype: &'static str, shape: &[usize], bytes: Vec<u8>) -> Self {
        Self { name: name.to_owned(), dtype, shape: shape.to_vec(), bytes }
    }

    /// Returns a tensor of the given numbers as F32.
    pub(crate) fn f32(name: &str, shape: &[usize], values: &[f32]) -> Self {
        Self::new(name, "F32", shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Returns a tensor of random numbers that follow from the name: BF16, F16, F32 or F64.
    pub(crate) fn random(name: &str, dtype: &'static str, shape: &[usize]) -> Self {
        let values = random_values(name, shape);
        let values = values.iter();
        let bytes = match dtype {
            "BF16" => values.flat_map(|value| bf16(*value).to_le_bytes()).collect(),
            "F16" => values.flat_map(|value| f16(*value).to_le_bytes()).collect(),
            "F32" => values.flat_map(|value| value.to_le_bytes()).collect(),
            "F64" => values.flat_map(|value| f64::from(*value).to_le_bytes()).collect(),
            _ => unreachable!("no random numbers of {dtype}"),
        };
        Self::new(name, dtype, shape, bytes)
    }

    /// Returns the tensor under a longer name.
    pub(crate) fn inside(self, prefix: &str) -> Self {
        Self { name: format!("{prefix}{}", self.name), ..self }
    }
}

/// Returns nearly normal numbers. Rows differ in size and one weight in 61 is an outlier, so that
/// schemes and scale rules come to different results.
fn random_values(name: &str, shape: &[usize]) -> Vec<f32> {
    let hash = blake3::hash(name.as_bytes());
    let seed = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
    let mut random = Random(u64::from_le_bytes(*seed));
    let cols = shape.last().copied().unwrap_or(1).max(1);
    let mut number = || f32::from_bits(u32::from(random.bf16()) << 16);
    let weight = |at: usize| {
        // The second draw fills the low bits of F32.
        let value = number() + number() / 512.0;
        let outlier = if at % 61 == 60 { 6.0 } else { 1.0 };
        value * (1 + at / cols % 5) as f32 * outlier
    };
    (0..shape.iter().product()).map(weight).collect()
}

fn bf16(value: f32) -> u16 {
    (value.to_bits() >> 16) as u16
}

/// Cuts a number to F16 without rounding; numbers below the normal ones become zero.
fn f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    match (bits >> 23 & 0xFF).checked_sub(127 - 15) {
        Some(exponent @ 1..31) => sign | (exponent << 10) as u16 | (bits >> 13 & 0x3FF) as u16,
        _ => sign,
    }
}

/// Returns a file of these tensors, in this order.
pub(crate) fn safetensors(tensors: &[Tensor], metadata: &[(&str, &str)]) -> Vec<u8> {
    let mut header = Map::new();
    if !metadata.is_empty() {
        let entries = metadata.iter().map(|(key, value)| ((*key).to_owned(), json!(value)));
        header.insert("__metadata__".to_owned(), Value::Object(entries.collect()));
    }
    let mut data = vec![];
    for tensor in tensors {
        let start = data.len();
        data.extend(&tensor.bytes);
        let (dtype, shape) = (tensor.dtype, &tensor.shape);
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]});
        header.insert(tensor.name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_cut_to_their_range() {
        assert_eq!([1.0, -2.5, 0.0, 1e-9].map(f16), [0x3C00, 0xC100, 0, 0]);
        assert_eq!(f16(65504.0), 0x7BFF);
    }

    #[test]
    fn the_name_decides_the_numbers() {
        let of = |name| Tensor::random(name, "BF16", &[4, 8]).bytes;
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
    }
}
