//! Adapters are added before rounding, whoever wrote them, or refused with the reason.

use std::num::NonZeroUsize;
use std::path::Path;

use roundwise_convert::compute::Device;
use roundwise_convert::inspect::inspect;
use roundwise_convert::run::extract_error_lora;
use roundwise_convert::tensor_file::Overwrite;
use roundwise_convert::{
    ConvertError, Job, Recipe, RecipeFile, Report, Source, Unwatched, convert,
};
use roundwise_testkit::files::{Tensor, f32_bytes, safetensors, safetensors_with_metadata};
use roundwise_testkit::weights::{Matrix, gaussian};

const LAYER: &str = "model.diffusion_model.blocks.0.attn.q";

fn write(folder: &Path, name: &str, tensors: &[Tensor]) {
    std::fs::write(folder.join(name), safetensors(tensors)).unwrap();
}

fn model() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = vec![
        Tensor::f32(&format!("{LAYER}.weight"), &gaussian(12, 20, 1)),
        Tensor::f32("model.diffusion_model.blocks.0.attn.kept.weight", &gaussian(8, 20, 2)),
    ];
    // Loaders count the names under a prefix before they believe in it.
    tensors.extend((0..5).map(|at| {
        let name = format!("model.diffusion_model.blocks.{at}.norm.weight");
        Tensor::new(&name, "F32", &[1], f32_bytes(&[1.0]))
    }));
    write(folder.path(), "m.safetensors", &tensors);
    folder
}

fn run(folder: &Path, recipe: &str) -> Result<Report, ConvertError> {
    let recipe = recipe.replace("FOLDER", &folder.display().to_string());
    let recipe = Recipe::check(RecipeFile::from_toml(&recipe).unwrap())?;
    let [input, output] = ["m", "o"].map(|it| folder.join(format!("{it}.safetensors")));
    let job = Job { overwrite: Overwrite::Replace, ..Job::new(input, output, recipe) };
    convert(&job, &Unwatched)
}

fn numbers(path: &Path, name: &str) -> Vec<f32> {
    let source = Source::open(path).unwrap();
    source.load(source.checkpoint.get(name).unwrap()).unwrap().view().to_f32()
}

/// `W + factor · up · down`, in double precision.
fn merged(weight: &Matrix, up: &Matrix, down: &Matrix, factor: f64) -> Vec<f64> {
    let mut values = vec![];
    for row in 0..weight.rows {
        for col in 0..weight.cols {
            let products = (0..down.rows)
                .map(|at| f64::from(up.at(row, at)) * f64::from(down.at(at, col)))
                .sum::<f64>();
            values.push(f64::from(weight.at(row, col)) + factor * products);
        }
    }
    values
}

fn assert_close(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-5, "{found} {expected}");
    }
}

/// Names of the same modules in three families of programs.
const SPELLINGS: [[&str; 3]; 4] = [
    [
        "lora_unet_blocks_0_attn_NAME.lora_up.weight",
        "lora_unet_blocks_0_attn_NAME.lora_down.weight",
        "lora_unet_blocks_0_attn_NAME.alpha",
    ],
    [
        "diffusion_model.blocks.0.attn.NAME.lora_up.weight",
        "diffusion_model.blocks.0.attn.NAME.lora_down.weight",
        "diffusion_model.blocks.0.attn.NAME.alpha",
    ],
    [
        "transformer.blocks.0.attn.NAME.lora_B.weight",
        "transformer.blocks.0.attn.NAME.lora_A.weight",
        "transformer.blocks.0.attn.NAME.alpha",
    ],
    [
        "base_model.model.blocks.0.attn.NAME.lora_B.default.weight",
        "base_model.model.blocks.0.attn.NAME.lora_A.default.weight",
        "blocks.0.attn.NAME.alpha",
    ],
];

fn pair(spelling: [&str; 3], layer: &str, up: &Matrix, down: &Matrix) -> Vec<Tensor> {
    let [up_name, down_name, _] = spelling.map(|name| name.replace("NAME", layer));
    vec![Tensor::f32(&up_name, up), Tensor::f32(&down_name, down)]
}

#[test]
fn every_spelling_is_merged_before_rounding() {
    let [up, down] = [gaussian(12, 3, 5), gaussian(3, 20, 6)];
    for spelling in SPELLINGS.into_iter().take(3) {
        let folder = model();
        let mut tensors = pair(spelling, "q", &up, &down);
        let alpha = Matrix { rows: 1, cols: 1, values: vec![1.5] };
        tensors.push(Tensor::f32(&spelling[2].replace("NAME", "q"), &alpha));
        write(folder.path(), "l.safetensors", &tensors);
        let recipe = "scheme = 'bf16'\nkeep = ['kept', 'attn.q']\n\
                      merge_lora = ['FOLDER/l.safetensors:0.5', 'FOLDER/l.safetensors']\n";
        // A kept layer is merged in its own dtype; with a rule it would be rounded.
        let recipe = recipe.replace("keep = ['kept', 'attn.q']", "keep = ['attn.q']");
        let report = run(folder.path(), &recipe).unwrap();
        let expected = merged(&gaussian(12, 20, 1), &up, &down, 1.5 * 1.5 / 3.0);
        let name = format!("{LAYER}.weight");
        assert_close(&numbers(&folder.path().join("o.safetensors"), &name), &expected);
        let layer = report.tensors.iter().find(|layer| layer.name == name).unwrap();
        assert_eq!(layer.reason, "kept by `attn.q`; adapters are merged");
    }
}

