//! A folder as Hugging Face's libraries write it.

use serde_json::json;

use super::networks::{bf16, weight};
use crate::golden::tensors::safetensors;

/// Returns a language model in two shards, with the files beside them.
pub(super) fn files() -> Vec<(String, Vec<u8>)> {
    let block = |number: usize| {
        let name = |rest: &str| format!("model.layers.{number}.{rest}");
        vec![
            weight(&name("self_attn.q_proj"), 64, 64),
            weight(&name("self_attn.k_proj"), 32, 64),
            weight(&name("self_attn.v_proj"), 32, 64),
            weight(&name("self_attn.o_proj"), 64, 64),
            weight(&name("mlp.gate_proj"), 160, 64),
            weight(&name("mlp.up_proj"), 160, 64),
            weight(&name("mlp.down_proj"), 64, 160),
            bf16(&name("input_layernorm.weight"), &[64]),
            bf16(&name("post_attention_layernorm.weight"), &[64]),
        ]
    };
    let mut shards = [block(0), block(1)];
    shards[0].push(weight("model.embed_tokens", 100, 64));
    shards[1].extend([bf16("model.norm.weight", &[64]), weight("lm_head", 100, 64)]);
    let names = [1, 2].map(|number| format!("model-0000{number}-of-00002.safetensors"));
    let places = shards.iter().zip(&names).flat_map(|(tensors, file)| {
        tensors.iter().map(move |tensor| (tensor.name.clone(), json!(file)))
    });
    let places: serde_json::Map<_, _> = places.collect();
    let index = json!({"metadata": {"total_size": 1}, "weight_map": places});
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
        "intermediate_size": 160, "num_hidden_layers": 2, "torch_dtype": "bfloat16",
    });
    let inside = |name: &str, content: Vec<u8>| (format!("folder/{name}"), content);
    let mut files = vec![
        inside("config.json", config.to_string().into()),
        inside("tokenizer.model", b"tokens".into()),
        inside("model.safetensors.index.json", index.to_string().into()),
    ];
    let files_of_shards = shards.iter().zip(&names);
    files.extend(
        files_of_shards
            .map(|(tensors, name)| inside(name, safetensors(tensors, &[("format", "pt")]))),
    );
    files
}
