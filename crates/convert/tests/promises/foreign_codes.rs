//! Files in codes of other programs become plain numbers or new codes, and nothing of theirs is left over.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use roundwise_convert::inspect::{Biases, QuantizedCount, inspect};
use roundwise_convert::plan::{Decision, Limits};
use roundwise_convert::tensor_file::Overwrite;
use roundwise_convert::{
    ConvertError, Job, Plan, PlanRequest, Recipe, RecipeFile, Report, Source, Unwatched, convert,
    verify,
};
use roundwise_tensor_file::{Checkpoint, Dtype};
use roundwise_testkit::files::{Tensor, safetensors, safetensors_with_metadata};
use roundwise_testkit::weights::gaussian;
use tempfile::TempDir;

const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();
const FILES: [&str; 8] = [
    "awq",
    "bitsandbytes",
    "compressed_tensors",
    "gptq",
    "hqq",
    "quanto",
    "torchao",
    "transformers",
];

/// A fixture without the numbers that stand beside the codes, and these by the names of their tensors.
struct Input {
    _folder: TempDir,
    path: PathBuf,
    expected: Vec<(String, Vec<u8>)>,
}

fn input(file: &str) -> Input {
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/codes"));
    let checkpoint = Checkpoint::open(&fixtures.join(format!("{file}.safetensors"))).unwrap();
    let (mut tensors, mut expected) = (vec![], vec![]);
    for header in checkpoint.tensors() {
        let bytes = checkpoint.read(header).unwrap();
        match header.name.strip_prefix("expected.") {
            Some(name) => expected.push((name.to_owned(), bytes)),
            None => {
                let shape: Vec<usize> = header.shape.iter().map(|&size| size as usize).collect();
                tensors.push(Tensor::new(&header.name, header.dtype.name(), &shape, bytes));
            }
        }
    }
    let entries: Vec<_> =
        checkpoint.metadata().iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("in.safetensors");
    std::fs::write(&path, safetensors_with_metadata(&tensors, &entries)).unwrap();
    let config = r#"{"quantization_config": {"quant_method": "gptq", "bits": 4, "dynamic": {}}}"#;
    if file == "gptq" {
        std::fs::write(folder.path().join("config.json"), config).unwrap();
    }
    Input { _folder: folder, path, expected }
}

fn run(input: &Path, recipe: RecipeFile, limits: Limits) -> Result<Report, ConvertError> {
    let job =
        Job::new(input, input.with_file_name("out.safetensors"), Recipe::check(recipe).unwrap());
    convert(&Job { threads: TWO, overwrite: Overwrite::Replace, limits, ..job }, &Unwatched)
}

fn scheme(name: &str) -> RecipeFile {
    RecipeFile { scheme: Some(name.to_owned()), ..RecipeFile::default() }
}

fn decode(dtype: &str) -> RecipeFile {
    RecipeFile { decode_to: Some(dtype.to_owned()), ..RecipeFile::default() }
}

fn assert_verified(original: &Path, report: &Report) {
    let found = verify(original, &report.output, Biases::Same, None, TWO, &Unwatched).unwrap();
    assert!(found.ok, "{:?}", found.findings);
    assert!(found.original_layers > 0);
}

fn planned(path: &Path, file: RecipeFile) -> Result<Plan, ConvertError> {
    let recipe = Recipe::check(file).unwrap();
    let source = Source::open_with(path, &recipe)?;
    Plan::decide(&PlanRequest::new(&source, &recipe))
}

#[test]
fn dequantizing_gives_the_programs_own_numbers_and_leaves_nothing_else() {
    for file in FILES {
        let Input { path, expected, _folder } = input(file);
        let report = run(&path, decode("f32"), Limits::default()).unwrap();
        assert_verified(&path, &report);
        let output = Checkpoint::open(&report.output).unwrap();
        let found: BTreeSet<&str> = output.tensors().iter().map(|it| it.name.as_str()).collect();
        let found: BTreeSet<&str> =
            found.into_iter().filter(|name| !name.ends_with(".bias")).collect();
        assert_eq!(found, expected.iter().map(|(name, _)| name.as_str()).collect(), "{file}");
        for (name, bytes) in &expected {
            let header = output.get(name).unwrap();
            assert_eq!(header.dtype, Dtype::F32);
            let found = output.read(header).unwrap();
            let last = &found[found.len() - bytes.len()..];
            let [found, expected] = [last, bytes].map(|bytes| {
                let numbers = bytes.as_chunks().0.iter();
                numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<f32>>()
            });
            assert_eq!(found, expected, "{file}: {name}");
        }
        let is_of_torchao = |key: &&String| key.ends_with(".weight") || *key == "tensor_names";
        assert_eq!(output.metadata().keys().find(is_of_torchao), None);
    }
}

