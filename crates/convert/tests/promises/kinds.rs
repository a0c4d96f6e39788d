//! Kinds of files × consumers: what opens codes, what is refused, and what nobody knows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use roundwise_convert::layout::Layout;
use roundwise_convert::model::{AdapterKind, Dialect, FileKind, KindRule, detect};
use roundwise_convert::plan::Limits;
use roundwise_convert::source::Opens;
use roundwise_convert::{ConvertError, Plan, PlanRequest, Recipe, RecipeFile, Source};
use roundwise_testkit::files::{Tensor, safetensors, safetensors_with_metadata};

/// ComfyUI's answer about a file in codes.
#[derive(Debug, PartialEq)]
enum Answer {
    Yes,
    No,
    NotKnown,
}

use Answer::{No, NotKnown, Yes};

/// `name 4x64` is one tensor; without a shape it is a matrix of 32 × 32.
fn file(keys: &str) -> Vec<u8> {
    let tensor = |key: &str| {
        let (name, shape) = key.split_once(' ').unwrap_or((key, "32x32"));
        let shape: Vec<usize> = shape.split('x').map(|size| size.parse().unwrap()).collect();
        let elements: usize = shape.iter().product();
        Tensor::new(name, "BF16", &shape, vec![0; 2 * elements])
    };
    let keys: BTreeSet<&str> = keys.split(", ").chain(["proj_a.weight", "proj_b.weight"]).collect();
    safetensors(&keys.into_iter().map(tensor).collect::<Vec<_>>())
}

fn opened(bytes: &[u8]) -> (tempfile::TempDir, Source) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let source = Source::open(&path).unwrap();
    (folder, source)
}

fn planned(source: &Source, file: RecipeFile) -> Result<Plan, ConvertError> {
    let recipe = Recipe::check(file).unwrap();
    let source = Source::open_with(source.checkpoint.path(), &recipe)?;
    Plan::decide(&PlanRequest::new(&source, &recipe))
}

/// Names stay: these files are no whole models that could be translated.
fn scheme(name: &str) -> RecipeFile {
    let names = Some("keep".to_owned());
    RecipeFile { scheme: Some(name.to_owned()), names, ..RecipeFile::default() }
}

const FLUX: &str = "double_blocks.0.img_attn.norm.key_norm.scale 32, double_blocks.0.img_attn.qkv.weight, img_in.weight, vector_in.in_layer.weight";

