//! Same in, same out; and what is not converted stays as it was.

#[path = "../../examples/ten_lines.rs"]
#[allow(dead_code)]
mod ten_lines;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use roundwise_convert::plan::Action;
use roundwise_convert::tensor_file::Overwrite;
use roundwise_convert::{
    ConvertError, Event, Job, Recipe, RecipeFile, Report, Unwatched, Watch, convert,
};
use roundwise_scheme::Scheme;
use roundwise_tensor_file::{Checkpoint, Dtype};
use roundwise_testkit::bytes::assert_equal_bytes;
use roundwise_testkit::files::{Tensor, safetensors, safetensors_with_metadata};
use roundwise_testkit::random::Random;
use roundwise_testkit::weights::{
    Matrix, all_zero, gaussian, power_law_spectrum, with_outliers, with_zero_rows,
};
use tempfile::TempDir;

const METADATA: [(&str, &str); 3] =
    [("format", "pt"), ("modelspec.title", "a \"b\" \\ c"), ("training", "{\"steps\": 1}")];

/// Weights of many sizes and kinds, so that threads finish out of order, and what stays.
fn tensors() -> Vec<Tensor> {
    let mut tensors = vec![
        Tensor::f32("blocks.0.a.weight", &gaussian(128, 256, 1)),
        Tensor::bf16("blocks.0.b.weight", &with_outliers(512, 128, 2)),
        Tensor::f16("blocks.1.a.weight", &power_law_spectrum(128, 128, 3)),
        Tensor::bf16("blocks.1.b.weight", &with_zero_rows(128, 384, 4)),
        Tensor::f32("blocks.2.a.weight", &all_zero(128, 128)),
        Tensor { shape: vec![2, 3, 4, 5], ..Tensor::f32("conv.weight", &gaussian(1, 120, 5)) },
        Tensor { shape: vec![64], ..Tensor::f16("norm.weight", &gaussian(1, 64, 6)) },
        Tensor { shape: vec![], ..Tensor::f32("logit_scale", &gaussian(1, 1, 7)) },
        Tensor::new("ids.weight", "I64", &[2, 2], (0..32).collect()),
        Tensor::new("tokenizer", "U8", &[7], b"{\"a\":1}".to_vec()),
        Tensor::new("empty.weight", "BF16", &[0, 8], vec![]),
    ];
    // Every bit pattern of BF16, NaNs with payloads included, must survive a copy.
    let patterns = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    tensors.push(Tensor::new("blocks.0.bias", "BF16", &[65536], patterns));
    for block in 3..12 {
        let matrix = gaussian(128, 128 * (1 + block % 3), block as u64);
        tensors.push(Tensor::bf16(&format!("blocks.{block}.a.weight"), &matrix));
    }
    tensors
}

/// Names of [`tensors`] that are copied.
const COPIED: [&str; 7] = [
    "conv.weight",
    "norm.weight",
    "logit_scale",
    "ids.weight",
    "tokenizer",
    "empty.weight",
    "blocks.0.bias",
];

fn folder_with(name: &str, bytes: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), bytes).unwrap();
    folder
}

fn recipe(scheme: &str) -> RecipeFile {
    RecipeFile { scheme: Some(scheme.to_owned()), ..RecipeFile::default() }
}

fn job(input: &Path, output: PathBuf, recipe: RecipeFile, threads: usize) -> Job {
    let job = Job::new(input, output, Recipe::check(recipe).unwrap());
    Job { threads: NonZeroUsize::new(threads).unwrap(), overwrite: Overwrite::Replace, ..job }
}

/// Converts `input`, a path inside `folder`, and gives the report and the bytes of the output.
fn converted(
    folder: &TempDir,
    input: &str,
    recipe: RecipeFile,
    threads: usize,
) -> (Report, Vec<u8>) {
    let output = folder.path().join("out.safetensors");
    let job = job(&folder.path().join(input), output.clone(), recipe, threads);
    let report = convert(&job, &Unwatched).unwrap();
    (report, std::fs::read(output).unwrap())
}

