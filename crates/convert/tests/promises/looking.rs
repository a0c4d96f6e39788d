//! Pages show before and beside the work exactly what the work does: samples of weights, the rest of
//! a stopped run, pictures of layers.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use roundwise_convert::compute::Device;
use roundwise_convert::inspect::{Biases, look_at_layer};
use roundwise_convert::plan::{Action, Limits};
use roundwise_convert::report::{StopFlag, TensorReport};
use roundwise_convert::run::{try_weights, unfinished};
use roundwise_convert::tensor_file::Overwrite;
use roundwise_convert::{
    ConvertError, Event, Job, Plan, PlanRequest, Recipe, RecipeFile, Source, Unwatched, Watch,
    convert, verify,
};
use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::{Matrix, all_zero, gaussian, with_outliers};
use tempfile::TempDir;

fn model() -> Vec<u8> {
    let mut tensors = vec![
        Tensor::bf16("blocks.0.a.weight", &gaussian(128, 64, 1)),
        Tensor::f32("blocks.0.b.weight", &with_outliers(64, 128, 2)),
        Tensor { shape: vec![128], ..Tensor::f32("blocks.0.a.bias", &gaussian(1, 128, 3)) },
        Tensor::f16("blocks.1.a.weight", &gaussian(64, 64, 4)),
        Tensor::f32("blocks.1.zero.weight", &all_zero(64, 64)),
    ];
    let mut nan = gaussian(64, 64, 5);
    nan.values[3 * 64] = f32::NAN;
    tensors.push(Tensor::f32("blocks.2.nan.weight", &nan));
    safetensors(&tensors)
}

fn folder() -> TempDir {
    folder_with(&model())
}

fn folder_with(model: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in.safetensors"), model).unwrap();
    folder
}

fn job(folder: &Path, recipe: &str) -> Job {
    let [input, output] = ["in.safetensors", "out.safetensors"].map(|name| folder.join(name));
    let recipe = Recipe::check(RecipeFile::from_toml(recipe).unwrap()).unwrap();
    let job = Job::new(input, output, recipe);
    Job { devices: Device::Cpu.into(), overwrite: Overwrite::Replace, ..job }
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Everything but the time.
fn without_time(tensor: &TensorReport) -> TensorReport {
    TensorReport { seconds: 0.0, ..tensor.clone() }
}

const RECIPES: [&str; 5] = [
    "",
    "scheme = 'int8-row'\nscale_rule = 'mse'\nkeep = ['blocks.1']",
    "scheme = 'fp8-log-scales-shared'",
    "method = 'principal'\nmethod_options = { top_k = 4, bias_correction = 'synthetic-plus' }",
    "method = 'adaround'\nmethod_options = { iterations = 5 }",
];

#[test]
fn a_trial_is_what_the_run_reports() {
    for recipe in RECIPES {
        let folder = folder();
        let job = job(folder.path(), recipe);
        let before = files(folder.path());
        let names =
            ["blocks.0.b", "blocks.0.a.weight", "blocks.1.zero", "blocks.2.nan", "blocks.0.a.bias"];
        let tried = try_weights(&job, &names, &Unwatched).unwrap();
        assert!(files(folder.path()) == before, "{recipe}: a trial writes nothing");
        let report = convert(&job, &Unwatched).unwrap();
        for (name, tried) in names.iter().zip(&tried) {
            let of_run =
                report.tensors.iter().find(|tensor| tensor.name.starts_with(name)).unwrap();
            let mut of_run = without_time(of_run);
            if tried.decision == Action::Correct {
                of_run.sums = None;
            }
            assert_eq!(without_time(tried), of_run, "{recipe}");
            assert_eq!(tried.sums, of_run.sums, "{recipe}: {name}");
        }
    }
}

/// The largest weight makes many bands.
#[test]
fn a_trial_keeps_to_the_limit_of_memory_as_the_run_does() {
    let large = Tensor::f32("a.weight", &gaussian(2304, 1024, 1));
    let folder = folder_with(&safetensors(&[large, Tensor::f32("b.weight", &gaussian(8, 8, 2))]));
    let job = job(folder.path(), "scheme = 'int8-row'");
    let source = Source::open(&job.input).unwrap();
    let whole = Plan::decide(&PlanRequest::new(&source, &job.recipe)).unwrap();
    let limited = |memory_bytes| {
        let limits = Limits { memory_bytes: Some(memory_bytes), ..Limits::default() };
        Job { limits, ..job.clone() }
    };
    let tried = |job: &Job| try_weights(job, &["a"], &Unwatched);
    let [within, unlimited] =
        [&limited(whole.memory.peak_bytes), &job].map(|job| tried(job).unwrap());
    assert_eq!(within[0].sums, unlimited[0].sums);
    assert!(within[0].weight_error.is_some());
    let too_little = limited(whole.memory.peak_bytes - (1 << 20));
    let refused = tried(&too_little).unwrap_err().to_string();
    assert_eq!(refused, convert(&too_little, &Unwatched).unwrap_err().to_string());
}

/// The events, in words.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Watch for Told {
    fn notice(&self, event: Event<'_>) -> std::ops::ControlFlow<()> {
        let told = match event {
            Event::Phase { tensors, bytes, .. } => format!("{tensors} of {bytes}"),
            Event::Begun { tensor } => format!("begun {tensor}"),
            Event::Advanced { bytes } => format!("advanced {bytes}"),
            Event::Finished { tensor, is_recalled: false, .. } => {
                format!("finished {}", tensor.name)
            }
            event => format!("{event:?}"),
        };
        self.0.lock().unwrap().push(told);
        std::ops::ControlFlow::Continue(())
    }
}