/// Id, kind, keys, and what ComfyUI makes of codes.
fn rows() -> Vec<(&'static str, FileKind, String, Answer)> {
    use AdapterKind::{Boft, Diff, DoRa, GLoRa, LoHa, LoKr, LoRa, Oft, Other};
    use FileKind::{
        Adapter, Checkpoint, ControlNet, DiffusionModel, LanguageModel, SideModel, TextEncoder,
        TextualInversion, TrainingCheckpoint, Unknown, Upscaler, Vae,
    };
    let t5 = "encoder.block.0.layer.0.SelfAttention.k.weight, shared.weight";
    let unet = "input_blocks.0.0.weight 32x4x3x3, time_embed.0.weight, input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight";
    let qwen = "img_in.weight, txt_norm.weight 32, transformer_blocks.0.img_mlp.net.0.proj.weight";
    let zimage = "noise_refiner.0.attention.k_norm.weight 8, cap_embedder.1.weight 3840x8, x_embedder.weight";
    let row = |id, kind, keys: &str, answer| (id, kind, keys.to_owned(), answer);
    let mut rows = vec![
        row("flux", DiffusionModel, FLUX, Yes),
        row("sd1_sd2", DiffusionModel, unet, Yes),
        row("qwen_image", DiffusionModel, qwen, Yes),
        row("zimage", DiffusionModel, zimage, Yes),
        row("t5_base", TextEncoder, t5, No),
        row(
            "byt5_small_glyph",
            TextEncoder,
            "encoder.block.0.layer.0.SelfAttention.k.weight 384x8",
            No,
        ),
        row("clip_l", TextEncoder, "text_model.encoder.layers.0.mlp.fc1.weight", No),
        row(
            "clip_text",
            TextEncoder,
            "encoder.layers.0.mlp.fc1.weight, embeddings.token_embedding.weight, embeddings.position_embedding.weight",
            No,
        ),
        row("jina_clip_2", TextEncoder, "model.encoder.layers.0.mixer.Wqkv.weight", No),
        row("t5_gemma", TextEncoder, "model.encoder.layers.0.pre_self_attn_layernorm.weight 8", No),
        row("bert", TextEncoder, "encoder.layer.0.attention.self.query.weight", NotKnown),
        row("llm", LanguageModel, "model.layers.0.self_attn.q_proj.weight", NotKnown),
        row("llama_cpp", LanguageModel, "token_embd.weight, blk.0.attn_q.weight", NotKnown),
        row("vae", Vae, "decoder.conv_in.weight 4x4x3x3, encoder.conv_in.weight 4x4x3x3", No),
        row("unknown", Unknown, "blocks.0.attn.weight", NotKnown),
        row(
            "flux",
            Checkpoint,
            &behind("model.diffusion_model.", FLUX, &format!("text_encoders.t5xxl.{t5}")),
            Yes,
        ),
        row(
            "training_checkpoint",
            TrainingCheckpoint,
            &format!("{FLUX}, optimizer.state.0.exp_avg"),
            No,
        ),
        // Look-alikes.
        row(
            "control_lora",
            ControlNet,
            &format!("{unet}, lora_controlnet, a.weight.up, a.weight.down"),
            No,
        ),
        row(
            "controlnet_zimage",
            ControlNet,
            &format!(
                "{zimage}, control_layers.0.attention.qkv.weight, control_all_x_embedder.2-1.weight"
            ),
            No,
        ),
        row(
            "controlnet_flux_xlabs",
            ControlNet,
            &format!("{FLUX}, controlnet_blocks.0.weight, input_hint_block.0.weight 8x3x3x3"),
            No,
        ),
        row(
            "controlnet_qwen_image",
            ControlNet,
            &format!("{qwen}, controlnet_blocks.0.weight, controlnet_x_embedder.weight"),
            No,
        ),
        row(
            "controlnet_union_flux",
            ControlNet,
            "controlnet_mode_embedder.weight, controlnet_x_embedder.weight, transformer_blocks.0.attn.add_q_proj.weight",
            No,
        ),
        row(
            "controlnet_flux",
            ControlNet,
            "controlnet_x_embedder.weight, transformer_blocks.0.attn.add_q_proj.weight, single_transformer_blocks.0.attn.to_q.weight, context_embedder.weight, x_embedder.weight",
            No,
        ),
        row(
            "controlnet_mmdit",
            ControlNet,
            "controlnet_blocks.0.weight, transformer_blocks.0.attn.to_q.weight",
            No,
        ),
        row(
            "controlnet_diffusers",
            ControlNet,
            "controlnet_cond_embedding.conv_in.weight 8x3x3x3, conv_in.weight 8x4x3x3, time_embedding.linear_1.weight, down_blocks.0.resnets.0.conv1.weight 8x8x3x3",
            No,
        ),
        row(
            "controlnet_union_sdxl",
            ControlNet,
            "task_embedding, control_add_embedding.linear_1.weight, input_blocks.0.0.weight 8x4x3x3",
            No,
        ),
        row(
            "controlnet_sd",
            ControlNet,
            &behind("control_model.", unet, "control_model.zero_convs.0.0.weight 8x8x1x1"),
            No,
        ),
        row("controlnet_hunyuan_dit", ControlNet, "mlp_t5.0.weight, after_proj_list.0.weight", No),
        row(
            "controlnet_wan",
            ControlNet,
            "controlnet_patch_embedding.weight 8x4x1x2x2, blocks.0.ffn.0.weight",
            No,
        ),
        row(
            "controlnet_hint",
            ControlNet,
            &format!("{unet}, input_hint_block.0.weight 8x3x3x3"),
            No,
        ),
        row("t2i_adapter", ControlNet, "adapter.body.0.resnets.0.block1.weight 8x8x3x3", No),
        row("ip_adapter", SideModel, "image_proj.proj.weight, ip_adapter.1.to_k_ip.weight", No),
        row(
            "pulid",
            SideModel,
            "pulid_ca.0.to_q.weight, pulid_encoder.id_embedding_mapping.0.weight",
            No,
        ),
        row("photomaker", SideModel, "id_encoder.visual_projection_2.weight", No),
        row(
            "clip_vision",
            SideModel,
            "vision_model.encoder.layers.0.mlp.fc1.weight, vision_model.embeddings.class_embedding 8",
            No,
        ),
        row(
            "siglip",
            SideModel,
            "vision_model.encoder.layers.0.mlp.fc1.weight, vision_model.embeddings.patch_embedding.weight 8x3x2x2",
            No,
        ),
        row(
            "siglip",
            SideModel,
            "encoder.layers.0.layer_norm1.weight 8, encoder.layers.0.mlp.fc1.weight, embeddings.patch_embedding.weight 8x3x2x2",
            No,
        ),
        row(
            "dino",
            SideModel,
            "encoder.layer.0.attention.attention.query.weight, embeddings.cls_token 1x1x8",
            No,
        ),
        row(
            "dino_original",
            SideModel,
            "cls_token 1x1x8, blocks.0.ls1.gamma 8, blocks.0.attn.qkv.weight",
            No,
        ),
        row("redux", SideModel, "redux_up.weight, redux_down.weight", No),
        row(
            "style_model",
            SideModel,
            "style_embedding 1x8x8, transformer_layes.0.attn.in_proj_weight",
            No,
        ),
        row(
            "wav2vec2",
            SideModel,
            "feature_extractor.conv_layers.0.conv.weight 8x1x10, encoder.layers.0.attention.q_proj.weight",
            No,
        ),
        row(
            "whisper",
            SideModel,
            "model.encoder.conv1.weight 8x80x3, model.encoder.embed_positions.weight, model.encoder.layers.0.self_attn.q_proj.weight",
            No,
        ),
        row(
            "gligen",
            SideModel,
            "position_net.linears.0.weight, input_blocks.1.1.transformer_blocks.0.fuser.linear.weight",
            No,
        ),
        row(
            "motion_module",
            SideModel,
            "down_blocks.0.motion_modules.0.temporal_transformer.proj_in.weight",
            No,
        ),
        row("textual_inversion", TextualInversion, "emb_params 4x768", No),
        row("textual_inversion_sdxl", TextualInversion, "clip_l 4x768, clip_g 4x1280", No),
        row(
            "esrgan",
            Upscaler,
            "model.0.weight 8x3x3x3, model.1.sub.0.RDB1.conv1.0.weight 8x8x3x3",
            No,
        ),
        row(
            "swinir",
            Upscaler,
            "conv_first.weight 8x3x3x3, layers.0.residual_group.blocks.0.attn.qkv.weight",
            No,
        ),
        row("dat", Upscaler, "before_RG.1.weight 8, layers.0.blocks.0.attn.qkv.weight", No),
        row("upscaler", Upscaler, "conv_first.weight 8x3x3x3, conv_last.weight 3x8x3x3", No),
        row(
            "compact",
            Upscaler,
            "body.0.weight 8x3x3x3, body.1.weight 8, body.2.weight 8x8x3x3",
            No,
        ),
        row(
            "latent_upsampler",
            Upscaler,
            "initial_conv.weight 8x8x3x3x3, res_blocks.0.conv1.weight 8x8x3x3x3, upsampler.0.weight 8x8x3x3",
            No,
        ),
        row(
            "controlnet_lllite",
            ControlNet,
            "lllite_unet_input_blocks_4_1_attn1_to_q.down.0.weight",
            No,
        ),
        row("taesd", Vae, "1.weight 64x4x3x3, 3.conv.0.weight 64x64x3x3", No),
        row(
            "taesd",
            Vae,
            "encoder.layers.0.weight 8x3x3x3, encoder.layers.1.conv.0.weight 8x8x3x3",
            No,
        ),
        row(
            "wan_vae",
            Vae,
            "conv1.weight 8x8x1x1x1, decoder.middle.0.residual.0.gamma 8x1x1x1",
            No,
        ),
        row("mmproj", SideModel, "v.blk.0.attn_q.weight, v.patch_embd.weight, mm.0.weight", No),
        row(
            "segment_anything",
            SideModel,
            "image_encoder.blocks.0.attn.qkv.weight, prompt_encoder.no_mask_embed.weight, mask_decoder.iou_token.weight",
            No,
        ),
        row(
            "lora_llama_cpp",
            Adapter(LoRa),
            "blk.0.attn_q.weight.lora_a, blk.0.attn_q.weight.lora_b",
            No,
        ),
        row("other_adapter", Adapter(Other), "base_model.model.a.vera_lambda_b 8", No),
        row("dora", Adapter(DoRa), "a.lora_A.weight, a.lora_B.weight, a.dora_scale 32", No),
        row("loha", Adapter(LoHa), "a.hada_w1_a, a.hada_w1_b, a.hada_w2_a, a.hada_w2_b", No),
        row("lokr", Adapter(LoKr), "a.lokr_w1, a.lokr_w2_a, a.lokr_w2_b", No),
        row("boft", Adapter(Boft), "a.oft_blocks 2x2x4x4, a.alpha 1", No),
        row("oft", Adapter(Oft), "a.oft_blocks 2x4x4, a.alpha 1", No),
        row("glora", Adapter(GLoRa), "a.a1.weight, a.a2.weight, a.b1.weight, a.b2.weight", No),
        row("diff", Adapter(Diff), "diffusion_model.a.diff, diffusion_model.a.diff_b 32", No),
    ];
    let loras = [
        "lora_unet_a.lora_down.weight, lora_unet_a.lora_up.weight",
        "base_model.model.a.lora_A.weight, base_model.model.a.lora_B.weight",
        "unet.a.processor.to_q_lora.up.weight, unet.a.processor.to_q_lora.down.weight",
        "unet.a.to_q.lora_linear_layer.up.weight, unet.a.to_q.lora_linear_layer.down.weight",
        "a.lora_A, a.lora_B",
        "a.lora_A.my_style.weight, a.lora_B.my_style.weight",
        "base_model.model.a.lora_embedding_A, base_model.model.a.lora_embedding_B",
    ];
    rows.extend(loras.map(|keys| row("lora", Adapter(LoRa), keys, No)));
    rows
}