/// Tensors by name: dtype, shape, bytes.
fn contents(path: &Path) -> BTreeMap<String, (Dtype, Vec<u64>, Vec<u8>)> {
    let file = Checkpoint::open(path).unwrap();
    let entry = |tensor: &roundwise_tensor_file::TensorHeader| {
        let bytes = file.read(tensor).unwrap();
        (tensor.name.clone(), (tensor.dtype, tensor.shape.clone(), bytes))
    };
    file.tensors().iter().map(entry).collect()
}

#[test]
fn threads_and_repetition_change_nothing() {
    let folder = folder_with("m.safetensors", &safetensors_with_metadata(&tensors(), &METADATA));
    let searched = RecipeFile { scale_rule: Some("mse".into()), ..recipe("fp8-block-64") };
    for recipe in [recipe("fp8"), recipe("int8-row"), searched] {
        let (first_report, first) = converted(&folder, "m.safetensors", recipe.clone(), 1);
        for threads in [1, 2, 8] {
            let (report, again) = converted(&folder, "m.safetensors", recipe.clone(), threads);
            assert_equal_bytes(&again, &first);
            assert_eq!(report.weight_error, first_report.weight_error, "{threads} threads");
            let errors = |report: &Report| -> Vec<Option<f64>> {
                report.tensors.iter().map(|layer| layer.weight_error).collect()
            };
            assert_eq!(errors(&report), errors(&first_report));
        }
    }
}

#[test]
fn shards_give_the_bytes_of_one_file() {
    let all = tensors();
    let folder = folder_with("m.safetensors", &safetensors_with_metadata(&all, &METADATA));
    let mut map = vec![];
    for (number, part) in all.chunks(5).enumerate() {
        let shard = format!("s-{number}.safetensors");
        let bytes = safetensors_with_metadata(part, &METADATA);
        std::fs::write(folder.path().join(&shard), bytes).unwrap();
        map.extend(part.iter().map(|tensor| format!("\"{}\":\"{shard}\"", tensor.name)));
    }
    let index = format!("{{\"weight_map\":{{{}}}}}", map.join(","));
    std::fs::write(folder.path().join("m.safetensors.index.json"), index).unwrap();
    // Which files it was is what an output says of its input.
    let silent = RecipeFile { provenance: Some(false), ..recipe("fp8") };
    let (_, whole) = converted(&folder, "m.safetensors", silent.clone(), 2);
    let (_, sharded) = converted(&folder, "m.safetensors.index.json", silent, 2);
    assert_equal_bytes(&sharded, &whole);
}

#[test]
fn what_is_copied_is_identical() {
    let folder = folder_with("m.safetensors", &safetensors_with_metadata(&tensors(), &METADATA));
    let input = folder.path().join("m.safetensors");
    for layout in ["comfy", "comfy-legacy"] {
        let recipe = RecipeFile { layout: Some(layout.into()), ..recipe("fp8") };
        let (report, _) = converted(&folder, "m.safetensors", recipe, 2);
        let [before, after] = [contents(&input), contents(&report.output)];
        let copied: Vec<&str> = report
            .tensors
            .iter()
            .filter(|layer| layer.decision == Action::Copy)
            .map(|layer| layer.name.as_str())
            .collect();
        assert_eq!(copied.len(), COPIED.len(), "{copied:?}");
        for name in COPIED {
            assert!(before[name] == after[name], "{layout}: {name} changed");
        }
    }
}

#[test]
fn header_entries_survive() {
    let folder = folder_with("m.safetensors", &safetensors_with_metadata(&tensors(), &METADATA));
    let (report, _) = converted(&folder, "m.safetensors", recipe("fp8"), 1);
    let after = Checkpoint::open(&report.output).unwrap();
    for (key, value) in METADATA {
        assert_eq!(after.metadata()[key], value);
    }
    let keys: Vec<_> = after.metadata().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["_quantization_metadata", "format", "modelspec.title", "roundwise", "training"]
    );
}

