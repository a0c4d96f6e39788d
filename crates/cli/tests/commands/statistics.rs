//! Statistics of real inputs from the command line: what they change, and which are refused.

use std::path::Path;

use crate::tool::Folder;
use roundwise_stats::{
    Knowledge, LayerPlan, LayerShape, LayerStatistics, MixedInputs, SecondMoment, StatisticsWriter,
};
use roundwise_tensor_file::Overwrite;
use roundwise_testkit::files::{Tensor, f32_bytes, safetensors};
use roundwise_testkit::weights::gaussian;
use serde_json::Value;

pub(crate) const IN: &str = "blocks.0.ff.in";
pub(crate) const OUT: &str = "blocks.0.ff.out";
const BIAS: &str = "blocks.0.ff.in.bias";

fn tensor(name: &str, shape: &[usize], seed: u64) -> Tensor {
    let values = gaussian(1, shape.iter().product(), seed).values;
    Tensor::new(name, "F32", shape, f32_bytes(&values))
}

/// Two layers, one with a bias.
fn model() -> Vec<u8> {
    let weight = |layer: &str| format!("{layer}.weight");
    safetensors(&[
        tensor(BIAS, &[96], 1),
        tensor(&weight(IN), &[96, 64], 2),
        tensor(&weight(OUT), &[64, 96], 3),
    ])
}

fn shape(layer: &str, [rows, columns]: [u64; 2]) -> LayerShape {
    LayerShape { module: layer.to_owned(), rows, columns }
}

/// Statistics of 2000 inputs that 6 hidden ones and their mean make up nearly alone.
fn statistics(shape: &LayerShape, scale: f32) -> LayerStatistics {
    let columns = shape.columns as usize;
    let hidden = gaussian(columns, 6, 40 + shape.columns).values;
    let mean: Vec<f32> = (0..columns).map(|i| scale * (0.5 + (i % 3) as f32)).collect();
    let covariance: Vec<f32> = (0..columns * columns)
        .map(|at| {
            let [a, b] = [at / columns, at % columns].map(|row| &hidden[row * 6..][..6]);
            let product: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            product + if at / columns == at % columns { 0.05 } else { 0.0 }
        })
        .collect();
    let diagonal = (0..columns).map(|i| covariance[i * columns + i] + mean[i] * mean[i]).collect();
    LayerStatistics::new(2000, Some(mean), diagonal, SecondMoment::Full { covariance }).unwrap()
}

fn write(path: &Path, layers: &[LayerShape]) {
    let plan = |shape: &LayerShape| LayerPlan {
        shape: shape.clone(),
        count: 2000,
        has_mean: true,
        has_largest: false,
        knowledge: Knowledge::Full,
        mixed: None,
        gradient: None,
    };
    let plans = layers.iter().map(plan).collect();
    let writer = StatisticsWriter::create(path, Overwrite::Refuse, "a test", plans).unwrap();
    for layer in layers {
        writer.write(&layer.module, &statistics(layer, 1.0)).unwrap();
    }
    writer.commit().unwrap();
}

/// Statistics of both layers; of some rows of the first, and of all of the second, those that attention mixes.
fn write_mixed(path: &Path) {
    let layers = [(shape(IN, [96, 64]), vec![[32, 96]]), (shape(OUT, [64, 96]), vec![])];
    let plan = |(shape, rows): &(LayerShape, Vec<[u64; 2]>)| LayerPlan {
        shape: shape.clone(),
        count: 2000,
        has_mean: true,
        has_largest: false,
        knowledge: Knowledge::Full,
        mixed: Some((Knowledge::Full, rows.len())),
        gradient: None,
    };
    let plans = layers.iter().map(plan).collect();
    let writer = StatisticsWriter::create(path, Overwrite::Refuse, "a test", plans).unwrap();
    for (shape, rows) in &layers {
        writer.write(&shape.module, &statistics(shape, 1.0)).unwrap();
        let moment = statistics(shape, 0.0);
        let mixed = MixedInputs { moment, rows: rows.clone() };
        writer.write_mixed(&shape.module, &mixed).unwrap();
    }
    writer.commit().unwrap();
}

/// The model; statistics of both layers, of one, and of another model.
pub(crate) fn folder() -> Folder {
    let folder = Folder::with("m.safetensors", &model());
    let (first, second) = (shape(IN, [96, 64]), shape(OUT, [64, 96]));
    write(&folder.path("both.stats.safetensors"), &[first.clone(), second.clone()]);
    write(&folder.path("one.stats.safetensors"), std::slice::from_ref(&first));
    write(&folder.path("other.stats.safetensors"), &[shape(OUT, [64, 80]), first]);
    folder
}

