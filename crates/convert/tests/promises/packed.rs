//! Packed and padded weights: kept where loaders look at shapes, and read back as they were.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use roundwise_convert::inspect::Biases;
use roundwise_convert::plan::Action;
use roundwise_convert::tensor_file::Overwrite;
use roundwise_convert::{Job, Recipe, RecipeFile, Report, Unwatched, convert, verify};
use roundwise_tensor_file::{Checkpoint, Dtype};
use roundwise_testkit::files::{Tensor, f32_bytes, safetensors};
use roundwise_testkit::weights::{gaussian, with_outliers, with_zero_tiles};
use tempfile::TempDir;

const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();
const PACKED: [&str; 5] = ["mxfp8", "nvfp4", "int8-row-convrot", "int4-convrot", "fp16"];

fn write(folder: &TempDir, name: &str, tensors: &[Tensor]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, safetensors(tensors)).unwrap();
    path
}

fn run(input: &Path, name: &str, recipe: RecipeFile) -> Report {
    let job = Job::new(input, input.with_file_name(name), Recipe::check(recipe).unwrap());
    let job = Job { threads: TWO, overwrite: Overwrite::Replace, ..job };
    convert(&job, &Unwatched).unwrap()
}

fn recipe(scheme: &str) -> RecipeFile {
    RecipeFile { scheme: Some(scheme.to_owned()), ..RecipeFile::default() }
}

fn assert_verified(original: &Path, report: &Report) {
    let found = verify(original, &report.output, Biases::Same, None, TWO, &Unwatched).unwrap();
    assert!(found.ok, "{:?}", found.findings);
}

fn ragged(folder: &TempDir) -> PathBuf {
    let tensors = [
        Tensor::bf16("blocks.0.a.weight", &with_outliers(257, 1000, 1)),
        Tensor::f32("blocks.0.b.weight", &with_zero_tiles(20, 40, 4, 2)),
        Tensor::f16("blocks.1.a.weight", &gaussian(200, 320, 3)),
        Tensor::f32("blocks.1.b.weight", &gaussian(3, 7, 4)),
    ];
    write(folder, "in.safetensors", &tensors)
}

#[test]
fn ragged_weights_are_converted_or_kept_with_a_reason() {
    let folder = TempDir::new().unwrap();
    let input = ragged(&folder);
    for scheme in PACKED {
        let report = run(&input, "out.safetensors", recipe(scheme));
        assert_verified(&input, &report);
        let reasons = report.tensors.iter().map(|layer| (layer.decision, layer.reason.as_str()));
        let kept: Vec<_> = reasons.filter(|(decision, _)| *decision == Action::Copy).collect();
        let unrotatable =
            "columns are not a multiple of 4 (found 7); a rotation covers whole groups only";
        match scheme {
            "int8-row-convrot" => assert_eq!(kept, [(Action::Copy, unrotatable)]),
            "int4-convrot" => {
                let count = |text| kept.iter().filter(|(_, reason)| reason.contains(text)).count();
                assert_eq!([count("a multiple of 64"), count("a multiple of 4 ")], [2, 1]);
            }
            _ => assert_eq!(kept, []),
        }
    }
}

/// A file of any scheme is accepted as input again, cut to the weights without padding.
#[test]
fn packed_inputs_are_decoded() {
    let folder = TempDir::new().unwrap();
    let input = ragged(&folder);
    for scheme in PACKED {
        let packed = run(&input, "packed.safetensors", recipe(scheme)).output;
        let keep = vec![r"blocks\.0".to_owned()];
        let again = RecipeFile { keep, ..recipe("fp8") };
        let report = run(&packed, "again.safetensors", again);
        assert_verified(&packed, &report);
        let file = Checkpoint::open(&report.output).unwrap();
        for tensor in Checkpoint::open(&input).unwrap().tensors() {
            let found = file.get(&tensor.name).unwrap();
            assert_eq!(found.shape, tensor.shape, "{scheme}");
            let is_kept = tensor.name.contains("blocks.0");
            assert_eq!(found.dtype == Dtype::F8E4M3, !is_kept, "{scheme}");
        }
    }
}

/// Loaders read the shape of Wan's first feed-forward layer, and its other layers' from the code.
#[test]
fn shapes_that_loaders_look_at_stay() {
    let folder = TempDir::new().unwrap();
    let ones = |name: &str| Tensor::new(name, "F32", &[64], f32_bytes(&[1.0; 64]));
    let input = write(
        &folder,
        "in.safetensors",
        &[
            ones("head.modulation"),
            ones("head.head.weight"),
            ones("patch_embedding.weight"),
            Tensor::bf16("blocks.0.ffn.0.weight", &gaussian(128, 64, 1)),
            Tensor::bf16("blocks.1.ffn.0.weight", &gaussian(128, 64, 2)),
            Tensor::bf16("blocks.0.self_attn.q.weight", &gaussian(64, 64, 3)),
        ],
    );
    let kept = |scheme: &str| {
        let report = run(&input, "out.safetensors", recipe(scheme));
        assert_verified(&input, &report);
        let layers = report.tensors.iter().filter(|layer| layer.reason.contains("recognise"));
        layers.map(|layer| (layer.decision, layer.name.clone())).collect::<Vec<_>>()
    };
    for scheme in ["fp8", "int8-row-convrot", "mxfp8", "bf16"] {
        assert_eq!(kept(scheme), [], "{scheme}");
    }
    for scheme in ["nvfp4", "int4-convrot"] {
        assert_eq!(kept(scheme), [(Action::Copy, "blocks.0.ffn.0.weight".to_owned())], "{scheme}");
    }
}

/// Byte 255 of a power of two, NaN of an E4M3 scale, and −8 among the codes.
#[test]
fn bytes_that_stand_for_no_number_are_found() {
    let folder = TempDir::new().unwrap();
    let original = Tensor::f32("a.weight", &gaussian(32, 64, 1));
    let input = write(&folder, "in.safetensors", &[original]);
    let filled = |part: &str, dtype: &str, shape: &[usize], bytes: usize, byte: u8| {
        Tensor::new(&format!("a.{part}"), dtype, shape, vec![byte; bytes])
    };
    let marker = |text: &str| Tensor::new("a.comfy_quant", "U8", &[text.len()], text.into());
    let powers = [
        filled("weight", "F8_E4M3", &[32, 64], 2048, 0x38),
        filled("weight_scale", "U8", &[128, 4], 512, 255),
        marker(r#"{"format": "mxfp8"}"#),
    ];
    let levels = [
        filled("weight", "U8", &[32, 32], 1024, 0x22),
        filled("weight_scale", "F8_E4M3", &[128, 4], 512, 0x7F),
        filled("weight_scale_2", "F32", &[], 4, 0x3C),
        marker(r#"{"format": "nvfp4"}"#),
    ];
    let nibbles = [
        filled("weight", "I8", &[32, 32], 1024, 0x81),
        Tensor::new("a.weight_scale", "F32", &[32], f32_bytes(&[1.0; 32])),
        marker(r#"{"format": "convrot_w4a4", "convrot_groupsize": 64}"#),
    ];
    let scale = "layer `a`: scale 0 is no number: a NaN or an infinity";
    let code = "row 0 holds a code that stands for no number";
    for (tensors, problem) in [(&powers[..], scale), (&levels, scale), (&nibbles, code)] {
        let converted = write(&folder, "out.safetensors", tensors);
        let found = verify(&input, &converted, Biases::Same, None, TWO, &Unwatched).unwrap();
        let problems: Vec<String> =
            found.findings.iter().map(|it| it.problem.to_string()).collect();
        assert_eq!(problems, [problem]);
    }
}
