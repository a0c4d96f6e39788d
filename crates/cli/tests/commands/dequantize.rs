//! Codes become plain numbers again, and nothing else changes.

use crate::tool::{Folder, PLAIN_WEIGHTS, e4m3, matrix, plain_model};
use roundwise_testkit::files::{Tensor, bf16_bytes, f16_bytes, safetensors};

fn converted(flags: &[&str]) -> Folder {
    let folder = Folder::with("m.safetensors", &plain_model());
    folder.done(&[&["convert", "m.safetensors", "-o", "a.safetensors", "--quiet"], flags].concat());
    folder
}

#[test]
fn numbers_are_code_times_scale_and_the_rest_is_untouched() {
    let folder = converted(&[]);
    let [original, codes] = ["m.safetensors", "a.safetensors"].map(|name| folder.file(name));
    for dtype in ["bf16", "f16", "f32"] {
        let output = format!("a-{dtype}.safetensors");
        let text = folder.done(&["dequantize", "a.safetensors", "--dtype", dtype]);
        assert!(text.contains("2 layers decoded to "), "{text}");
        assert!(text.contains("decoded  was fp8 (comfy_quant marker)"), "{text}");
        let file = folder.file(&output);
        assert_eq!(file.names(), original.names());
        for (name, tensor) in &original.tensors {
            if !PLAIN_WEIGHTS.contains(&name.as_str()) {
                assert_eq!(file.get(name).bytes, tensor.bytes, "{name}");
                continue;
            }
            let scale = codes.f32(&format!("{name}_scale"))[0];
            let exact: Vec<f32> =
                codes.get(name).bytes.iter().map(|code| e4m3(*code) * scale).collect();
            let expected = match dtype {
                "bf16" => bf16_bytes(&exact),
                "f16" => f16_bytes(&exact),
                _ => exact.iter().flat_map(|value| value.to_le_bytes()).collect(),
            };
            assert_eq!(
                (file.dtype(name), file.get(name).bytes == expected),
                (dtype.to_uppercase().as_str(), true)
            );
        }
        assert!(!file.metadata.contains_key("_quantization_metadata"));
        assert_eq!(file.metadata["author"], original.metadata["author"]);
    }
    let made_by = folder.done(&["inspect", "a-f16.safetensors"]);
    assert!(made_by.contains("roundwise dequantize INPUT --dtype=f16"), "{made_by}");
}

/// Decodes a file in codes and rounds it again.
fn rounded_again(folder: &Folder, scheme: &str) {
    let plain = ["dequantize", "a.safetensors", "-o", "plain.safetensors", "--dtype", "f32"];
    folder.done(&[&plain[..], &["--no-provenance"]].concat());
    let again = ["convert", "plain.safetensors", "-o", "b.safetensors", "--scheme", scheme];
    folder.done(&[&again[..], &["--no-provenance"]].concat());
}

/// The largest weight of a tile is its scale times the grid's largest code, so that the same scale
/// comes out again, and the same codes.
#[test]
fn the_same_scheme_finds_the_same_file_again() {
    let exact = [
        "fp8",
        "fp8-e5m2",
        "fp8-row",
        "fp8-block-64",
        "fp8-block-128",
        "fp8-block3d-32",
        "int8",
        "int8-row",
        "int8-block-64",
        "int8-block-128",
        "nvfp4",
    ];
    for scheme in exact {
        let folder = converted(&["--scheme", scheme, "--no-provenance"]);
        rounded_again(&folder, scheme);
        assert!(folder.read("a.safetensors") == folder.read("b.safetensors"), "{scheme}");
    }
}

/// Where the largest weight of a block is rounded down to 448 · 2ᵉ, a scale of half the size holds the
/// block as well, and codes of twice the size stand for the same numbers.
#[test]
fn powers_of_two_find_the_same_numbers_again() {
    for scheme in ["mxfp8", "hybrid-mxfp8"] {
        let folder = converted(&["--scheme", scheme, "--no-provenance"]);
        rounded_again(&folder, scheme);
        let decode = ["dequantize", "b.safetensors", "-o", "again.safetensors", "--dtype", "f32"];
        folder.done(&[&decode[..], &["--no-provenance"]].concat());
        assert!(folder.read("plain.safetensors") == folder.read("again.safetensors"), "{scheme}");
    }
}

/// Rotating and rotating back rounds to F32: the codes are the same, the scales all but.
#[test]
fn rotated_rows_find_the_same_codes_again() {
    for scheme in ["int8-row-convrot", "int4-convrot"] {
        let folder = converted(&["--scheme", scheme, "--no-provenance"]);
        rounded_again(&folder, scheme);
        let [first, second] = ["a.safetensors", "b.safetensors"].map(|name| folder.file(name));
        for name in PLAIN_WEIGHTS {
            assert!(first.get(name).bytes == second.get(name).bytes, "{scheme}: {name}");
            let scales = [&first, &second].map(|file| file.f32(&format!("{name}_scale")));
            for (first, second) in scales[0].iter().zip(&scales[1]) {
                assert!((first - second).abs() <= 1e-6 * first, "{scheme}: {first} {second}");
            }
        }
    }
}

/// 40 columns take groups of 4, whether up to 16 or up to 256 were asked for.
#[test]
fn a_smaller_rotation_than_was_asked_for_is_the_one_that_is_found() {
    let model = safetensors(&[matrix("blocks.0.ff.weight", 32, 40)]);
    let folder = Folder::with("m.safetensors", &model);
    for (scheme, output) in [("int8-row-convrot-16", "a"), ("int8-row-convrot", "b")] {
        folder.done(&[
            "convert",
            "m.safetensors",
            "--scheme",
            scheme,
            "--no-provenance",
            "-o",
            output,
        ]);
    }
    assert!(folder.read("a") == folder.read("b"));
}

