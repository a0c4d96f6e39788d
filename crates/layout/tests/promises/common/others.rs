//! Tensors as other programs write them.

use roundwise_layout::QUANTIZATION_METADATA;
use roundwise_testkit::bytes::hex;
use roundwise_testkit::files::{Tensor, f32_bytes, safetensors_with_metadata};

use super::{Opened, open, open_beside};

pub(crate) const FP8_MARKER: &str = r#"{"format": "float8_e4m3fn"}"#;
pub(crate) const INT8_MARKER: &str = r#"{"format": "int8_tensorwise"}"#;

/// A weight in E4M3 codes: 1 in the first row, 2 in the second, 1 in the third, and so on.
pub(crate) fn fp8(name: &str, shape: &[usize]) -> Tensor {
    codes(name, "F8_E4M3", shape, [0x38, 0x40])
}

/// Values 1 to 4 in INT8.
pub(crate) fn int8(name: &str, shape: &[usize]) -> Tensor {
    codes(name, "I8", shape, [1, 2])
}

pub(crate) fn codes(name: &str, dtype: &str, shape: &[usize], codes: [u8; 2]) -> Tensor {
    let cols = shape.last().copied().unwrap_or(1).max(1);
    let count = shape.iter().product();
    Tensor::new(name, dtype, shape, (0..count).map(|at| codes[at / cols % 2]).collect())
}

pub(crate) fn scale(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(name, "F32", shape, f32_bytes(values))
}

/// Ones, of any dtype.
pub(crate) fn ones(name: &str, dtype: &str, shape: &[usize]) -> Tensor {
    let one = match dtype {
        "F32" => hex("0000803f"),
        "BF16" => hex("803f"),
        "F16" => hex("003c"),
        _ => hex("01"),
    };
    Tensor::new(name, dtype, shape, one.repeat(shape.iter().product()))
}

pub(crate) fn marker(layer: &str, text: &str) -> Tensor {
    Tensor::new(&format!("{layer}.comfy_quant"), "U8", &[text.len()], text.into())
}

pub(crate) fn opened(tensors: &[Tensor], entry: Option<&str>) -> Opened {
    let entries: Vec<_> = entry.into_iter().map(|text| (QUANTIZATION_METADATA, text)).collect();
    open(&safetensors_with_metadata(tensors, &entries))
}

/// Opens such a file beside a `config.json`.
pub(crate) fn opened_beside(tensors: &[Tensor], config: &str) -> Opened {
    open_beside(&safetensors_with_metadata(tensors, &[]), Some(config))
}

/// A header entry with one layer `a`.
pub(crate) fn entry(marker: &str) -> String {
    format!(r#"{{"format_version": "1.0", "layers": {{"a": {marker}}}}}"#)
}

/// Returns the defects of a file by layer. A layer with a defect must not be read.
pub(crate) fn defects(file: &Opened) -> Vec<(&str, &str)> {
    for defect in &file.stored.defects {
        assert!(!file.stored.layers.contains_key(&defect.layer), "{} is read", defect.layer);
    }
    file.stored.defects.iter().map(|d| (d.layer.as_str(), d.problem.as_str())).collect()
}

pub(crate) fn orphans(file: &Opened) -> Vec<(&str, &str)> {
    file.stored.orphans.iter().map(|d| (d.layer.as_str(), d.problem.as_str())).collect()
}
