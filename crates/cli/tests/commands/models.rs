//! Known models keep the layers that they need.

use roundwise_testkit::files::{Tensor, safetensors};

use crate::decided;
use crate::tool::{File, Folder, chroma_model, clip_model, t5_model};

#[test]
fn the_decoder_of_a_t5_is_removed() {
    let folder = Folder::with("m.safetensors", &t5_model());
    for flags in [&[][..], &["--preset", "t5xxl"]] {
        let report =
            folder.json(&[&["convert", "m.safetensors", "--force", "--json"], flags].concat());
        assert_eq!((&report["preset"], &report["removed_tensors"]), (&"t5xxl".into(), &2.into()));
        let file = folder.file("m-fp8.safetensors");
        assert!(file.names().iter().all(|n| !n.contains("decoder") && !n.contains("lm_head")));
        for kept in ["shared.weight", "encoder.final_layer_norm.weight"] {
            assert_eq!(file.dtype(kept), "BF16");
        }
        assert_eq!(file.get("spiece_model").bytes, [1, 2, 3]);
        let weight = "encoder.block.0.layer.0.SelfAttention.k.weight";
        assert_eq!(file.dtype(weight), "F8_E4M3");
    }
    let verified = folder.json(&["verify", "m.safetensors", "m-fp8.safetensors", "--json"]);
    assert_eq!(verified["removed_names"].as_array().unwrap().len(), 2);
    let legacy = ["convert", "m.safetensors", "--layout", "comfy-legacy"];
    folder.done(&legacy);
    assert_eq!(folder.file("m-fp8-legacy.safetensors").get("scaled_fp8").shape, [0]);
}

/// ComfyUI's loader of text encoders looks for `scaled_fp8` without any prefix.
#[test]
fn a_legacy_text_encoder_is_marked_where_its_loader_looks() {
    let tensors = File::parse(&t5_model()).tensors.into_values();
    let prefixed: Vec<Tensor> =
        tensors.map(|t| Tensor { name: format!("transformer.{}", t.name), ..t }).collect();
    let folder = Folder::with("m.safetensors", &safetensors(&prefixed));
    folder.done(&["convert", "m.safetensors", "--layout", "comfy-legacy"]);
    let file = folder.file("m-fp8-legacy.safetensors");
    assert_eq!(file.get("scaled_fp8").shape, [0]);
    assert!(!file.tensors.contains_key("transformer.scaled_fp8"));
    folder.done(&["verify", "m.safetensors", "m-fp8-legacy.safetensors"]);
}

#[test]
fn clip_is_refused_with_the_reason() {
    let folder = Folder::with("m.safetensors", &clip_model());
    let words = ["m.safetensors", "not converted: CLIP-L", "no path for codes"];
    folder.refused(&["convert", "m.safetensors"], 1, &words);
    folder.refused(&["plan", "m.safetensors"], 1, &words);
}

#[test]
fn distilled_layers_are_kept_on_request() {
    let folder = Folder::with("m.safetensors", &chroma_model());
    let small = ["--preset", "distillation_small"];
    let head = "final_layer.linear.weight";
    assert_eq!(decided(&folder, head, &small), "quantizefp8: linear weight");
    for flags in [&["--keep-distillation"][..], &[]] {
        assert!(decided(&folder, head, flags).ends_with("(preset chroma)"));
    }
    let both = ["--preset", "distillation_small", "--keep-distillation"];
    for name in [head, "img_in.weight", "txt_in.weight"] {
        assert!(decided(&folder, name, &both).ends_with("(preset chroma)"), "{name}");
    }
    let block = "double_blocks.0.img_attn.qkv.weight";
    assert_eq!(decided(&folder, block, &both), "quantizefp8: linear weight");
}

/// ComfyUI looks for one legacy marker per model; only the main one gets it.
#[test]
fn legacy_files_convert_the_main_model_only() {
    let part = |prefix: &str, bytes: &[u8]| -> Vec<Tensor> {
        let tensors = File::parse(bytes).tensors.into_values();
        tensors.map(|t| Tensor { name: format!("{prefix}{}", t.name), ..t }).collect()
    };
    let main = part("model.diffusion_model.", &chroma_model());
    let text = part("text_encoders.t5xxl.transformer.", &t5_model());
    let folder = Folder::with("m.safetensors", &safetensors(&[main, text].concat()));
    let name = "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.k.weight";
    assert_eq!(decided(&folder, name, &[]), "quantizefp8: linear weight");
    let legacy = decided(&folder, name, &["--layout", "comfy-legacy"]);
    assert_eq!(legacy, "copy: beside the main model, which alone `comfy-legacy` marks");
    folder.done(&["convert", "m.safetensors", "--layout", "comfy-legacy"]);
    let file = folder.file("m-fp8-legacy.safetensors");
    assert_eq!(file.get("model.diffusion_model.scaled_fp8").shape, [2]);
    folder.done(&["verify", "m.safetensors", "m-fp8-legacy.safetensors"]);
}
