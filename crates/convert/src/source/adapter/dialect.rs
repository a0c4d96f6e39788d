//! Other names of a model's layers that adapters use, and the rows of fused layers that they mean.
//!
//! Source: the names that ComfyUI 0.33 gives adapters of each architecture (`comfy/utils.py`,
//! `comfy/lora.py`), which are those of diffusers and of trainers.

/// Which rows of a layer a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    All,
    /// Part `.0` of `.1` equal ones, such as the keys of queries, keys and values.
    Fraction(u64, u64),
    /// From `.0` times the layer's columns on, `.1` times as many rows.
    Widths(u64, u64),
    /// All, the second half before the first: shift and scale of a modulation.
    Swapped,
    /// As `Swapped` where a layer has two rows for each column, all as they are otherwise: only the
    /// last block of Stable Diffusion 3 has a shift and a scale alone there.
    SwappedIfPair,
}

use Rows::{All, Fraction, Swapped, SwappedIfPair, Widths};

/// Layers behind a prefix, and what others call both; `{}` stands for a number.
struct Group {
    prefix: &'static str,
    other_prefix: &'static str,
    layers: &'static [(&'static str, &'static str, Rows)],
}

const fn group(
    prefix: &'static str,
    other_prefix: &'static str,
    layers: &'static [(&'static str, &'static str, Rows)],
) -> Group {
    Group { prefix, other_prefix, layers }
}

// An empty prefix is before every layer: there the names in the table decide alone.
const GROUPS: [Group; 22] = [
    group("double_blocks.{}", "transformer_blocks.{}", FLUX_DOUBLE),
    group("single_blocks.{}", "single_transformer_blocks.{}", FLUX_SINGLE),
    group("", "", FLUX_ENDS),
    group("double_blocks.{}", "double_blocks.{}", DOUBLE_OTHERWISE),
    group("single_blocks.{}", "single_blocks.{}", SINGLE_OTHERWISE),
    group("joint_blocks.{}", "transformer_blocks.{}", SD3_BLOCK),
    group("", "", SD3_ENDS),
    group("layers.{}", "layers.{}", LUMINA_BLOCK),
    group("context_refiner.{}", "context_refiner.{}", LUMINA_BLOCK),
    group("noise_refiner.{}", "noise_refiner.{}", LUMINA_BLOCK),
    group("", "", LUMINA_ENDS),
    group("blocks.{}", "transformer_blocks.{}", PIXART_BLOCK),
    group("", "", PIXART_ENDS),
    group("double_layers.{}", "joint_transformer_blocks.{}", AURA_DOUBLE),
    group("single_layers.{}", "single_transformer_blocks.{}", AURA_SINGLE),
    group("", "", AURA_ENDS),
    group("blocks.{}", "transformer_blocks.{}", KREA_BLOCK),
    group("txtfusion.layerwise_blocks.{}", "text_fusion.layerwise_blocks.{}", KREA_BLOCK),
    group("txtfusion.refiner_blocks.{}", "text_fusion.refiner_blocks.{}", KREA_BLOCK),
    group("", "", KREA_ENDS),
    group("transformer.resblocks.{}", "text_model.encoder.layers.{}", OPEN_CLIP),
    group("", "", UNET_ENDS),
];

const FLUX_DOUBLE: &[(&str, &str, Rows)] = &[
    ("img_attn.qkv", "attn.to_q", Fraction(0, 3)),
    ("img_attn.qkv", "attn.to_k", Fraction(1, 3)),
    ("img_attn.qkv", "attn.to_v", Fraction(2, 3)),
    ("txt_attn.qkv", "attn.add_q_proj", Fraction(0, 3)),
    ("txt_attn.qkv", "attn.add_k_proj", Fraction(1, 3)),
    ("txt_attn.qkv", "attn.add_v_proj", Fraction(2, 3)),
    ("img_attn.proj", "attn.to_out.0", All),
    ("txt_attn.proj", "attn.to_add_out", All),
    ("img_mod.lin", "norm1.linear", All),
    ("txt_mod.lin", "norm1_context.linear", All),
    ("img_mlp.0", "ff.net.0.proj", All),
    ("img_mlp.2", "ff.net.2", All),
    ("txt_mlp.0", "ff_context.net.0.proj", All),
    ("txt_mlp.2", "ff_context.net.2", All),
    // FLUX.2 names the layers of its MLPs so.
    ("img_mlp.0", "ff.linear_in", All),
    ("img_mlp.2", "ff.linear_out", All),
    ("txt_mlp.0", "ff_context.linear_in", All),
    ("txt_mlp.2", "ff_context.linear_out", All),
    ("img_attn.norm.query_norm", "attn.norm_q", All),
    ("img_attn.norm.key_norm", "attn.norm_k", All),
    ("txt_attn.norm.query_norm", "attn.norm_added_q", All),
    ("txt_attn.norm.key_norm", "attn.norm_added_k", All),
];

