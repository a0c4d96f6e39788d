//! Sizes that the configuration of a language model gives, held against the tensors beside it.

use std::collections::{BTreeMap, BTreeSet};

use roundwise_layout::layer_of_weight;
use roundwise_tensor_file::Checkpoint;
use serde_json::Value;

use crate::model::{Shapes, Size};
use crate::source::experts::{around_expert, is_expert_bank, is_part_of_coded_bank};
use crate::source::text_part::{EMBEDDING, EXPERTS, LAYERS, TextPart, setting, text_config};

/// Key of the width of a table of words that is projected into the model's.
const NARROW: &str = "word_embed_proj_dim";

/// Parts of the names of settings that count layers which predict further words, and which come after the others.
const FURTHER_LAYERS: [&str; 2] = ["nextn", "mtp"];

/// Returns where a configuration and the tensors beside it differ, so that programs would fail, or build another
/// model; `None` where they do not, or where the names say nothing of it.
pub(crate) fn differing_size(config: &Value, shapes: &Shapes<'_>) -> Option<String> {
    let inner = text_config(config);
    let size = |key: &str| setting(config, key)?.as_u64();
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
    let sizes = text.matrix_sizes();
    shapes.starting_with(&start).find_map(|name| {
        let (_, module) = layer_of_weight(&name[start.len()..])?.split_once('.')?;
        let module = match around_expert(module) {
            Some((before, after)) => format!("{before}N{after}"),
            None => module.to_owned(),
        };
        let counted = sizes.get(module.as_str())?;
        let found @ [rows, cols] = <[u64; 2]>::try_from(shapes.shape(name)?).ok()?;
        let mut sides = [counted.rows, counted.cols].into_iter().zip(found);
        let (size, _) = sides.find(|(size, found)| {
            size_of(*size, text).is_some_and(|said| said != *found) && is_numbers(name)
        })?;
        Some(format!("{}, and `{name}` is {rows} × {cols}", words(size, text)?))
    })
}

/// Returns what the configuration says of a size.
fn size_of(size: Size, text: &TextPart<'_>) -> Option<u64> {
    let said = text.setting(key_of(size, text))?.as_u64()?;
    match size {
        Size::Heads | Size::KeyValueHeads => said.checked_mul(head_size(text)?),
        Size::TwiceInner => said.checked_mul(2),
        Size::Hidden | Size::Inner | Size::InnerOfExpert | Size::Experts => Some(said),
    }
}

/// Returns the same for people.
fn words(size: Size, text: &TextPart<'_>) -> Option<String> {
    let key = key_of(size, text);
    let said = text.setting(key)?.as_u64()?;
    Some(match size {
        Size::Heads | Size::KeyValueHeads => {
            format!("`{key}` × size of a head is {said} × {}", head_size(text)?)
        }
        Size::TwiceInner => format!("twice `{key}` is {}", said.saturating_mul(2)),
        Size::Hidden | Size::Inner | Size::InnerOfExpert | Size::Experts => {
            format!("`{key}` is {said}")
        }
    })
}

/// Returns the key of a size, which a part of it may be.
fn key_of(size: Size, text: &TextPart<'_>) -> &'static str {
    const INNER: &str = "intermediate_size";
    const INNER_OF_EXPERT: &str = "moe_intermediate_size";
    match size {
        Size::Hidden => "hidden_size",
        Size::Heads => HEADS,
        Size::KeyValueHeads => "num_key_value_heads",
        Size::Inner | Size::TwiceInner => INNER,
        // Families in which all layers have experts give them the common one.
        Size::InnerOfExpert if text.setting(INNER_OF_EXPERT).is_some() => INNER_OF_EXPERT,
        Size::InnerOfExpert => INNER,
        Size::Experts => {
            let told = EXPERTS.into_iter().find(|key| text.setting(key).is_some());
            told.unwrap_or(EXPERTS[0])
        }
    }
}

/// Returns how many numbers of a token one head has.
fn head_size(text: &TextPart<'_>) -> Option<u64> {
    let size = |key: &str| text.setting(key)?.as_u64();
    let shared = || size("hidden_size")?.checked_div(size(HEADS)?);
    size("head_dim").or_else(|| (!text.has_own_head_size()).then(shared)?)
}

/// Key of the number of heads of attention.
const HEADS: &str = "num_attention_heads";

/// Returns the tensor that holds matrices of another number of experts than the configuration names.
pub(crate) fn differing_bank(config: &Value, file: &Checkpoint) -> Option<String> {
    let told = |key: &'static str| Some((key, setting(config, key)?.as_u64()?));
    let (key, said) = EXPERTS.into_iter().find_map(told)?;
    file.tensors().iter().find_map(|header| {
        let is_bank = is_expert_bank(header) || is_part_of_coded_bank(header);
        let found = *header.shape.first().filter(|_| is_bank && header.shape.len() > 2)?;
        (found != said)
            .then(|| format!("`{key}` is {said}, and `{}` holds {found} experts", header.name))
    })
}

/// Returns the weight of experts of a shape that no program loads: that of one expert which the others of its layer do not
/// have, or a bank that is no list of matrices.
pub(crate) fn unloadable_expert(file: &Checkpoint, shapes: &Shapes<'_>) -> Option<String> {
    let mut first = BTreeMap::<(&str, &str), (&str, &[u64])>::new();
    file.tensors().iter().find_map(|header| {
        let name = header.name.as_str();
        if is_expert_bank(header) && header.shape.len() != 3 {
            let shape = &header.shape;
            return Some(format!(
                "`{name}` is {shape:?}, and a matrix for each expert has 3 dimensions"
            ));
        }
        let part = around_expert(layer_of_weight(name)?)?;
        let shape = shapes.shape(name)?;
        let (other, expected) = *first.entry(part).or_insert((name, shape));
        (expected != shape).then(|| {
            format!(
                "`{name}` is {shape:?}, and `{other}` is {expected:?}: those of a layer are joined into one tensor"
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