#[test]
fn weights_are_rounded_again_with_a_note() {
    let limited = Limits { memory_bytes: Some(200 << 20), ..Limits::default() };
    for (file, codes) in [
        ("awq", "AWQ, 4 bits in groups of 32"),
        ("bitsandbytes", "bitsandbytes (NF4), 4 bits in blocks of 64"),
        ("gptq", "GPTQ, 3 bits in groups of 16"),
        ("hqq", "HQQ, 8 bits in groups of 32 along axis 1"),
        ("quanto", "quanto, 8 bits (qint8) in rows"),
        ("torchao", "torchao, 8 bits (Int8Tensor) in blocks of 1×64"),
        ("transformers", "DeepSeek (FP4), 4 bits in groups of 32"),
    ] {
        let Input { path, _folder, .. } = input(file);
        let report = run(&path, scheme("int8-row"), limited).unwrap();
        assert_verified(&path, &report);
        let told = |note: &String| note.contains("in codes already (") && note.contains(codes);
        let notes: Vec<String> = report.notes.iter().map(ToString::to_string).collect();
        assert!(notes.iter().any(told), "{notes:?}");
    }
}

/// Banks of experts have no place in a layout, and are too large to be passed over in silence.
#[test]
fn expert_banks_become_numbers_with_a_note() {
    let Input { path, _folder, .. } = input("transformers");
    let report = run(&path, scheme("fp8"), Limits::default()).unwrap();
    let told = |note: &String| note.contains("3 expert banks become plain numbers");
    let notes: Vec<String> = report.notes.iter().map(ToString::to_string).collect();
    assert!(notes.iter().any(told), "{notes:?}");
    let output = Checkpoint::open(&report.output).unwrap();
    let bank = output.get("mlp.experts.down_proj").unwrap();
    assert_eq!((bank.dtype, bank.shape.as_slice()), (Dtype::BF16, &[2, 64, 6][..]));
    let asked = RecipeFile { include: vec!["down_proj".to_owned()], ..scheme("fp8") };
    let error = planned(&path, asked).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("an expert bank: layout `comfy` has no codes for it"), "{error}");
}

#[test]
fn kept_layers_become_numbers_of_the_models_dtype() {
    for (file, layer, dtype, because) in [
        ("gptq", "three", Dtype::F16, "kept by `three`; was GPTQ, 3 bits in groups of 16"),
        ("bitsandbytes", "wide", Dtype::BF16, "kept by `wide`; was bitsandbytes (NF4), 4 bits in"),
    ] {
        let Input { path, _folder, .. } = input(file);
        let plan = planned(&path, RecipeFile { keep: vec![layer.to_owned()], ..scheme("fp8") });
        let plan = plan.unwrap();
        let name = format!("{layer}.weight");
        let kept = plan.tensors.iter().find(|it| it.header.name == name).unwrap();
        assert!(matches!(kept.decision, Decision::Decode { .. }));
        assert!(kept.because().starts_with(because), "{}", kept.because());
        let specs = plan.manifest().unwrap();
        let spec = specs.tensors().iter().find(|spec| spec.name == name).unwrap();
        assert_eq!(spec.dtype, dtype);
    }
}

#[test]
fn codes_that_no_layout_has_do_not_move() {
    for file in FILES {
        let Input { path, _folder, .. } = input(file);
        let moved = RecipeFile { migrate_to: Some("comfy".to_owned()), ..RecipeFile::default() };
        let error = planned(&path, moved).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("which no layout here has a place for"), "{error}");
        assert!(error.contains("they can be decoded, or converted into others"), "{error}");
    }
}

