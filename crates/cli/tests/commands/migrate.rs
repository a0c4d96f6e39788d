//! Layers in codes move from layout to layout, their codes and scales untouched.

use crate::tool::{Folder, PLAIN_WEIGHTS, matrix, plain_model, vector};
use roundwise_testkit::files::{Tensor, f32_bytes, safetensors, safetensors_with_metadata};

fn converted(flags: &[&str]) -> Folder {
    let folder = Folder::with("m.safetensors", &plain_model());
    let convert = ["convert", "m.safetensors", "-o", "a.safetensors", "--quiet", "--no-provenance"];
    folder.done(&[&convert, flags].concat());
    folder
}

fn migrated(folder: &Folder, input: &str, to: &str, output: &str) -> String {
    folder.done(&["migrate", input, "--to", to, "-o", output, "--no-provenance"])
}

#[test]
fn there_and_back_is_the_same_file() {
    let folder = converted(&[]);
    let text = migrated(&folder, "a.safetensors", "comfy-legacy", "l.safetensors");
    assert!(
        text.contains(
            "2 layers moved to comfy-legacy, 2 scales and 2 markers laid out anew, 4 tensors kept"
        ),
        "{text}"
    );
    migrated(&folder, "l.safetensors", "comfy", "b.safetensors");
    let legacy = folder.file("l.safetensors");
    // Nobody asked for products in full precision.
    assert_eq!(legacy.get("scaled_fp8").shape, [0]);
    assert!(legacy.names().iter().all(|name| !name.ends_with("comfy_quant")));
    assert!(folder.read("a.safetensors") == folder.read("b.safetensors"));
    for file in ["a.safetensors", "l.safetensors"] {
        folder.done(&["verify", "m.safetensors", file]);
    }
}

#[test]
fn a_migration_that_moves_nothing_is_noted() {
    let folder = converted(&[]);
    let note = "`--to` changes little: every layer is laid out so already";
    assert!(migrated(&folder, "a.safetensors", "comfy", "b.safetensors").contains(note));
    assert!(!migrated(&folder, "a.safetensors", "comfy-legacy", "l.safetensors").contains(note));
}

#[test]
fn codes_without_scales_are_not_said_to_be_plain_numbers() {
    let weight = Tensor::new("a.weight", "F8_E4M3", &[64, 64], vec![0x38; 64 * 64]);
    let folder = Folder::with("m.safetensors", &safetensors(&[weight]));
    let words =
        ["one weight is in codes without scales", "keeps such codes, and gives them scales"];
    folder.refused(&["migrate", "m.safetensors", "--to", "comfy"], 1, &words);
}

#[test]
fn every_scheme_moves_to_its_own_layout() {
    let marked = [
        "fp8-row",
        "fp8-block3d-32",
        "int8-row-convrot",
        "int4-convrot",
        "int4-asym",
        "mxfp8",
        "hybrid-mxfp8",
        "nvfp4",
        "int8-block-64",
    ];
    let legacy = ["fp8-log-scales", "fp8-log-scales-shared", "fp16-scaled"];
    let of = |layout: &'static str| move |scheme: &&'static str| (*scheme, layout);
    for (scheme, layout) in
        marked.iter().map(of("comfy")).chain(legacy.iter().map(of("comfy-legacy")))
    {
        let folder = converted(&["--scheme", scheme]);
        migrated(&folder, "a.safetensors", layout, "b.safetensors");
        assert!(folder.read("a.safetensors") == folder.read("b.safetensors"), "{scheme}");
    }
}

