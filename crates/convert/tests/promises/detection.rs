//! Every architecture is told from names and shapes alone.

use std::collections::{BTreeMap, BTreeSet};

use roundwise_convert::model::{Detected, Preset, Role, Shapes, detect};

/// Why a layer keeps its precision: because the whole model does, by a rule of the preset, or by one
/// of the base list.
fn keep_reason<'a>(preset: &'a Preset, layer: &str) -> Option<&'a str> {
    let rule = || preset.keep_rule(layer).or_else(|| Preset::base().keep_rule(layer));
    preset.refuse.as_deref().or_else(|| rule().map(|rule| rule.reason.as_str()))
}

/// Whether several models share the file.
fn is_checkpoint(found: &Detected) -> bool {
    found.others.iter().any(|component| !component.prefix.is_empty())
}

/// `"name 3840x2560"` is one tensor; without a shape it is a small matrix.
fn detect_in(keys: impl IntoIterator<Item = String>) -> Detected {
    let tensors: BTreeMap<String, Vec<u64>> = keys
        .into_iter()
        .map(|key| match key.split_once(' ') {
            Some((name, shape)) => {
                (name.to_owned(), shape.split('x').map(|size| size.parse().unwrap()).collect())
            }
            None => (key, vec![64, 64]),
        })
        .collect();
    let shapes: Shapes<'_> = tensors.iter().map(|(name, s)| (name.as_str(), &s[..])).collect();
    detect(&shapes)
}

/// The tensors of a small model behind a prefix, with enough others for the prefix to count.
fn behind<'a>(prefix: &'a str, keys: &'a str) -> impl Iterator<Item = String> + 'a {
    let others = (0..6).map(|i| format!("something.{i}.weight"));
    keys.split_terminator(", ")
        .map(str::to_owned)
        .chain(others)
        .map(move |key| format!("{prefix}{key}"))
}

const FLUX: &str = "double_blocks.0.img_attn.norm.key_norm.scale, double_blocks.0.img_attn.qkv.weight, img_in.weight 3072x64";

/// A language model's layers that loaders build by name, whatever their sizes.
const LANGUAGE_MODEL: &str = "model.embed_tokens.weight, model.layers.0.input_layernorm.weight 64, model.layers.0.self_attn.q_proj.weight, model.layers.0.self_attn.k_proj.weight, model.layers.0.mlp.gate_proj.weight, model.layers.0.mlp.down_proj.weight";