/// Codes that are kept become numbers; what adapters add goes into them.
#[test]
fn a_layer_in_codes_that_is_kept_is_decoded_with_what_adapters_add() {
    let folder = model();
    let path = |name: &str| folder.path().join(format!("{name}.safetensors"));
    let [up, down] = [gaussian(12, 3, 5), gaussian(3, 20, 6)];
    write(folder.path(), "l.safetensors", &pair(SPELLINGS[0], "q", &up, &down));
    run(folder.path(), "scheme = 'int8-row'").unwrap();
    std::fs::rename(path("o"), path("m")).unwrap();
    let name = format!("{LAYER}.weight");
    let values = numbers(&path("m"), &name);
    let recipe = "scheme = 'fp8'\nkeep = ['attn.q']\nmerge_lora = ['FOLDER/l.safetensors']";
    run(folder.path(), recipe).unwrap();
    let expected = merged(&Matrix { rows: 12, cols: 20, values }, &up, &down, 1.0);
    for (found, expected) in numbers(&path("o"), &name).into_iter().zip(expected) {
        // BF16 keeps 8 bits; sums in F32 lose far less.
        let bound = expected.abs() / 256.0 + 1e-5;
        assert!((f64::from(found) - expected).abs() <= bound, "{found} {expected}");
    }
}

#[test]
fn a_rounded_layer_is_the_merged_weight_rounded() {
    let folder = model();
    let [up, down] = [gaussian(12, 3, 5), gaussian(3, 20, 6)];
    write(folder.path(), "l.safetensors", &pair(SPELLINGS[3], "q", &up, &down));
    let report =
        run(folder.path(), "scheme = 'int8-row'\nmerge_lora = ['FOLDER/l.safetensors']").unwrap();
    let found = numbers(&folder.path().join("o.safetensors"), &format!("{LAYER}.weight"));
    let expected = merged(&gaussian(12, 20, 1), &up, &down, 1.0);
    let energy = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let error: Vec<f64> = found.iter().zip(&expected).map(|(a, b)| f64::from(*a) - b).collect();
    assert!(energy(&error) / energy(&expected) < 0.02);
    assert!(report.tensors.iter().any(|it| it.reason.ends_with("adapters are merged")));
    let note =
        format!("adapters merged into 1 tensor: {}/l.safetensors × 1", folder.path().display());
    assert_eq!(report.notes[0], note.as_str());
    // Where no alpha is told, its stand-in is.
    assert!(report.notes[1].to_string().ends_with("(no alpha is told: assumed to be the rank)"));
    assert_eq!(report.notes.len(), 2);
}