/// ComfyUI takes the prefix off the tensors' names, not off those of the header.
#[test]
fn markers_of_a_model_behind_a_prefix_are_in_tensors_alone() {
    let layers = ["double_blocks.0.img_attn.qkv", "double_blocks.0.img_mlp.0", "img_in", "txt_in"];
    let names = layers.iter().map(|layer| format!("{layer}.weight"));
    let names = names.chain(["double_blocks.0.img_attn.norm.key_norm.scale".to_owned()]);
    let names: Vec<String> =
        names.chain((1..4).map(|at| format!("double_blocks.{at}.w"))).collect();
    for (prefix, in_header) in [("", true), ("model.diffusion_model.", false)] {
        let tensor = |name: &String| Tensor::f32(&format!("{prefix}{name}"), &gaussian(16, 16, 1));
        let model = safetensors(&names.iter().map(tensor).collect::<Vec<_>>());
        let folder = folder_with("m.safetensors", &model);
        let (report, _) = converted(&folder, "m.safetensors", recipe("fp8"), 1);
        let after = Checkpoint::open(&report.output).unwrap();
        assert_eq!(after.metadata().contains_key("_quantization_metadata"), in_header);
        let marker = format!("{prefix}double_blocks.0.img_mlp.0.comfy_quant");
        assert!(after.get(&marker).is_some(), "{marker}");
    }
}

#[test]
fn weights_with_nans_are_kept_and_the_others_converted() {
    let nan_at = |row: usize, seed| {
        gaussian(64, 64, seed).map(|r, c, value| if (r, c) == (row, 9) { f32::NAN } else { value })
    };
    let all = [
        Tensor::f32("a.weight", &gaussian(64, 64, 1)),
        Tensor::f32("b.weight", &nan_at(3, 2)),
        Tensor::bf16(
            "c.weight",
            &nan_at(0, 3).map(|_, _, v| if v.is_nan() { f32::NEG_INFINITY } else { v }),
        ),
        Tensor::f32("d.weight", &gaussian(64, 64, 4)),
    ];
    let folder = folder_with("m.safetensors", &safetensors(&all));
    let (_, first) = converted(&folder, "m.safetensors", recipe("int8"), 1);
    for threads in [1, 8] {
        let (report, bytes) = converted(&folder, "m.safetensors", recipe("int8"), threads);
        assert_equal_bytes(&bytes, &first);
        let decisions: Vec<_> =
            report.tensors.iter().map(|layer| (layer.decision, layer.reason.as_str())).collect();
        assert_eq!(
            decisions,
            [
                (Action::Quantize, "linear weight"),
                (Action::Copy, "row 3 holds a NaN or an infinity"),
                (Action::Copy, "row 0 holds a NaN or an infinity"),
                (Action::Quantize, "linear weight"),
            ]
        );
        let after = contents(&report.output);
        assert_eq!(after["b.weight"].2, all[1].bytes);
        assert_eq!(after["c.weight"].2, all[2].bytes);
        assert!(!after.contains_key("b.weight_scale") && !after.contains_key("b.comfy_quant"));
    }
}

#[test]
fn zeros_decode_to_zeros() {
    let all = [
        Tensor::bf16("z.weight", &all_zero(128, 128)),
        Tensor::f32(
            "tiny.weight",
            &Matrix { rows: 128, cols: 128, values: vec![1e-20; 128 * 128] },
        ),
        Tensor::bf16("w.weight", &gaussian(128, 128, 1)),
    ];
    let folder = folder_with("m.safetensors", &safetensors(&all));
    // A file without its model's folder is for no server.
    let is_for_files = |entry: &&roundwise_convert::scheme::CatalogEntry| {
        !roundwise_convert::layout::Layout::default_for(entry.scheme).is_for_servers()
    };
    for entry in roundwise_convert::scheme::CATALOG.iter().filter(is_for_files) {
        let (report, _) = converted(&folder, "m.safetensors", recipe(entry.name), 1);
        let after = contents(&report.output);
        let holds_zeros =
            |name: &str| after.get(name).is_none_or(|(_, _, bytes)| bytes.iter().all(|b| *b == 0));
        assert!(holds_zeros("z.weight"), "{}", entry.name);
        let is_one = |name: &str| {
            let (dtype, _, bytes) = &after[name];
            let (scales, _) = bytes.as_chunks::<4>();
            *dtype == Dtype::F32 && scales.iter().all(|scale| f32::from_le_bytes(*scale) == 1.0)
        };
        let scheme = entry.scheme;
        if !scheme.has_scales() {
            assert!(!after.contains_key("z.weight_scale"));
        } else if scheme.has_levels() {
            assert!(holds_zeros("tiny.weight"));
            assert!(["z.weight_s_channel", "tiny.weight_s_channel"].into_iter().all(is_one));
        } else if scheme == Scheme::NVFP4 {
            assert!(holds_zeros("z.weight_scale") && holds_zeros("tiny.weight_scale"));
            assert!(["z.weight_scale_2", "tiny.weight_scale_2"].into_iter().all(is_one));
        } else if scheme.has_block_scales() {
            assert!(holds_zeros("z.weight_scale"));
        } else if scheme.log_range().is_some() {
            assert!(holds_zeros("tiny.weight"));
        } else if scheme.grid().code_bits() == 16 {
            assert!(is_one("z.scale_weight") && is_one("tiny.scale_weight"));
        } else {
            assert!(holds_zeros("tiny.weight"), "{}", entry.name);
            assert!(["z.weight_scale", "tiny.weight_scale"].into_iter().all(is_one));
        }
        let zero = report.tensors.iter().find(|layer| layer.name == "z.weight").unwrap();
        assert_eq!(zero.weight_error, Some(0.0));
    }
}