#[test]
fn full_precision_and_activation_scales_go_along() {
    let folder = converted(&[]);
    let mut file = folder.file("a.safetensors");
    file.metadata.remove("_quantization_metadata");
    for weight in PLAIN_WEIGHTS {
        let layer = weight.strip_suffix(".weight").unwrap();
        let marker = r#"{"format": "float8_e4m3fn", "full_precision_matrix_mult": true}"#;
        let name = format!("{layer}.comfy_quant");
        let marker = Tensor::new(&name, "U8", &[marker.len()], marker.into());
        file.tensors.insert(name, marker);
        let name = format!("{layer}.input_scale");
        let measured = Tensor::new(&name, "F32", &[], f32_bytes(&[0.25]));
        file.tensors.insert(name, measured);
    }
    folder.write("full.safetensors", &file.bytes());
    migrated(&folder, "full.safetensors", "comfy-legacy", "l.safetensors");
    migrated(&folder, "l.safetensors", "comfy", "b.safetensors");
    let [legacy, back] = ["l.safetensors", "b.safetensors"].map(|name| folder.file(name));
    assert_eq!(legacy.get("scaled_fp8").shape, [2]);
    assert_eq!(legacy.f32("blocks.0.ff.in.scale_input"), [0.25]);
    assert_eq!(back.f32("blocks.0.ff.in.input_scale"), [0.25]);
    assert_eq!(
        back.get("blocks.0.ff.in.comfy_quant").bytes,
        file.get("blocks.0.ff.in.comfy_quant").bytes
    );
}

/// Tensors of a layer as servers write them, without markers.
fn of_servers(name: &str) -> Vec<Tensor> {
    let codes = |ending: &str, dtype: &str, rows: usize, cols: usize| {
        let bytes = (0..rows * cols).map(|at| (at * 37 % 0x77) as u8).collect();
        Tensor::new(&format!("a.{ending}"), dtype, &[rows, cols], bytes)
    };
    let scale = |part: &str, shape: &[usize]| {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|at| (at as f32 + 1.0) / 512.0).collect();
        Tensor::new(&format!("a.{part}"), "F32", shape, f32_bytes(&values))
    };
    match name {
        "fp8-channel" => {
            vec![codes("weight", "F8_E4M3", 128, 256), scale("weight_scale", &[128, 1])]
        }
        "fp8-block" => {
            vec![codes("weight", "F8_E4M3", 128, 256), scale("weight_scale_inv", &[1, 2])]
        }
        "int8-channel" => vec![codes("weight", "I8", 128, 256), scale("weight_scale", &[128, 1])],
        "nvfp4" => vec![
            codes("weight_packed", "U8", 128, 128),
            codes("weight_scale", "F8_E4M3", 128, 16),
            Tensor::new("a.weight_global_scale", "F32", &[1], f32_bytes(&[256.0])),
        ],
        "nvfp4-modelopt" => vec![
            codes("weight", "U8", 128, 128),
            codes("weight_scale", "F8_E4M3", 128, 16),
            Tensor::new("a.weight_scale_2", "F32", &[], f32_bytes(&[0.3])),
        ],
        _ => vec![codes("weight", "F8_E4M3", 128, 256), codes("weight_scale", "U8", 128, 8)],
    }
}

/// The numbers that each of them stands for are the same before and after.
#[test]
fn layers_of_servers_get_markers() {
    let cases = [
        ("fp8-channel", "float8_e4m3fn_rowwise", "fp8-row"),
        ("fp8-block", "float8_e4m3fn_blockwise", "fp8-block-128"),
        ("int8-channel", "int8_tensorwise", "int8-row"),
        ("nvfp4", "nvfp4", "nvfp4"),
        ("nvfp4-modelopt", "nvfp4", "nvfp4"),
        ("mxfp8", "mxfp8", "mxfp8"),
    ];
    for (name, format, scheme) in cases {
        let mut tensors = of_servers(name);
        tensors.push(vector("a.bias", 128));
        let folder = Folder::with("s.safetensors", &safetensors(&tensors));
        let looked = folder.done(&["inspect", "s.safetensors"]);
        assert!(looked.contains(scheme) && looked.contains("vLLM"), "{name}: {looked}");
        migrated(&folder, "s.safetensors", "comfy", "c.safetensors");
        let marker = folder.file("c.safetensors").get("a.comfy_quant").bytes.clone();
        assert!(String::from_utf8(marker).unwrap().contains(format), "{name}");
        for input in ["s", "c"] {
            let [from, to] = [format!("{input}.safetensors"), format!("{input}-plain.safetensors")];
            folder.done(&["dequantize", &from, "-o", &to, "--dtype", "f32", "--no-provenance"]);
        }
        assert!(folder.read("s-plain.safetensors") == folder.read("c-plain.safetensors"), "{name}");
        assert_eq!(folder.file("s-plain.safetensors").names(), ["a.bias", "a.weight"], "{name}");
        folder.done(&["verify", "s.safetensors", "s-plain.safetensors"]);
        let again = ["convert", "s.safetensors", "-o", "i.safetensors", "--scheme", "int8-row"];
        let plan = folder.done(&["plan", "s.safetensors", "--scheme", "int8-row"]);
        assert!(plan.contains(&format!("was {scheme} (")), "{name}: {plan}");
        folder.done(&again);
        folder.done(&["verify", "s.safetensors", "i.safetensors"]);
    }
}