#[test]
fn adapters_that_cannot_be_merged_say_why() {
    let [up, down] = [gaussian(12, 3, 5), gaussian(3, 20, 6)];
    let kohya = SPELLINGS[0];
    let cases: [(Vec<Tensor>, &str); 8] = [
        (pair(kohya, "nowhere", &up, &down), "changes no weight of"),
        (
            [pair(kohya, "q", &up, &down), pair(kohya, "x", &up, &down)].concat(),
            "`allow_unmatched_lora` leaves them out",
        ),
        (pair(kohya, "q", &gaussian(7, 3, 1), &down), "needs [12, rank] · [rank, 20]"),
        (
            [
                pair(kohya, "q", &up, &down),
                vec![Tensor::f32("lora_unet_blocks_0_attn_q.dora_scale", &gaussian(1, 19, 1))],
            ]
            .concat(),
            "12 norms of rows or 20 of columns",
        ),
        (
            [
                pair(kohya, "q", &up, &down),
                vec![Tensor::f32("lora_unet_blocks_0_attn_q.set_weight", &gaussian(12, 20, 1))],
            ]
            .concat(),
            "`set_weight`",
        ),
        (
            pair(kohya, "q", &up, &Matrix { rows: 3, cols: 20, values: vec![f32::NAN; 60] }),
            "tensor `lora_unet_blocks_0_attn_q.lora_down.weight` holds a NaN at element 0",
        ),
        (pair(kohya, "q", &up, &down)[..1].to_vec(), "has no pair of up and down"),
        (
            // Without numbers the other sizes may be anything, and their product too large.
            vec![
                Tensor::f32("lora_unet_blocks_0_attn_q.lora_up.weight", &up),
                Tensor::new(
                    "lora_unet_blocks_0_attn_q.lora_down.weight",
                    "F32",
                    &[0, 1 << 40, 1 << 40],
                    vec![],
                ),
            ],
            "its factors are empty",
        ),
    ];
    for (tensors, expected) in cases {
        let folder = model();
        write(folder.path(), "l.safetensors", &tensors);
        let error = run(folder.path(), "merge_lora = ['FOLDER/l.safetensors']").unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let folder = model();
    let tensors = [pair(kohya, "q", &up, &down), pair(kohya, "x", &up, &down)].concat();
    write(folder.path(), "l.safetensors", &tensors);
    let allowed = "merge_lora = ['FOLDER/l.safetensors']\nallow_unmatched_lora = true";
    assert!(run(folder.path(), allowed).is_ok());
    assert!(run(folder.path(), "allow_unmatched_lora = true").is_err());
    for strength in ["a:inf", "a.safetensors:x", "a.safetensors:"] {
        let error = run(folder.path(), &format!("merge_lora = ['{strength}']")).unwrap_err();
        assert!(error.to_string().contains("expected FILE or FILE:STRENGTH"), "{error}");
    }
}

#[test]
fn an_adapter_of_full_rank_takes_the_whole_error_back() {
    for scheme in ["fp8", "int4-asym", "nvfp4"] {
        let folder = tempfile::tempdir().unwrap();
        let weight = gaussian(16, 64, 1);
        write(folder.path(), "m.safetensors", &[Tensor::f32(&format!("{LAYER}.weight"), &weight)]);
        run(folder.path(), &format!("scheme = '{scheme}'")).unwrap();
        let [input, output] = ["m", "o"].map(|it| folder.path().join(format!("{it}.safetensors")));
        let recipe = Recipe::check(RecipeFile::default()).unwrap();
        let extract = |rank| {
            let rank = NonZeroUsize::new(rank).unwrap();
            extract_error_lora(&input, &recipe, &output, rank, Device::Cpu, Overwrite::Replace)
                .unwrap()
        };
        let part = extract(4);
        assert!((0.3..0.99).contains(&part.left), "{}", part.left);
        assert_eq!(part.rank, 4);
        let whole = extract(100);
        assert_eq!(whole.rank, 16);
        assert!(whole.left < 1e-3, "{}", whole.left);
        let lora = Source::open(&whole.path).unwrap();
        let factor = |part: &str| {
            let ending = format!(".lora_{part}.weight");
            let header = lora.checkpoint.tensors().iter().find(|it| it.name.ends_with(&ending));
            numbers(&whole.path, &header.unwrap().name)
        };
        let up = Matrix { rows: 16, cols: 16, values: factor("up") };
        let down = Matrix { rows: 16, cols: 64, values: factor("down") };
        let rounded = numbers(&output, &format!("{LAYER}.weight"));
        let rounded = Matrix { rows: 16, cols: 64, values: rounded };
        let sum: Vec<f32> = merged(&rounded, &up, &down, 1.0).iter().map(|it| *it as f32).collect();
        let expected: Vec<f64> = weight.values.iter().map(|value| f64::from(*value)).collect();
        assert_close(&sum, &expected);
    }
}

const CASES: &str = include_str!("../../../../fixtures/golden/adapters.json");
const OF_PEFT: &str = include_str!("../../../../fixtures/golden/peft-rotations.json");

/// The numbers of a stored tensor of any shape.
fn stored(path: &Path, name: &str) -> Vec<f32> {
    let source = Source::open(path).unwrap();
    let bytes = source.checkpoint.read(source.checkpoint.get(name).unwrap()).unwrap();
    bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

fn golden(name: &str, case: &serde_json::Value) -> Tensor {
    let shape = case["shape"].as_array().unwrap().iter();
    let shape: Vec<usize> = shape.map(|size| size.as_u64().unwrap() as usize).collect();
    let digits = case["f32"].as_str().unwrap().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    Tensor::new(name, "F32", &shape, digits.chunks(2).map(byte).collect())
}

fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let energy =
        |values: &mut dyn Iterator<Item = f64>| values.map(|it| it * it).sum::<f64>().sqrt();
    let differences = found.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b));
    energy(&mut { differences }) / energy(&mut expected.iter().map(|it| f64::from(*it)))
}

#[test]
fn every_kind_of_adapter_is_merged_by_its_formula() {
    let cases: serde_json::Value = serde_json::from_str(CASES).unwrap();
    for case in cases["cases"].as_array().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        let weight = golden("m.weight", &case["weight"]);
        let other = Tensor::f32("other.weight", &gaussian(16, 16, 1));
        write(folder.path(), "m.safetensors", &[weight, other]);
        let tensors = case["tensors"].as_object().unwrap().iter();
        let tensors: Vec<Tensor> = tensors.map(|(name, tensor)| golden(name, tensor)).collect();
        write(folder.path(), "l.safetensors", &tensors);
        is_merged_as_told(folder.path(), case);
    }
}

/// PEFT is the judge of its own adapters.
#[test]
fn rotations_of_peft_are_merged_as_peft_does() {
    let cases: serde_json::Value = serde_json::from_str(OF_PEFT).unwrap();
    for case in cases["cases"].as_array().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        let weight = golden("m.weight", &case["weight"]);
        let other = Tensor::f32("other.weight", &gaussian(16, 16, 1));
        write(folder.path(), "m.safetensors", &[weight, other]);
        let tensors = case["tensors"].as_object().unwrap().iter();
        let tensors: Vec<Tensor> = tensors.map(|(name, tensor)| golden(name, tensor)).collect();
        write(folder.path(), "l.safetensors", &tensors);
        let config = folder.path().join("adapter_config.json");
        std::fs::write(&config, case["config"].to_string()).unwrap();
        is_merged_as_told(folder.path(), case);
        std::fs::remove_file(&config).unwrap();
        let recipe = "scheme = 'int8-row'\nmerge_lora = ['FOLDER/l.safetensors']";
        let without = run(folder.path(), recipe);
        if case["config"]["peft_type"] == "OFT" {
            let error = without.unwrap_err().to_string();
            assert!(error.contains("use_cayley_neumann"), "{error}");
        }
    }
}