/// Keys behind a prefix, with enough others for it to count, and keys beside them.
fn behind(prefix: &str, keys: &str, beside: &str) -> String {
    let others = (0..6).map(|i| format!("something.{i}.weight"));
    let keys = keys.split(", ").map(str::to_owned).chain(others);
    let keys: Vec<String> = keys.map(|key| format!("{prefix}{key}")).collect();
    format!("{}, {beside}", keys.join(", "))
}

#[test]
fn every_kind_is_told_and_no_program_is_promised_codes_that_it_does_not_open() {
    for (id, kind, keys, expected) in rows() {
        let (_folder, source) = opened(&file(&keys));
        let subject = source.subject();
        assert_eq!((subject.detected.main.architecture, subject.kind()), (id, kind), "{keys}");
        let answer = match subject.opens("fp8".parse().unwrap(), Layout::Comfy) {
            Opens::Yes { program } => {
                // The first that finds markers: in the header, there of a text encoder, in tensors.
                let first = match kind {
                    FileKind::TextEncoder | FileKind::LanguageModel => "0.3.72",
                    FileKind::Checkpoint => "0.3.77",
                    _ => "0.3.68",
                };
                assert_eq!(program, format!("ComfyUI {first} or newer"), "{id}");
                Yes
            }
            Opens::No { reason, way_out } => {
                assert!(reason.len() > 20 && way_out.len() > 10, "{id}: {reason}; {way_out}");
                No
            }
            not_known @ Opens::NotKnown { .. } => {
                let text = not_known.to_string();
                assert!(!text.contains("opened by") && !text.contains("newer"), "{id}: {text}");
                NotKnown
            }
        };
        assert_eq!(answer, expected, "{id}");
        let with_node = subject.opens("int8-block-128".parse().unwrap(), Layout::Comfy);
        assert_eq!(with_node.program().is_some(), expected == Yes, "{id}: {with_node}");

        let refused = planned(&source, scheme("fp8"));
        assert_eq!(matches!(refused, Err(ConvertError::Refused { .. })), expected == No, "{id}");
        // Plain numbers are open to all of them, and so is whoever insists.
        for file in
            [scheme("fp16"), RecipeFile { kind: Some("unknown".to_owned()), ..scheme("fp8") }]
        {
            assert!(planned(&source, file).is_ok(), "{id}");
        }
    }
}

