//! Banks of experts of gpt-oss become codes as OpenAI stores them, and nothing else of the model does.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use roundwise_convert::inspect::{Biases, inspect};
use roundwise_convert::plan::Decision;
use roundwise_convert::source::for_input;
use roundwise_convert::tensor_file::Overwrite;
use roundwise_convert::{
    ConvertError, Job, Plan, PlanRequest, Recipe, RecipeFile, Report, Source, Unwatched, convert,
    verify,
};
use roundwise_layout::Layout;
use roundwise_tensor_file::{Checkpoint, Dtype};
use roundwise_testkit::files::{Tensor, bf16_bytes, safetensors};
use roundwise_testkit::weights::{Matrix, gaussian};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stop_after::StopAfter;

const EXPERTS: usize = 3;
const HIDDEN: usize = 64;
const INTERMEDIATE: usize = 96;
const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

fn bank_name(layer: usize, bank: &str) -> String {
    format!("model.layers.{layer}.mlp.experts.{bank}")
}

/// Every bank, with rows and columns of the codes of an expert.
fn banks(intermediate: usize) -> Vec<(String, [usize; 2])> {
    let of_layer = |layer| {
        [
            (bank_name(layer, "gate_up_proj"), [2 * intermediate, HIDDEN]),
            (bank_name(layer, "down_proj"), [HIDDEN, intermediate]),
        ]
    };
    (0..2).flat_map(of_layer).collect()
}

/// The numbers of an expert, outputs as rows. A block is all 0, and magnitudes differ from block to block.
fn expert_of(bank: &str, expert: usize, [rows, cols]: [usize; 2]) -> Matrix {
    let seed = bank.bytes().map(u64::from).sum::<u64>() + 1000 * expert as u64;
    gaussian(rows, cols, seed).map(|row, col, value| {
        let value = match (row, col / 32) {
            (3, 1) => 0.0,
            (row, block) => value * 2f32.powi((row * 5 + block * 3) as i32 % 11 - 6),
        };
        // BF16 numbers.
        f32::from_bits(value.to_bits() & 0xFFFF_0000)
    })
}

/// The bytes of a bank as transformers stores it: inputs as rows.
fn bank_bytes(name: &str, shape @ [rows, cols]: [usize; 2]) -> Vec<u8> {
    let of_expert = |expert| {
        let matrix = expert_of(name, expert, shape);
        bf16_bytes(&Matrix::from_fn(cols, rows, |col, row| matrix.at(row, col)).values)
    };
    (0..EXPERTS).flat_map(of_expert).collect()
}

struct Model {
    _folder: TempDir,
    path: PathBuf,
}

impl Model {
    fn beside(&self, name: &str) -> PathBuf {
        self.path.with_file_name(name)
    }
}

fn model_of(model_type: &str, intermediate: usize) -> Model {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("in");
    let mut tensors = vec![
        Tensor::bf16("model.embed_tokens.weight", &gaussian(40, HIDDEN, 1)),
        Tensor::bf16("lm_head.weight", &gaussian(40, HIDDEN, 2)),
    ];
    for layer in 0..2 {
        let name = |rest: &str| format!("model.layers.{layer}.{rest}");
        let matrix = |rest: &str, rows| Tensor::bf16(&name(rest), &gaussian(rows, HIDDEN, 3));
        tensors.push(Tensor::new(&name("self_attn.sinks"), "BF16", &[4], vec![0; 8]));
        tensors.push(matrix("self_attn.q_proj.weight", 64));
        tensors.push(matrix("mlp.router.weight", EXPERTS));
        if model_type == "qwen3_next" {
            // What tells the family apart.
            tensors.push(matrix("linear_attn.in_proj_qkvz.weight", 64));
            tensors.push(matrix("mlp.shared_expert_gate.weight", 1));
        }
    }
    for (name, shape @ [rows, cols]) in banks(intermediate) {
        let bytes = bank_bytes(&name, shape);
        tensors.push(Tensor::new(&name, "BF16", &[EXPERTS, cols, rows], bytes));
        let bias = vec![1; 2 * EXPERTS * rows];
        tensors.push(Tensor::new(&format!("{name}_bias"), "BF16", &[EXPERTS, rows], bias));
    }
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("model.safetensors"), safetensors(&tensors)).unwrap();
    let config = json!({
        "architectures": ["GptOssForCausalLM"],
        "model_type": model_type,
        "dtype": "bfloat16",
        "hidden_size": HIDDEN,
    });
    std::fs::write(path.join("config.json"), config.to_string()).unwrap();
    Model { _folder: folder, path }
}