pub(crate) fn layer<'a>(report: &'a Value, name: &str) -> &'a Value {
    // Reports have every tensor, other answers have layers alone.
    let list = report.get("tensors").or(report.get("layers")).unwrap().as_array().unwrap();
    list.iter().find(|layer| layer["name"] == name).unwrap()
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

const CONVERT: [&str; 6] = ["convert", "m.safetensors", "-o", "o.safetensors", "--force", "--json"];

fn convert(folder: &Folder, more: &[&str]) -> Value {
    folder.json(&[&CONVERT[..], more].concat())
}

#[test]
fn statistics_choose_the_method_and_lower_the_error_of_outputs() {
    let folder = folder();
    for scheme in ["fp8", "int8-row", "fp8-block-32"] {
        let report = convert(&folder, &["--stats", "both.stats.safetensors", "--scheme", scheme]);
        let totals = &report["rounding"];
        assert_eq!(totals["method"], "activations");
        let [stored, nearest] =
            ["output_error", "nearest_output_error"].map(|key| number(&totals[key]));
        assert!(stored < 0.5 * nearest, "{scheme}: {stored} {nearest}");
    }
}

#[test]
fn the_summary_begins_with_outputs_and_ranks_layers_by_them() {
    let folder = folder();
    let flags = ["convert", "m.safetensors", "--stats", "both.stats.safetensors"];
    let text = folder.done(&flags);
    let place = |words: &str| text.find(words).unwrap_or_else(|| panic!("`{words}`: {text}"));
    let places = ["outputs of layers: error² ", "method activations", "largest errors of outputs"];
    assert!(places.map(place).is_sorted(), "{text}");
    let report = folder.json(&[&flags[..], &["--force", "--json"]].concat());
    let error = |name: &String| number(&layer(&report, name)["rounding"]["output_error"]);
    let mut names = [IN, OUT].map(|layer| format!("{layer}.weight"));
    names.sort_by(|a, b| error(b).total_cmp(&error(a)));
    assert!(place(&names[0]) < place(&names[1]), "{text}");
    assert!(text.contains(" of nearest"), "{text}");
}

/// Whichever statistics count, and however scales are chosen.
#[test]
fn verify_finds_the_output_errors_that_the_report_has() {
    let folder = folder();
    write_mixed(&folder.path("mixed.stats.safetensors"));
    for (file, more) in [
        ("both", &[][..]),
        ("both", &["--method", "activations", "--effort", "fast"]),
        ("both", &["--damping", "0.3"]),
        ("both", &["--scheme", "int4-convrot"]),
        ("both", &["--scheme", "int8-row", "--bias-correction", "inputs"]),
        ("mixed", &["--scheme", "int8-row"]),
        ("mixed", &["--scheme", "int8-row-convrot"]),
    ] {
        let file = format!("{file}.stats.safetensors");
        let report = convert(&folder, &[&["--stats", &file], more].concat());
        let verify = ["verify", "m.safetensors", "o.safetensors", "--json", "--corrected-biases"];
        let found = folder.json(&[&verify[..], &["--stats", &file]].concat());
        for name in [IN, OUT].map(|layer| format!("{layer}.weight")) {
            if layer(&report, &name)["scheme"].is_null() {
                // Groups of the scheme do not cover it.
                continue;
            }
            let (expected, found) = (&layer(&report, &name)["rounding"], layer(&found, &name));
            for key in ["output_error", "nearest_output_error"] {
                let (expected, found) = (number(&expected[key]), number(&found[key]));
                // Two ways to compute it, both of F32 products.
                let is_same = (found / expected - 1.0).abs() < 1e-4;
                assert!(is_same, "{file} {more:?}: {name} {key}: {found} {expected}");
            }
        }
    }
    let text = folder.done(&[
        "verify",
        "m.safetensors",
        "o.safetensors",
        "--stats",
        "both.stats.safetensors",
    ]);
    assert!(text.contains("outputs of 2 layers: mean relative error²"), "{text}");
}