#[test]
fn adapters_are_added_to_what_codes_stand_for() {
    let Input { path, expected, _folder } = input("awq");
    let adapter = path.with_file_name("lora.safetensors");
    let pair = [
        Tensor::f32("q.lora_A.weight", &gaussian(2, 64, 1)),
        Tensor::f32("q.lora_B.weight", &gaussian(24, 2, 2)),
    ];
    std::fs::write(&adapter, safetensors(&pair)).unwrap();
    let merge_lora = vec![adapter.display().to_string()];
    let recipe = RecipeFile { merge_lora, ..scheme("int8-row") };
    let report = run(&path, recipe, Limits::default()).unwrap();
    let merged = Source::open(&report.output).unwrap();
    let header = merged.checkpoint.get("q.weight").unwrap();
    let found = merged.load(header).unwrap().view().to_f32();
    let [up, down] = [gaussian(24, 2, 2).values, gaussian(2, 64, 1).values];
    let numbers = expected[0].1.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    for (at, (found, base)) in found.iter().zip(numbers).enumerate() {
        let (row, col) = (at / 64, at % 64);
        let change: f32 = (0..2).map(|rank| up[row * 2 + rank] * down[rank * 64 + col]).sum();
        // Half a step of a row whose largest weight is 10.
        assert!((found - base - change).abs() < 0.05, "{at}: {found}, {base} + {change}");
    }
}

/// Parts of codes cannot be joined as their weights are.
#[test]
fn names_of_another_dialect_are_translated_once_codes_are_numbers() {
    let words = |name: &str, shape: &[usize]| {
        let count: usize = shape.iter().product();
        Tensor::new(name, "I32", shape, 0x7777_7777_u32.to_le_bytes().repeat(count))
    };
    let plain = [
        "context_embedder.weight",
        "x_embedder.weight",
        "transformer_blocks.0.attn.add_q_proj.weight",
        "single_transformer_blocks.0.attn.to_q.weight",
    ];
    let layer = "transformer_blocks.0.attn.to_k";
    let mut tensors: Vec<Tensor> =
        plain.iter().map(|name| Tensor::bf16(name, &gaussian(32, 32, 1))).collect();
    tensors.extend([
        words(&format!("{layer}.qweight"), &[4, 32]),
        words(&format!("{layer}.qzeros"), &[1, 4]),
        Tensor::f32(&format!("{layer}.scales"), &gaussian(1, 32, 2)),
    ]);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("in.safetensors");
    std::fs::write(&path, safetensors(&tensors)).unwrap();
    let error = planned(&path, scheme("fp8")).map(|_| ()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&format!("layer `{layer}` is in codes of GPTQ")), "{text}");
    let report = run(&path, decode("bf16"), Limits::default()).unwrap();
    assert_verified(&path, &report);
    let output = Checkpoint::open(&report.output).unwrap();
    assert!(output.get(&format!("{layer}.weight")).is_some());
}

#[test]
fn inspection_names_program_bits_and_groups() {
    for (file, told) in [
        ("awq", ("4 bits in groups of 32", "AWQ")),
        ("hqq", ("1 bits in groups of 32 along axis 1", "HQQ")),
        ("transformers", ("4 bits in groups of 32", "DeepSeek (FP4)")),
    ] {
        let Input { path, _folder, .. } = input(file);
        let found = inspect(&path).unwrap();
        let is_it =
            |count: &QuantizedCount| (count.scheme.as_str(), count.spelling.as_str()) == told;
        assert!(found.quantized.iter().any(is_it), "{:?}", found.quantized);
        assert!(
            found.opened_by.iter().all(|program| !program.contains("ComfyUI")),
            "{:?}",
            found.opened_by
        );
    }
}

/// What is edited is the header alone; codes go on under their own names.
#[test]
fn codes_pass_through_edits_of_the_header() {
    let Input { path, _folder, .. } = input("awq");
    let file = RecipeFile::from_toml("[edit]\nset = { made_for = 'a test' }\n").unwrap();
    let report = run(&path, file, Limits::default()).unwrap();
    let [before, after] = [&path, &report.output].map(|path| Checkpoint::open(path).unwrap());
    let names = |file: &Checkpoint| -> Vec<String> {
        file.tensors().iter().map(|header| header.name.clone()).collect()
    };
    assert_eq!(names(&before), names(&after));
    assert_eq!(after.metadata()["made_for"], "a test");
    let found = verify(&path, &report.output, Biases::Same, None, TWO, &Unwatched).unwrap();
    assert!(found.ok, "{:?}", found.findings);
}
