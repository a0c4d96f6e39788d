//! Files in codes as servers read them.

use super::networks::bf16;
use crate::golden::tensors::{Tensor, safetensors};

/// Returns layers in codes as servers read them, without markers.
pub(super) fn files() -> Vec<(String, Vec<u8>)> {
    let codes = |ending: &str, dtype: &'static str, cols: usize| {
        // Below 0x77, since 0x7F is a NaN in E4M3.
        let bytes = (0..128 * cols).map(|at| (at * 37 % 0x77) as u8).collect();
        Tensor::new(&format!("a.{ending}"), dtype, &[128, cols], bytes)
    };
    let scale = |ending: &str, shape: &[usize]| {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|at| (at as f32 + 1.0) / 512.0).collect();
        Tensor::f32(&format!("a.{ending}"), shape, &values)
    };
    let global = |ending: &str, shape: &[usize], value: f32| {
        Tensor::f32(&format!("a.{ending}"), shape, &[value])
    };
    [
        ("fp8-channel", vec![codes("weight", "F8_E4M3", 256), scale("weight_scale", &[128, 1])]),
        ("fp8-block", vec![codes("weight", "F8_E4M3", 256), scale("weight_scale_inv", &[1, 2])]),
        ("int8-channel", vec![codes("weight", "I8", 256), scale("weight_scale", &[128, 1])]),
        (
            "nvfp4",
            vec![
                codes("weight_packed", "U8", 128),
                codes("weight_scale", "F8_E4M3", 16),
                global("weight_global_scale", &[1], 256.0),
            ],
        ),
        (
            "nvfp4-modelopt",
            vec![
                codes("weight", "U8", 128),
                codes("weight_scale", "F8_E4M3", 16),
                global("weight_scale_2", &[], 0.3),
            ],
        ),
        ("mxfp8", vec![codes("weight", "F8_E4M3", 256), codes("weight_scale", "U8", 8)]),
    ]
    .into_iter()
    .map(|(name, mut tensors)| {
        tensors.push(bf16("a.bias", &[128]));
        (format!("server-{name}.safetensors"), safetensors(&tensors, &[]))
    })
    .collect()
}