#[test]
fn a_trial_tells_how_far_it_is_and_can_be_stopped() {
    let folder = folder();
    let job = job(folder.path(), "");
    let told = Told::default();
    try_weights(&job, &["blocks.0.a", "blocks.0.a.bias"], &told).unwrap();
    let told = told.0.into_inner().unwrap();
    let expected = [
        "2 of 16896",
        "begun blocks.0.a.weight",
        "advanced 16384",
        "finished blocks.0.a.weight",
        "begun blocks.0.a.bias",
        "advanced 512",
        "finished blocks.0.a.bias",
    ];
    assert_eq!(told, expected);
    let flag = StopFlag::new();
    assert!(!flag.ask() && flag.is_asked() && flag.ask());
    let stopped = try_weights(&job, &["blocks.0.a"], &flag).unwrap_err();
    assert!(matches!(stopped, ConvertError::Stopped), "{stopped}");
}

#[test]
fn a_trial_of_what_is_not_there_is_an_error() {
    let folder = folder();
    let error = try_weights(&job(folder.path(), ""), &["0.b"], &Unwatched).unwrap_err();
    assert_eq!(error.kind(), "misfit");
    assert!(error.to_string().contains("`blocks.0.b` meant?"), "{error}");
}

/// Stops at the first tensor that is finished.
struct StopAtOnce;

impl Watch for StopAtOnce {
    fn notice(&self, event: Event<'_>) -> std::ops::ControlFlow<()> {
        match event {
            Event::Finished { .. } => std::ops::ControlFlow::Break(()),
            _ => std::ops::ControlFlow::Continue(()),
        }
    }
}

#[test]
fn what_a_stopped_run_left_is_told_and_not_touched() {
    let folder = folder();
    let stopped = job(folder.path(), "keep = ['nan']");
    assert_eq!(unfinished(&stopped).unwrap(), None);
    assert!(convert(&stopped, &StopAtOnce).is_err());
    let before = files(folder.path());
    let left = unfinished(&stopped).unwrap().unwrap();
    assert_eq!((left.finished_tensors, left.tensors), (1, 6));
    assert!(left.differences.is_empty(), "{left:?}");
    assert_eq!(left.path, folder.path().join(".out.safetensors.partial"));
    let other = job(
        folder.path(),
        "keep = ['nan']\nscheme = 'int8'\nmethod = 'principal'\nmethod_options = { top_k = 4 }",
    );
    let left = unfinished(&other).unwrap().unwrap();
    assert_eq!(
        serde_json::to_value(&left.differences[0]).unwrap(),
        "the recipe differs in `method`, `method_options.top_k`, `scheme`"
    );
    assert!(files(folder.path()) == before);
    convert(&stopped, &Unwatched).unwrap();
    assert_eq!(unfinished(&stopped).unwrap(), None);
}

