//! Adapters of `flux`, and recipes for it.

use super::networks::bf16;
use crate::golden::tensors::{Tensor, safetensors};

const RECIPE: &str = r"
scheme = 'int8-row'
scale_rule = 'mse'
keep = ['single_blocks\.1']
include = ['txt_in']
fallback_scheme = 'bf16'
full_precision = ['img_mlp']
min_size = 64
rules = [{ pattern = 'attn\.proj', scheme = 'fp8-row' }]
";

/// The layer that the adapters change, `[192, 64]`.
const LAYER: &str = "double_blocks.0.img_attn.qkv";

/// Adapters in the names of two programs, one with keys that no weight answers to, one of a kind that
/// is not merged, and a recipe.
pub(super) fn files() -> Vec<(String, Vec<u8>)> {
    let peft = lora(&format!("diffusion_model.{LAYER}"), ["lora_B.weight", "lora_A.weight"]);
    let kohya = ["lora_up.weight", "lora_down.weight"];
    let joined = format!("lora_unet_{}", LAYER.replace('.', "_"));
    let mut with_alpha = lora(&joined, kohya);
    with_alpha.push(Tensor::f32(&format!("{joined}.alpha"), &[], &[2.0]));
    let mut stray = lora(LAYER, kohya);
    stray.extend(lora("nowhere", kohya));
    let loha = vec![bf16(&format!("{LAYER}.hada_w1_a"), &[192, 2])];
    let files = [("peft", peft), ("kohya", with_alpha), ("stray", stray), ("loha", loha)];
    let file = |(name, tensors): (&str, Vec<Tensor>)| {
        (format!("{name}.safetensors"), safetensors(&tensors, &[]))
    };
    let recipe = ("recipe.toml".to_owned(), RECIPE.into());
    files.into_iter().map(file).chain([recipe]).collect()
}

/// Factors of rank 4.
fn lora(module: &str, [up, down]: [&str; 2]) -> Vec<Tensor> {
    vec![bf16(&format!("{module}.{up}"), &[192, 4]), bf16(&format!("{module}.{down}"), &[4, 64])]
}