/// What a model has beside the keys that tell it from its relatives.
fn rest_of(id: &str) -> String {
    let wan = "patch_embedding.weight 64x16x1x2x2, blocks.0.ffn.0.weight";
    let unet = "time_embed.0.weight, input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight";
    let qwen35 = "model.language_model.embed_tokens.weight, model.language_model.layers.0.linear_attn.in_proj_qkv.weight, model.language_model.layers.0.mlp.gate_proj.weight";
    let t5 = "encoder.block.0.layer.0.SelfAttention.k.weight 4096x4096, shared.weight";
    let rest = match id {
        "minimax_music3" => "diffusion_transformer.transformer.layers.0.self_attn.to_qkv.weight",
        "sd3" => {
            "x_embedder.proj.weight 64x16x2x2, t_embedder.mlp.0.weight, joint_blocks.0.x_block.attn.qkv.weight"
        }
        "stable_cascade_c" => "embedding.1.weight, down_blocks.0.0.channelwise.0.weight",
        "stable_cascade_b" => "embedding.1.weight, down_blocks.1.0.channelwise.0.weight",
        "trellis2" => "shape2txt.input_layer.weight, shape2txt.blocks.0.cross_attn.to_q.weight",
        "stable_audio" => {
            "to_global_embed.0.weight, to_cond_embed.0.weight, to_timestep_embed.0.weight, postprocess_conv.weight 64x64x1, transformer.project_in.weight"
        }
        "auraflow" => "positional_encoding 1x64x64, cond_seq_linear.weight",
        "hunyuan_dit" => "x_embedder.proj.weight 64x4x2x2, extra_embedder.0.weight",
        "hunyuan_video_1_5" | "hunyuan_video" | "hunyuan_image" => {
            "img_in.proj.weight 64x16x1x2x2, txt_in.input_embedder.weight, final_layer.linear.weight"
        }
        "chroma_radiance" | "chroma" | "flux2" | "ovis" | "longcat" | "flux" => {
            "double_blocks.0.img_attn.qkv.weight"
        }
        "mochi" => {
            "x_embedder.proj.weight 64x12x2x2, t5_y_embedder.to_q.weight, blocks.0.attn.qkv_x.weight"
        }
        "minimax_h3" => {
            "final_layer.video_out.weight, final_layer.audio_out.weight, condition_proj.weight, blocks.0.attn.q_norm.weight 64"
        }
        "ltx_audio_video" | "ltx_video" => {
            "patchify_proj.weight, transformer_blocks.0.attn2.to_k.weight"
        }
        "ace_step" => {
            "lyric_embs.weight, speaker_embedder.weight, transformer_blocks.0.attn.to_q.weight"
        }
        "pixart" => {
            "x_embedder.proj.weight 64x4x2x2, y_embedder.y_proj.fc1.weight, blocks.0.cross_attn.q_linear.weight, blocks.0.mlp.fc1.weight"
        }
        "cosmos" => "x_embedder.proj.1.weight, t_embedder.1.linear_1.weight",
        "pid" | "pixeldit" => "core.s_embedder.proj.weight, core.t_embedder.mlp.0.weight",
        "zimage_pixel" => {
            "x_embedder.weight, dec_net.final_layer.linear.weight, dec_net.input_embedder.embedder.0.weight"
        }
        "zimage" | "lumina2" => "x_embedder.weight",
        "cogvideox" => "patch_embed.proj.weight, patch_embed.text_proj.weight",
        "seedvr2_7b" | "seedvr2_3b" => "vid_in.proj.weight, txt_in.weight, emb_in.proj_in.weight",
        "wan_vace" | "wan_camera" | "wan_s2v" | "wan_humo" | "wan_animate" | "wan_i2v" | "wan" => {
            wan
        }
        "hunyuan3d_2_0" => {
            "cond_in.weight, double_blocks.0.img_attn.qkv.weight, final_layer.linear.weight"
        }
        "hunyuan3d_2_1" => "x_embedder.weight, blocks.0.attn2.to_q.weight",
        "triposplat" => "input_layer.weight, t_embedder.mlp.0.weight",
        "hidream_o1" => "language_model.layers.0.self_attn.q_proj.weight",
        "hidream" => "x_embedder.proj.weight, double_stream_blocks.0.block.attn1.to_q.weight",
        "anima" | "cosmos_predict2" => {
            "t_embedder.1.linear_1.weight, blocks.0.self_attn.q_proj.weight"
        }
        "boogu" => {
            "x_embedder.weight, single_stream_layers.0.attn.to_q.weight, time_caption_embed.caption_embedder.0.weight"
        }
        "omnigen2" => {
            "x_embedder.weight, layers.0.attn.to_q.weight, time_caption_embed.caption_embedder.0.weight"
        }
        "lens" => "img_in.weight, proj_out.weight",
        "mage_flow" | "qwen_image" | "qwen_image_2_1" => {
            "img_in.weight, transformer_blocks.0.img_mlp.net.0.proj.weight"
        }
        "ideogram4" => {
            "input_proj.weight, layers.0.attention.qkv.weight, final_layer.linear.weight"
        }
        "krea2" => "blocks.0.attn.wk.weight, txtfusion.layerwise_blocks.0.prenorm.scale 64",
        "kandinsky6" | "kandinsky5" => {
            "time_embeddings.in_layer.weight, visual_transformer_blocks.0.feed_forward.in_layer.weight"
        }
        "ace_step_1_5" => {
            "decoder.layers.0.self_attn_norm.weight 64, decoder.layers.0.mlp.gate_proj.weight, encoder.lyric_encoder.layers.0.mlp.gate_proj.weight"
        }
        "depth_anything_3" => {
            "backbone.encoder.layer.0.attention.q_norm.weight 64, head.projects.0.weight 64x64x1x1, head.scratch.refinenet1.out_conv.weight 64x64x1x1"
        }
        "ernie_image" => {
            "x_embedder.proj.weight 64x16x1x1, layers.0.self_attention.to_q.weight, final_linear.weight"
        }
        "joyimage" => {
            "double_blocks.0.attn.img_attn_q_norm.weight 64, condition_embedder.time_embedder.linear_1.weight"
        }
        "sd2_unclip" | "svd" | "sdxl" | "sd1_sd2" => unet,
        "t5xxl" | "t5xxl_old" => t5,
        "gpt_oss_20b" => "layers.0.self_attn.q_proj.weight, layers.0.mlp.router.weight",
        "qwen3_vl_4b" | "qwen3_vl_8b" => {
            "model.visual.patch_embed.proj.weight, model.language_model.layers.0.self_attn.q_norm.weight 128, model.language_model.layers.0.mlp.gate_proj.weight"
        }
        "qwen3_vl_32b" => {
            "visual.patch_embed.proj.weight, model.layers.0.self_attn.q_norm.weight 128, model.layers.0.mlp.gate_proj.weight"
        }
        id if id.starts_with("qwen35") => qwen35,
        id if id.starts_with("gemma") => {
            return format!("{LANGUAGE_MODEL}, model.layers.0.pre_feedforward_layernorm.weight 64");
        }
        "qwen25_3b"
        | "qwen25_7b"
        | "qwen3_4b"
        | "qwen3_2b"
        | "qwen3_8b"
        | "qwen3_06b"
        | "mistral3_24b"
        | "mistral3_24b_pruned"
        | "ministral3_3b"
        | "llama3" => LANGUAGE_MODEL,
        _ => "",
    };
    rest.to_owned()
}