#[test]
fn what_has_no_place_as_it_is_is_named_with_a_way_out() {
    let way_out = ["`roundwise convert` rounds anew", "`roundwise dequantize`"];
    let folder = converted(&["--scheme", "int8-row"]);
    let words =
        ["2 layers cannot go to layout `comfy-legacy`", "`blocks.0.ff.in`", "`fp16-scaled` only"];
    let to_legacy = ["migrate", "a.safetensors", "--to", "comfy-legacy"];
    folder.refused(&to_legacy, 1, &[&words[..], &way_out].concat());
    folder.refused(&["migrate", "a.safetensors", "--to", "vllm"], 2, &["`vllm`", "comfy-legacy"]);
    folder.refused(&["migrate", "m.safetensors", "--to", "comfy"], 1, &["nothing is in codes"]);

    // ComfyUI's blocks cover a matrix whole; servers' need not.
    let scales = Tensor::new("a.weight_scale_inv", "F32", &[2, 1], f32_bytes(&[1.0, 2.0]));
    let codes = Tensor::new("a.weight", "F8_E4M3", &[130, 100], vec![0x38; 13_000]);
    let folder = Folder::with("s.safetensors", &safetensors(&[codes, scales]));
    let words = ["1 layer cannot go", "`a`: rows are not a multiple of 128"];
    folder.refused(&["migrate", "s.safetensors", "--to", "comfy"], 1, &words);

    // Scales that are divided by 3 are other numbers than those that are multiplied by a third.
    let mut tensors = of_servers("nvfp4");
    tensors[2] = Tensor::new("a.weight_global_scale", "F32", &[1], f32_bytes(&[3.0]));
    let folder = Folder::with("s.safetensors", &safetensors(&tensors));
    folder.refused(
        &["migrate", "s.safetensors", "--to", "comfy"],
        1,
        &["`a`: its scales are divided"],
    );
}

/// Loaders scale matrices only: a norm in codes becomes numbers again, a plain FP8 one stays.
#[test]
fn only_matrices_stay_codes() {
    let scale =
        |layer: &str| Tensor::new(&format!("{layer}.scale_weight"), "F32", &[1], f32_bytes(&[0.3]));
    let fp8 = |name: &str, shape: &[usize]| {
        Tensor::new(name, "F8_E4M3", shape, vec![0x39; shape.iter().product()])
    };
    let tensors = [
        fp8("a.weight", &[64, 32]),
        scale("a"),
        fp8("norm.weight", &[32]),
        scale("norm"),
        fp8("conv.weight", &[2, 2, 2, 2]),
        Tensor::new("scaled_fp8", "F8_E4M3", &[0], vec![]),
        matrix("b.weight", 32, 32),
    ];
    let folder = Folder::with("l.safetensors", &safetensors_with_metadata(&tensors, &[("a", "b")]));
    migrated(&folder, "l.safetensors", "comfy", "c.safetensors");
    let file = folder.file("c.safetensors");
    assert_eq!(file.f32("norm.weight"), [1.125 * 0.3f32; 32]);
    assert_eq!((file.dtype("a.weight"), file.dtype("conv.weight")), ("F8_E4M3", "F8_E4M3"));
    assert_eq!(file.f32("a.weight_scale"), [0.3]);
    assert_eq!((file.dtype("b.weight"), file.metadata["a"].as_str()), ("BF16", "b"));
    assert!(file.names().iter().all(|name| !name.contains("scale_weight")));
}
