//! The preset files: complete, unambiguous, neither too narrow nor too broad.

use std::collections::BTreeSet;
use std::path::Path;

use roundwise_convert::model::{Origin, Preset, Role, Shapes};

/// Why a layer keeps its precision: because the whole model does, by a rule of the preset, or by one
/// of the base list.
fn keep_reason<'a>(preset: &'a Preset, layer: &str) -> Option<&'a str> {
    let rule = || preset.keep_rule(layer).or_else(|| Preset::base().keep_rule(layer));
    preset.refuse.as_deref().or_else(|| rule().map(|rule| rule.reason.as_str()))
}

fn preset(name: &str) -> &'static Preset {
    Preset::by_name(name).unwrap()
}

#[test]
fn every_file_in_the_folder_is_a_preset() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("presets");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    assert!(Preset::all().iter().map(|preset| &preset.name).eq(&files));
}

#[test]
fn names_aliases_architectures_and_orders_are_unique() {
    let mut names = BTreeSet::new();
    for name in Preset::all().iter().flat_map(Preset::names) {
        assert!(names.insert(name), "{name}");
        assert!(name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')), "{name}");
    }
    let (mut ids, mut orders) = (BTreeSet::new(), BTreeSet::new());
    for (architecture, preset) in Preset::architectures() {
        assert!(ids.insert(&architecture.id), "{}", architecture.id);
        assert!(orders.insert(architecture.order), "{}", architecture.order);
        let is_another = |other: &Preset| other.name != preset.name;
        assert!(!Preset::by_name(&architecture.id).is_ok_and(is_another), "{}", architecture.id);
    }
}

#[test]
fn every_rule_gives_a_short_reason() {
    for preset in Preset::all() {
        let kept = preset.keep.iter().map(|rule| &rule.reason);
        let removed = preset.remove.iter().map(|rule| &rule.reason);
        for reason in kept.chain(removed).chain(&preset.refuse) {
            assert!((10..=100).contains(&reason.len()), "{preset:?}: {reason}");
            assert!(!reason.ends_with('.') && !reason.contains('\n'), "{preset:?}: {reason}");
        }
        // Two that keep everything and one whose published list is empty rely on no rule.
        let is_empty = preset.keep.is_empty() && preset.refuse.is_none();
        assert_eq!(
            is_empty,
            ["generic_text", "t5xxl"].contains(&preset.name.as_str()),
            "{preset:?}"
        );
    }
}

#[test]
fn every_published_flag_still_works() {
    for name in [
        "t5xxl",
        "mistral",
        "visual",
        "generic_text",
        "gemma4",
        "qwen35",
        "anima",
        "lens",
        "flux2",
        "distillation_large",
        "distillation_small",
        "nerf_large",
        "nerf_small",
        "radiance",
        "krea2",
        "ideogram4",
        "wan",
        "hunyuan",
        "qwen",
        "zimage",
        "zimage_refiner",
        "boogu",
        "ltxv2",
        // Older ones.
        "keep_distillation",
        "zimage_l",
        "zimage_s",
    ] {
        assert!(preset(name).names().any(|known| known == name), "{name}");
        assert_eq!(preset(&name.to_uppercase().replace('_', "-")).name, preset(name).name);
    }
    assert_eq!(preset("keep-distillation").name, preset("distillation_large").name);
    for name in ["t5xxl", "mistral", "visual", "generic_text", "gemma4", "qwen35"] {
        assert!(preset(name).is_text_encoder(), "{name}");
    }
    let unknown = Preset::by_name("flux3").unwrap_err();
    assert!(unknown.to_string().contains("`flux3`") && unknown.known.contains(&"flux2"));
}

/// One layer or more for every entry of the published lists, named like those of the models.
const PUBLISHED: &[(&str, &str)] = &[
    (
        "base",
        "blocks.0.norm1 blocks.0.attn.norm_q blocks.0.attn.q_norm blocks.0.attn.k_norm \
        norm_out.linear encoder.block.0.layer.0.SelfAttention.relative_attention_bias \
        model.embed_tokens encoder.embed_tokens model.embed_tokens_per_layer lm_head \
        model.lm_head shared patch_embedding vace_patch_embedding audio_model.patch_embedding \
        ref_conv control_adapter.conv motion_encoder.enc.net_app.convs.0 \
        face_encoder.conv1_local.conv pose_patch_embedding motion_encoder.enc.fc.0 \
        img_emb.proj.1 motion_encoder.dec.direction head.modulation \
        casual_audio_encoder.encoder.final_linear cond_encoder frame_packer.proj tekken_model \
        multi_modal_projector.linear_1 vision_tower.patch_conv vision_tower.ln_pre \
        model.layers.0.input_layernorm layers.0.attention_norm1 \
        model.layers.0.post_attention_layernorm multi_modal_projector.mm_input_projection_weight \
        transformer.h.0.layer_norm encoder.layer.0.LayerNorm",
    ),
    (
        "visual",
        "visual.blocks.0.mlp.down_proj model.visual.blocks.31.mlp.up_proj blocks.3.mlp.gate_proj \
        vision_tower.transformer.layers.0.mlp.gate_proj",
    ),
    (
        "gemma4",
        "model.audio_tower.layers.0.proj model.embed_audio.embedding_projection \
        model.layers.0.per_layer_input_gate model.layers.0.per_layer_projection \
        model.per_layer_model_projection vision_model.encoder.layers.0.mlp.fc1 \
        model.vision_tower.blocks.0 model.embed_vision.embedding_projection \
        multi_modal_projector.x",
    ),
    (
        "qwen35",
        "model.language_model.layers.0.mlp.up_proj \
        model.language_model.layers.63.self_attn.q_proj lm_head \
        model.language_model.embed_tokens model.language_model.layers.4.linear_attn.in_proj_a \
        model.language_model.layers.4.linear_attn.in_proj_b model.visual.pos_embed \
        model.visual.patch_embed.proj model.visual.merger.linear_fc1 mtp.fc \
        model.visual.blocks.0.attn.qkv",
    ),
    (
        "anima",
        "net.blocks.0.mlp.layer1 net.blocks.1.adaln_modulation_mlp.1 net.final_layer.linear \
        net.llm_adapter.blocks.4.mlp.0 net.t_embedder.1.linear_1 net.x_embedder.proj.1 \
        blocks.0.mlp.layer1 model.diffusion_model.blocks.0.mlp.layer1",
    ),
    (
        "lens",
        "time_text_embed.timestep_embedder.linear_1 img_in norm_out.linear proj_out \
        transformer_blocks.9.img_mod.1 transformer_blocks.9.txt_mod.1 txt_in",
    ),
    (
        "flux2",
        "double_stream_modulation_img.lin double_stream_modulation_txt.lin \
        single_stream_modulation.lin guidance_in.in_layer time_in.in_layer final_layer.linear \
        img_in txt_in",
    ),
    (
        "distillation_large",
        "distilled_guidance_layer.layers.0.in_layer final_layer.linear img_in txt_in",
    ),
    ("distillation_small", "distilled_guidance_layer.out_proj"),
    (
        "nerf_large",
        "distilled_guidance_layer.in_proj nerf_blocks.0.param_generator \
        nerf_image_embedder.embedder.0 txt_in double_blocks.0.img_attn.proj \
        double_blocks.0.txt_attn.proj",
    ),
    (
        "nerf_small",
        "distilled_guidance_layer.in_proj nerf_blocks.0.param_generator \
        nerf_image_embedder.embedder.0",
    ),
    ("radiance", "img_in_patch nerf_final_layer_conv.conv __x0__"),
    ("chroma_radiance", "img_in_patch nerf_final_layer_conv.conv nerf_final_layer.linear txt_in"),
    (
        "krea2",
        "first last.linear last.modulation.lin tmlp.0 tmlp.2 tproj.1 txtmlp.1 txtmlp.3 \
        txtfusion.projector txtfusion.layerwise_blocks.0.attn.wq \
        model.diffusion_model.last.linear",
    ),
    (
        "ideogram4",
        "embed_image_indicator t_embedding.mlp_in llm_cond_proj adaln_proj final_layer.linear \
        input_proj",
    ),
    (
        "wan",
        "text_embedding.0 time_embedding.2 audio_model.text_embedding.0 casual_audio_encoder.x \
        frame_packer.x trainable_cond_mask cond_encoder.x audio_model.time_embedding.0 \
        time_projection.1 video_model.time_projection.1 head.head face_encoder.out_proj \
        face_adapter.fuser_blocks.0.linear1_kv audio_injector.injector.0.q",
    ),
    (
        "hunyuan",
        "double_blocks.0.img_attn_k_norm double_blocks.0.txt_attn_q_norm \
        txt_in.individual_token_refiner.blocks.0.norm2 byt5_in.layernorm vision_in.proj.0 \
        vision_in.proj.4 img_in.proj cond_type_embedding",
    ),
    (
        "qwen",
        "transformer_blocks.3.attn.norm_added_k txt_norm \
        time_text_embed.timestep_embedder.linear_2 img_in norm_out.linear proj_out \
        transformer_blocks.0.img_mod.1 txt_in",
    ),
    (
        "zimage",
        "cap_embedder.0 cap_embedder.1 cap_pad_token layers.0.attention_norm1 layers.0.ffn_norm2 \
        layers.0.attention.k_norm x_pad_token x_embedder clip_text_pooled_proj.0 \
        final_layer.adaLN_modulation.1 layers.0.adaLN_modulation.0 t_embedder.mlp.0 \
        time_text_embed.0",
    ),
    (
        "zimage_refiner",
        "cap_embedder.0 x_pad_token context_refiner.0.feed_forward.w1 \
        noise_refiner.1.attention.qkv",
    ),
    (
        "boogu",
        "image_index_embedding ref_image_patch_embedder time_caption_embed.caption_embedder.1 \
        x_embedder norm_out.linear_1 norm_out.linear_2",
    ),
    (
        "ltxv2",
        "scale_shift_table text_embedding_projection.aggregate_embed audio_vae.decoder.conv_in \
        audio_embeddings_connector.x adaln_single.linear audio_adaln_single.linear \
        audio_patchify_proj audio_proj_out audio_prompt_adaln_single.linear \
        av_ca_a2v_gate_adaln_single.linear av_ca_audio_scale_shift_adaln_single.linear \
        av_ca_v2a_gate_adaln_single.linear av_ca_video_scale_shift_adaln_single.linear \
        patchify_proj proj_out prompt_adaln_single.linear \
        model.diffusion_model.transformer_blocks.0.attn1.to_q transformer_blocks.1.ff.net.2 \
        transformer_blocks.46.ff.net.2 transformer_blocks.47.ff.net.2 \
        video_embeddings_connector.x vae.decoder.x vae.encoder.x vocoder.x \
        transformer_blocks.9.attn1.to_gate_logits",
    ),
];

#[test]
fn every_entry_of_the_published_lists_is_kept() {
    for (name, layers) in PUBLISHED {
        for layer in layers.split_whitespace() {
            assert!(keep_reason(preset(name), layer).is_some(), "{name}: {layer}");
            assert!(
                keep_reason(preset(name), &format!("{layer}.weight")).is_some(),
                "{name}: {layer}"
            );
        }
    }
}

/// Layers that the published substrings kept by accident.
const TOO_BROAD: &[(&str, &str, &str)] = &[
    // (preset, published substring, layer that it kept and that is now converted)
    ("base", "shared", "model.layers.0.mlp.shared_expert.up_proj"),
    ("base", "shared", "model.layers.0.mlp.shared_experts.down_proj"),
    ("base", "bias", "blocks.0.debias_proj"),
    ("base", "norm", "normal_map.proj"),
    ("base", "norm", "blocks.0.normalizer"),
    ("base", "cond_encoder", "second_encoder.layers.0.fc"),
    ("base", "head.modulation", "multihead.modulation.proj"),
    ("base", "control_adapter", "my_control_adapters.0.fc"),
    ("visual", "mlp.down_proj", "model.layers.3.mlp.down_proj"),
    ("visual", "mlp.gate_proj", "model.language_model.layers.3.mlp.gate_proj"),
    ("gemma4", "vision", "model.layers.0.supervision_proj"),
    ("gemma4", "vision", "model.layers.0.revisions.fc"),
    ("qwen35", "in_proj_a", "model.language_model.layers.4.linear_attn.in_proj_all"),
    ("anima", "t_embedder", "context_embedder.fc"),
    ("flux2", "time_in", "runtime_inputs.fc"),
    ("flux2", "img_in", "ref_img_index.fc"),
    ("distillation_large", "final_layer", "blocks.0.not_final_layers.fc"),
    ("krea2", "las", "blocks.3.classifier.fc"),
    ("krea2", "las", "atlas.fc"),
    ("krea2", "las", "blocks.3.last.fc"),
    ("krea2", "firs", "blocks.3.first.fc"),
    ("krea2", "tpro", "blocks.3.outproj.0"),
    ("krea2", "tml", "blocks.3.textmlp.0"),
    ("ideogram4", "t_embedding", "layers.0.text_embedding.fc"),
    ("ideogram4", "input_proj", "layers.0.mm_input_projection.fc"),
    ("wan", "head.head", "blocks.0.multihead.head"),
    ("wan", "time_embedding", "blocks.0.time_embeddings_mixer"),
    ("hunyuan", "vision_in.proj.0", "division_in.proj.0"),
    ("qwen", "proj_out", "transformer_blocks.3.mlp.proj_out"),
    ("qwen", "transformer_blocks.0.img_mod.1", "single_transformer_blocks.0.img_mod.1"),
    ("qwen", "transformer_blocks.0.img_mod.1", "transformer_blocks.0.img_mod.10"),
    ("lens", "img_mod.1", "transformer_blocks.0.img_mod.12"),
    ("zimage", "t_embedder", "text_embedders.fc"),
    ("zimage", "cap_embedder.1", "cap_embedder.12"),
    ("boogu", "x_embedder", "suffix_embedders.fc"),
    ("ltxv2", "proj_out", "transformer_blocks.9.ff.proj_out"),
    ("ltxv2", "transformer_blocks.1.", "connector.transformer_blocks.1.ff.net.2"),
    // Never published, and tempting: a full matrix in gated networks without experts.
    ("krea2", "mlp.gate", "blocks.3.mlp.gate"),
    ("krea2", "attn.gate", "blocks.3.attn.gate"),
    ("generic", "mlp.gate", "blocks.3.mlp.gate"),
];

#[test]
fn what_the_published_substrings_kept_by_accident_is_converted() {
    for &(name, substring, layer) in TOO_BROAD {
        assert!(layer.contains(substring) || substring.ends_with('.'), "{substring}: {layer}");
        assert_eq!(keep_reason(preset(name), layer), None, "{name}: {layer}");
    }
}

#[test]
fn the_bulk_of_every_model_is_converted() {
    for (name, layers) in [
        (
            "flux",
            "double_blocks.0.img_attn.qkv double_blocks.0.img_mod.lin single_blocks.37.linear1",
        ),
        ("flux2", "double_blocks.0.img_mlp.0 single_blocks.0.linear2"),
        ("chroma", "double_blocks.0.img_attn.proj single_blocks.37.linear1"),
        ("chroma_radiance", "double_blocks.0.img_mlp.0 single_blocks.0.linear2"),
        ("sd3", "joint_blocks.0.context_block.attn.qkv joint_blocks.0.x_block.adaLN_modulation.1"),
        ("wan", "blocks.0.self_attn.q blocks.39.ffn.0"),
        (
            "hunyuan",
            "double_blocks.0.img_attn_qkv single_blocks.0.linear1 \
            txt_in.individual_token_refiner.blocks.0.mlp.fc1",
        ),
        (
            "qwen",
            "transformer_blocks.1.img_mod.1 transformer_blocks.0.txt_mod.1 \
            transformer_blocks.0.attn.to_out.0",
        ),
        ("lens", "transformer_blocks.0.img_mlp.w1"),
        ("zimage", "layers.0.feed_forward.w1 noise_refiner.0.attention.qkv"),
        (
            "anima",
            "blocks.1.mlp.layer1 net.blocks.10.self_attn.q_proj blocks.2.adaln_modulation_mlp.1",
        ),
        ("krea2", "blocks.0.attn.wq blocks.0.mlp.down"),
        ("ltxv2", "transformer_blocks.2.attn1.to_q transformer_blocks.10.ff.net.2"),
        ("unet", "input_blocks.1.1.transformer_blocks.0.attn1.to_q output_blocks.0.1.proj_out"),
        (
            "hidream",
            "double_stream_blocks.0.block.ff_i.shared_experts.w1 \
            double_stream_blocks.0.block.ff_i.experts.0.w1",
        ),
        (
            "t5xxl",
            "encoder.block.0.layer.0.SelfAttention.q encoder.block.23.layer.1.DenseReluDense.wi_1",
        ),
        ("qwen_vl", "model.layers.0.mlp.gate_proj visual.blocks.0.attn.qkv"),
        ("generic", "blocks.0.attn.qkv embedder.encoder.layers.0.attn.q layers.0.mlp.output"),
    ] {
        for layer in layers.split_whitespace() {
            assert_eq!(keep_reason(preset(name), layer), None, "{name}: {layer}");
        }
    }
}

#[test]
fn an_unrecognised_model_keeps_its_ends() {
    for layer in [
        "x_embedder",
        "net.t_embedder.mlp.0",
        "embeddings.word_embeddings",
        "wte",
        "emb",
        "tok_emb",
        "pos_embed",
        "model.proj_in",
        "model.diffusion_model.proj_out",
        "head",
        "final_layer.adaLN_modulation.1",
        "blocks.0.modulation.1",
        "layers.0.router",
        "layers.0.block_sparse_moe.gate",
        "classifier",
        "out.2",
        "blocks.0.norm1.linear",
    ] {
        assert!(keep_reason(preset("generic"), layer).is_some(), "{layer}");
    }
}

#[test]
fn a_decoder_is_removed_only_beside_the_encoder_of_a_t5() {
    let shape = &[4, 4][..];
    let t5: Shapes<'_> = [
        ("te.encoder.block.0.layer.0.SelfAttention.k.weight", shape),
        ("te.decoder.block.0.layer.0.SelfAttention.k.weight", shape),
        ("te.lm_head.weight", shape),
        ("vae.decoder.conv_in.weight", shape),
    ]
    .into_iter()
    .collect();
    let removes = |name: &str| preset("t5xxl").remove_reason(name, &t5).is_some();
    assert!(removes("te.decoder.block.0.layer.0.SelfAttention.k.weight"));
    assert!(removes("te.lm_head.weight"));
    assert!(!removes("te.encoder.block.0.layer.0.SelfAttention.k.weight"));
    assert!(!removes("vae.decoder.conv_in.weight"));
    assert!(!removes("lm_head.weight"));

    let llm: Shapes<'_> = [("model.decoder.layers.0.fc1.weight", shape), ("lm_head.weight", shape)]
        .into_iter()
        .collect();
    for name in llm.names() {
        assert_eq!(preset("t5xxl").remove_reason(name, &llm), None, "{name}");
        assert_eq!(preset("llm").remove_reason(name, &llm), None, "{name}");
    }
}