#[test]
fn a_file_without_codes_says_so() {
    let folder = Folder::with("m.safetensors", &plain_model());
    folder.refused(&["dequantize", "m.safetensors"], 1, &["nothing is in codes"]);
    folder.refused(
        &["dequantize", "m.safetensors", "--dtype", "f8"],
        2,
        &["--dtype: unknown `f8`", "bf16"],
    );
}

#[test]
fn a_layer_that_cannot_be_read_is_named() {
    let folder = converted(&[]);
    let mut file = folder.file("a.safetensors");
    file.tensors.remove("blocks.0.ff.in.weight_scale");
    folder.write("b.safetensors", &file.bytes());
    let words = ["`blocks.0.ff.in` is marked", "has no `weight_scale`"];
    folder.refused(&["dequantize", "b.safetensors"], 1, &words);
}

/// A recipe that decodes has no say in anything else.
#[test]
fn decoding_stands_alone() {
    let folder = Folder::with("m.safetensors", &safetensors(&[]));
    folder.write("r.toml", b"decode_to = 'f32'\nkeep = ['a']\n");
    let words = ["keep: is about quantizing"];
    folder.refused(&["convert", "m.safetensors", "--recipe", "r.toml"], 2, &words);
}

/// FP8 that a cast has made needs no scale, whatever the tensor's name and shape.
#[test]
fn no_fp8_is_left_of_any_shape() {
    let codes: Vec<u8> = (0..=126).chain([0x80]).collect();
    let shapes: [(&str, &[usize]); 4] = [
        ("blocks.0.attn.bias", &[128]),
        ("blocks.0.conv.weight", &[2, 4, 4, 4]),
        ("blocks.0.experts.gate_up_proj", &[2, 8, 8]),
        ("blocks.0.attn.weight", &[8, 16]),
    ];
    let plain = shapes.map(|(name, shape)| Tensor::new(name, "F8_E4M3", shape, codes.clone()));
    let folder = Folder::with("m.safetensors", &safetensors(&plain));
    folder.done(&["dequantize", "m.safetensors", "-o", "a.safetensors", "--dtype", "f32"]);
    let file = folder.file("a.safetensors");
    let values: Vec<f32> = codes.iter().map(|code| e4m3(*code)).collect();
    for (name, shape) in shapes {
        assert_eq!((file.dtype(name), &file.get(name).shape[..]), ("F32", shape), "{name}");
        assert_eq!(file.f32(name), values, "{name}");
    }
}

fn hugging_face_folder() -> Folder {
    let folder = converted(&[]);
    std::fs::create_dir(folder.path("hf")).unwrap();
    folder.write("hf/model.safetensors", &folder.read("a.safetensors"));
    let config =
        br#"{"a": 1, "quantization_config": {}, "part": {"torch_dtype": "float8_e4m3fn"}}"#;
    folder.write("hf/config.json", config);
    folder.write("hf/hf_quant_config.json", b"{}");
    folder.write("hf/tokenizer.json", b"{}");
    folder
}

#[test]
fn a_folder_says_nothing_of_codes_that_are_gone() {
    let folder = hugging_face_folder();
    let flags = ["dequantize", "hf", "-o", "plain", "--shard-size", "1MB", "--dtype", "bf16"];
    let text = folder.done(&flags);
    assert!(text.contains("copied without its `quantization_config`"), "{text}");
    let config: serde_json::Value =
        serde_json::from_slice(&folder.read("plain/config.json")).unwrap();
    assert_eq!(config, serde_json::json!({"a": 1, "part": {"torch_dtype": "bfloat16"}}));
    assert_eq!(folder.read("plain/tokenizer.json"), b"{}");
    assert!(!folder.path("plain/hf_quant_config.json").exists());
}

/// Codes of another program's layout become those of ComfyUI, which says so in the weights.
#[test]
fn a_folder_in_new_codes_says_nothing_of_the_old_ones() {
    let folder = hugging_face_folder();
    folder.done(&["convert", "hf", "-o", "new", "--shard-size", "1MB", "--scheme", "int8-row"]);
    let config: serde_json::Value =
        serde_json::from_slice(&folder.read("new/config.json")).unwrap();
    assert_eq!(config, serde_json::json!({"a": 1, "part": {"torch_dtype": "float8_e4m3fn"}}));
}

/// F16 ends at 65504, and its least number is 6e-8.
#[test]
fn numbers_that_f16_does_not_hold_are_told() {
    for (values, words) in [
        ([1e6_f32; 64], "F16 holds no numbers past 65504; `--dtype bf16` holds them"),
        ([1e-11; 64], "F16 has no numbers as small as theirs but 0; `--dtype bf16` holds them"),
    ] {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let weight = Tensor::new("a.weight", "F32", &[8, 8], bytes);
        let folder = Folder::with("m.safetensors", &safetensors(&[weight]));
        folder.done(&["convert", "m.safetensors", "-q"]);
        let report = folder.json(&["dequantize", "m-fp8.safetensors", "--dtype", "f16", "--json"]);
        assert!(report["notes"].to_string().contains("F16"), "{report}");
        let text = folder.done(&["dequantize", "m-fp8.safetensors", "--dtype", "f16", "--force"]);
        assert!(text.contains(words), "{text}");
        let fine = folder.done(&["dequantize", "m-fp8.safetensors", "--dtype", "bf16"]);
        assert!(!fine.contains("F16 h"), "{fine}");
    }
}
