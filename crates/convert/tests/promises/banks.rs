//! Banks of experts: where ComfyUI reads codes of them, every expert is what a matrix by itself would be.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use roundwise_convert::inspect::{Biases, inspect};
use roundwise_convert::plan::{Decision, Limits};
use roundwise_convert::tensor_file::Overwrite;
use roundwise_convert::{
    Job, Plan, PlanRequest, Recipe, RecipeFile, Report, Source, Unwatched, convert, verify,
};
use roundwise_layout::{Layout, MatmulPrecision};
use roundwise_scheme::{
    FloatDtype, QuantizedMatrix, ScaleRule, Scheme, Weight, WeightError, measure,
};
use roundwise_tensor_file::{Checkpoint, Dtype};
use roundwise_testkit::files::{Tensor, bf16_bytes, safetensors};
use roundwise_testkit::weights::{Matrix, gaussian};
use tempfile::TempDir;

const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();
const EXPERTS: usize = 3;
const BANKS: [(&str, [usize; 2]); 2] =
    [("layers.0.mlp.experts.gate_up_proj", [40, 64]), ("layers.0.mlp.experts.down_proj", [64, 96])];

/// A GPT-OSS as ComfyUI has it, whose rows fill no whole tile of swizzled scales.
fn model() -> (TempDir, PathBuf) {
    let matrix = |name: &str, rows, cols| Tensor::bf16(name, &gaussian(rows, cols, 7));
    let mut tensors = vec![
        Tensor::new("layers.0.self_attn.sinks", "BF16", &[4], vec![0; 8]),
        matrix("layers.0.self_attn.q_proj.weight", 64, 64),
        matrix("layers.0.mlp.router.weight", EXPERTS, 64),
    ];
    for (layer, [rows, cols]) in BANKS {
        let bytes =
            (0..EXPERTS).flat_map(|expert| bf16_bytes(&expert_of(expert, [rows, cols]).values));
        let shape = [EXPERTS, rows, cols];
        tensors.push(Tensor::new(&format!("{layer}.weight"), "BF16", &shape, bytes.collect()));
        let biases = vec![0; 2 * EXPERTS * rows];
        tensors.push(Tensor::new(&format!("{layer}.bias"), "BF16", &[EXPERTS, rows], biases));
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("in.safetensors");
    std::fs::write(&path, safetensors(&tensors)).unwrap();
    (folder, path)
}

/// The numbers of an expert; each has another magnitude, so that no two can have one scale.
fn expert_of(expert: usize, [rows, cols]: [usize; 2]) -> Matrix {
    gaussian(rows, cols, expert as u64).map(|_, _, value| {
        let value = value * 4f32.powi(expert as i32);
        f32::from_bits(value.to_bits() & 0xFFFF_0000)
    })
}

fn codes_of(expert: usize, shape: [usize; 2], scheme: Scheme) -> QuantizedMatrix {
    let bytes = expert_of(expert, shape).bytes();
    let weight = Weight::new(shape[0], shape[1], FloatDtype::F32, &bytes).unwrap();
    QuantizedMatrix::nearest(&weight, scheme, ScaleRule::Absmax).unwrap()
}

fn scheme(name: &str) -> RecipeFile {
    RecipeFile { scheme: Some(name.to_owned()), ..RecipeFile::default() }
}

fn run(input: &Path, recipe: RecipeFile, limits: Limits) -> Report {
    let name = format!("{}.safetensors", recipe.scheme.as_deref().unwrap_or("other"));
    let recipe = Recipe::check(recipe).unwrap();
    let job = Job::new(input, input.with_file_name(name), recipe);
    convert(&Job { threads: TWO, overwrite: Overwrite::Replace, limits, ..job }, &Unwatched)
        .unwrap()
}

fn planned(path: &Path, file: RecipeFile) -> Plan {
    let recipe = Recipe::check(file).unwrap();
    let source = Source::open_with(path, &recipe).unwrap();
    Plan::decide(&PlanRequest::new(&source, &recipe)).unwrap()
}

fn notes(plan: &Plan) -> String {
    plan.notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_expert_is_stored_as_a_matrix_by_itself_would_be() {
    let (_folder, path) = model();
    for name in ["fp8", "fp8-e5m2", "int8", "int8-row", "mxfp8", "nvfp4", "int4-convrot"] {
        let limits = Limits { memory_bytes: Some(200 << 20), ..Limits::default() };
        let report = run(&path, scheme(name), limits);
        let output = Checkpoint::open(&report.output).unwrap();
        let scheme: Scheme = name.parse().unwrap();
        for (layer, shape) in BANKS {
            // Kernels of INT4 take 64 columns at once, and 96 are kept.
            if name == "int4-convrot" && shape[1] % 64 > 0 {
                continue;
            }
            for expert in 0..EXPERTS {
                let matrix = codes_of(expert, shape, scheme);
                for packed in Layout::Comfy.pack(layer, matrix, MatmulPrecision::Any) {
                    if packed.name.ends_with(".comfy_quant") {
                        continue;
                    }
                    let header = output.get(&packed.name).unwrap();
                    assert_eq!(header.shape[0], EXPERTS as u64, "{name}: {}", packed.name);
                    let found = output.read(header).unwrap();
                    let length = packed.bytes.len();
                    assert_eq!(found.len(), EXPERTS * length, "{name}: {}", packed.name);
                    assert!(
                        found[expert * length..][..length] == packed.bytes,
                        "{name}: {}",
                        packed.name
                    );
                }
            }
            let marker = output.get(&format!("{layer}.comfy_quant")).unwrap();
            let text = String::from_utf8(output.read(marker).unwrap()).unwrap();
            assert!(text.contains(r#""num_experts": 3"#), "{text}");
            assert!(output.metadata()["_quantization_metadata"].contains(&text), "{text}");
        }
        let found = verify(&path, &report.output, Biases::Same, None, TWO, &Unwatched).unwrap();
        assert!(found.ok, "{name}: {:?}", found.findings);
    }
}

#[test]
fn codes_of_experts_become_the_numbers_that_they_stand_for() {
    let (_folder, path) = model();
    for name in ["fp8", "int8-row", "mxfp8", "nvfp4"] {
        let codes = run(&path, scheme(name), Limits::default()).output;
        let decode = RecipeFile { decode_to: Some("f32".to_owned()), ..RecipeFile::default() };
        let numbers = run(&codes, decode, Limits::default()).output;
        let numbers = Checkpoint::open(&numbers).unwrap();
        assert!(numbers.tensors().iter().all(|it| matches!(it.dtype, Dtype::F32 | Dtype::BF16)));
        for (layer, shape) in BANKS {
            let header = numbers.get(&format!("{layer}.weight")).unwrap();
            assert_eq!(header.shape, [EXPERTS, shape[0], shape[1]].map(|size| size as u64));
            let found = numbers.read(header).unwrap();
            let scheme: Scheme = name.parse().unwrap();
            let expected = (0..EXPERTS).flat_map(|expert| codes_of(expert, shape, scheme).to_f32());
            let expected: Vec<u8> = expected.flat_map(|value| value.to_le_bytes()).collect();
            assert!(found == expected, "{name}: {layer}");
        }
        // The codes may become others, and may be laid out anew.
        let again = run(&codes, scheme("fp8-e5m2"), Limits::default());
        let found = verify(&codes, &again.output, Biases::Same, None, TWO, &Unwatched).unwrap();
        assert!(found.ok, "{name}: {:?}", found.findings);
        let migrate = RecipeFile { migrate_to: Some("comfy".to_owned()), ..RecipeFile::default() };
        let moved = run(&codes, migrate, Limits::default()).output;
        let [codes, moved] = [codes, moved].map(|path| Checkpoint::open(&path).unwrap());
        for header in codes.tensors() {
            let found = moved.read(moved.get(&header.name).unwrap()).unwrap();
            assert!(found == codes.read(header).unwrap(), "{name}: {}", header.name);
        }
    }
}

#[test]
fn banks_stay_where_comfyui_reads_no_such_codes() {
    let (_folder, path) = model();
    for name in ["int8-row-convrot", "int4-asym"] {
        let plan = planned(&path, scheme(name));
        let told = notes(&plan);
        assert!(told.contains("2 expert banks stay") && told.contains("`nvfp4`"), "{told}");
        let bank = plan
            .tensors
            .iter()
            .find(|it| it.header.name == "layers.0.mlp.experts.down_proj.weight");
        let bank = bank.unwrap();
        assert_eq!(
            (&bank.decision, bank.because().contains("no program reads")),
            (&Decision::Copy, true)
        );
    }
    // Rules and patterns choose for banks as for any weight.
    let recipe = RecipeFile { keep: vec!["down_proj".to_owned()], ..scheme("nvfp4") };
    let converted: Vec<String> =
        planned(&path, recipe).quantized().map(|(it, _)| it.header.name.clone()).collect();
    assert_eq!(
        converted,
        ["layers.0.mlp.experts.gate_up_proj.weight", "layers.0.self_attn.q_proj.weight"]
    );
}

#[test]
fn versions_are_those_that_read_banks() {
    let (_folder, path) = model();
    for (name, version) in [("fp8", "0.23.0"), ("nvfp4", "0.23.0"), ("int8-row", "0.27.0")] {
        let report = run(&path, scheme(name), Limits::default());
        let told = inspect(&report.output).unwrap();
        assert_eq!(told.opened_by, [format!("ComfyUI {version} or newer")], "{name}");
        assert!(told.quantized.iter().any(|it| it.scheme == format!("{name}, expert bank")));
    }
    // Without the module the model is not read, in whatever layout and whatever becomes of its banks.
    let legacy = RecipeFile { layout: Some("comfy-legacy".to_owned()), ..scheme("fp8") };
    for (recipe, version) in [(legacy, "0.23.0"), (scheme("int4-asym"), "0.31.0")] {
        let consumers = planned(&path, recipe).consumers();
        let program = consumers[0].answer.program().unwrap();
        assert_eq!(program, format!("ComfyUI {version} or newer"));
    }
}

#[test]
fn learned_rounding_searches_every_expert_and_makes_none_worse() {
    let (_folder, path) = model();
    let learned = |scheme_name: &str| RecipeFile {
        method: Some("principal".to_owned()),
        ..scheme(scheme_name)
    };
    for name in ["fp8", "int8-row", "nvfp4"] {
        let scheme_of: Scheme = name.parse().unwrap();
        let report = run(&path, learned(name), Limits::default());
        let bytes = std::fs::read(&report.output).unwrap();
        for (layer, shape) in BANKS {
            let weight = format!("{layer}.weight");
            let told = report.tensors.iter().find(|it| it.name == weight).unwrap();
            let rounding = told.rounding.as_ref().unwrap();
            assert_eq!(rounding.failure, None, "{name}: {layer}");
            // Sums over the experts.
            let [stored, nearest] = [rounding.objective_value, rounding.nearest_objective_value];
            assert!(stored.unwrap() <= nearest.unwrap(), "{name}: {layer} {stored:?} {nearest:?}");
            let changed = rounding.changed_share;
            assert!(changed > 0.0 && changed < 1.0, "{name}: {layer} {changed}");
            let errors = (0..EXPERTS).map(|expert| {
                let bytes = expert_of(expert, shape).bytes();
                let weight = Weight::new(shape[0], shape[1], FloatDtype::F32, &bytes).unwrap();
                measure(&weight, &codes_of(expert, shape, scheme_of))
            });
            let mut nearest = WeightError::default();
            errors.for_each(|error| nearest += error);
            let found = rounding.nearest_weight_error.unwrap();
            assert!((found / nearest.relative() - 1.0).abs() < 1e-6, "{name}: {layer} {found}");
        }
        let found = verify(&path, &report.output, Biases::Same, None, TWO, &Unwatched).unwrap();
        assert!(found.ok, "{name}: {:?}", found.findings);
        let again = run(&path, learned(name), Limits::default());
        assert!(std::fs::read(again.output).unwrap() == bytes, "{name}");
    }
}
