//! Weights of experts, by their names.

use roundwise_layout::{LayerShape, layer_of_weight};
use roundwise_tensor_file::TensorHeader;

use crate::source::numbers::{float_dtype, matrix_shape};

/// Returns whether a tensor is a weight of one expert: of `mlp.experts.3.down_proj`, and the like.
pub(crate) fn is_of_single_expert(name: &str) -> bool {
    around_expert(name).is_some()
}

/// Returns the name of a layer of one expert around the expert's number: `mlp.experts.` and `.down_proj` of
/// `mlp.experts.3.down_proj`.
pub(crate) fn around_expert(layer: &str) -> Option<(&str, &str)> {
    const LIST: &str = "experts.";
    layer.match_indices(LIST).find_map(|(at, _)| {
        let (before, after) = layer.split_at(at + LIST.len());
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        (digits > 0 && after[digits..].starts_with('.')).then(|| (before, &after[digits..]))
    })
}

/// Returns whether a tensor holds the weights of several experts: under the names of transformers, with or
/// without `.weight`, or of llama.cpp.
pub(crate) fn is_expert_bank(header: &TensorHeader) -> bool {
    let parts: Vec<&str> = header.name.split('.').collect();
    let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
    let is_of_experts = |(at, part): (usize, &&str)| match *part {
        // Where a number follows, it is a list of experts, each with tensors of its own.
        "experts" | "moe" => parts.get(at + 1).is_some_and(|next| !is_number(next)),
        part => part.ends_with("_moe") || part.ends_with("_exps"),
    };
    let is_of_experts = parts.iter().enumerate().any(is_of_experts);
    let is_weight = layer_of_weight(&header.name).is_some();
    let is_bias = header.name.ends_with("bias");
    let has_matrices = match header.shape.len() {
        // One below the other, without `.weight`, as the router's matrix beside them has it.
        2 => !is_weight && header.name.contains("experts."),
        rank => rank > 2,
    };
    is_of_experts && has_matrices && !is_bias && float_dtype(header.dtype).is_some()
}

/// Returns whether a tensor holds codes or scales of several experts, as those of gpt-oss lie.
pub(crate) fn is_part_of_coded_bank(header: &TensorHeader) -> bool {
    let is_part = |end: &&str| header.name.ends_with(end);
    header.name.contains(".experts.") && ["_blocks", "_scales"].iter().any(is_part)
}

/// Returns the shape of a bank that holds a matrix for each expert; `None` for a shape that is none, or that does not
/// fit this machine's memory addresses.
pub(crate) fn bank_shape(shape: &[u64]) -> Option<LayerShape> {
    let (experts, matrix @ [_, _]) = shape.split_first()? else { return None };
    Some(LayerShape {
        experts: Some(usize::try_from(*experts).ok()?),
        matrix: matrix_shape(matrix)?,
    })
}