#[test]
fn a_picture_of_a_layer_shows_every_weight_and_its_error() {
    let folder = tempfile::tempdir().unwrap();
    let shapes = [[256, 384], [300, 64], [1, 16], [40, 2304]];
    let named = shapes.iter().enumerate().map(|(index, &[rows, cols])| {
        Tensor::f32(&format!("blocks.{index}.weight"), &gaussian(rows, cols, index as u64))
    });
    let zero = Tensor::f32("blocks.9.weight", &all_zero(64, 64));
    let model = safetensors(&named.chain([zero]).collect::<Vec<_>>());
    std::fs::write(folder.path().join("in.safetensors"), model).unwrap();
    for scheme in ["fp8", "int8-row-convrot", "int8-block-64", "mxfp8", "nvfp4", "bf16"] {
        let job = job(folder.path(), &format!("scheme = '{scheme}'"));
        let report = convert(&job, &Unwatched).unwrap();
        let (input, output) = (&job.input, &job.output);
        let verified = verify(input, output, Biases::Same, None, NonZeroUsize::MIN, &Unwatched);
        for layer in &verified.unwrap().layers {
            let picture = look_at_layer(input, output, &layer.name).unwrap();
            let numbers = (picture.shape[0] * picture.shape[1]) as u64;
            for histogram in [&picture.weights, &picture.errors] {
                assert_eq!(histogram.counts.iter().sum::<u64>(), numbers, "{scheme}");
                assert_eq!(histogram.edges.len(), histogram.counts.len() + 1);
                assert!(histogram.edges.is_sorted());
            }
            assert_eq!(picture.scheme, layer.scheme);
            assert_eq!(picture.weight_error, Some(layer.weight_error));
            let tiles = &picture.tiles;
            assert!(tiles.rows <= 128 && tiles.cols <= 128);
            assert_eq!(tiles.error.len(), tiles.rows * tiles.cols);
            // Every cell counts by its weights.
            let side = |side: usize, at: usize| {
                tiles.cell[side].min(picture.shape[side] - at * tiles.cell[side]) as f64
            };
            let squares = tiles.error.iter().enumerate().map(|(index, &error)| {
                let [down, across] = [index / tiles.cols, index % tiles.cols];
                f64::from(error).powi(2) * side(0, down) * side(1, across)
            });
            let whole = (squares.sum::<f64>() / numbers as f64).sqrt();
            // Rotated weights are measured rotated, and F32 holds seven digits.
            assert!((whole - layer.weight_error).abs() <= 1e-5 * layer.weight_error + 1e-12);
        }
        assert!(report.converted_tensors >= 2, "{scheme}");
    }
}

#[test]
fn a_picture_names_what_stands_in_its_way() {
    let folder = folder();
    let job = job(folder.path(), "keep = ['blocks.1']");
    convert(&job, &Unwatched).unwrap();
    for (tensor, words) in [
        ("blocks.1.a", "tensor `blocks.1.a.weight`: is not in codes"),
        ("blocks.0.a.bias", "tensor `blocks.0.a.bias`: is not in codes"),
        ("blocks.7", "has no layer and no tensor `blocks.7`"),
    ] {
        let error = look_at_layer(&job.input, &job.output, tensor).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let picture = look_at_layer(&job.input, &job.output, "blocks.0.a").unwrap();
    let told = serde_json::to_value(&picture).unwrap();
    for key in ["scheme", "weights", "errors", "tiles"] {
        assert!(!told[key].is_null(), "{key} in {told}");
    }
    // A weight of another shape, and one with a NaN.
    let nan = Matrix { rows: 128, cols: 64, values: vec![f32::NAN; 128 * 64] };
    let strange = [
        Tensor::f32("blocks.0.a.weight", &nan),
        Tensor::f32("blocks.0.b.weight", &gaussian(64, 64, 1)),
    ];
    let other = folder.path().join("other.safetensors");
    std::fs::write(&other, safetensors(&strange)).unwrap();
    for (tensor, words) in
        [("blocks.0.a", "holds a NaN"), ("blocks.0.b", "[64, 64] became [64, 128]")]
    {
        let error = look_at_layer(&other, &job.output, tensor).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}