#[test]
fn nothing_in_several_files_is_promised_to_programs_that_open_one() {
    let (_folder, source) = opened(&file(FLUX));
    let recipe = Recipe::check(scheme("fp8")).unwrap();
    let answer = |shard_bytes| {
        let limits = Limits { shard_bytes, ..Limits::default() };
        let request = PlanRequest { limits, ..PlanRequest::new(&source, &recipe) };
        let answers = Plan::decide(&request).unwrap().consumers();
        answers.into_iter().map(|it| it.answer.to_string()).collect::<Vec<_>>()
    };
    let one_file = ["opened by ComfyUI 0.3.68 or newer"];
    assert_eq!(answer(None), one_file);
    // A folder that holds one file is opened by it.
    assert_eq!(answer(Some(1 << 30)), one_file);
    let several = answer(Some(1));
    assert!(
        several[0].starts_with("not to be opened: ComfyUI loads a model from one"),
        "{several:?}"
    );
}

#[test]
fn textual_inversions_are_told_by_words_in_brackets() {
    let vectors = Tensor::new("<my-style>", "BF16", &[2, 4], vec![0; 16]);
    let (_folder, source) = opened(&safetensors(&[vectors]));
    assert_eq!(source.subject().kind(), FileKind::TextualInversion);
    assert!(matches!(planned(&source, scheme("fp8")), Err(ConvertError::Refused { .. })));
}