#[test]
fn probes_are_the_layers_whose_shape_a_loader_looks_at() {
    for (name, layers) in [
        ("flux", "img_in vector_in.in_layer"),
        ("chroma", "model.diffusion_model.txt_in"),
        ("wan", "head.head blocks.0.ffn.0 patch_embedding"),
        ("qwen", "img_in"),
        ("zimage", "cap_embedder.1 x_embedder"),
        ("hunyuan", "final_layer.linear txt_in.input_embedder vision_in.proj.0"),
        ("ltxv2", "transformer_blocks.0.attn2.to_k"),
        ("ideogram4", "input_proj"),
        ("krea2", "first blocks.0.attn.wq blocks.0.attn.wk txtfusion.projector"),
        ("minimax_h3", "blocks.0.attn.qkv_proj blocks.0.mlp.fc1 condition_proj"),
        ("sd3", "x_embedder.proj y_embedder.mlp.0 context_embedder final_layer.linear"),
        ("anima", "x_embedder.proj.1"),
        ("cosmos", "net.x_embedder.proj.1"),
        (
            "kandinsky",
            "visual_transformer_blocks.0.feed_forward.in_layer visual_embeddings.in_layer",
        ),
        ("boogu", "x_embedder time_caption_embed.caption_embedder.0"),
        ("cogvideox", "blocks.0.norm1.linear patch_embed.proj"),
        ("unet", "input_blocks.4.1.transformer_blocks.0.attn2.to_k"),
        ("t5xxl", "encoder.block.23.layer.1.DenseReluDense.wi_1"),
    ] {
        for layer in layers.split_whitespace() {
            assert!(preset(name).is_probe(layer), "{name}: {layer}");
            assert!(preset(name).is_probe(&format!("{layer}.weight")), "{name}: {layer}");
        }
    }
    assert!(!preset("krea2").is_probe("blocks.1.attn.wq"));
    assert!(!preset("wan").is_probe("blocks.10.ffn.0"));
}