/// Merges `l.safetensors` into `m.weight`, and compares it with the case's own numbers.
#[track_caller]
fn is_merged_as_told(folder: &Path, case: &serde_json::Value) {
    let strength = case["strength"].as_f64().unwrap_or(1.0);
    let keep = match case["weight"]["shape"].as_array().unwrap().len() {
        2 => "keep = ['^m\\.?']\n",
        _ => "",
    };
    let recipe =
        format!("scheme = 'int8-row'\n{keep}merge_lora = ['FOLDER/l.safetensors:{strength}']");
    run(folder, &recipe).unwrap();
    let found = stored(&folder.join("o.safetensors"), "m.weight");
    let merged = golden("merged", &case["merged"]).bytes;
    let merged: Vec<f32> =
        merged.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
    let error = relative_error(&found, &merged);
    // F32 has 24 bits; sums of a dozen terms lose one or two of them.
    assert!(error <= 1e-6, "{}: {error:e}", case["name"]);
}

/// A FLUX block whose attention is fused, and an adapter of diffusers that is not.
#[test]
fn parts_of_fused_layers_take_their_own_rows() {
    let folder = tempfile::tempdir().unwrap();
    let fused = gaussian(24, 8, 1);
    let single = gaussian(56, 8, 2);
    let ends = gaussian(16, 8, 3);
    let bias = vec![0.5; 24];
    write(
        folder.path(),
        "m.safetensors",
        &[
            Tensor::f32("double_blocks.0.img_attn.qkv.weight", &fused),
            Tensor::new("double_blocks.0.img_attn.qkv.bias", "F32", &[24], f32_bytes(&bias)),
            Tensor::f32("single_blocks.0.linear1.weight", &single),
            Tensor::f32("final_layer.adaLN_modulation.1.weight", &ends),
            Tensor::f32("other.weight", &gaussian(16, 16, 1)),
        ],
    );
    let [up, down] = [gaussian(8, 2, 5), gaussian(2, 8, 6)];
    let [wide, tall] = [gaussian(32, 2, 7), gaussian(16, 2, 8)];
    let pair = |name: &str, up: &Matrix| {
        let name = format!("transformer.{name}");
        [
            Tensor::f32(&format!("{name}.lora_B.weight"), up),
            Tensor::f32(&format!("{name}.lora_A.weight"), &down),
        ]
    };
    let change = Tensor::new(
        "transformer.transformer_blocks.0.attn.to_v.diff_b",
        "F32",
        &[8],
        f32_bytes(&[1.0; 8]),
    );
    let tensors = [
        pair("transformer_blocks.0.attn.to_k", &up).to_vec(),
        pair("single_transformer_blocks.0.proj_mlp", &wide).to_vec(),
        pair("norm_out.linear", &tall).to_vec(),
        vec![change],
    ];
    write(folder.path(), "l.safetensors", &tensors.concat());
    let recipe =
        "scheme = 'int8-row'\nkeep = ['blocks', 'final']\nmerge_lora = ['FOLDER/l.safetensors']";
    run(folder.path(), recipe).unwrap();
    let output = folder.path().join("o.safetensors");
    let change = |up: &Matrix| {
        let zero = Matrix { rows: up.rows, cols: 8, values: vec![0.0; up.rows * 8] };
        merged(&zero, up, &down, 1.0)
    };
    let plus = |weight: &Matrix, at: usize, change: &[f64]| {
        let mut sums: Vec<f64> = weight.values.iter().map(|it| f64::from(*it)).collect();
        sums[at * 8..][..change.len()].iter_mut().zip(change).for_each(|(sum, it)| *sum += it);
        sums
    };
    let name = "double_blocks.0.img_attn.qkv.weight";
    assert_close(&stored(&output, name), &plus(&fused, 8, &change(&up)));
    let name = "single_blocks.0.linear1.weight";
    assert_close(&stored(&output, name), &plus(&single, 24, &change(&wide)));
    // Diffusers has the scale of this modulation before its shift.
    let halves = change(&tall);
    let swapped = [&halves[64..], &halves[..64]].concat();
    let name = "final_layer.adaLN_modulation.1.weight";
    assert_close(&stored(&output, name), &plus(&ends, 0, &swapped));
    let bias = stored(&output, "double_blocks.0.img_attn.qkv.bias");
    assert_eq!(bias, [vec![0.5; 16], vec![1.5; 8]].concat());
}