#[test]
fn what_stands_beside_a_configuration_of_peft_is_an_adapter() {
    let (folder, source) = opened(&file("prompts"));
    assert_eq!(source.subject().kind(), FileKind::Unknown);
    let path = folder.path().join("adapter_model.safetensors");
    std::fs::rename(source.checkpoint.path(), &path).unwrap();
    std::fs::write(folder.path().join("adapter_config.json"), r#"{"peft_type": "IA3"}"#).unwrap();
    let source = Source::open(&path).unwrap();
    assert_eq!(source.subject().kind(), FileKind::Adapter(AdapterKind::Other));
    assert!(matches!(planned(&source, scheme("fp8")), Err(ConvertError::Refused { .. })));
}

#[test]
fn the_table_above_misses_no_rule() {
    let tested: BTreeSet<_> = rows().into_iter().map(|(id, ..)| id).collect();
    let mut orders = BTreeSet::new();
    for rule in KindRule::all() {
        let is_tested = tested.contains(rule.id.as_str());
        let is_tested_elsewhere = ["importance_matrix", "textual_inversion_word"];
        assert!(is_tested || is_tested_elsewhere.contains(&rule.id.as_str()), "{}", rule.id);
        assert!(orders.insert(rule.order), "{}", rule.order);
    }
}

#[test]
fn what_was_insisted_on_is_repeated() {
    let (_folder, source) =
        opened(&file("lora_unet_a.lora_down.weight, lora_unet_a.lora_up.weight"));
    let plan =
        planned(&source, RecipeFile { kind: Some("diffusion-model".into()), ..scheme("fp8") });
    let plan = plan.unwrap();
    let notes: Vec<String> = plan.notes.iter().map(ToString::to_string).collect();
    let note = "taken for: diffusion-model, as was asked for; it looks like: LoRA adapter (lora)";
    assert!(notes.iter().any(|it| it == note), "{notes:?}");
    assert!(plan.consumers().iter().all(|it| it.answer.program().is_none()));
}

#[test]
fn diffusers_names_are_refused_where_loaders_would_join_layers() {
    let keys = "context_embedder.weight, x_embedder.weight, transformer_blocks.0.attn.add_q_proj.weight, single_transformer_blocks.0.attn.to_q.weight";
    let (_folder, source) = opened(&file(keys));
    assert_eq!(source.subject().detected.dialect, Dialect::Diffusers);
    let error = planned(&source, scheme("fp8")).unwrap_err().to_string();
    assert!(
        error.contains("diffusers") && error.contains("translated to the model's own"),
        "{error}"
    );
    let forced = RecipeFile { kind: Some("diffusion-model".into()), ..scheme("fp8") };
    let plan = planned(&source, forced).unwrap();
    assert!(plan.consumers().iter().all(|it| it.answer.program().is_none()));
}

#[test]
fn wrappers_of_training_code_are_seen_through() {
    for wrapper in
        ["_orig_mod.", "module.", "module._orig_mod.", "ema.", "model._orig_mod.", "net.module."]
    {
        let keys: Vec<String> = FLUX.split(", ").map(|key| format!("{wrapper}{key}")).collect();
        let keys: Vec<String> = keys
            .into_iter()
            .chain((0..5).map(|n| format!("{wrapper}double_blocks.{n}.img_attn.qkv.weight")))
            .collect();
        let (_folder, source) = opened(&file(&keys.join(", ")));
        let found = &source.subject().detected;
        assert_eq!((found.main.architecture, found.main.prefix.as_str()), ("flux", wrapper));
        assert_eq!(found.main.preset.name, "flux");
        assert!(found.main.preset.keep_rule(&format!("{wrapper}img_in.weight")).is_some());
        let opens = source.subject().opens("fp8".parse().unwrap(), Layout::Comfy);
        assert!(
            matches!(&opens, Opens::NotKnown { reason } if reason.contains(wrapper)),
            "{opens}"
        );
    }
}

/// Tensors of these names alone, as small as they may be.
fn only(names: impl IntoIterator<Item = String>) -> Vec<u8> {
    let tensor = |name: String| Tensor::new(&name, "BF16", &[32, 32], vec![0; 2048]);
    safetensors(&names.into_iter().map(tensor).collect::<Vec<_>>())
}

fn flux_behind(prefix: &str) -> impl Iterator<Item = String> {
    let keys = FLUX.split(", ").map(|key| key.split(' ').next().unwrap());
    let blocks = (1..5).map(|n| format!("double_blocks.{n}.img_attn.qkv.weight"));
    keys.map(str::to_owned).chain(blocks).map(move |key| format!("{prefix}{key}"))
}

#[test]
fn a_beginning_that_all_names_have_is_seen_through_whatever_it_is() {
    for prefix in ["student.", "pipe.dit.", "flux.", "my.own.wrapper.", "model_ema."] {
        let (_folder, source) = opened(&only(flux_behind(prefix)));
        let found = &source.subject().detected;
        assert_eq!((found.main.architecture, found.main.prefix.as_str()), ("flux", prefix));
        let translated = Source::open_translated(source.checkpoint.path()).unwrap();
        assert!(translated.checkpoint.get("img_in.weight").is_some(), "{prefix}");
        let opens = translated.subject().opens("fp8".parse().unwrap(), Layout::Comfy);
        assert!(opens.program().is_some(), "{opens}");
    }
    // What takes no codes is told behind any as well.
    let (_folder, source) =
        opened(&only(["vision.a.lora_A.weight", "vision.a.lora_B.weight"].map(str::to_owned)));
    assert_eq!(source.subject().kind(), FileKind::Adapter(AdapterKind::LoRa));
    // A few keys behind a beginning that is a name of the model's own make no other model of it.
    let (_folder, source) = opened(&only(
        ["tower.h.0.attn.c_attn.weight", "tower.h.0.attn.c_proj.weight"].map(str::to_owned),
    ));
    assert!(source.subject().detected.main.is_unknown());
}

#[test]
fn a_model_that_stands_in_its_file_twice_is_converted_once_and_told() {
    for (first, second) in [
        ("", "ema."),
        ("model.", "model_ema."),
        ("net.", "net_ema."),
        ("module.", "ema.module."),
        ("model.diffusion_model.", "model_ema.diffusion_model."),
        ("transformer.", "transformer_2."),
    ] {
        let (_folder, source) = opened(&only(flux_behind(first).chain(flux_behind(second))));
        let plan = planned(&source, RecipeFile { names: None, ..scheme("fp8") }).unwrap();
        assert_eq!(plan.subject.detected.kind, FileKind::DiffusionModel, "{first} {second}");
        let notes: Vec<String> = plan.notes.iter().map(ToString::to_string).collect();
        let is_told = |note: &String| {
            note.contains(&format!("of the same layers, behind `{second}`: 8 tensors"))
        };
        assert!(notes.iter().any(is_told), "{first} {second}: {notes:?}");
        for planned in plan.tensors.iter().filter(|it| it.header.name.starts_with(second)) {
            assert_eq!(planned.scheme(), None, "{}", planned.header.name);
        }
        assert_eq!(plan.quantized().count(), 5, "{first} {second}");
    }
}

#[test]
fn codes_of_other_programs_that_cannot_be_read_are_named() {
    let u8s = |name: &str| Tensor::new(name, "U8", &[32, 1], vec![0; 32]);
    let i32s = |name: &str| Tensor::new(name, "I32", &[4, 4], vec![0; 64]);
    let f32s = |name: &str| Tensor::new(name, "F32", &[4], vec![0; 16]);
    let cases = [
        (
            vec![
                u8s("a.weight"),
                f32s("a.weight.absmax"),
                u8s("a.weight.quant_state.bitsandbytes__nf4"),
            ],
            "bitsandbytes (NF4)",
        ),
        (
            vec![u8s("a.weight"), f32s("a.weight.absmax"), f32s("a.weight.quant_map")],
            "bitsandbytes (4 bits)",
        ),
        (
            vec![Tensor::new("a.weight", "I8", &[2, 4], vec![0; 8]), f32s("a.SCB")],
            "bitsandbytes (INT8)",
        ),
        (vec![i32s("a.qweight"), i32s("a.qzeros"), f32s("a.scales"), i32s("a.g_idx")], "GPTQ"),
        (vec![i32s("a.qweight"), i32s("a.qzeros"), u8s("a.scales")], "AWQ"),
        (vec![u8s("a.qweight"), f32s("a.wscales"), f32s("a.smooth_factor")], "nunchaku"),
        (vec![u8s("a.W_q"), f32s("a.scale")], "HQQ"),
        (vec![u8s("a.weight._data"), f32s("a.weight._scale")], "quanto"),
        (vec![u8s("a.weight"), f32s("a.weight.absmax")], "bitsandbytes (4 bits)"),
        (vec![i32s("a.weight"), f32s("a.scales"), f32s("a.biases")], "MLX"),
        (vec![u8s("a.weight"), f32s("a.scale"), f32s("a.zero_point")], "SDNQ"),
        (vec![u8s("a.weight"), f32s("a.scale"), f32s("a.svd_up"), f32s("a.svd_down")], "SDNQ"),
        (vec![u8s("a.qweight"), f32s("a.weight_scales")], "EETQ"),
        (vec![u8s("a.qweight"), f32s("a.scales"), f32s("a.zeros")], "BitBLAS"),
        (vec![i32s("a.indices"), f32s("a.centroids.weight")], "VPTQ"),
    ];
    for (tensors, program) in cases {
        let (_folder, source) = opened(&safetensors(&tensors));
        let codes = &source.subject().codes;
        assert!(codes.len() == 1 && !codes[0].is_readable && codes[0].layers == 1, "{codes:?}");
        let decode = RecipeFile { decode_to: Some("bf16".to_owned()), ..RecipeFile::default() };
        for file in [scheme("fp8"), decode] {
            let error = planned(&source, file).unwrap_err().to_string();
            assert!(error.contains("`a`") && error.contains(program), "{error}");
        }
    }
}

#[test]
fn expert_banks_are_told_with_their_share_under_every_name() {
    let banks = [
        "model.layers.0.mlp.experts.gate_up_proj 4x32x64",
        "layers.0.mlp.experts.gate_up_proj.weight 4x64x32",
        "model.layers.0.block_sparse_moe.w1 4x32x32",
        "model.layers.0.block_sparse_moe.input_linear.weight 4x64x32",
        "transformer.blocks.0.ffn.experts.mlp.w1 128x32",
        "blk.0.ffn_gate_exps.weight 4x32x64",
        "net.moe.experts.w1.weight 2x2x32x32",
    ];
    for bank in banks {
        let keys = format!("{bank}, model.layers.0.self_attn.q_proj.weight");
        let (_folder, source) = opened(&file(&keys));
        let known = source.subject().expert_banks.unwrap();
        assert_eq!(known.tensors, 1, "{bank}");
        let plan = planned(&source, scheme("fp8")).unwrap();
        let notes: Vec<String> = plan.notes.iter().map(ToString::to_string).collect();
        let share = format!("{:.0} % of the file", known.percent());
        let is_told = |note: &String| note.contains("1 expert bank stays") && note.contains(&share);
        assert!(notes.iter().any(is_told), "{bank}: {notes:?}");
        let name = bank.split(' ').next().unwrap();
        let kept = plan.tensors.iter().find(|planned| planned.header.name == name).unwrap();
        assert!(kept.because().contains("expert bank"), "{}", kept.because());
        let asked = RecipeFile { include: vec![name.replace('.', r"\.")], ..scheme("fp8") };
        let error = planned(&source, asked).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(&format!("`{name}`, an expert bank")), "{error}");
    }
    // Matrices of single experts are weights, biases and routers are none, and so are scales.
    let none = "experts.0.w1.weight 8x8x3, mlp.experts.gate_up_proj_bias 4x64, moe.gate.weight";
    let (_folder, source) = opened(&file(none));
    assert_eq!(source.subject().expert_banks, None);
}