const FLUX_SINGLE: &[(&str, &str, Rows)] = &[
    // `linear1` fuses queries, keys and values, a width each, with the four widths of the MLP.
    ("linear1", "attn.to_q", Widths(0, 1)),
    ("linear1", "attn.to_k", Widths(1, 1)),
    ("linear1", "attn.to_v", Widths(2, 1)),
    ("linear1", "proj_mlp", Widths(3, 4)),
    ("linear1", "attn.to_qkv_mlp_proj", All),
    ("linear2", "proj_out", All),
    ("linear2", "attn.to_out", All),
    ("modulation.lin", "norm.linear", All),
    ("norm.query_norm", "attn.norm_q", All),
    ("norm.key_norm", "attn.norm_k", All),
];

const FLUX_ENDS: &[(&str, &str, Rows)] = &[
    ("img_in", "x_embedder", All),
    ("txt_in", "context_embedder", All),
    ("time_in.in_layer", "time_text_embed.timestep_embedder.linear_1", All),
    ("time_in.out_layer", "time_text_embed.timestep_embedder.linear_2", All),
    ("vector_in.in_layer", "time_text_embed.text_embedder.linear_1", All),
    ("vector_in.out_layer", "time_text_embed.text_embedder.linear_2", All),
    ("guidance_in.in_layer", "time_text_embed.guidance_embedder.linear_1", All),
    ("guidance_in.out_layer", "time_text_embed.guidance_embedder.linear_2", All),
    ("final_layer.linear", "proj_out", All),
    // FLUX takes the shift before the scale, diffusers the scale first.
    ("final_layer.adaLN_modulation.1", "norm_out.linear", Swapped),
];

/// FLUX and Hunyuan Video as diffusion-pipe and USO name them.
const DOUBLE_OTHERWISE: &[(&str, &str, Rows)] = &[
    ("img_mod.lin", "img_mod.linear", All),
    ("txt_mod.lin", "txt_mod.linear", All),
    ("img_mlp.0", "img_mlp.fc1", All),
    ("img_mlp.2", "img_mlp.fc2", All),
    ("txt_mlp.0", "txt_mlp.fc1", All),
    ("txt_mlp.2", "txt_mlp.fc2", All),
    ("img_attn.qkv", "qkv_lora1", All),
    ("txt_attn.qkv", "qkv_lora2", All),
    ("img_attn.proj", "proj_lora1", All),
    ("txt_attn.proj", "proj_lora2", All),
];

const SINGLE_OTHERWISE: &[(&str, &str, Rows)] = &[
    ("modulation.lin", "modulation.linear", All),
    ("linear1", "linear1_qkv", Widths(0, 3)),
    ("linear1", "qkv", Widths(0, 3)),
    ("linear2", "proj", All),
];