/// PEFT tells the factor beside the file, diffusers and kohya in its header.
#[test]
fn factors_are_taken_from_where_trainers_write_them() {
    let [up, down] = [gaussian(12, 4, 5), gaussian(4, 20, 6)];
    let peft = [
        "base_model.model.blocks.0.attn.q.lora_B.weight",
        "base_model.model.blocks.0.attn.q.lora_A.weight",
    ];
    let diffusers =
        ["transformer.blocks.0.attn.q.lora_B.weight", "transformer.blocks.0.attn.q.lora_A.weight"];
    let kohya =
        ["lora_unet_blocks_0_attn_q.lora_up.weight", "lora_unet_blocks_0_attn_q.lora_down.weight"];
    let plain = r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 32}"#;
    let stabilised = r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 32, "use_rslora": true}"#;
    let patterns =
        r#"{"r": 8, "rank_pattern": {"attn.q": 4}, "alpha_pattern": {"q": 2}, "lora_alpha": 1}"#;
    let header =
        [("lora_adapter_metadata", r#"{"transformer.r": 4, "transformer.lora_alpha": 2}"#)];
    // As `save_lora_adapter()` of diffusers writes it, which knows of no pipeline.
    let bare = ["blocks.0.attn.q.lora_B.weight", "blocks.0.attn.q.lora_A.weight"];
    let alone = [("lora_adapter_metadata", plain)];
    let alone_stabilised = [("lora_adapter_metadata", stabilised)];
    let alone_patterns = [("lora_adapter_metadata", patterns)];
    let trained = [("ss_network_dim", "4"), ("ss_network_alpha", "1.0")];
    /// Keys, the folder's configuration, the header's entries, and the factor that follows.
    type Case<'a> = ([&'a str; 2], Option<&'a str>, &'a [(&'a str, &'a str)], f64);
    let cases: [Case<'_>; 12] = [
        (peft, Some(plain), &[], 8.0),
        (peft, Some(stabilised), &[], 16.0),
        (peft, Some(patterns), &[], 0.5),
        (peft, None, &[], 1.0),
        (diffusers, None, &header, 0.5),
        (bare, None, &alone, 8.0),
        (bare, None, &alone_stabilised, 16.0),
        (bare, None, &alone_patterns, 0.5),
        (peft, None, &alone, 8.0),
        (diffusers, None, &trained, 1.0),
        (kohya, None, &trained, 0.25),
        (kohya, Some(plain), &[], 1.0),
    ];
    for (names, config, metadata, factor) in cases {
        let folder = model();
        let lora = folder.path().join("lora");
        std::fs::create_dir(&lora).unwrap();
        let tensors = [Tensor::f32(names[0], &up), Tensor::f32(names[1], &down)];
        let bytes = safetensors_with_metadata(&tensors, metadata);
        std::fs::write(lora.join("adapter_model.safetensors"), bytes).unwrap();
        if let Some(config) = config {
            std::fs::write(lora.join("adapter_config.json"), config).unwrap();
        }
        for path in ["FOLDER/lora:0.5", "FOLDER/lora/adapter_model.safetensors:0.5"] {
            let recipe = format!("scheme = 'bf16'\nkeep = ['attn.q']\nmerge_lora = ['{path}']");
            run(folder.path(), &recipe).unwrap();
            let found = numbers(&folder.path().join("o.safetensors"), &format!("{LAYER}.weight"));
            assert_close(&found, &merged(&gaussian(12, 20, 1), &up, &down, 0.5 * factor));
        }
    }
    let folder = model();
    let wrong = r#"{"r": 16, "lora_alpha": 32}"#;
    std::fs::write(folder.path().join("adapter_config.json"), wrong).unwrap();
    write(
        folder.path(),
        "l.safetensors",
        &[Tensor::f32(peft[0], &up), Tensor::f32(peft[1], &down)],
    );
    let error = run(folder.path(), "merge_lora = ['FOLDER/l.safetensors']").unwrap_err();
    assert!(error.to_string().contains("has rank 16, its tensors have 4"), "{error}");
}

