use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::random_model::RandomModel;

/// A transformers folder of a Llama with random weights in BF16, in several files.
pub(crate) struct RandomFolder {
    layers: usize,
}

/// Sizes of Llama 3's 8 billion weights, with a small vocabulary.
const HIDDEN: usize = 4096;
const INTERMEDIATE: usize = 14336;
const HEADS: usize = 32;
const KEY_VALUE_HEADS: usize = 8;
const VOCABULARY: usize = 32000;

/// MiB of a layer, and of the embedding with the head.
const LAYER_MIB: usize = 416;
const ENDS_MIB: usize = 500;
/// Layers in a file, which then has less than 1 GiB.
const LAYERS_PER_FILE: usize = 2;

impl RandomFolder {
    /// Returns a model of about `gib` GiB, of one layer at least.
    pub(crate) fn of_gib(gib: usize) -> Self {
        Self { layers: (gib * 1024).saturating_sub(ENDS_MIB).div_ceil(LAYER_MIB).max(1) }
    }

    /// Returns the folder, made unless it is there from an earlier run: the same bytes every time.
    pub(crate) fn make(&self, parent: &Path) -> Result<PathBuf> {
        let folder = parent.join(format!("random-llama-{}", self.layers));
        fs::create_dir_all(&folder)?;
        let files = self.files();
        let mut index = Map::new();
        for file in &files {
            file.file(&folder)?;
            let entries = file
                .tensors
                .iter()
                .map(|(name, _)| (name.clone(), Value::from(format!("{}.safetensors", file.name))));
            index.extend(entries);
        }
        let bytes: usize = files.iter().map(RandomModel::data_bytes).sum();
        let index = json!({"metadata": {"total_size": bytes}, "weight_map": index});
        fs::write(folder.join("model.safetensors.index.json"), index.to_string())?;
        fs::write(folder.join("config.json"), self.config().to_string())?;
        Ok(folder)
    }

    fn files(&self) -> Vec<RandomModel> {
        let layers: Vec<usize> = (0..self.layers).collect();
        let blocks = layers.chunks(LAYERS_PER_FILE);
        let ends = vec![
            ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN]),
            ("model.norm.weight".to_owned(), vec![HIDDEN]),
            ("lm_head.weight".to_owned(), vec![VOCABULARY, HIDDEN]),
        ];
        let blocks = blocks.map(|layers| layers.iter().copied().flat_map(layer).collect());
        let contents: Vec<Vec<_>> = std::iter::once(ends).chain(blocks).collect();
        let count = contents.len();
        let named = contents.into_iter().enumerate().map(|(number, tensors)| RandomModel {
            name: format!("model-{:05}-of-{count:05}", number + 1),
            tensors,
        });
        named.collect()
    }

    fn config(&self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": HIDDEN,
            "intermediate_size": INTERMEDIATE,
            "num_hidden_layers": self.layers,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KEY_VALUE_HEADS,
            "vocab_size": VOCABULARY,
            "tie_word_embeddings": false,
            "torch_dtype": "bfloat16",
        })
    }
}

/// Names and shapes of a layer.
fn layer(number: usize) -> Vec<(String, Vec<usize>)> {
    let key_value = HIDDEN / HEADS * KEY_VALUE_HEADS;
    let parts = [
        ("input_layernorm", vec![HIDDEN]),
        ("self_attn.q_proj", vec![HIDDEN, HIDDEN]),
        ("self_attn.k_proj", vec![key_value, HIDDEN]),
        ("self_attn.v_proj", vec![key_value, HIDDEN]),
        ("self_attn.o_proj", vec![HIDDEN, HIDDEN]),
        ("post_attention_layernorm", vec![HIDDEN]),
        ("mlp.gate_proj", vec![INTERMEDIATE, HIDDEN]),
        ("mlp.up_proj", vec![INTERMEDIATE, HIDDEN]),
        ("mlp.down_proj", vec![HIDDEN, INTERMEDIATE]),
    ];
    let named = |(part, shape)| (format!("model.layers.{number}.{part}.weight"), shape);
    parts.into_iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_about_the_size_that_is_asked_for() {
        for gib in [1, 4] {
            let files = RandomFolder::of_gib(gib).files();
            let bytes: usize = files.iter().map(RandomModel::data_bytes).sum();
            let ratio = bytes as f64 / (gib << 30) as f64;
            assert!((0.95..1.35).contains(&ratio), "{gib} GiB: {ratio}");
            assert!(files.iter().all(|file| file.data_bytes() < 1 << 30));
        }
    }
}