const SD3_BLOCK: &[(&str, &str, Rows)] = &[
    ("x_block.attn.qkv", "attn.to_q", Fraction(0, 3)),
    ("x_block.attn.qkv", "attn.to_k", Fraction(1, 3)),
    ("x_block.attn.qkv", "attn.to_v", Fraction(2, 3)),
    ("context_block.attn.qkv", "attn.add_q_proj", Fraction(0, 3)),
    ("context_block.attn.qkv", "attn.add_k_proj", Fraction(1, 3)),
    ("context_block.attn.qkv", "attn.add_v_proj", Fraction(2, 3)),
    ("x_block.attn2.qkv", "attn2.to_q", Fraction(0, 3)),
    ("x_block.attn2.qkv", "attn2.to_k", Fraction(1, 3)),
    ("x_block.attn2.qkv", "attn2.to_v", Fraction(2, 3)),
    ("context_block.adaLN_modulation.1", "norm1_context.linear", SwappedIfPair),
    ("context_block.attn.proj", "attn.to_add_out", All),
    ("context_block.mlp.fc1", "ff_context.net.0.proj", All),
    ("context_block.mlp.fc2", "ff_context.net.2", All),
    ("context_block.attn.ln_q", "attn.norm_added_q", All),
    ("context_block.attn.ln_k", "attn.norm_added_k", All),
    ("x_block.adaLN_modulation.1", "norm1.linear", All),
    ("x_block.attn.proj", "attn.to_out.0", All),
    ("x_block.attn.ln_q", "attn.norm_q", All),
    ("x_block.attn.ln_k", "attn.norm_k", All),
    ("x_block.attn2.proj", "attn2.to_out.0", All),
    ("x_block.attn2.ln_q", "attn2.norm_q", All),
    ("x_block.attn2.ln_k", "attn2.norm_k", All),
    ("x_block.mlp.fc1", "ff.net.0.proj", All),
    ("x_block.mlp.fc2", "ff.net.2", All),
];

const SD3_ENDS: &[(&str, &str, Rows)] = &[
    ("t_embedder.mlp.0", "time_text_embed.timestep_embedder.linear_1", All),
    ("t_embedder.mlp.2", "time_text_embed.timestep_embedder.linear_2", All),
    ("x_embedder.proj", "pos_embed.proj", All),
    ("y_embedder.mlp.0", "time_text_embed.text_embedder.linear_1", All),
    ("y_embedder.mlp.2", "time_text_embed.text_embedder.linear_2", All),
];

/// Lumina 2 and Z-Image.
const LUMINA_BLOCK: &[(&str, &str, Rows)] = &[
    ("attention.qkv", "attention.to_q", Fraction(0, 3)),
    ("attention.qkv", "attention.to_k", Fraction(1, 3)),
    ("attention.qkv", "attention.to_v", Fraction(2, 3)),
    ("attention.out", "attention.to_out.0", All),
    ("attention.q_norm", "attention.norm_q", All),
    ("attention.k_norm", "attention.norm_k", All),
];

const LUMINA_ENDS: &[(&str, &str, Rows)] = &[
    ("final_layer.linear", "all_final_layer.2-1.linear", All),
    ("final_layer.adaLN_modulation.1", "all_final_layer.2-1.adaLN_modulation.1", All),
    ("x_embedder", "all_x_embedder.2-1", All),
];

const PIXART_BLOCK: &[(&str, &str, Rows)] = &[
    ("attn.qkv", "attn1.to_q", Fraction(0, 3)),
    ("attn.qkv", "attn1.to_k", Fraction(1, 3)),
    ("attn.qkv", "attn1.to_v", Fraction(2, 3)),
    ("cross_attn.q_linear", "attn2.to_q", All),
    ("cross_attn.kv_linear", "attn2.to_k", Fraction(0, 2)),
    ("cross_attn.kv_linear", "attn2.to_v", Fraction(1, 2)),
    ("attn.proj", "attn1.to_out.0", All),
    ("cross_attn.proj", "attn2.to_out.0", All),
    ("mlp.fc1", "ff.net.0.proj", All),
    ("mlp.fc2", "ff.net.2", All),
];

const PIXART_ENDS: &[(&str, &str, Rows)] = &[
    ("csize_embedder.mlp.0", "adaln_single.emb.resolution_embedder.linear_1", All),
    ("csize_embedder.mlp.2", "adaln_single.emb.resolution_embedder.linear_2", All),
    ("ar_embedder.mlp.0", "adaln_single.emb.aspect_ratio_embedder.linear_1", All),
    ("ar_embedder.mlp.2", "adaln_single.emb.aspect_ratio_embedder.linear_2", All),
    ("t_embedder.mlp.0", "adaln_single.emb.timestep_embedder.linear_1", All),
    ("t_embedder.mlp.2", "adaln_single.emb.timestep_embedder.linear_2", All),
    ("y_embedder.y_proj.fc1", "caption_projection.linear_1", All),
    ("y_embedder.y_proj.fc2", "caption_projection.linear_2", All),
    ("t_block.1", "adaln_single.linear", All),
];