/// A factor of 1 would be a guess against what the file says.
#[test]
fn a_configuration_in_the_header_that_is_not_understood_is_refused() {
    let [up, down] = [gaussian(12, 4, 5), gaussian(4, 20, 6)];
    let tensors = [
        Tensor::f32("blocks.0.attn.q.lora_B.weight", &up),
        Tensor::f32("blocks.0.attn.q.lora_A.weight", &down),
    ];
    for (entry, keys) in [
        (r#"{"rank": 4, "strength": 2}"#, "its keys: `rank`, `strength`"),
        (r#"{"text_encoder.r": 4, "text_encoder.lora_alpha": 8}"#, "`text_encoder.lora_alpha`"),
        ("{}", "its keys: none"),
    ] {
        let folder = model();
        let bytes = safetensors_with_metadata(&tensors, &[("lora_adapter_metadata", entry)]);
        std::fs::write(folder.path().join("l.safetensors"), bytes).unwrap();
        let error = run(folder.path(), "merge_lora = ['FOLDER/l.safetensors']").unwrap_err();
        let error = error.to_string();
        for words in ["l.safetensors", "`lora_adapter_metadata`", "the alpha of `blocks.0", keys] {
            assert!(error.contains(words), "{error}");
        }
    }
}

/// Biases and norms of models that were cast to FP8 as a whole are numbers by themselves.
#[test]
fn fp8_biases_and_norms_are_changed_and_stored_as_numbers() {
    let weight = Tensor::f32("blocks.0.attn.q.weight", &gaussian(12, 20, 1));
    // 0x38 is 1 in E4M3.
    let ones = |name: &str, count: usize| Tensor::new(name, "F8_E4M3", &[count], vec![0x38; count]);
    let folder = tempfile::tempdir().unwrap();
    let tensors =
        [weight, ones("blocks.0.attn.q.bias", 12), ones("norm.scale", 4), ones("other.bias", 4)];
    write(folder.path(), "m.safetensors", &tensors);
    let [up, down] = [gaussian(12, 4, 5), gaussian(4, 20, 6)];
    let change = |name: &str, count: usize| {
        Tensor::new(name, "F32", &[count], f32_bytes(&vec![0.3125; count]))
    };
    let bias = change("blocks.0.attn.q.diff_b", 12);
    let norm = change("norm.diff", 4);
    let pair = [
        Tensor::f32("blocks.0.attn.q.lora_B.weight", &up),
        Tensor::f32("blocks.0.attn.q.lora_A.weight", &down),
    ];
    for lora in [vec![bias.clone()], [&pair[..], &[bias, norm]].concat()] {
        write(folder.path(), "l.safetensors", &lora);
        let report =
            run(folder.path(), "scheme = 'fp8'\nmerge_lora = ['FOLDER/l.safetensors']").unwrap();
        let output = Source::open(&folder.path().join("o.safetensors")).unwrap();
        let read = |name: &str| {
            let header = output.checkpoint.get(name).unwrap();
            (header.dtype.name(), output.checkpoint.read(header).unwrap())
        };
        // 1.3125 in BF16.
        let sum = |count: usize| ("BF16", [0xa8, 0x3f].repeat(count));
        assert_eq!(read("blocks.0.attn.q.bias"), sum(12));
        let is_of_norm = lora.len() > 1;
        let ones = ("F8_E4M3", vec![0x38; 4]);
        assert_eq!(read("norm.scale"), if is_of_norm { sum(4) } else { ones.clone() });
        assert_eq!(read("other.bias"), ones);
        let changed = report.tensors.iter().find(|it| it.name == "blocks.0.attn.q.bias").unwrap();
        assert!(changed.reason.ends_with("adapters are merged"), "{}", changed.reason);
    }
}

/// Weights that keep their numbers say nothing of the biases beside them.
#[test]
fn a_changed_bias_is_not_said_to_be_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let bf16 = |name: &str, shape: &[usize]| {
        Tensor::new(name, "BF16", shape, vec![0x3f; 2 * shape.iter().product::<usize>()])
    };
    let tensors = [bf16("q.weight", &[12, 20]), bf16("q.bias", &[12])];
    write(folder.path(), "m.safetensors", &tensors);
    let is_said = |recipe: &str| {
        let report = run(folder.path(), recipe).unwrap();
        report.notes.iter().any(|note| note.to_string().contains("no number changes"))
    };
    assert!(is_said("scheme = 'bf16'"));
    let change = Tensor::new("q.diff_b", "F32", &[12], f32_bytes(&[1.0; 12]));
    write(folder.path(), "l.safetensors", &[change]);
    assert!(!is_said("scheme = 'bf16'\nmerge_lora = ['FOLDER/l.safetensors']"));
}

/// Those of video models change norms and biases; a change of another shape has no place.
#[test]
fn norms_and_biases_are_changed_or_left_out_on_request() {
    let folder = model();
    let norm = "diffusion_model.blocks.3.norm.diff";
    let change = Tensor::new(norm, "F32", &[1], f32_bytes(&[0.25]));
    write(folder.path(), "l.safetensors", std::slice::from_ref(&change));
    run(folder.path(), "merge_lora = ['FOLDER/l.safetensors:2']").unwrap();
    let name = "model.diffusion_model.blocks.3.norm.weight";
    assert_eq!(stored(&folder.path().join("o.safetensors"), name), [1.5]);
    let odd = Tensor::new("diffusion_model.blocks.2.norm.diff", "F32", &[2], f32_bytes(&[1.0; 2]));
    write(folder.path(), "l.safetensors", &[change, odd]);
    let recipe = "merge_lora = ['FOLDER/l.safetensors']";
    let error = run(folder.path(), recipe).unwrap_err();
    assert!(error.to_string().contains("`diffusion_model.blocks.2.norm.diff`"), "{error}");
    run(folder.path(), &format!("{recipe}\nallow_unmatched_lora = true")).unwrap();
}

/// Plain casts to FP8 are values, and alpha is a whole number where a script made it one.
#[test]
fn adapters_of_any_dtype_are_numbers() {
    let [up, down] = [gaussian(12, 2, 5), Matrix { rows: 2, cols: 20, values: vec![2.0; 40] }];
    let [up_name, down_name, alpha_name] = SPELLINGS[0].map(|name| name.replace("NAME", "q"));
    for (dtype, alpha) in [
        ("I64", 3_i64.to_le_bytes().to_vec()),
        ("F16", 0x4200_u16.to_le_bytes().to_vec()),
        ("BF16", 0x4040_u16.to_le_bytes().to_vec()),
        ("F8_E4M3", vec![0x44]),
    ] {
        let folder = model();
        let tensors = [
            Tensor::f32(&up_name, &up),
            Tensor::new(&down_name, "F8_E4M3", &[2, 20], vec![0x40; 40]),
            Tensor::new(&alpha_name, dtype, &[], alpha),
        ];
        write(folder.path(), "l.safetensors", &tensors);
        let recipe = "scheme = 'bf16'\nkeep = ['attn.q']\nmerge_lora = ['FOLDER/l.safetensors']";
        run(folder.path(), recipe).unwrap();
        let found = numbers(&folder.path().join("o.safetensors"), &format!("{LAYER}.weight"));
        assert_close(&found, &merged(&gaussian(12, 20, 1), &up, &down, 1.5));
    }
}

/// Codes with scales stand for what the scales make of them, as those of a model do.
#[test]
fn scales_of_an_adapter_in_codes_are_applied() {
    let [up, down] = [gaussian(12, 2, 5), Matrix { rows: 2, cols: 20, values: vec![0.5; 40] }];
    let [up_name, down_name, _] = SPELLINGS[1].map(|name| name.replace("NAME", "q"));
    let scale = down_name.replace(".weight", ".scale_weight");
    for allowed in ["", "\nallow_unmatched_lora = true"] {
        let folder = model();
        let tensors = [
            Tensor::f32(&up_name, &up),
            // The code of 2.
            Tensor::new(&down_name, "F8_E4M3", &[2, 20], vec![0x40; 40]),
            Tensor::new(&scale, "F32", &[], f32_bytes(&[0.25])),
        ];
        write(folder.path(), "l.safetensors", &tensors);
        let recipe = "scheme = 'bf16'\nkeep = ['attn.q']\nmerge_lora = ['FOLDER/l.safetensors']";
        run(folder.path(), &format!("{recipe}{allowed}")).unwrap();
        let found = numbers(&folder.path().join("o.safetensors"), &format!("{LAYER}.weight"));
        assert_close(&found, &merged(&gaussian(12, 20, 1), &up, &down, 1.0));
    }
}

/// What is left out on request is what has no place in the model: never a part of what is merged.
#[test]
fn nothing_of_a_merged_module_is_left_out() {
    let [up, down] = [gaussian(12, 2, 5), gaussian(2, 20, 6)];
    let recipe = "merge_lora = ['FOLDER/l.safetensors']\nallow_unmatched_lora = true";
    for rest in ["q.scale", "q.lora_down.scale", "q.lora_A.bias", "q.diff_b", "q.odd.thing"] {
        let folder = model();
        for beginning in ["diffusion_model.", ""] {
            let name = format!("{beginning}blocks.0.attn.{rest}");
            let mut tensors = pair(SPELLINGS[1], "q", &up, &down);
            tensors.push(Tensor::new(&name, "F32", &[1], f32_bytes(&[2.0])));
            write(folder.path(), "l.safetensors", &tensors);
            let error = run(folder.path(), recipe).unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
            assert!(!error.contains("allow_unmatched_lora"), "{error}");
        }
    }
    let folder = model();
    let mut tensors = pair(SPELLINGS[1], "q", &up, &down);
    tensors.push(Tensor::new("other.model.scale", "F32", &[1], f32_bytes(&[2.0])));
    write(folder.path(), "l.safetensors", &tensors);
    run(folder.path(), recipe).unwrap();
}

#[test]
fn an_alpha_is_read_under_every_name_that_it_has() {
    let [up, down] = [gaussian(12, 2, 5), gaussian(2, 20, 6)];
    for alpha in [
        "diffusion_model.blocks.0.attn.q.alpha",
        "diffusion_model.blocks.0.attn.q.lora_alpha",
        "diffusion_model.blocks.0.attn.q.network_alpha",
        "diffusion_model.blocks.0.attn.q.lora_down.alpha",
        "diffusion_model.blocks.0.attn.q.lora_up.alpha",
        "diffusion_model.blocks.0.attn.q.lora_down.weight.alpha",
        "blocks.0.attn.q.network_alpha",
        "lora_unet_blocks_0_attn_q.alpha",
    ] {
        let folder = model();
        let mut tensors = pair(SPELLINGS[1], "q", &up, &down);
        tensors.push(Tensor::new(alpha, "F32", &[], f32_bytes(&[0.5])));
        write(folder.path(), "l.safetensors", &tensors);
        let recipe = "scheme = 'bf16'\nkeep = ['attn.q']\nmerge_lora = ['FOLDER/l.safetensors']";
        run(folder.path(), recipe).unwrap();
        let found = numbers(&folder.path().join("o.safetensors"), &format!("{LAYER}.weight"));
        assert_close(&found, &merged(&gaussian(12, 20, 1), &up, &down, 0.25));
    }
}

/// Whoever opened such a file would leave the adapter out, or take it for one without its model.
#[test]
fn a_model_with_an_unmerged_adapter_is_refused_whatever_is_written() {
    let [up, down] = [gaussian(12, 2, 5), gaussian(2, 20, 6)];
    for [weight, layer] in [["q.weight", "q"], ["q.base_layer.weight", "q"]] {
        for [ups, downs] in [
            ["lora_B.default.weight", "lora_A.default.weight"],
            ["lora_up.weight", "lora_down.weight"],
        ] {
            let folder = model();
            let name = |part: &str| format!("model.diffusion_model.blocks.0.attn.{part}");
            let mut tensors = vec![
                Tensor::f32(&name(weight), &gaussian(12, 20, 1)),
                Tensor::f32(&name("k.weight"), &gaussian(12, 20, 2)),
                Tensor::f32(&name(&format!("{layer}.{ups}")), &up),
                Tensor::f32(&name(&format!("{layer}.{downs}")), &down),
            ];
            tensors.extend((0..5).map(|at| {
                let name = format!("model.diffusion_model.blocks.{at}.norm.weight");
                Tensor::new(&name, "F32", &[1], f32_bytes(&[1.0]))
            }));
            write(folder.path(), "m.safetensors", &tensors);
            for recipe in ["scheme = 'fp8'", "scheme = 'bf16'", "decode_to = 'bf16'"] {
                let error = run(folder.path(), recipe).unwrap_err().to_string();
                assert!(error.contains("model with an unmerged LoRA"), "{recipe}: {error}");
                assert!(error.contains("merge_and_unload"), "{recipe}: {error}");
            }
            let told = inspect(&folder.path().join("m.safetensors")).unwrap();
            assert!(told.opened_by[0].starts_with("none: "), "{:?}", told.opened_by);
        }
    }
    // An adapter may hold the weight of an embedding beside its change.
    let folder = model();
    let mut tensors = pair(SPELLINGS[2], "q", &up, &down);
    tensors.push(Tensor::f32("transformer.embed.base_layer.weight", &gaussian(4, 4, 7)));
    tensors.push(Tensor::f32("transformer.embed.lora_embedding_A", &gaussian(2, 4, 8)));
    write(folder.path(), "l.safetensors", &tensors);
    let told = inspect(&folder.path().join("l.safetensors")).unwrap();
    assert!(!told.opened_by[0].starts_with("none: "), "{:?}", told.opened_by);
}

#[test]
fn an_adapter_that_is_damaged_is_not_said_to_be_of_another_model() {
    let pair = |up: Matrix, down: Matrix| pair(SPELLINGS[1], "q", &up, &down);
    let empty = |rows, cols| Matrix { rows, cols, values: vec![] };
    for (file, tensors, words) in [
        ("l", pair(gaussian(12, 4, 5), gaussian(2, 20, 6)), "whose ranks differ"),
        ("l", pair(empty(12, 0), empty(0, 20)), "its factors are empty"),
        (
            "l-00001-of-00002",
            pair(gaussian(12, 2, 5), gaussian(2, 20, 6))[..1].to_vec(),
            "shard 1 of 2",
        ),
    ] {
        let folder = model();
        write(folder.path(), &format!("{file}.safetensors"), &tensors);
        let recipe = format!("merge_lora = ['FOLDER/{file}.safetensors']");
        let error = run(folder.path(), &recipe).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("another model"), "{error}");
    }
}

