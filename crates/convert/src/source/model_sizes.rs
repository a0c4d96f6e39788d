//! Sizes that the configuration of a language model gives, held against the tensors beside it.

use std::collections::{BTreeMap, BTreeSet};

use roundwise_layout::layer_of_weight;
use roundwise_tensor_file::{Checkpoint, TensorHeader};
use serde_json::Value;

use crate::model::Shapes;
use crate::source::experts::{around_expert, is_expert_bank, is_part_of_coded_bank};
use crate::source::text_part::{EMBEDDING, EXPERTS, LAYERS, TextPart, text_config};

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

/// Returns where a matrix of the layers has other sizes than the configuration gives; `None` where none has, or where the
/// configuration does not say it.
///
/// - `is_numbers`: whether a tensor has the shape of what it stands for, which codes in a form of their own have not
pub(crate) fn differing_matrix(
    text: &TextPart<'_>,
    shapes: &Shapes<'_>,
    is_numbers: impl Fn(&str) -> bool,
) -> Option<String> {
    let start = text.start_of_layers();
    let matrices = shapes.starting_with(&start).filter_map(|name| {
        let module = layer_of_weight(&name[start.len()..])?;
        // Behind the number of the layer, and without that of an expert.
        let (_, module) = module.split_once('.')?;
        let module = match around_expert(module) {
            Some((before, after)) => format!("{before}N{after}"),
            None => module.to_owned(),
        };
        let (_, sizes) = MATRICES.iter().find(|(names, _)| names.contains(&module.as_str()))?;
        let found = <[u64; 2]>::try_from(shapes.shape(name)?).ok()?;
        is_numbers(name).then_some((name, *sizes, found))
    });
    for (name, [rows, cols], found) in matrices {
        let said = [(rows, found[0]), (cols, found[1])].into_iter();
        let differing = said.filter_map(|(size, found)| size.said(text).filter(|it| it.1 != found));
        if let Some((said, _)) = differing.into_iter().next() {
            let [rows, cols] = found;
            return Some(format!("{said}, and `{name}` is {rows} × {cols}"));
        }
    }
    None
}

/// What a dimension of a matrix of a layer counts.
#[derive(Clone, Copy)]
enum Size {
    /// The numbers of a token between layers.
    Hidden,
    /// Those of all heads.
    Heads,
    /// Those of the heads that have keys and values.
    KeyValueHeads,
    /// Those inside the MLP.
    Inner,
    /// The same, of two matrices that lie below each other.
    TwiceInner,
    /// Those inside an expert.
    InnerOfExpert,
    /// Experts.
    Experts,
}

/// Modules of a layer, and what their rows and columns count.
const MATRICES: [(&[&str], [Size; 2]); 9] = [
    (&["self_attn.q_proj"], [Size::Heads, Size::Hidden]),
    (&["self_attn.k_proj", "self_attn.v_proj"], [Size::KeyValueHeads, Size::Hidden]),
    (&["self_attn.o_proj", "self_attn.dense"], [Size::Hidden, Size::Heads]),
    (&["mlp.gate_proj", "mlp.up_proj", "mlp.fc1", "mlp.c_fc"], [Size::Inner, Size::Hidden]),
    (&["mlp.gate_up_proj"], [Size::TwiceInner, Size::Hidden]),
    (&["mlp.down_proj", "mlp.fc2", "mlp.c_proj"], [Size::Hidden, Size::Inner]),
    (
        &[
            "mlp.experts.N.gate_proj",
            "mlp.experts.N.up_proj",
            "block_sparse_moe.experts.N.w1",
            "block_sparse_moe.experts.N.w3",
        ],
        [Size::InnerOfExpert, Size::Hidden],
    ),
    (
        &["mlp.experts.N.down_proj", "block_sparse_moe.experts.N.w2"],
        [Size::Hidden, Size::InnerOfExpert],
    ),
    (
        &["mlp.gate", "mlp.gate.wg", "block_sparse_moe.gate", "feed_forward.router"],
        [Size::Experts, Size::Hidden],
    ),
];

impl Size {
    /// Returns what the configuration says of it, in words and as a number.
    fn said(self, text: &TextPart<'_>) -> Option<(String, u64)> {
        let size = |key: &str| text.setting(key)?.as_u64();
        let of_key = |key: &str| Some((format!("`{key}` is {}", size(key)?), size(key)?));
        let of_heads = |key: &str| {
            let heads = size(HEADS)?;
            let shared = || size("hidden_size")?.checked_div(heads);
            let head = size("head_dim").or_else(|| (!text.has_own_head_size()).then(shared)?)?;
            let count = size(key)?;
            let said = format!("`{key}` × size of a head is {count} × {head}");
            Some((said, count.checked_mul(head)?))
        };
        match self {
            Self::Hidden => of_key("hidden_size"),
            Self::Heads => of_heads(HEADS),
            Self::KeyValueHeads => of_heads("num_key_value_heads"),
            Self::Inner => of_key("intermediate_size"),
            Self::TwiceInner => {
                let (said, count) = of_key("intermediate_size")?;
                Some((format!("twice {said}"), count.checked_mul(2)?))
            }
            Self::InnerOfExpert => {
                let key = match text.setting("moe_intermediate_size") {
                    Some(_) => "moe_intermediate_size",
                    None => "intermediate_size",
                };
                of_key(key)
            }
            Self::Experts => of_key(EXPERTS.into_iter().find(|key| text.setting(key).is_some())?),
        }
    }
}

/// Key of the number of heads of attention.
const HEADS: &str = "num_attention_heads";

/// Returns the tensor that holds matrices of another number of experts than the configuration names.
pub(crate) fn differing_bank(config: &Value, file: &Checkpoint) -> Option<String> {
    let size =
        |key: &str| text_config(config).and_then(|it| it.get(key)).or_else(|| config.get(key));
    let (key, said) = EXPERTS.into_iter().find_map(|key| Some((key, size(key)?.as_u64()?)))?;
    file.tensors().iter().find_map(|header| {
        let is_bank = is_expert_bank(header) || is_part_of_coded_bank(header);
        let found = *header.shape.first().filter(|_| is_bank && header.shape.len() > 2)?;
        (found != said)
            .then(|| format!("`{key}` is {said}, and `{}` holds {found} experts", header.name))
    })
}

/// Returns the tensor of experts of a shape that no program loads: that of one expert which the others of its layer do not
/// have, or a bank that is no list of matrices.
pub(crate) fn unloadable_expert(file: &Checkpoint) -> Option<String> {
    let mut first = BTreeMap::<(&str, &str), &TensorHeader>::new();
    file.tensors().iter().find_map(|header| {
        if is_expert_bank(header) && header.shape.len() > 3 {
            let shape = &header.shape;
            return Some(format!(
                "`{}` is {shape:?}, and a matrix for each expert has 3 dimensions",
                header.name
            ));
        }
        let part = around_expert(&header.name)?;
        let other = *first.entry(part).or_insert(header);
        (other.shape != header.shape).then(|| {
            format!(
                "`{}` is {:?}, and `{}` is {:?}: those of a layer are joined into one tensor",
                header.name, header.shape, other.name, other.shape
            )
        })
    })
}

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