/// Names alone are looked at; a large model must not be felt.
#[test]
fn recognition_of_five_thousand_tensors_is_quick() {
    let names: Vec<String> = (0..5000)
        .map(|n| format!("decoder.stage.{}.layer.{}.part.weight", n / 50, n % 50))
        .collect();
    let shape = [8_u64, 8];
    let shapes = names.iter().map(|name| (name.as_str(), &shape[..])).collect();
    detect(&shapes);
    let started = Instant::now();
    assert!(detect(&shapes).main.is_unknown());
    // Without optimization and beside other tests it may take several times the 50 ms.
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
}

/// Weights of training are no weights that a loader finds, whatever the rest of the file is called.
#[test]
fn matrices_in_parts_get_no_codes_and_the_parts_are_named() {
    let parts = [
        "a.weight_g 32x1, a.weight_v",
        "a.parametrizations.weight.original0 32x1, a.parametrizations.weight.original1",
        "a.weight_orig, a.weight_mask",
        "a.weight_orig, a.weight_u 32",
        "a.parametrizations.weight.original, a.parametrizations.weight.0._u 32",
        "a.weight.indices 2x9, a.weight.values 9",
        "a.weight.crow_indices 33, a.weight.col_indices 9, a.weight.values 9",
    ];
    for parts in parts {
        let keys = format!("{FLUX}, {parts}").replace(", a.", ", double_blocks.0.img_attn.proj.");
        let (_folder, source) = opened(&file(&keys));
        let error = planned(&source, scheme("fp8")).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("`double_blocks.0.img_attn.proj` has no `weight`"), "{error}");
        assert!(error.contains("fold"), "{error}");
        planned(&source, scheme("bf16")).unwrap_or_else(|error| panic!("{parts}: {error}"));
    }
    // Convolutions of sound are normalized in ComfyUI itself, and a whole weight needs no parts.
    for parts in
        ["conv.weight_g 32x1x1, conv.weight_v 32x32x3", "a.weight, a.weight_orig, a.weight_mask"]
    {
        let (_folder, source) = opened(&file(&format!("{FLUX}, {parts}")));
        planned(&source, scheme("fp8")).unwrap_or_else(|error| panic!("{parts}: {error}"));
    }
}