fn model() -> Model {
    model_of("gpt_oss", INTERMEDIATE)
}

fn mxfp4() -> RecipeFile {
    RecipeFile {
        program: Some("vllm".to_owned()),
        scheme: Some("mxfp4".to_owned()),
        ..RecipeFile::default()
    }
}

fn job(input: &Path, output: &Path, recipe: RecipeFile) -> Job {
    let recipe = for_input(recipe, input, Some(output)).check().unwrap();
    Job { threads: TWO, overwrite: Overwrite::Replace, ..Job::new(input, output, recipe) }
}

fn run(input: &Path, output: &Path, recipe: RecipeFile) -> Report {
    convert(&job(input, output, recipe), &Unwatched).unwrap()
}

fn planned(path: &Path, recipe: RecipeFile) -> Result<Plan, ConvertError> {
    let recipe = for_input(recipe, path, None).check().unwrap();
    let source = Source::open_with(path, &recipe)?;
    Plan::decide(&PlanRequest::new(&source, &recipe))
}

fn config(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn bytes_of(file: &Checkpoint, name: &str) -> Vec<u8> {
    file.read(file.get(name).unwrap_or_else(|| panic!("{name}"))).unwrap()
}

const MAGNITUDES: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// The exponent byte and the codes of 32 numbers, by the definition: the smallest power of two under which none is cut
/// off, 0 for zeros, and the nearest of 16 values, the even code of two that are as near.
fn block_of(numbers: &[f32]) -> (u8, Vec<u8>) {
    let largest = numbers.iter().fold(0.0_f32, |largest, it| largest.max(it.abs()));
    let mut exponent = -126;
    while 6.0 * 2f64.powi(exponent) < f64::from(largest) {
        exponent += 1;
    }
    let exponent = if largest == 0.0 { -127 } else { exponent };
    let code_of = |number: f32| {
        let wanted = f64::from(number.abs()) / 2f64.powi(exponent);
        let distance = |code: usize| (f64::from(MAGNITUDES[code]) - wanted).abs();
        let nearest =
            (0..8).min_by(|&a, &b| distance(a).total_cmp(&distance(b)).then((a % 2).cmp(&(b % 2))));
        let code = nearest.unwrap() as u8;
        if number < 0.0 && code > 0 { code | 8 } else { code }
    };
    ((exponent + 127) as u8, numbers.iter().map(|number| code_of(*number)).collect())
}

/// The codes, two to a byte, and exponents of a bank.
fn blocks_of(name: &str, shape: [usize; 2]) -> (Vec<u8>, Vec<u8>) {
    let (mut blocks, mut scales) = (vec![], vec![]);
    for expert in 0..EXPERTS {
        for numbers in expert_of(name, expert, shape).values.chunks(32) {
            let (scale, codes) = block_of(numbers);
            scales.push(scale);
            blocks.extend(codes.chunks(2).map(|pair| pair[0] | pair[1] << 4));
        }
    }
    (blocks, scales)
}

#[test]
fn every_expert_is_stored_as_openai_stores_it() {
    let model = model();
    let output = model.beside("out");
    let report = run(&model.path, &output, mxfp4());
    assert_eq!((report.layout, report.converted_tensors), (Layout::Mxfp4, 4));
    let [before, after] = [&model.path, &output].map(|path| Checkpoint::open(path).unwrap());
    for (name, shape @ [rows, cols]) in banks(INTERMEDIATE) {
        let (blocks, scales) = blocks_of(&name, shape);
        let [experts, rows, groups] = [EXPERTS, rows, cols / 32].map(|size| size as u64);
        let header = after.get(&format!("{name}_blocks")).unwrap();
        assert_eq!(
            (header.dtype, &header.shape[..]),
            (Dtype::U8, &[experts, rows, groups, 16][..])
        );
        assert!(after.read(header).unwrap() == blocks, "{name}");
        let header = after.get(&format!("{name}_scales")).unwrap();
        assert_eq!((header.dtype, &header.shape[..]), (Dtype::U8, &[experts, rows, groups][..]));
        assert!(after.read(header).unwrap() == scales, "{name}");
        assert!(after.get(&name).is_none() && after.get(&format!("{name}.weight")).is_none());
    }
    // All else is as it was.
    let others = before
        .tensors()
        .iter()
        .filter(|it| !banks(INTERMEDIATE).iter().any(|(name, _)| *name == it.name));
    for header in others {
        let found = after.get(&header.name).unwrap();
        assert_eq!((found.dtype, &found.shape), (header.dtype, &header.shape));
        assert!(after.read(found).unwrap() == before.read(header).unwrap(), "{}", header.name);
    }
    let config = config(&output);
    let told = json!({
        "quant_method": "mxfp4",
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
    });
    assert_eq!(config["quantization_config"], told);
    assert!(!output.join("hf_quant_config.json").exists());
}

#[test]
fn the_codes_become_numbers_of_the_names_and_shapes_before() {
    let model = model();
    let [codes, numbers] = ["codes", "numbers"].map(|name| model.beside(name));
    run(&model.path, &codes, mxfp4());
    let decode = RecipeFile { decode_to: Some("bf16".to_owned()), ..RecipeFile::default() };
    let recipe = decode.clone().check().unwrap();
    let job = Job { threads: TWO, ..Job::new(&codes, numbers.join("model.safetensors"), recipe) };
    std::fs::create_dir(&numbers).unwrap();
    convert(&job, &Unwatched).unwrap();
    let [before, after] = [&model.path, &numbers].map(|path| Checkpoint::open(path).unwrap());
    let names = |file: &Checkpoint| -> Vec<(String, Vec<u64>, Dtype)> {
        let tensors = file.tensors().iter();
        tensors.map(|it| (it.name.clone(), it.shape.clone(), it.dtype)).collect()
    };
    assert_eq!(names(&before), names(&after));
    for (name, shape @ [rows, cols]) in banks(INTERMEDIATE) {
        let (blocks, scales) = blocks_of(&name, shape);
        let codes: Vec<u8> = blocks.iter().flat_map(|byte| [byte & 15, byte >> 4]).collect();
        let number = |expert: usize, row: usize, col: usize| {
            let at = (expert * rows + row) * cols + col;
            let magnitude = MAGNITUDES[usize::from(codes[at] & 7)];
            let sign = if codes[at] < 8 { 1.0 } else { -1.0 };
            sign * magnitude * 2f32.powi(i32::from(scales[at / 32]) - 127)
        };
        let expected = (0..EXPERTS).flat_map(|expert| {
            bf16_bytes(&Matrix::from_fn(cols, rows, |col, row| number(expert, row, col)).values)
        });
        assert!(bytes_of(&after, &name) == expected.collect::<Vec<_>>(), "{name}");
    }
    // Rounded once more, from codes, they stand for the same numbers.
    let again = model.beside("again");
    run(&codes, &again, mxfp4());
    assert_eq!(config(&again), config(&codes));
    let recipe = decode.check().unwrap();
    let job = Job { overwrite: Overwrite::Replace, ..Job::new(&again, job.output.clone(), recipe) };
    let first = bytes_of(&after, &bank_name(1, "down_proj"));
    convert(&job, &Unwatched).unwrap();
    let after = Checkpoint::open(&numbers).unwrap();
    assert!(bytes_of(&after, &bank_name(1, "down_proj")) == first);
}

#[test]
fn the_output_is_verified_and_a_foreign_scale_is_found() {
    let model = model();
    let output = model.beside("out");
    let report = run(&model.path, &output, mxfp4());
    assert!(report.verify_seconds.is_some());
    let verified = || verify(&model.path, &output, Biases::Same, None, TWO, &Unwatched).unwrap();
    let found = verified();
    assert!(found.ok, "{:?}", found.findings);
    let file = output.join("model.safetensors");
    let header = Checkpoint::open(&output).unwrap();
    let scales = format!("{}_scales", bank_name(0, "down_proj"));
    let expected = bytes_of(&header, &scales);
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(expected.len()).position(|part| part == expected).unwrap();
    bytes[at] += 16;
    std::fs::write(&file, bytes).unwrap();
    let found = verified();
    let told = found.findings.iter().find(|it| it.tensor == bank_name(0, "down_proj"));
    let told = told.unwrap_or_else(|| panic!("{:?}", found.findings));
    assert!(!found.ok && told.problem.to_string().contains("expert 0: "), "{}", told.problem);
}

#[test]
fn the_programs_that_open_it_are_named_before_and_after() {
    let model = model();
    let plan = planned(&model.path, mxfp4()).unwrap();
    let program = plan.consumers()[0].answer.program().unwrap().to_owned();
    assert_eq!(program, "transformers, vLLM and SGLang");
    for (name, because) in [
        ("model.layers.0.self_attn.q_proj.weight", "servers read all else as plain numbers"),
        ("model.layers.0.mlp.router.weight", "router"),
        ("lm_head.weight", "output head"),
    ] {
        let tensor = plan.tensors.iter().find(|it| it.header.name == name).unwrap();
        assert_eq!(tensor.decision, Decision::Copy, "{name}");
        assert!(tensor.because().contains(because), "{}", tensor.because());
    }
    let output = model.beside("out");
    run(&model.path, &output, mxfp4());
    let told = inspect(&output).unwrap();
    assert_eq!(told.opened_by, [program]);
    assert_eq!(told.quantized.len(), 1);
    assert_eq!(
        (told.quantized[0].scheme.as_str(), told.quantized[0].layers),
        ("mxfp4, expert bank", 4)
    );
    assert!(told.findings.is_empty(), "{:?}", told.findings);
}

/// Servers take all banks for codes, whatever the configuration lists.
#[test]
fn a_model_with_some_banks_in_codes_is_promised_to_no_program() {
    let model = model();
    let keep = |pattern: &str| RecipeFile { keep: vec![pattern.to_owned()], ..mxfp4() };
    let error = planned(&model.path, keep("layers\\.0")).unwrap_err().to_string();
    assert!(
        error.contains("vLLM reads no experts of which some are in codes, and some stay"),
        "{error}"
    );
    let for_nobody = RecipeFile {
        program: None,
        layout: Some("mxfp4".to_owned()),
        ..keep("layers\\.0\\.mlp\\.experts\\.down")
    };
    let plan = planned(&model.path, for_nobody).unwrap();
    assert_eq!(plan.consumers()[0].answer.program(), None);
    // Both banks of a module, or none.
    let converted: Vec<&str> = plan.quantized().map(|(it, _)| it.header.name.as_str()).collect();
    assert_eq!(converted, [bank_name(1, "down_proj"), bank_name(1, "gate_up_proj")]);
}

#[test]
fn banks_that_blocks_do_not_cover_are_kept_and_the_reason_is_told() {
    let model = model_of("gpt_oss", 40);
    let plan = planned(&model.path, mxfp4()).unwrap();
    assert_eq!(plan.quantized().count(), 0);
    let because = |bank: &str| {
        let name = bank_name(0, bank);
        plan.tensors.iter().find(|it| it.header.name == name).unwrap().because()
    };
    assert!(because("down_proj").contains("columns are not a multiple of 32 (found 40)"));
    assert!(because("gate_up_proj").contains("down_proj`, which is kept"));
}

#[test]
fn the_layout_is_refused_for_other_models_with_the_way_out() {
    let model = model_of("qwen3_next", INTERMEDIATE);
    let asked = RecipeFile { layout: Some("mxfp4".to_owned()), ..mxfp4() };
    let error = planned(&model.path, asked).unwrap_err().to_string();
    for word in ["`gpt_oss`", "`qwen3_next`", "leave the layout out", "compressed-tensors"] {
        assert!(error.contains(word), "no {word} in {error}");
    }
    // Without being asked for, it is not chosen.
    let plan = planned(&model.path, mxfp4()).unwrap();
    assert_eq!(plan.layout, Layout::CompressedTensors);
    let shared =
        RecipeFile { layout: Some("mxfp4".to_owned()), tensor_parallel: Some(8), ..mxfp4() };
    let error = shared.check().unwrap_err().to_string();
    assert!(error.contains("over any number of devices"), "{error}");
    let other = RecipeFile {
        layout: Some("mxfp4".to_owned()),
        scheme: Some("fp8-row".to_owned()),
        ..mxfp4()
    };
    let error = other.check().unwrap_err().to_string();
    assert!(error.contains("`mxfp4` of banks of experts only"), "{error}");
}

#[test]
fn banks_kept_in_another_layout_are_told_of_this_one() {
    let model = model();
    let other = RecipeFile { scheme: Some("int4-group-32".to_owned()), ..mxfp4() };
    let plan = planned(&model.path, other).unwrap();
    assert_eq!(plan.layout, Layout::CompressedTensors);
    let notes: Vec<String> = plan.notes.iter().map(ToString::to_string).collect();
    let told = |note: &String| {
        note.contains("4 expert banks stay")
            && note.contains("layout `mxfp4` has codes for (`mxfp4`)")
    };
    assert!(notes.iter().any(told), "{notes:?}");
}

#[test]
fn learned_rounding_searches_every_expert() {
    let model = model();
    let [nearest, learned] = ["nearest", "learned"].map(|name| model.beside(name));
    run(&model.path, &nearest, mxfp4());
    let recipe = RecipeFile { method: Some("principal".to_owned()), ..mxfp4() };
    let report = run(&model.path, &learned, recipe);
    let [nearest, learned] = [nearest, learned].map(|path| Checkpoint::open(&path).unwrap());
    for (name, _) in banks(INTERMEDIATE) {
        let told = report.tensors.iter().find(|it| it.name == name).unwrap();
        let rounding = told.rounding.as_ref().unwrap();
        assert_eq!(rounding.failure, None, "{name}");
        assert!(rounding.objective_value <= rounding.nearest_objective_value, "{name}");
        let blocks = format!("{name}_blocks");
        let [before, after] = [&nearest, &learned].map(|file| bytes_of(file, &blocks));
        assert_eq!((before.len(), before == after), (after.len(), rounding.is_nearest), "{name}");
    }
}

#[test]
fn threads_and_interruptions_change_nothing() {
    let model = model();
    let [once, other] = ["once", "other"].map(|name| model.beside(name));
    run(&model.path, &once, mxfp4());
    let expected = std::fs::read(once.join("model.safetensors")).unwrap();
    for tensors in [6, 9, 12] {
        let job = Job { threads: NonZeroUsize::MIN, ..job(&model.path, &other, mxfp4()) };
        let stopped = convert(&job, &StopAfter(tensors.into())).unwrap_err();
        assert!(matches!(stopped, ConvertError::Unfinished { .. }), "{stopped}");
        let report = convert(&job, &Unwatched).unwrap();
        assert!(report.recalled_tensors > 0);
        assert!(std::fs::read(other.join("model.safetensors")).unwrap() == expected);
        std::fs::remove_dir_all(&other).unwrap();
    }
}

#[test]
fn a_bank_with_a_nan_keeps_both_of_its_module() {
    let model = model();
    let file = model.path.join("model.safetensors");
    let name = bank_name(1, "gate_up_proj");
    let numbers = bytes_of(&Checkpoint::open(&model.path).unwrap(), &name);
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(64).position(|part| part == &numbers[..64]).unwrap();
    bytes[at..at + 2].copy_from_slice(&[0xC0, 0x7F]);
    std::fs::write(&file, bytes).unwrap();
    let recipe = RecipeFile { program: None, layout: Some("mxfp4".to_owned()), ..mxfp4() };
    let output = model.beside("out");
    let report = run(&model.path, &output, recipe);
    assert_eq!(report.converted_tensors, 2);
    let file = Checkpoint::open(&output).unwrap();
    assert!(bytes_of(&file, &bank_name(1, "down_proj")).len() > 1);
    assert!(file.get(&format!("{}_blocks", bank_name(0, "down_proj"))).is_some());
}

#[test]
fn codes_of_banks_are_moved_to_no_other_layout() {
    let model = model();
    let codes = model.beside("codes");
    run(&model.path, &codes, mxfp4());
    let to =
        |layout: &str| RecipeFile { migrate_to: Some(layout.to_owned()), ..RecipeFile::default() };
    let error = planned(&codes, to("compressed-tensors")).unwrap_err().to_string();
    for word in ["no other layout has a place", "they can be decoded"] {
        assert!(error.contains(word), "no {word} in {error}");
    }
}

#[test]
fn the_recipe_of_a_folder_names_the_layout() {
    let model = model();
    let completed = for_input(mxfp4(), &model.path, None);
    assert_eq!(completed.layout.as_deref(), Some("mxfp4"));
    let by_itself = RecipeFile { program: None, ..mxfp4() };
    assert_eq!(for_input(by_itself, &model.path, None), completed);
    let scheme = Recipe::check(completed).unwrap().scheme().to_string();
    assert_eq!(scheme, "mxfp4");
}