const AURA_DOUBLE: &[(&str, &str, Rows)] = &[
    ("attn.w2q", "attn.to_q", All),
    ("attn.w2k", "attn.to_k", All),
    ("attn.w2v", "attn.to_v", All),
    ("attn.w2o", "attn.to_out.0", All),
    ("attn.w1q", "attn.add_q_proj", All),
    ("attn.w1k", "attn.add_k_proj", All),
    ("attn.w1v", "attn.add_v_proj", All),
    ("attn.w1o", "attn.to_add_out", All),
    ("mlpX.c_fc1", "ff.linear_1", All),
    ("mlpX.c_fc2", "ff.linear_2", All),
    ("mlpX.c_proj", "ff.out_projection", All),
    ("mlpC.c_fc1", "ff_context.linear_1", All),
    ("mlpC.c_fc2", "ff_context.linear_2", All),
    ("mlpC.c_proj", "ff_context.out_projection", All),
    ("modX.1", "norm1.linear", All),
    ("modC.1", "norm1_context.linear", All),
];

const AURA_SINGLE: &[(&str, &str, Rows)] = &[
    ("attn.w1q", "attn.to_q", All),
    ("attn.w1k", "attn.to_k", All),
    ("attn.w1v", "attn.to_v", All),
    ("attn.w1o", "attn.to_out.0", All),
    ("modCX.1", "norm1.linear", All),
    ("mlp.c_fc1", "ff.linear_1", All),
    ("mlp.c_fc2", "ff.linear_2", All),
    ("mlp.c_proj", "ff.out_projection", All),
];

const AURA_ENDS: &[(&str, &str, Rows)] = &[
    ("t_embedder.mlp.0", "time_step_proj.linear_1", All),
    ("t_embedder.mlp.2", "time_step_proj.linear_2", All),
    ("cond_seq_linear", "context_embedder", All),
    ("init_x_linear", "pos_embed.proj", All),
    ("final_linear", "proj_out", All),
    ("modF.1", "norm_out.linear", Swapped),
];

const KREA_BLOCK: &[(&str, &str, Rows)] = &[
    ("attn.wq", "attn.to_q", All),
    ("attn.wk", "attn.to_k", All),
    ("attn.wv", "attn.to_v", All),
    ("attn.gate", "attn.to_gate", All),
    ("attn.wo", "attn.to_out.0", All),
    ("attn.wo", "attn.to_out", All),
    ("mlp.gate", "ff.gate", All),
    ("mlp.up", "ff.up", All),
    ("mlp.down", "ff.down", All),
];

const KREA_ENDS: &[(&str, &str, Rows)] = &[
    ("first", "img_in", All),
    ("tmlp.0", "time_embed.linear_1", All),
    ("tmlp.2", "time_embed.linear_2", All),
    ("tproj.1", "time_mod_proj", All),
    ("txtmlp.1", "txt_in.linear_1", All),
    ("txtmlp.3", "txt_in.linear_2", All),
    ("txtfusion.projector", "text_fusion.projector", All),
    ("last.linear", "final_layer.linear", All),
];

/// Text encoders as OpenCLIP wrote them into checkpoints.
const OPEN_CLIP: &[(&str, &str, Rows)] = &[
    ("attn.in_proj", "self_attn.q_proj", Fraction(0, 3)),
    ("attn.in_proj", "self_attn.k_proj", Fraction(1, 3)),
    ("attn.in_proj", "self_attn.v_proj", Fraction(2, 3)),
    ("attn.out_proj", "self_attn.out_proj", All),
    ("mlp.c_fc", "mlp.fc1", All),
    ("mlp.c_proj", "mlp.fc2", All),
    ("ln_1", "layer_norm1", All),
    ("ln_2", "layer_norm2", All),
];