#[test]
fn an_error_that_would_come_again_is_not_said_to_be_continued() {
    let folder = model();
    let large = |rows, cols| Matrix { rows, cols, values: vec![1e30; rows * cols] };
    let tensors = pair(SPELLINGS[1], "q", &large(12, 2), &large(2, 20));
    write(folder.path(), "l.safetensors", &tensors);
    let error = run(folder.path(), "merge_lora = ['FOLDER/l.safetensors']").unwrap_err();
    let error = error.to_string();
    assert!(error.contains("NaN or an infinity") && !error.contains("continues"), "{error}");
}

/// A large number beside many small ones hides in the error that nothing else is left.
#[test]
fn a_weight_whose_numbers_become_0_is_told() {
    let mut outlier = gaussian(32, 32, 1);
    outlier.values[5] =
        1000.0 * outlier.values.iter().fold(0.0, |most: f32, it| most.max(it.abs()));
    let wide = |scale: f64| {
        let values = gaussian(32, 32, 1).values;
        let bytes = values.iter().flat_map(|it| (f64::from(*it) * scale).to_le_bytes());
        Tensor::new("a.weight", "F64", &[32, 32], bytes.collect())
    };
    for (tensor, words) in [
        (Tensor::f32("a.weight", &outlier), Some("more than 90 % of all numbers")),
        (Tensor::f32("a.weight", &gaussian(32, 32, 1)), None),
        (wide(1e-60), Some("F32, in which scales are chosen, has no numbers as small")),
        (wide(1.0), None),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "m.safetensors", &[tensor]);
        let report = run(folder.path(), "scheme = 'int8'\nmin_size = 1").unwrap();
        let told: Vec<String> = report.notes.iter().map(ToString::to_string).collect();
        let told: Vec<&String> = told.iter().filter(|it| it.contains(" lost ")).collect();
        match words {
            Some(words) => assert!(told.iter().any(|it| it.contains(words)), "{told:?}"),
            None => assert!(told.is_empty(), "{told:?}"),
        }
    }
}

/// Files of PyTorch hold numbers that are no tensors, and some trainers tell the factor so.
#[test]
fn numbers_beside_the_tensors_of_an_adapter_count() {
    let matrix = |rows: usize, cols: usize| Matrix {
        rows,
        cols,
        values: (0..rows * cols).map(|at| ((at * 7 % 16) as f32 - 8.0) / 8.0).collect(),
    };
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/checkpoints");
    for (file, factor) in [("lora.pt", 0.25), ("lora-alphas.pt", 2.0)] {
        let folder = model();
        let recipe =
            format!("scheme = 'bf16'\nkeep = ['attn.q']\nmerge_lora = ['{fixtures}/{file}']");
        let report = run(folder.path(), &recipe).unwrap();
        let found = numbers(&folder.path().join("o.safetensors"), &format!("{LAYER}.weight"));
        assert_close(&found, &merged(&gaussian(12, 20, 1), &matrix(12, 2), &matrix(2, 20), factor));
        let told =
            report.notes.iter().any(|it| it.to_string().contains("numbers beside its tensors"));
        assert!(told, "{:?}", report.notes);
    }
}