#[test]
fn layers_without_statistics_are_named_and_get_nearest_codes() {
    let folder = folder();
    let missing = format!("{OUT}.weight");
    let report = convert(&folder, &["--stats", "one.stats.safetensors"]);
    assert_eq!(report["rounding"]["layers_without_statistics"], serde_json::json!([missing]));
    assert_eq!(layer(&report, &missing)["rounding"]["lacks_statistics"], true);
    let learned = folder.file("o.safetensors");
    convert(&folder, &[]);
    let nearest = folder.file("o.safetensors");
    assert_eq!(learned.get(&missing).bytes, nearest.get(&missing).bytes);
    let other = format!("{IN}.weight");
    assert_ne!(learned.get(&other).bytes, nearest.get(&other).bytes);

    let text = folder.done(&["convert", "m.safetensors", "--stats", "one.stats.safetensors"]);
    assert!(
        text.contains("nearest codes for 1 weight without statistics") && text.contains(OUT),
        "{text}"
    );
    let plan = folder.done(&["plan", "m.safetensors", "--stats", "one.stats.safetensors"]);
    assert!(plan.contains("without statistics") && plan.contains(OUT), "{plan}");
}

#[test]
fn statistics_of_another_model_are_refused_unless_forced() {
    let folder = folder();
    let stats = ["--stats", "other.stats.safetensors"];
    for command in [&["convert", "m.safetensors"][..], &["plan", "m.safetensors"]] {
        let words = ["other.stats.safetensors", OUT, "[64, 80]", "[64, 96]", "--force-stats"];
        folder.refused(&[command, &stats].concat(), 1, &words);
    }
    write(&folder.path("alien.stats.safetensors"), &[shape("elsewhere", [8, 8])]);
    let alien = ["convert", "m.safetensors", "--stats", "alien.stats.safetensors", "--force-stats"];
    let run = folder.run(&alien);
    assert!(run.code != 0 && run.stderr.contains("not one of its layers"), "{}", run.stderr);
    assert!(!run.stderr.contains("--force-stats"), "{}", run.stderr);
    let report = convert(&folder, &["--stats", "other.stats.safetensors", "--force-stats"]);
    let missing = report["rounding"]["layers_without_statistics"].as_array().unwrap();
    assert_eq!(missing.len(), 1);
}

#[test]
fn statistics_that_would_change_nothing_are_refused() {
    let folder = folder();
    let stats = ["convert", "m.safetensors", "--stats", "both.stats.safetensors", "--method"];
    for method in ["nearest", "principal", "adaround"] {
        let words = [method, "does not look at real inputs", "activations"];
        folder.refused(&[&stats[..], &[method]].concat(), 2, &words);
    }
    folder.refused(&["convert", "m.safetensors", "--force-stats"], 2, &["--stats"]);
}

#[test]
fn what_needs_statistics_says_so() {
    let folder = folder();
    for asked in [["--method", "activations"], ["--bias-correction", "inputs"]] {
        let words = ["needs statistics", "`--stats`", "roundwise stats collector"];
        folder.refused(&[&["convert", "m.safetensors"], &asked[..]].concat(), 2, &words);
    }
    let options = ["--method", "principal", "--damping", "0.1"];
    let words = ["--damping: does not apply", "real inputs"];
    folder.refused(&[&["convert", "m.safetensors"], &options[..]].concat(), 2, &words);
}

#[test]
fn a_bias_takes_up_the_mean_error_of_real_inputs() {
    let folder = folder();
    let mean = statistics(&shape(IN, [96, 64]), 1.0).mean().unwrap().to_vec();
    let outputs = |weight: &[f32], bias: &[f32]| -> Vec<f64> {
        let rows = weight.chunks_exact(mean.len()).zip(bias);
        rows.map(|(row, bias)| {
            let products = row.iter().zip(&mean).map(|(w, x)| f64::from(*w) * f64::from(*x));
            products.sum::<f64>() + f64::from(*bias)
        })
        .collect()
    };
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let before = folder.file("m.safetensors");
    let weight = floats(&before.get(&format!("{IN}.weight")).bytes);
    let expected = outputs(&weight, &floats(&before.get(BIAS).bytes));
    for method in [&["--method", "nearest"][..], &[]] {
        let asked = ["--stats", "both.stats.safetensors", "--bias-correction", "inputs"];
        convert(&folder, &[&asked[..], &["--scheme", "int8-row"], method].concat());
        let after = folder.file("o.safetensors");
        let scales = floats(&after.get(&format!("{IN}.weight_scale")).bytes);
        let codes = &after.get(&format!("{IN}.weight")).bytes;
        let decoded: Vec<f32> = codes
            .iter()
            .enumerate()
            .map(|(at, code)| f32::from(*code as i8) * scales[at / mean.len()])
            .collect();
        let found = outputs(&decoded, &floats(&after.get(BIAS).bytes));
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5, "{method:?}: {found} {expected}");
        }
        folder.done(&["verify", "m.safetensors", "o.safetensors", "--corrected-biases"]);
    }
}