const UNET_ENDS: &[(&str, &str, Rows)] = &[
    ("label_emb.0.0", "class_embedding.linear_1", All),
    ("label_emb.0.2", "class_embedding.linear_2", All),
    ("label_emb.0.0", "add_embedding.linear_1", All),
    ("label_emb.0.2", "add_embedding.linear_2", All),
    ("input_blocks.0.0", "conv_in", All),
    ("out.0", "conv_norm_out", All),
    ("out.2", "conv_out", All),
    ("time_embed.0", "time_embedding.linear_1", All),
    ("time_embed.2", "time_embedding.linear_2", All),
];

/// Names of the parts of a layer that fuses queries, keys and values, whatever the model.
const FUSED: [(&str, [[&str; 3]; 3]); 3] = [("qkv", PARTS), ("to_qkv", PARTS), ("qkv_proj", PARTS)];
const PARTS: [[&str; 3]; 3] =
    [["q", "k", "v"], ["to_q", "to_k", "to_v"], ["q_proj", "k_proj", "v_proj"]];

/// Returns the other names of a layer, and which of its rows each name means.
pub(super) fn other_names(layer: &str, blocks: UnetBlocks) -> Vec<(String, Rows)> {
    let mut found: Vec<(String, Rows)> =
        unet_name(layer, blocks).map(|it| (it, All)).into_iter().collect();
    for group in &GROUPS {
        let Some((numbers, rest)) = behind(group.prefix, layer) else { continue };
        for (_, other, rows) in group.layers.iter().filter(|(own, ..)| *own == rest) {
            found.push((name(group.other_prefix, numbers, other), *rows));
        }
    }
    // Last, for any model: trainers that know no table split what is called so.
    if let Some((path, leaf)) = layer.rsplit_once('.') {
        let fused = FUSED.iter().filter(|(fused, _)| *fused == leaf);
        for (part, name) in fused.flat_map(|(_, parts)| parts).flat_map(|it| (0..).zip(it)) {
            found.push((format!("{path}.{name}"), Fraction(part, 3)));
        }
    }
    found
}

/// Returns the fused layer that a layer under another name is a part of, and which of its rows it
/// is.
pub(super) fn whole_names(layer: &str) -> Vec<(String, Rows)> {
    let mut found = vec![];
    for group in &GROUPS {
        let Some((numbers, rest)) = behind(group.other_prefix, layer) else { continue };
        for (own, _, rows) in group.layers.iter().filter(|(_, other, _)| *other == rest) {
            found.push((name(group.prefix, numbers, own), *rows));
        }
    }
    found
}

/// Returns the number at the `{}` of a prefix, and the rest of the name after the prefix.
fn behind<'a>(prefix: &str, layer: &'a str) -> Option<(&'a str, &'a str)> {
    let Some((before, after)) = prefix.split_once("{}") else {
        return prefix.is_empty().then_some(("", layer));
    };
    let rest = layer.strip_prefix(before)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = rest.split_at(digits);
    let rest = rest.strip_prefix(after)?.strip_prefix('.')?;
    (digits > 0).then_some((number, rest))
}

fn name(prefix: &str, number: &str, rest: &str) -> String {
    match prefix.is_empty() {
        true => rest.to_owned(),
        false => format!("{}.{rest}", prefix.replace("{}", number)),
    }
}

/// Residual blocks in each level of a UNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnetBlocks(u64);

impl UnetBlocks {
    /// Counts the blocks before the first that makes the image smaller; 2 where there is none.
    pub(super) fn of<'a>(layers: impl Iterator<Item = &'a str>) -> Self {
        let first = layers.filter_map(|layer| {
            let (_, rest) = layer.rsplit_once("input_blocks.")?;
            rest.strip_suffix(".0.op")?.parse::<u64>().ok()
        });
        // Input block 0 is `conv_in`, and a level's blocks are followed by its downsampler.
        Self(first.min().map_or(2, |first| first.saturating_sub(1)).max(1))
    }
}

/// Parts of a UNet's residual block, and what diffusers calls them.
const RESIDUAL: [(&str, &str); 6] = [
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
];