#[test]
fn several_models_in_one_file_are_told_by_their_beginnings() {
    let of = |segment: &str| {
        let keys = FLUX.split(", ").map(|key| format!("{segment}.{key}"));
        keys.collect::<Vec<_>>().join(", ")
    };
    let two = ["high_noise_model", "low_noise_model"].map(of).join(", ");
    let (_folder, source) = opened(&file(&two));
    let error = planned(&source, scheme("fp8")).map(|_| ()).unwrap_err().to_string();
    assert!(
        error.contains("2 models, behind `high_noise_model.` and `low_noise_model.`"),
        "{error}"
    );
}

#[test]
fn a_share_of_a_model_gets_no_codes() {
    let (folder, _) = opened(&file(FLUX));
    for name in ["model-rank-1-of-2.safetensors", "model-rank-0-of-2.safetensors"] {
        let path = folder.path().join(name);
        std::fs::copy(folder.path().join("m.safetensors"), &path).unwrap();
        let recipe = Recipe::check(scheme("fp8")).unwrap();
        let source = Source::open_with(&path, &recipe).unwrap();
        let error = Plan::decide(&PlanRequest::new(&source, &recipe)).unwrap_err().to_string();
        assert!(error.contains("every matrix is a slice"), "{error}");
    }
}

#[test]
fn scales_that_no_program_chooses_are_told() {
    let codes = |layer: &str| {
        Tensor::new(&format!("{layer}.weight"), "F8_E4M3", &[32, 32], vec![0x38; 1024])
    };
    for (scale, told) in [
        (0.0_f32, "0, over codes that are not 0"),
        (-1.0, "negative"),
        (1e-40, "so small that GPUs take it for 0"),
    ] {
        let scale = Tensor::new("a.weight_scale", "F32", &[], scale.to_le_bytes().to_vec());
        let (_folder, source) = opened(&safetensors(&[codes("a"), scale]));
        let notes = notes_of_decoding(&source);
        assert!(notes.iter().any(|note| note.contains(told) && note.contains("`a`")), "{notes:?}");
    }
    // A row of zeros may have a scale of 0, or codes of −0; what follows it is looked at all the same.
    for (second_row, is_told) in [(0x80, false), (0x38, true)] {
        let rows = [[0x00; 32], [second_row; 32], [0x38; 32]].concat();
        let codes = Tensor::new("a.weight", "F8_E4M3", &[3, 32], rows);
        let scales = [0.0_f32, 0.0, 1.0].iter().flat_map(|scale| scale.to_le_bytes());
        let scale = Tensor::new("a.weight_scale", "F32", &[3, 1], scales.collect());
        let (_folder, source) = opened(&safetensors(&[codes, scale]));
        let notes = notes_of_decoding(&source);
        assert_eq!(notes.iter().any(|note| note.contains("over codes")), is_told, "{notes:?}");
    }
}