/// All keys of a row.
fn whole((id, keys): (&'static str, String)) -> (&'static str, String) {
    let rest = rest_of(id);
    (id, if rest.is_empty() { keys } else { format!("{keys}, {rest}") })
}

/// Architecture and keys, in the order in which the loader tests them.
fn diffusion_models() -> Vec<(&'static str, String)> {
    let flux = |more: &str| format!("{FLUX}, {more}");
    let chroma = "double_blocks.0.img_attn.norm.key_norm.scale, distilled_guidance_layer.norms.0.scale, distilled_guidance_layer.in_proj.weight";
    let wan = |more: &str| format!("head.modulation 1x2x5120, head.head.weight, {more}");
    let lumina = "noise_refiner.0.attention.k_norm.weight 128";
    let cosmos2 = "blocks.0.mlp.layer1.weight, x_embedder.proj.1.weight";
    let rows = [
        ("minimax_music3", "cond_layer_logits, latent_conditioners.0.weight".to_owned()),
        ("sd3", "joint_blocks.0.context_block.attn.qkv.weight".to_owned()),
        ("stable_cascade_c", "clf.1.weight, clip_txt_mapper.weight 2048x1280".to_owned()),
        ("stable_cascade_b", "clf.1.weight, clip_mapper.weight".to_owned()),
        ("trellis2", "shape2txt.t_embedder.mlp.0.weight".to_owned()),
        ("stable_audio", "transformer.rotary_pos_emb.inv_freq 16".to_owned()),
        ("auraflow", "double_layers.0.attn.w1q.weight".to_owned()),
        ("hunyuan_dit", "mlp_t5.0.weight".to_owned()),
        (
            "hunyuan_video_1_5",
            flux("txt_in.individual_token_refiner.blocks.0.norm1.weight, cond_type_embedding.weight"),
        ),
        (
            "hunyuan_video",
            flux("txt_in.individual_token_refiner.blocks.0.norm1.weight, vector_in.in_layer.weight"),
        ),
        ("hunyuan_image", flux("txt_in.individual_token_refiner.blocks.0.norm1.weight")),
        ("chroma_radiance", format!("{chroma}, nerf_blocks.0.norm.scale, img_in_patch.weight")),
        ("chroma", chroma.to_owned()),
        ("chroma", flux("distilled_guidance_layer.0.norms.0.weight")),
        ("flux2", flux("double_stream_modulation_img.lin.weight")),
        ("ovis", flux("double_blocks.0.img_mlp.gate_proj.weight, txt_norm.scale")),
        ("longcat", flux("txt_in.weight 3072x3584")),
        ("flux", flux("txt_in.weight 3072x4096, vector_in.in_layer.weight 3072x768")),
        ("flux", "double_blocks.0.img_attn.norm.key_norm.weight, img_in.weight".to_owned()),
        ("mochi", "t5_yproj.weight".to_owned()),
        (
            "pixart_diffusers",
            "adaln_single.emb.timestep_embedder.linear_1.bias, pos_embed.proj.bias".to_owned(),
        ),
        ("minimax_h3", "video_patch_proj.weight, audio_patch_proj.weight".to_owned()),
        (
            "ltx_audio_video",
            "adaln_single.emb.timestep_embedder.linear_1.bias, audio_adaln_single.linear.weight"
                .to_owned(),
        ),
        ("ltx_video", "adaln_single.emb.timestep_embedder.linear_1.bias".to_owned()),
        ("ace_step", "genre_embedder.weight".to_owned()),
        ("pixart", "t_block.1.weight".to_owned()),
        ("cosmos", "blocks.block0.blocks.0.block.attn.to_q.0.weight".to_owned()),
        ("pid", "lq_proj.latent_proj.0.weight, core.pixel_embedder.proj.weight".to_owned()),
        ("pixeldit", "core.pixel_embedder.proj.weight".to_owned()),
        (
            "zimage_pixel",
            format!("{lumina}, cap_embedder.1.weight 3840x2560, dec_net.cond_embed.weight"),
        ),
        ("zimage", format!("{lumina}, cap_embedder.1.weight 3840x2560")),
        ("lumina2", format!("{lumina}, cap_embedder.1.weight 2304x2304")),
        ("cogvideox", "blocks.0.norm1.linear.weight".to_owned()),
        ("seedvr2_7b", "blocks.35.mlp.vid.proj_out.weight 3072x12288".to_owned()),
        (
            "seedvr2_7b",
            "blocks.31.mlp.all.proj_in_gate.weight, blocks.35.mlp.all.proj_in_gate.weight".to_owned(),
        ),
        ("seedvr2_3b", "blocks.31.mlp.all.proj_in_gate.weight".to_owned()),
        ("wan_vace", wan("vace_patch_embedding.weight, img_emb.proj.0.bias")),
        ("wan_camera", wan("control_adapter.conv.weight, img_emb.proj.0.bias")),
        ("wan_s2v", wan("casual_audio_encoder.encoder.final_linear.weight")),
        ("wan_humo", wan("audio_proj.audio_proj_glob_1.layer.bias")),
        ("wan_animate", wan("face_adapter.fuser_blocks.0.k_norm.weight, img_emb.proj.0.bias")),
        ("wan_i2v", wan("img_emb.proj.0.bias")),
        ("wan", wan("blocks.0.ffn.0.weight")),
        ("hunyuan3d_2_0", "latent_in.weight".to_owned()),
        (
            "hunyuan3d_2_1",
            "t_embedder.mlp.2.weight, blocks.0.attn1.k_norm.weight".to_owned(),
        ),
        ("triposplat", "cam_out_layer.weight, repo_layers.0.final_map.weight".to_owned()),
        ("hidream_o1", "t_embedder1.mlp.0.weight, x_embedder.proj1.weight".to_owned()),
        ("hidream", "caption_projection.0.linear.weight".to_owned()),
        ("anima", format!("{cosmos2}, llm_adapter.blocks.0.cross_attn.q_proj.weight")),
        ("cosmos_predict2", cosmos2.to_owned()),
        (
            "boogu",
            "double_stream_layers.0.img_instruct_attn.processor.img_to_q.weight, time_caption_embed.timestep_embedder.linear_1.bias"
                .to_owned(),
        ),
        ("omnigen2", "time_caption_embed.timestep_embedder.linear_1.bias".to_owned()),
        (
            "lens",
            "transformer_blocks.0.attn.norm_added_q.weight, transformer_blocks.0.img_mlp.w1.weight, txt_norm.weight"
                .to_owned(),
        ),
        ("mage_flow", "txt_norm.weight 2560, proj_out.weight 128x2560".to_owned()),
        ("qwen_image_2_1", "txt_in.text_norm.weight 3584, modulation.1.weight".to_owned()),
        ("qwen_image", "txt_norm.weight 3584, proj_out.weight 64x3072".to_owned()),
        ("ideogram4", "embed_image_indicator.weight".to_owned()),
        ("krea2", "txtfusion.projector.weight 1x12, first.weight, blocks.0.attn.wq.weight".to_owned()),
        (
            "kandinsky6",
            "visual_embeddings.in_layer.weight, audio_embeddings.in_layer.weight".to_owned(),
        ),
        (
            "kandinsky5",
            "visual_embeddings.in_layer.weight, visual_transformer_blocks.0.cross_attention.key_norm.weight"
                .to_owned(),
        ),
        ("ace_step_1_5", "encoder.lyric_encoder.layers.0.input_layernorm.weight".to_owned()),
        (
            "depth_anything_3",
            "backbone.embeddings.patch_embeddings.projection.weight 384x3x14x14".to_owned(),
        ),
        ("ernie_image", "layers.0.mlp.linear_fc2.weight".to_owned()),
        ("joyimage", "double_blocks.0.attn.img_attn_qkv.weight, img_in.weight".to_owned()),
        ("yue2", "vae2llm.weight, llm2vae.weight, model.layers.0.self_attn.qkv_proj.weight".to_owned()),
        ("sd2_unclip", "input_blocks.0.0.weight, label_emb.0.0.weight 1280x1536".to_owned()),
        (
            "svd",
            "input_blocks.0.0.weight, label_emb.0.0.weight, input_blocks.1.1.time_stack.0.attn1.to_q.weight"
                .to_owned(),
        ),
        ("sdxl", "input_blocks.0.0.weight, label_emb.0.0.weight".to_owned()),
        ("sd1_sd2", "input_blocks.0.0.weight".to_owned()),
    ];
    let rows = rows.into_iter().chain(diffusers_models().map(|(id, keys)| (id, keys.to_owned())));
    rows.map(whole).collect()
}

/// Models under diffusers' names.
fn diffusers_models() -> impl Iterator<Item = (&'static str, &'static str)> {
    [
        ("flux2_diffusers", "double_stream_modulation_img.linear.weight, transformer_blocks.0.attn.to_q.weight, transformer_blocks.0.attn.add_q_proj.weight, x_embedder.weight, context_embedder.weight"),
        ("chroma_diffusers", "distilled_guidance_layer.norms.0.weight, transformer_blocks.0.attn.add_q_proj.weight, context_embedder.weight, x_embedder.weight, single_transformer_blocks.0.attn.to_q.weight"),
        ("flux_diffusers", "context_embedder.weight, x_embedder.weight, transformer_blocks.0.attn.add_q_proj.weight, single_transformer_blocks.0.attn.to_q.weight"),
        ("hunyuan_video_15_diffusers", "context_embedder.token_refiner.refiner_blocks.0.attn.to_q.weight, context_embedder_2.norm.weight, transformer_blocks.0.attn.add_q_proj.weight"),
        ("hunyuan_video_diffusers", "context_embedder.token_refiner.refiner_blocks.0.attn.to_q.weight, transformer_blocks.0.attn.add_q_proj.weight"),
        ("sd3_diffusers", "context_embedder.weight, pos_embed.proj.weight, transformer_blocks.0.attn.add_q_proj.weight"),
        ("auraflow_diffusers", "joint_transformer_blocks.0.attn.add_q_proj.weight, context_embedder.weight"),
        ("zimage_diffusers", "all_x_embedder.2-1.weight, noise_refiner.0.attention.to_q.weight, cap_embedder.1.weight"),
        ("wan_diffusers", "condition_embedder.time_embedder.linear_1.weight, blocks.0.attn1.to_q.weight"),
        (
            "wan_animate_diffusers",
            "condition_embedder.time_embedder.linear_1.weight, blocks.0.attn1.to_q.weight, face_adapter.0.to_q.weight",
        ),
        (
            "ltx2_diffusers",
            "time_embed.emb.timestep_embedder.linear_1.weight, transformer_blocks.0.attn1.to_q.weight, proj_in.weight, audio_proj_in.weight",
        ),
        ("ltx_video_diffusers", "time_embed.emb.timestep_embedder.linear_1.weight, transformer_blocks.0.attn1.to_q.weight, proj_in.weight"),
        ("mochi_diffusers", "time_embed.pooler.to_q.weight, transformer_blocks.0.attn1.to_q.weight"),
        ("cogvideox_diffusers", "patch_embed.text_proj.weight, transformer_blocks.0.attn1.to_q.weight"),
        ("lumina2_diffusers", "time_caption_embed.caption_embedder.1.weight, time_caption_embed.timestep_embedder.linear_1.bias, noise_refiner.0.norm1.linear.weight, layers.0.attn.to_q.weight"),
        ("cosmos_diffusers", "time_embed.t_embedder.linear_1.weight, transformer_blocks.0.norm1.linear_1.weight, learnable_pos_embed.pos_emb_t"),
        ("cosmos_predict2_diffusers", "time_embed.t_embedder.linear_1.weight, transformer_blocks.0.norm1.linear_1.weight"),
        ("unet_diffusers", "down_blocks.0.resnets.0.conv1.weight, time_embedding.linear_1.weight, conv_in.weight"),
    ]
    .into_iter()
}

/// Architecture and keys, in the order in which the loader tests them.
fn text_encoders() -> Vec<(&'static str, String)> {
    let t5 = "encoder.block.0.layer.0.SelfAttention.k.weight 4096x4096, shared.weight";
    let gemma = |layers: &[u32]| {
        let norms = layers.iter().map(|n| format!("model.layers.{n}.self_attn.q_norm.weight"));
        let all: Vec<_> = norms.collect();
        format!(
            "model.layers.0.post_feedforward_layernorm.weight, model.layers.0.post_attention_layernorm.weight 2560, {}",
            all.join(", ")
        )
    };
    let qwen35 = "model.language_model.layers.0.linear_attn.A_log, model.language_model.layers.0.input_layernorm.weight";
    let deepstack = "model.visual.deepstack_merger_list.0.norm.weight";
    let llama =
        "model.layers.0.self_attn.q_proj.weight, model.layers.0.post_attention_layernorm.weight";
    let rows = [
        (
            "clip_g",
            "text_model.encoder.layers.0.mlp.fc1.weight, text_model.encoder.layers.22.mlp.fc1.weight, text_model.encoder.layers.30.mlp.fc1.weight"
                .to_owned(),
        ),
        (
            "clip_h",
            "text_model.encoder.layers.0.mlp.fc1.weight, text_model.encoder.layers.22.mlp.fc1.weight"
                .to_owned(),
        ),
        ("clip_l", "text_model.encoder.layers.0.mlp.fc1.weight".to_owned()),
        (
            "clip_text",
            "encoder.layers.0.mlp.fc1.weight, embeddings.token_embedding.weight, embeddings.position_embedding.weight"
                .to_owned(),
        ),
        ("open_clip", "transformer.resblocks.0.attn.in_proj_weight".to_owned()),
        ("jina_clip_2", "model.encoder.layers.0.mixer.Wqkv.weight".to_owned()),
        ("t5xxl", format!("{t5}, encoder.block.23.layer.1.DenseReluDense.wi_1.weight 10240x4096")),
        ("pile_t5xxl", "encoder.block.0.layer.0.SelfAttention.k.weight, encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight 32x64, shared.weight 32128x4096, encoder.block.23.layer.1.DenseReluDense.wi_1.weight 10240x4096".to_owned()),
        ("t5xl", format!("{t5}, encoder.block.23.layer.1.DenseReluDense.wi_1.weight 5120x2048")),
        ("t5xxl_old", format!("{t5}, encoder.block.23.layer.1.DenseReluDense.wi.weight")),
        (
            "byt5_small_glyph",
            "encoder.block.0.layer.0.SelfAttention.k.weight 384x1472, shared.weight".to_owned(),
        ),
        ("t5_base", t5.to_owned()),
        ("t5_gemma", "model.encoder.layers.0.pre_self_attn_layernorm.weight".to_owned()),
        ("gemma4_31b", gemma(&[0, 34, 41, 47, 59])),
        ("gemma4_12b", gemma(&[0, 34, 41, 47])),
        ("gemma4_e4b", gemma(&[0, 34, 41])),
        ("gemma4_e2b", gemma(&[0, 34])),
        (
            "gemma3_12b",
            format!("{}, model.layers.5.self_attn.v_proj.weight", gemma(&[0, 34, 41, 47])),
        ),
        (
            "gemma3_4b_vision",
            format!("{}, vision_model.embeddings.patch_embedding.weight", gemma(&[0, 33])),
        ),
        ("gemma3_4b", gemma(&[0, 33])),
        ("gemma2_2b", gemma(&[])),
        (
            "gpt_oss_20b",
            "layers.0.self_attn.sinks 64, layers.0.mlp.experts.gate_up_proj.weight".to_owned(),
        ),
        (
            "gpt_oss",
            "model.layers.0.self_attn.sinks 64, model.layers.0.mlp.experts.gate_up_proj".to_owned(),
        ),
        ("qwen25_3b", format!("{llama} 2048, model.layers.0.self_attn.k_proj.bias 256")),
        ("qwen25_7b", format!("{llama} 3584, model.layers.0.self_attn.k_proj.bias 512")),
        ("qwen35_08b", format!("{qwen35} 1024")),
        ("qwen35_4b", format!("{qwen35} 2560")),
        ("qwen35_9b", format!("{qwen35} 4096")),
        ("qwen35_27b", format!("{qwen35} 5120")),
        ("qwen35_2b", format!("{qwen35} 2048")),
        (
            "qwen3_vl_32b",
            "visual.deepstack_merger_list.0.norm.weight, model.layers.49.self_attn.q_proj.weight".to_owned(),
        ),
        (
            "qwen3_vl_4b",
            format!("{deepstack}, model.visual.merger.linear_fc2.weight 2560x4096"),
        ),
        (
            "qwen3_vl_8b",
            format!("{deepstack}, model.visual.merger.linear_fc2.weight 4096x4608"),
        ),
        ("qwen3_4b", format!("{llama} 2560, model.layers.0.self_attn.q_norm.weight 128")),
        ("qwen3_2b", format!("{llama} 2048, model.layers.0.self_attn.q_norm.weight 128")),
        ("qwen3_8b", format!("{llama} 4096, model.layers.0.self_attn.q_norm.weight 128")),
        ("qwen3_06b", format!("{llama} 1024, model.layers.0.self_attn.q_norm.weight 128")),
        (
            "mistral3_24b",
            format!("{llama} 5120, model.layers.39.post_attention_layernorm.weight 5120"),
        ),
        ("mistral3_24b_pruned", format!("{llama} 5120")),
        ("ministral3_3b", format!("{llama} 3072")),
        ("llama3", format!("{llama} 4096")),
        ("llama_cpp", "token_embd.weight, blk.0.attn_q.weight, output.weight".to_owned()),
        ("t5_llama_cpp", "token_embd.weight, enc.blk.0.attn_q.weight".to_owned()),
        (
            "hunyuan_dit_bert",
            "encoder.layer.0.attention.self.query.weight 1024x1024, embeddings.word_embeddings.weight 47020x1024"
                .to_owned(),
        ),
        ("mpnet", "encoder.layer.0.attention.attn.q.weight 768x768".to_owned()),
        ("minilm", "encoder.layer.0.attention.self.query.weight 384x384".to_owned()),
        ("bert", "encoder.layer.0.attention.self.query.weight 768x768".to_owned()),
        ("llm", "model.layers.0.self_attn.q_proj.weight".to_owned()),
    ];
    rows.into_iter().map(whole).collect()
}

#[test]
fn every_diffusion_model_is_recognised_behind_every_prefix() {
    for (id, keys) in diffusion_models() {
        for prefix in ["", "model.diffusion_model.", "model.model.", "net.", "model."] {
            let found = detect_in(behind(prefix, &keys));
            assert_eq!(found.main.architecture, id, "prefix `{prefix}`, keys {keys}");
            assert_eq!(found.main.prefix, prefix, "{id}");
            assert_eq!(found.main.role, Role::DiffusionModel, "{id}");
            assert!(!found.main.evidence.is_empty(), "{id}");
            assert!(!is_checkpoint(&found), "{id}");
        }
    }
}

#[test]
fn every_text_encoder_is_recognised_alone_and_in_a_checkpoint() {
    for (id, keys) in text_encoders() {
        let alone = detect_in(behind("", &keys));
        assert_eq!(alone.main.architecture, id, "{keys}");
        assert_eq!(alone.main.role, Role::TextEncoder, "{id}");

        let model = behind("model.diffusion_model.", FLUX);
        let inside = detect_in(model.chain(behind("text_encoders.any.transformer.", &keys)));
        assert_eq!(inside.main.architecture, "flux");
        assert_eq!(inside.others.len(), 1, "{id}");
        assert_eq!(inside.others[0].architecture, id);
        assert_eq!(inside.others[0].prefix, "text_encoders.any.");
    }
}

#[test]
fn the_tables_above_miss_no_architecture() {
    let tested: BTreeSet<_> =
        diffusion_models().into_iter().chain(text_encoders()).map(|(id, _)| id).collect();
    for (architecture, preset) in Preset::architectures() {
        let is_tested = tested.contains(architecture.id.as_str());
        assert!(is_tested || ["sam3", "vae"].contains(&architecture.id.as_str()), "{preset:?}");
    }
}

#[test]
fn evidence_names_the_tensors_that_decided() {
    let found = detect_in(behind(
        "net.",
        "cap_embedder.1.weight 3840x2560, noise_refiner.0.attention.k_norm.weight, x_embedder.weight",
    ));
    assert_eq!(
        found.main.evidence,
        [
            "net.cap_embedder.1.weight [3840, 2560]",
            "net.noise_refiner.0.attention.k_norm.weight",
            "net.x_embedder.weight",
        ]
    );
}

#[test]
fn six_tensors_make_a_prefix_and_five_do_not() {
    for (count, prefix) in [(5, ""), (6, "net.")] {
        let keys = (0..count).map(|i| format!("net.layer.{i}.weight"));
        assert_eq!(detect_in(keys).main.prefix, prefix);
    }
}

#[test]
fn tensors_beside_the_model_are_kept() {
    let cosmos = format!(
        "blocks.0.mlp.layer1.weight, x_embedder.proj.1.weight, {}",
        rest_of("cosmos_predict2")
    );
    let keys = behind("net.", &cosmos).chain(["logvar.0.weight".to_owned()]);
    let found = detect_in(keys);
    assert!(!is_checkpoint(&found));
    assert_eq!(
        found.component_of("net.blocks.0.mlp.layer1.weight").architecture,
        "cosmos_predict2"
    );
    let stray = found.component_of("logvar.0.weight");
    assert!(keep_reason(stray.preset, "logvar.0").is_some_and(|why| why.contains("no recognised")));
}

#[test]
fn a_whole_checkpoint_falls_into_its_parts() {
    let found = detect_in(
        behind("model.diffusion_model.", "input_blocks.0.0.weight, label_emb.0.0.weight, time_embed.0.weight, input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight")
            .chain(behind(
                "conditioner.embedders.0.transformer.",
                "text_model.encoder.layers.0.mlp.fc1.weight",
            ))
            .chain(behind(
                "conditioner.embedders.1.model.",
                "transformer.resblocks.0.attn.in_proj_weight",
            ))
            .chain(behind(
                "text_encoders.t5xxl.transformer.",
                "encoder.block.23.layer.1.DenseReluDense.wi_1.weight 10240x4096, encoder.block.0.layer.0.SelfAttention.k.weight, shared.weight",
            ))
            .chain(behind("text_encoders.new.", "never.seen.weight"))
            .chain(behind("first_stage_model.", "decoder.conv_in.weight 4x4x3x3"))
            .chain(["model_ema.decay".to_owned()]),
    );
    assert!(is_checkpoint(&found));
    let part = |name: &str| {
        let part = found.component_of(name);
        (part.architecture, part.preset.name.as_str(), part.preset.refuse.is_some())
    };
    let ff = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.ff.net.2.weight";
    assert_eq!(part(ff), ("sdxl", "unet", false));
    assert_eq!(keep_reason(found.component_of(ff).preset, ff), None);
    assert_eq!(part("conditioner.embedders.0.transformer.x.weight"), ("clip_l", "clip", true));
    assert_eq!(part("conditioner.embedders.1.model.x.weight"), ("open_clip", "clip", true));
    assert_eq!(part("text_encoders.t5xxl.transformer.x.weight"), ("t5xxl", "t5xxl", false));
    assert_eq!(part("text_encoders.t5xxl.logit_scale"), ("t5xxl", "t5xxl", false));
    assert_eq!(part("text_encoders.new.never.seen.weight"), ("unknown", "unclaimed", true));
    assert_eq!(part("first_stage_model.decoder.mid.weight"), ("vae", "vae", true));
    assert_eq!(part("model_ema.decay"), ("copy", "unclaimed", true));
}

#[test]
fn a_second_model_is_found_where_a_size_tells_what_the_first_one_is() {
    let mage = "txt_norm.weight 2560, proj_out.weight 128x3072, img_in.weight, transformer_blocks.0.img_mlp.net.0.proj.weight";
    let found = detect_in(behind("model.", mage).chain(behind("model_ema.", mage)));
    assert_eq!(found.main.architecture, "mage_flow");
    let second = found.component_of("model_ema.proj_out.weight");
    assert_eq!((second.architecture, second.prefix.as_str()), ("copy", "model_ema."));
    // Averages behind any other prefix, too.
    let found = detect_in(behind("net.", mage).chain(behind("net_ema.", mage)));
    assert_eq!(found.component_of("net_ema.proj_out.weight").architecture, "copy");
}

#[test]
fn real_sentence_encoders_keep_their_tables_and_convert_the_rest() {
    let minilm = "embeddings.word_embeddings.weight 30522x384, encoder.layer.0.attention.self.query.weight 384x384, pooler.dense.weight 384x384";
    let mpnet = "embeddings.word_embeddings.weight 30527x768, encoder.layer.0.attention.attn.q.weight 768x768, encoder.relative_attention_bias.weight 32x12";
    for (keys, prefix) in [(minilm, ""), (mpnet, ""), (minilm, "bert."), (mpnet, "mpnet.")] {
        let preset = detect_in(behind(prefix, keys)).main.preset;
        assert_eq!(preset.name, "bert");
        for layer in [
            "embeddings.word_embeddings",
            "embeddings.position_embeddings",
            "pooler.dense",
            "encoder.relative_attention_bias",
            "embeddings.LayerNorm",
        ] {
            assert!(keep_reason(preset, &format!("{prefix}{layer}")).is_some(), "{layer}");
        }
        for layer in [
            "encoder.layer.0.attention.self.query",
            "encoder.layer.0.attention.attn.q",
            "encoder.layer.0.intermediate.dense",
            "encoder.layer.11.output.dense",
        ] {
            assert_eq!(keep_reason(preset, &format!("{prefix}{layer}")), None, "{layer}");
        }
    }
}

#[test]
fn language_models_keep_embeddings_heads_and_routers() {
    let keys = "model.layers.0.self_attn.q_proj.weight, model.layers.0.post_attention_layernorm.weight 2880, lm_head.weight";
    let preset = detect_in(behind("", keys)).main.preset;
    for layer in [
        "model.embed_tokens",
        "lm_head",
        "model.norm",
        "model.layers.3.input_layernorm",
        "model.layers.3.mlp.gate",
        "model.layers.3.mlp.router",
        "model.layers.3.mlp.shared_expert_gate",
        "model.layers.3.block_sparse_moe.gate",
    ] {
        assert!(keep_reason(preset, layer).is_some(), "{layer}");
    }
    for layer in [
        "model.layers.3.mlp.gate_proj",
        "model.layers.3.mlp.experts.7.down_proj",
        "model.layers.3.mlp.shared_experts.up_proj",
        "model.layers.3.mlp.shared_expert.down_proj",
    ] {
        assert_eq!(keep_reason(preset, layer), None, "{layer}");
    }
}

#[test]
fn the_rest_is_unknown_and_treated_with_care() {
    for keys in ["", "blocks.0.attn.weight", "embed.weight", ".", "weight", "model.", "net."] {
        let found = detect_in(keys.split_terminator(", ").map(str::to_owned));
        assert_eq!(
            (found.main.architecture, found.main.preset.name.as_str()),
            ("unknown", "generic")
        );
        assert!(found.main.evidence.is_empty());
    }
    let sam3 = "detector.backbone.vision_backbone.trunk.blocks.0.attn.qkv.weight, detector.transformer.decoder.query_embed.weight, tracker.x.weight";
    assert_eq!(detect_in(behind("", sam3)).main.architecture, "sam3");
    let vae = "decoder.conv_in.weight 4x4x3x3, encoder.conv_in.weight 4x4x3x3";
    assert_eq!(detect_in(behind("", vae)).main.role, Role::Vae);
}

#[test]
fn wrong_ranks_are_no_match_and_no_panic() {
    let keys =
        "cap_embedder.1.weight 3840, noise_refiner.0.attention.k_norm.weight, x_embedder.weight";
    assert_eq!(detect_in(behind("", keys)).main.architecture, "zimage");
    let keys = "encoder.layer.0.attention.self.query.weight 0";
    assert_eq!(detect_in(behind("", keys)).main.architecture, "bert");
}

/// A key that fulfils a condition, with a shape.
fn fulfilled(condition: &str) -> String {
    let first = condition.split(" | ").next().unwrap();
    if let Some((key, rank)) = first.split_once("[] = ") {
        let rank: usize = rank.parse().unwrap();
        return format!("{} {}", key.trim_start_matches('*'), vec!["64"; rank].join("x"));
    }
    if let Some((key, rest)) = first.split_once('[') {
        let (axis, size) = rest.split_once("] = ").unwrap();
        let before = "64x".repeat(axis.parse().unwrap());
        return format!("{key} {before}{size}x64");
    }
    let first = first.strip_prefix('*').map_or(first.to_owned(), |rest| format!("a{rest}"));
    // A pattern may end where a part of a name begins, or inside of one.
    first.strip_suffix('*').map(|start| format!("{start}weight")).unwrap_or(first)
}

#[test]
fn no_architecture_is_told_by_one_key() {
    for (architecture, preset) in Preset::architectures() {
        let id = architecture.id.as_str();
        let is_promised = architecture.is_known_to_comfyui
            && architecture.dialect.is_none()
            && architecture.no_codes.is_none()
            && preset.refuse.is_none()
            && matches!(preset.role, Role::DiffusionModel | Role::TextEncoder);
        // Encoders that keep all of their layers.
        if !is_promised || preset.name == "clip" || preset.name == "generic_text" {
            continue;
        }
        let conditions = architecture.conditions();
        assert!(conditions.len() >= 3, "{id}: {conditions:?}");
        let keys: Vec<String> = conditions.iter().map(|it| fulfilled(it)).collect();
        let told = |keys: &[String]| detect_in(keys.to_vec()).main.architecture;
        assert_eq!(told(&keys), id, "{keys:?}");
        for missing in 0..keys.len() {
            let mut rest = keys.clone();
            let without = rest.remove(missing);
            assert_ne!(told(&rest), id, "without {without}");
        }
        for key in &keys {
            let alone = detect_in([key.clone()]).main;
            assert!(!alone.is_known_to_comfyui || alone.no_codes.is_some(), "{id}: {key}");
        }
    }
}

/// Published models whose names are those of an encoder of ComfyUI, with other sizes.
#[test]
fn a_relative_of_an_encoder_is_not_promised_its_loader() {
    let named = |words, hidden, heads, width: u64, layers: u64, more: &str| {
        let mut keys = vec![
            format!("model.embed_tokens.weight {words}x{hidden}"),
            format!("model.layers.0.self_attn.q_proj.weight {hidden}x{hidden}"),
            format!("model.layers.0.self_attn.k_proj.weight {heads}x{hidden}"),
            format!("model.layers.0.mlp.gate_proj.weight {width}x{hidden}"),
            format!("model.layers.0.mlp.down_proj.weight {hidden}x{width}"),
        ];
        for layer in 0..layers {
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                keys.push(format!("model.layers.{layer}.{norm}.weight {hidden}"));
            }
            for norm in more.split_whitespace().filter(|it| it.ends_with("norm")) {
                keys.push(format!("model.layers.{layer}.{norm}.weight {hidden}"));
            }
            keys.push(format!("model.layers.{layer}.self_attn.v_proj.weight {heads}x{hidden}"));
            let bias = more.contains("bias");
            keys.extend(
                bias.then(|| format!("model.layers.{layer}.self_attn.k_proj.bias {heads}")),
            );
        }
        detect_in(keys).main
    };
    let gemma = "pre_feedforward_layernorm post_feedforward_layernorm";
    let gemma3 = &format!("{gemma} self_attn.q_norm");
    let of_comfyui = [
        ("llama3", named(128_256, 4096_u64, 1024_u64, 14336, 32, "")),
        ("qwen25_7b", named(152_064, 3584, 512, 18944, 28, "bias")),
        ("qwen3_8b", named(151_936, 4096, 1024, 12288, 36, "self_attn.q_norm")),
        ("mistral3_24b", named(131_072, 5120, 1024, 32768, 40, "")),
        ("ministral3_3b", named(131_072, 3072, 1024, 9216, 26, "")),
        ("gemma2_2b", named(256_000, 2304, 1024, 9216, 26, gemma)),
        ("gemma3_4b", named(262_208, 2560, 1024, 10240, 34, gemma3)),
        ("gemma3_12b", named(262_208, 3840, 2048, 15360, 48, gemma3)),
    ];
    for (id, found) in of_comfyui {
        assert_eq!(found.architecture, id);
    }
    let others = [
        ("Mistral 7B", named(32_768, 4096, 1024, 14336, 32, "")),
        ("Llama 2 13B", named(32_000, 5120, 5120, 13824, 40, "")),
        ("Mistral Nemo", named(131_072, 5120, 1024, 14336, 40, "")),
        ("Llama 3.2 3B", named(128_256, 3072, 1024, 8192, 28, "")),
        ("Qwen2.5 1.5B", named(151_936, 1536, 256, 8960, 28, "bias")),
        ("Qwen2.5 14B", named(152_064, 5120, 1024, 13824, 48, "bias")),
        ("Qwen3 32B", named(151_936, 5120, 1024, 25600, 64, "self_attn.q_norm")),
        ("Gemma 2 9B", named(256_000, 3584, 2048, 14336, 42, gemma)),
        ("Gemma 3 1B", named(262_144, 1152, 256, 6912, 26, gemma3)),
        ("Gemma 3 27B", named(262_208, 5376, 2048, 21504, 62, gemma3)),
    ];
    for (model, found) in others {
        assert!(!found.is_known_to_comfyui, "{model} is told {}", found.architecture);
    }
}