/// Returns diffusers' name for a layer of a UNet's blocks, which it counts by level.
fn unet_name(layer: &str, UnetBlocks(blocks): UnetBlocks) -> Option<String> {
    let (side, rest) = layer.split_once('.')?;
    let residual = |part: &str| RESIDUAL.iter().find(|(own, _)| *own == part).map(|(_, it)| *it);
    if side == "middle_block" {
        let (at, part) = rest.split_once('.')?;
        return match at {
            "0" => Some(format!("mid_block.resnets.0.{}", residual(part)?)),
            "1" => Some(format!("mid_block.attentions.0.{part}")),
            "2" => Some(format!("mid_block.resnets.1.{}", residual(part)?)),
            _ => None,
        };
    }
    let (number, rest) = rest.split_once('.')?;
    let (at, part) = rest.split_once('.')?;
    let number: u64 = number.parse().ok()?;
    let (side, number) = match side {
        // The first input block is `conv_in`.
        "input_blocks" => ("down_blocks", number.checked_sub(1)?),
        "output_blocks" => ("up_blocks", number),
        _ => return None,
    };
    // Each level has one place more than blocks: its downsampler, or on the way up another block.
    let [level, block] = [number / (blocks + 1), number % (blocks + 1)];
    match (side, at, part) {
        ("down_blocks", "0", "op") => Some(format!("{side}.{level}.downsamplers.0.conv")),
        ("up_blocks", "1" | "2", "conv") => Some(format!("{side}.{level}.upsamplers.0.conv")),
        (_, "0", part) => Some(format!("{side}.{level}.resnets.{block}.{}", residual(part)?)),
        (_, "1", part) => Some(format!("{side}.{level}.attentions.{block}.{part}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_answer_to_the_names_of_diffusers() {
        let blocks = UnetBlocks::of(["input_blocks.6.0.op", "input_blocks.3.0.op"].into_iter());
        assert_eq!(blocks, UnetBlocks(2));
        for (layer, other, rows) in [
            ("double_blocks.7.img_attn.qkv", "transformer_blocks.7.attn.to_k", Fraction(1, 3)),
            ("double_blocks.7.img_attn.qkv", "double_blocks.7.qkv_lora1", All),
            ("single_blocks.37.linear1", "single_transformer_blocks.37.proj_mlp", Widths(3, 4)),
            ("final_layer.adaLN_modulation.1", "norm_out.linear", Swapped),
            (
                "joint_blocks.1.context_block.attn.qkv",
                "transformer_blocks.1.attn.add_v_proj",
                Fraction(2, 3),
            ),
            ("layers.3.attention.qkv", "layers.3.attention.to_q", Fraction(0, 3)),
            ("blocks.3.cross_attn.kv_linear", "transformer_blocks.3.attn2.to_v", Fraction(1, 2)),
            ("x.qkv_proj", "x.v_proj", Fraction(2, 3)),
            (
                "transformer.resblocks.4.attn.in_proj",
                "text_model.encoder.layers.4.self_attn.q_proj",
                Fraction(0, 3),
            ),
            ("input_blocks.4.1.proj_in", "down_blocks.1.attentions.0.proj_in", All),
            ("input_blocks.5.0.in_layers.2", "down_blocks.1.resnets.1.conv1", All),
            ("input_blocks.3.0.op", "down_blocks.0.downsamplers.0.conv", All),
            ("middle_block.2.emb_layers.1", "mid_block.resnets.1.time_emb_proj", All),
            ("output_blocks.5.1.proj_out", "up_blocks.1.attentions.2.proj_out", All),
            ("output_blocks.2.2.conv", "up_blocks.0.upsamplers.0.conv", All),
            ("output_blocks.2.1.conv", "up_blocks.0.upsamplers.0.conv", All),
        ] {
            let found = other_names(layer, blocks);
            assert!(found.contains(&(other.to_owned(), rows)), "{layer}: {found:?}");
        }
        let whole = ("double_blocks.0.img_attn.qkv".to_owned(), Fraction(1, 3));
        assert!(whole_names("transformer_blocks.0.attn.to_k").contains(&whole));
        assert!(
            other_names("double_blocks.x.img_attn.qkv", blocks)
                .iter()
                .all(|it| it.1 != Fraction(0, 3) || it.0.starts_with("double_blocks.x"))
        );
    }
}