#[test]
fn a_refusing_preset_keeps_every_layer_for_its_own_reason() {
    for name in ["clip", "vae", "unclaimed"] {
        let refusal = preset(name).refuse.as_deref();
        assert_eq!(keep_reason(preset(name), "any.layer"), refusal);
        assert!(refusal.is_some());
    }
}

/// The table of `docs/presets.md`, from the presets themselves.
fn documented() -> String {
    let mut table = String::from("| preset | for | recognises | rules |\n|---|---|---|---|\n");
    for preset in Preset::all() {
        let ids: Vec<_> =
            preset.recognises().map(|architecture| architecture.id.as_str()).collect();
        let names: Vec<_> = preset.names().map(|name| format!("`{name}`")).collect();
        let count = |origin| preset.keep.iter().filter(|rule| rule.origin == origin).count();
        let rules = match (count(Origin::Published), count(Origin::Derived)) {
            _ if preset.refuse.is_some() => "keeps everything".to_owned(),
            (0, 0) => "base only".to_owned(),
            (published, 0) => format!("{published} published"),
            (0, derived) => format!("{derived} derived"),
            (published, derived) => format!("{published} published, {derived} derived"),
        };
        let (names, ids) = (names.join(" "), ids.join(", "));
        table += &format!("| {names} | {} | {ids} | {rules} |\n", preset.title);
    }
    table
}