/// An FP8 layer as ComfyUI stores it, with the scale of its inputs.
fn fp8_layer() -> Vec<u8> {
    let mut random = Random::new(5);
    let codes =
        (0..64 * 64).map(|_| (1 + random.below(0x7E) + 0x80 * random.below(2)) as u8).collect();
    let marker = br#"{"format": "float8_e4m3fn"}"#;
    let scale =
        |name: &str, value: f32| Tensor::new(name, "F32", &[], value.to_le_bytes().to_vec());
    safetensors(&[
        Tensor::new("a.weight", "F8_E4M3", &[64, 64], codes),
        scale("a.weight_scale", 0.01),
        scale("a.input_scale", 0.125),
        Tensor::new("a.comfy_quant", "U8", &[marker.len()], marker.to_vec()),
    ])
}

#[test]
fn input_scales_stay_with_fp8_in_comfy_only() {
    let folder = folder_with("m.safetensors", &fp8_layer());
    let before = contents(&folder.path().join("m.safetensors"));
    for (scheme, layout, stays) in [
        ("fp8", "comfy", true),
        ("fp8", "comfy-legacy", false),
        ("fp8-row", "comfy", false),
        ("fp8-e5m2", "comfy", false),
        ("int8", "comfy", false),
    ] {
        let recipe = RecipeFile { layout: Some(layout.into()), ..recipe(scheme) };
        let (report, _) = converted(&folder, "m.safetensors", recipe, 1);
        let after = contents(&report.output);
        assert_eq!(after.contains_key("a.input_scale"), stays, "{scheme} {layout}");
        assert!(!after.contains_key("a.scale_input"));
        let entry = report.tensors.iter().find(|layer| layer.name == "a.input_scale").unwrap();
        if stays {
            assert_eq!(after["a.input_scale"], before["a.input_scale"]);
            assert_equal_bytes(&after["a.weight"].2, &before["a.weight"].2);
            assert_eq!(entry.reason, "activation scale; its layer keeps its scheme");
        } else {
            assert_eq!(entry.decision, Action::Remove);
        }
    }
    let kept = RecipeFile { keep: vec!["a".into()], include: vec![], ..recipe("fp8") };
    let job = job(&folder.path().join("m.safetensors"), folder.path().join("k"), kept, 1);
    let nothing = convert(&job, &Unwatched).unwrap_err();
    assert!(matches!(nothing, ConvertError::NothingToConvert { .. }), "{nothing}");
}

/// Stops at the n-th event.
struct StopAt(std::sync::atomic::AtomicUsize);