fn notes_of_decoding(source: &Source) -> Vec<String> {
    let decode = RecipeFile { decode_to: Some("f32".to_owned()), ..RecipeFile::default() };
    planned(source, decode).unwrap().notes.iter().map(ToString::to_string).collect()
}

#[test]
fn codes_whose_scales_stand_in_the_header_are_refused() {
    let codes = Tensor::new("blocks.0.q.weight", "F8_E4M3", &[32, 32], vec![0x38; 1024]);
    for (key, value) in [
        ("scales", r#"{"blocks.0.q": 0.01}"#),
        ("blocks.0.q.weight_scale", "0.01"),
        ("quantization", r#"{"blocks.0.q.weight": {"scale": 0.01}}"#),
    ] {
        let bytes = safetensors_with_metadata(std::slice::from_ref(&codes), &[(key, value)]);
        let (_folder, source) = opened(&bytes);
        let error = planned(&source, scheme("int8-row")).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(&format!("header entry `{key}`")), "{error}");
    }
    // Others speak of scales and not of the layer, or of a layer whose name only begins so, or are no list of scales.
    for (key, value) in [
        ("scale_rule", "blocks"),
        ("scales", r#"{"blocks.0.qkv": 1}"#),
        ("prompt", r#"{"1": {"class_type": "ImageScale", "blocks.0.q": 1}}"#),
    ] {
        let bytes = safetensors_with_metadata(std::slice::from_ref(&codes), &[(key, value)]);
        let (_folder, source) = opened(&bytes);
        planned(&source, scheme("int8-row")).unwrap();
    }
}