#[test]
fn the_manual_lists_every_preset() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/presets.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let table = documented();
    assert!(manual.contains(&table), "docs/presets.md should hold:\n\n{table}");
}

#[test]
fn roles_are_told() {
    let unknown: Vec<_> = Preset::all().iter().filter(|p| p.role == Role::Unknown).collect();
    assert_eq!(
        unknown.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(),
        ["base", "generic", "unclaimed"]
    );
}

/// The words in backticks of a cell.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_document_of_dialects_lists_every_table_with_its_dialect_and_architectures() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(folder.join("../../docs/dialects.md")).unwrap();
    let mut rows = std::collections::BTreeMap::new();
    for row in document.lines().filter_map(|line| line.strip_prefix("| `")) {
        let row = format!("`{row}");
        let cells: Vec<&str> = row.split(" | ").collect();
        let (dialect, architectures) = (cells[1].to_owned(), quoted(cells[2]).join(" "));
        let told = (dialect, architectures);
        rows.extend(quoted(cells[0]).iter().map(|name| ((*name).to_owned(), told.clone())));
    }
    let mut tables = vec![];
    for entry in std::fs::read_dir(folder.join("dialects")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let table: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let (dialect, architectures) = rows.get(&name).unwrap_or_else(|| panic!("no row: {name}"));
        let expected = match table["dialect"].as_str().unwrap() {
            "original" => "the model's own",
            "llama-cpp" => "llama.cpp",
            other => other,
        };
        assert_eq!(dialect, expected, "{name}");
        for key in ["architectures", "general_architectures"] {
            for id in table.get(key).and_then(toml::Value::as_array).into_iter().flatten() {
                let id = id.as_str().unwrap();
                assert!(architectures.split(' ').any(|told| told == id), "{name}: {id}");
            }
        }
        tables.push(name);
    }
    tables.sort();
    assert_eq!(rows.into_keys().collect::<Vec<_>>(), tables);
}