#[test]
fn models_that_share_a_key_with_one_of_comfyui_are_not_promised_its_loader() {
    for (model, keys) in [
        (
            "ChatGLM",
            "transformer.rotary_pos_emb.inv_freq 32, transformer.encoder.layers.0.self_attention.query_key_value.weight",
        ),
        (
            "Sana",
            "t_block.1.weight, y_embedder.y_proj.fc1.weight, x_embedder.proj.weight 64x32x1x1, blocks.0.cross_attn.q_linear.weight, blocks.0.mlp.inverted_conv.conv.weight 64x64x1x1",
        ),
        (
            "Open-Sora",
            "t_block.1.weight, y_embedder.y_proj.fc1.weight, x_embedder.proj.weight 64x4x1x2x2, blocks.0.cross_attn.q_linear.weight, blocks.0.mlp.fc1.weight",
        ),
        (
            "Depth Anything 2",
            "backbone.embeddings.patch_embeddings.projection.weight 64x3x14x14, backbone.encoder.layer.0.attention.attention.query.weight, head.conv1.weight 32x64x3x3",
        ),
        (
            "BAGEL",
            "vae2llm.weight, llm2vae.weight, language_model.model.layers.0.self_attn.q_proj_moe_gen.weight",
        ),
        (
            "Megatron",
            "decoder.layers.0.mlp.linear_fc1.weight, decoder.layers.0.mlp.linear_fc2.weight",
        ),
        ("a classifier", "clf.0.weight, clf.1.weight"),
        (
            "Step1X-Edit",
            "double_blocks.0.img_attn.norm.key_norm.scale 128, double_blocks.0.img_attn.qkv.weight, img_in.weight, connector.S.weight",
        ),
        ("DeepSDF", "latent_in.weight, lin0.weight"),
        ("genres", "genre_embedder.weight, fc.weight"),
        ("a ViT", "blocks.0.mlp.layer1.weight, blocks.0.mlp.layer2.weight"),
    ] {
        let found = detect_in(keys.split(", ").map(str::to_owned)).main;
        assert!(!found.is_known_to_comfyui, "{model} is told {}", found.architecture);
        // Nothing is taken off names in front of something that is not known.
        assert!(!found.is_unknown() || found.prefix.is_empty(), "{model}: {}", found.prefix);
    }
}
