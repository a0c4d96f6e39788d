//! A model under other names than its own.

use crate::golden::tensors::{Tensor, safetensors};

/// Width of the model.
const WIDTH: usize = 64;

pub(super) fn files() -> Vec<(String, Vec<u8>)> {
    vec![("diffusers.safetensors".to_owned(), safetensors(&flux(), &[]))]
}

/// FLUX.1 with a block of either kind, as diffusers names it.
fn flux() -> Vec<Tensor> {
    let mut tensors = vec![];
    let mut linear = |name: &str, rows: usize, cols: usize| {
        tensors.push(Tensor::random(&format!("{name}.weight"), "BF16", &[rows, cols]));
        tensors.push(Tensor::random(&format!("{name}.bias"), "BF16", &[rows]));
    };
    let double = |name: &str| format!("transformer_blocks.0.{name}");
    for part in ["to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj"] {
        linear(&double(&format!("attn.{part}")), WIDTH, WIDTH);
    }
    linear(&double("attn.to_out.0"), WIDTH, WIDTH);
    linear(&double("attn.to_add_out"), WIDTH, WIDTH);
    for stream in ["", "_context"] {
        linear(&double(&format!("norm1{stream}.linear")), 6 * WIDTH, WIDTH);
        linear(&double(&format!("ff{stream}.net.0.proj")), 4 * WIDTH, WIDTH);
        linear(&double(&format!("ff{stream}.net.2")), WIDTH, 4 * WIDTH);
    }
    let single = |name: &str| format!("single_transformer_blocks.0.{name}");
    for part in ["to_q", "to_k", "to_v"] {
        linear(&single(&format!("attn.{part}")), WIDTH, WIDTH);
    }
    linear(&single("proj_mlp"), 4 * WIDTH, WIDTH);
    linear(&single("proj_out"), WIDTH, 5 * WIDTH);
    linear(&single("norm.linear"), 3 * WIDTH, WIDTH);
    linear("x_embedder", WIDTH, 16);
    linear("context_embedder", WIDTH, 48);
    linear("time_text_embed.timestep_embedder.linear_1", WIDTH, 32);
    linear("time_text_embed.timestep_embedder.linear_2", WIDTH, WIDTH);
    linear("time_text_embed.text_embedder.linear_1", WIDTH, 24);
    linear("time_text_embed.text_embedder.linear_2", WIDTH, WIDTH);
    linear("norm_out.linear", 2 * WIDTH, WIDTH);
    linear("proj_out", 16, WIDTH);
    let norms = ["norm_q", "norm_k", "norm_added_q", "norm_added_k"]
        .map(|it| double(&format!("attn.{it}")));
    let norms =
        norms.into_iter().chain(["norm_q", "norm_k"].map(|it| single(&format!("attn.{it}"))));
    tensors.extend(norms.map(|norm| Tensor::random(&format!("{norm}.weight"), "BF16", &[WIDTH])));
    tensors
}