impl Watch for StopAt {
    fn notice(&self, _event: Event<'_>) -> ControlFlow<()> {
        match self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) {
            0 | 1 => {
                self.0.store(1, std::sync::atomic::Ordering::Relaxed);
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

#[test]
fn stopping_anywhere_leaves_the_old_file_and_a_beginning_that_is_continued() {
    let nan = Matrix { rows: 64, cols: 64, values: vec![f32::NAN; 64 * 64] };
    let all = [Tensor::f32("a.weight", &gaussian(64, 64, 1)), Tensor::f32("b.weight", &nan)];
    let folder = folder_with("m.safetensors", &safetensors(&all));
    let job =
        job(&folder.path().join("m.safetensors"), folder.path().join("out"), recipe("fp8"), 1);
    convert(&job, &Unwatched).unwrap();
    let whole = std::fs::read(&job.output).unwrap();
    std::fs::write(&job.output, b"mine").unwrap();
    let (mut stops, mut beginnings) = (0, 0);
    for event in 1.. {
        let fresh = Job { starts_over: true, ..job.clone() };
        let (files, resumed) = match convert(&fresh, &StopAt(event.into())) {
            Ok(_) => break,
            Err(ConvertError::Stopped) => (2, 0),
            Err(ConvertError::Unfinished { finished, .. }) => (4, finished),
            Err(error) => panic!("{error}"),
        };
        stops += 1;
        beginnings += usize::from(resumed > 0);
        assert_eq!(std::fs::read(folder.path().join("out")).unwrap(), b"mine");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), files, "event {event}");
        if resumed > 0 {
            let continued = Job { output: folder.path().join("out"), ..job.clone() };
            let report = convert(&continued, &Unwatched).unwrap();
            assert!(report.recalled_tensors <= resumed, "event {event}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
            assert_equal_bytes(&std::fs::read(folder.path().join("out")).unwrap(), &whole);
            std::fs::write(folder.path().join("out"), b"mine").unwrap();
        }
    }
    assert!(stops > 8 && beginnings > 2, "{stops} {beginnings}");
}

#[test]
fn the_example_works() {
    let folder = folder_with("m.safetensors", &safetensors(&tensors()));
    let [input, output] = ["m.safetensors", "out"].map(|name| folder.path().join(name));
    let report = ten_lines::shrink(input, output.clone()).unwrap();
    assert_eq!((report.converted_tensors, &report.output), (14, &output));
    assert!(report.weight_error.unwrap() < 0.1);
    assert!(output.exists());
}

/// Keys of reports, and what they were in earlier versions.
const FORMER_KEYS: [(&str, &str); 13] = [
    ("\"tensors\":", "\"layers\":"),
    ("\"recipe\":", "\"options\":"),
    ("\"recalled_tensors\":", "\"resumed\":"),
    ("\"converted_tensors\":", "\"converted\":"),
    ("\"kept_tensors\":", "\"kept\":"),
    ("\"removed_tensors\":", "\"removed\":"),
    ("\"nearest_layers\":", "\"kept_nearest\":"),
    ("\"failed_layers\":", "\"failed\":"),
    ("\"layers_without_statistics\":", "\"without_statistics\":"),
    ("\"projected_error\":", "\"input_projected\":"),
    ("\"changed_share\":", "\"changed\":"),
    ("\"is_nearest\":", "\"kept_nearest\":"),
    ("\"lacks_statistics\":", "\"without_statistics\":"),
];

/// The first of these are in every report, all of them in those of learned rounding.
const KEYS_OF_ALL: usize = 6;

#[test]
fn a_report_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("m.safetensors");
    let tensors = [
        Tensor::bf16("blocks.0.ff.weight", &gaussian(64, 64, 1)),
        Tensor::bf16("blocks.0.norm.weight", &gaussian(1, 64, 2)),
    ];
    std::fs::write(&input, safetensors(&tensors)).unwrap();
    for text in ["scheme = 'fp8'", "scheme = 'int8-row'\nmethod = 'principal'"] {
        let recipe = Recipe::check(RecipeFile::from_toml(text).unwrap()).unwrap();
        let output = folder.path().join(format!("{}.safetensors", recipe.scheme()));
        let report = convert(&Job::new(&input, output, recipe), &Unwatched).unwrap();
        let json = serde_json::to_string(&report).unwrap();
        let read = Report::from_json(&json).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
        assert_eq!(read.report_version, Report::VERSION);
        let is_learned = report.rounding.is_some();
        for (now, _) in &FORMER_KEYS[..if is_learned { FORMER_KEYS.len() } else { KEYS_OF_ALL }] {
            assert!(json.contains(now), "{now}");
        }
        let former = FORMER_KEYS
            .iter()
            .fold(json, |json, (now, then)| json.replace(now, then))
            .replacen("\"report_version\":3", "\"report_version\":1", 1);
        let read = Report::from_json(&former).unwrap();
        let read = Report { report_version: Report::VERSION, ..read };
        assert_eq!(serde_json::to_string(&read).unwrap(), serde_json::to_string(&report).unwrap());
    }
}
