//! Sizes that the configuration of a language model gives, held against the tensors beside it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::model::Shapes;
use crate::source::text_part::{EMBEDDING, LAYERS, TextPart, text_config};

/// Key of the width of a table of words that is projected into the model's.
const NARROW: &str = "word_embed_proj_dim";

/// Parts of the names of settings that count layers which predict further words, and which come after the others.
const FURTHER_LAYERS: [&str; 2] = ["nextn", "mtp"];

/// Returns where a configuration and the tensors beside it differ, so that programs would fail, or build another
/// model; `None` where they do not, or where the names say nothing of it.
pub(crate) fn differing_size(config: &Value, shapes: &Shapes<'_>) -> Option<String> {
    let inner = text_config(config);
    let size = |key: &str| inner.and_then(|it| it.get(key)).or_else(|| config.get(key))?.as_u64();
    let embedding = shapes.names().find(|name| name.ends_with(EMBEDDING))?;
    let start = embedding.strip_suffix(EMBEDDING).unwrap_or_default();
    let first_gate = format!("{start}layers.0.mlp.gate_proj.weight");
    let matrix = |name: &str| <[u64; 2]>::try_from(shapes.shape(name)?).ok();
    let [words, width] = matrix(embedding)?;
    let differs = |key: &str, name: &str, said: u64, [rows, cols]: [u64; 2]| {
        format!("`{key}` is {said}, and `{name}` is {rows} × {cols}")
    };
    // Some models have words of their own behind those of the vocabulary.
    if let Some(said) = size("vocab_size").filter(|said| words < *said) {
        return Some(differs("vocab_size", embedding, said, [words, width]));
    }
    // A table may be narrower than the model that it is projected into.
    let width_key = if size(NARROW).is_some() { NARROW } else { "hidden_size" };
    if let Some(said) = size(width_key).filter(|said| *said != width) {
        return Some(differs(width_key, embedding, said, [words, width]));
    }
    if let (Some(said), Some(gate)) = (size("intermediate_size"), matrix(&first_gate))
        && said != gate[0]
    {
        return Some(differs("intermediate_size", &first_gate, said, gate));
    }
    let said = size(LAYERS)?;
    let found = layer_count(shapes, &format!("{start}layers."));
    let has_further = [Some(config), inner].into_iter().flatten().any(counts_further_layers);
    let is_told = found == said || found == 0 || (found > said && has_further);
    (!is_told).then(|| format!("`{LAYERS}` is {said}, and the file has {found}"))
}

/// Returns where the rows of what makes queries, keys and values differ from the heads that the configuration gives;
/// `None` where they do not, or where the configuration does not say it.
pub(crate) fn differing_heads(text: &TextPart<'_>, shapes: &Shapes<'_>) -> Option<String> {
    let size = |key: &str| text.setting(key)?.as_u64();
    let heads = size(HEADS)?;
    let shared = || size("hidden_size")?.checked_div(heads);
    let head = size("head_dim").or_else(|| (!text.has_own_head_size()).then(shared)?)?;
    let start = text.start_of_layers();
    let layers = shapes.starting_with(&start).filter_map(|name| {
        let (key, _) = MODULES_OF_HEADS.iter().find(|(_, end)| name.ends_with(end))?;
        Some((name, *key))
    });
    for (name, key) in layers {
        let (Some(count), Ok([rows, cols])) =
            (size(key), <[u64; 2]>::try_from(shapes.shape(name).unwrap_or_default()))
        else {
            continue;
        };
        // Codes in a form of their own have one column, or none.
        if cols > 1 && count.checked_mul(head) != Some(rows) {
            return Some(format!(
                "`{key}` × size of a head is {count} × {head}, and `{name}` is {rows} × {cols}"
            ));
        }
    }
    None
}

/// Key of the number of heads of attention.
const HEADS: &str = "num_attention_heads";

/// Key of how many of them have keys and values of their own.
const KEY_VALUE_HEADS: &str = "num_key_value_heads";

/// What counts the heads of a matrix, and what its name ends with.
const MODULES_OF_HEADS: [(&str, &str); 3] = [
    (HEADS, ".self_attn.q_proj.weight"),
    (KEY_VALUE_HEADS, ".self_attn.k_proj.weight"),
    (KEY_VALUE_HEADS, ".self_attn.v_proj.weight"),
];

/// Returns how many layers have tensors, by the numbers behind `start`.
fn layer_count(shapes: &Shapes<'_>, start: &str) -> u64 {
    let number = |name: &str| name[start.len()..].split('.').next()?.parse::<u64>().ok();
    let numbers: BTreeSet<u64> = shapes.starting_with(start).filter_map(number).collect();
    numbers.len() as u64
}

fn counts_further_layers(config: &Value) -> bool {
    let mut keys = config.as_object().into_iter().flat_map(|settings| settings.keys());
    keys.any(|key| FURTHER_LAYERS.iter().any(|part| key.contains(part)))
}