#[test]
fn statistics_are_shown_merged_and_collected() {
    let folder = folder();
    let text = folder.done(&["stats", "show", "both.stats.safetensors"]);
    for word in ["2 layers", "a test", IN, OUT, "2000", "full"] {
        assert!(text.contains(word), "{text}");
    }
    assert!(!text.contains("warning"), "{text}");
    let merge = ["stats", "merge", "both.stats.safetensors", "one.stats.safetensors", "-o"];
    let told = folder.done(&[&merge[..], &["sum.stats.safetensors"]].concat());
    assert!(told.contains("1 layer in only one of the files"), "{told}");
    let shown = folder.json(&["stats", "show", "sum.stats.safetensors", "--json"]);
    for key in ["second_moment", "mixed_moment", "weighted_moment", "output_moment", "has_gradient"]
    {
        assert!(shown["layers"][0].get(key).is_some(), "{key}: {}", shown["layers"][0]);
    }
    let samples = |name| number(&layer(&shown, name)["samples"]);
    assert_eq!((samples(IN), samples(OUT)), (4000.0, 2000.0));
    let words = ["sum.stats.safetensors", "--force"];
    folder.refused(&[&merge[..], &["sum.stats.safetensors"]].concat(), 1, &words);
    // One alone becomes a side-car, which is how an importance matrix becomes one.
    let itself = ["stats", "merge", "one.stats.safetensors", "-o", "./one.stats.safetensors"];
    folder.refused(&[&itself[..], &["--force"]].concat(), 2, &["this is an input"]);
    let told = folder.done(&["stats", "merge", "one.stats.safetensors", "-o", "x"]);
    assert!(!told.contains("only one"), "{told}");
    let [before, after] = ["one.stats.safetensors", "x"]
        .map(|file| folder.json(&["stats", "show", file, "--json"])["layers"].clone());
    assert_eq!(before, after);
    folder.refused(&["stats", "merge", "-o", "y"], 2, &["<FILE>"]);

    let program = folder.done(&["stats", "collector"]);
    assert!(program.contains("def collect(") && program.contains("NODE_CLASS_MAPPINGS"));
}

#[test]
fn a_file_tells_that_statistics_were_used() {
    let folder = folder();
    convert(&folder, &["--stats", "both.stats.safetensors"]);
    let made = &folder.json(&["inspect", "o.safetensors", "--json"])["provenance"];
    let command = made["command"].as_str().unwrap();
    assert_eq!(command, "roundwise convert INPUT --stats STATISTICS --method=activations");
    folder.write("again.stats.safetensors", &folder.read("both.stats.safetensors"));
    let before = folder.read("o.safetensors");
    convert(&folder, &["--stats", "again.stats.safetensors"]);
    assert!(folder.read("o.safetensors") == before);
    // The hash of the statistics is in the header: the same numbers in another file are another hash.
    let shown = folder.read("both.stats.safetensors");
    let at = shown.windows(6).position(|name| name == b"a test").unwrap();
    let renamed = [&shown[..at], b"a text", &shown[at + 6..]].concat();
    folder.write("renamed.stats.safetensors", &renamed);
    convert(&folder, &["--stats", "renamed.stats.safetensors"]);
    assert!(folder.read("o.safetensors") != before);
}

#[test]
fn broken_statistics_are_refused() {
    let folder = folder();
    let bytes = folder.read("both.stats.safetensors");
    folder.write("cut.stats.safetensors", &bytes[..bytes.len() - 7]);
    let mut spoilt = bytes.clone();
    let end = spoilt.len();
    spoilt[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    folder.write("nan.stats.safetensors", &spoilt);
    folder.write("not.stats.safetensors", &model());
    for name in ["cut", "not", "missing"] {
        let path = format!("{name}.stats.safetensors");
        folder.refused(&["convert", "m.safetensors", "--stats", &path], 1, &[&path]);
    }
    // Numbers are read when their layer's turn comes.
    let run = folder.run(&["convert", "m.safetensors", "--stats", "nan.stats.safetensors"]);
    run.must_say(1, &["nan.stats.safetensors", OUT, "NaN"]);
    assert!(!folder.path("m-fp8-activations.safetensors").exists());
}
