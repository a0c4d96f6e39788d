//! Files as good as their size allows: what is chosen, what is predicted, and what is refused.

use std::path::Path;

use crate::tool::Folder;
use roundwise_stats::{
    Curvature, LayerPlan, LayerShape, LayerStatistics, OutputGradient, SecondMoment,
    StatisticsWriter,
};
use roundwise_tensor_file::Overwrite;
use roundwise_testkit::files::{Tensor, f32_bytes, safetensors};
use roundwise_testkit::weights::gaussian;
use serde_json::Value;

const LAYERS: [&str; 4] = ["blocks.0.fc1", "blocks.0.fc2", "blocks.1.fc1", "blocks.1.fc2"];
const ROWS: usize = 64;
const COLUMNS: usize = 64;

/// Mean squares of gradients: the second layer matters far more than the others.
const GRADIENTS: [f32; 4] = [1e-4, 1.0, 1e-4, 1e-3];

fn model() -> Vec<u8> {
    let tensors = LAYERS.iter().enumerate().map(|(index, layer)| {
        let values = gaussian(ROWS, COLUMNS, 7 + index as u64).values;
        Tensor::new(&format!("{layer}.weight"), "F32", &[ROWS, COLUMNS], f32_bytes(&values))
    });
    safetensors(&tensors.collect::<Vec<_>>())
}

/// Statistics of all layers; gradients times `factor`.
fn write(path: &Path, has_gradients: bool, factor: f32) {
    let plain = |layer: usize| {
        let values = gaussian(COLUMNS, 1, 90 + layer as u64).values;
        let diagonal = values.iter().map(|value| 0.1 + value * value).collect();
        LayerStatistics::new(500, Some(vec![0.0; COLUMNS]), diagonal, SecondMoment::Diagonal)
            .unwrap()
    };
    let gradient =
        |layer: usize| OutputGradient::new(500, factor * GRADIENTS[layer], None, None).unwrap();
    let plan = |(index, layer): (usize, &&str)| {
        let module = (**layer).to_owned();
        let shape = LayerShape { module, rows: ROWS as u64, columns: COLUMNS as u64 };
        let known = has_gradients.then(|| gradient(index).plan(Curvature::Tokens));
        LayerPlan { gradient: known, ..LayerPlan::of(shape, &plain(index)) }
    };
    let plans = LAYERS.iter().enumerate().map(plan).collect();
    let writer = StatisticsWriter::create(path, Overwrite::Replace, "a test", plans).unwrap();
    for (index, layer) in LAYERS.iter().enumerate() {
        writer.write(layer, &plain(index)).unwrap();
        if has_gradients {
            writer.write_gradient(layer, &gradient(index)).unwrap();
        }
    }
    writer.commit().unwrap();
}

/// A model of four layers, with statistics and gradients of all, and with statistics alone.
pub(crate) fn folder() -> Folder {
    let folder = Folder::with("m.safetensors", &model());
    write(&folder.path("g.stats.safetensors"), true, 1.0);
    write(&folder.path("h.stats.safetensors"), false, 1.0);
    folder
}

const STATS: [&str; 2] = ["--stats", "g.stats.safetensors"];

fn plan(folder: &Folder, more: &[&str]) -> Value {
    folder.json(&[&["plan", "m.safetensors", "--json"], more].concat())
}

fn schemes(budget: &Value) -> Vec<String> {
    let layers = budget["layers"].as_array().unwrap().iter();
    layers.map(|layer| layer["scheme"].as_str().unwrap().to_owned()).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Whatever the size, the file has at most it, and a larger one never loses more.
#[test]
fn a_size_is_kept_to_the_byte_and_more_of_it_never_loses_more() {
    let folder = folder();
    let mut last = f64::INFINITY;
    for size in ["14000", "17001", "20000", "23456", "40000"] {
        let arguments = ["convert", "m.safetensors", "-o", "o.safetensors", "--force", "--json"];
        let report = folder.json(&[&arguments[..], &STATS, &["--size", size]].concat());
        let written = folder.read("o.safetensors").len() as u64;
        assert!(written <= size.parse().unwrap(), "{size}: {written}");
        assert_eq!(report["output_bytes"], written);
        let budget = plan(&folder, &[&STATS[..], &["--size", size]].concat());
        let budget = &budget["budget"];
        assert_eq!(budget["file"]["bytes"], written, "{size}");
        let loss = number(&budget["file"]["loss"]);
        assert!(loss <= last, "{size}: {loss} {last}");
        let stored = number(&report["prediction"]["loss"]);
        assert!((stored - loss).abs() <= 1e-6 * loss, "{size}: {stored} {loss}");
        last = loss;
    }
}

#[test]
fn bits_go_to_the_layer_whose_gradients_are_largest() {
    let folder = folder();
    let budget = plan(&folder, &[&STATS[..], &["--bits", "7"]].concat());
    let budget = &budget["budget"];
    assert_eq!(budget["measure"], "nats");
    assert!(number(&budget["file"]["bits"]) <= 7.0);
    let chosen = schemes(budget);
    assert_ne!(chosen[1], "int4-convrot", "{chosen:?}");
    assert_eq!(chosen[0], "int4-convrot", "{chosen:?}");
    let loss = number(&budget["file"]["loss"]);
    let limit = format!("{}", loss * 1.0001);
    let smallest = plan(&folder, &[&STATS[..], &["--loss", &limit]].concat());
    assert!(number(&smallest["budget"]["file"]["bytes"]) <= number(&budget["file"]["bytes"]));
    let names: Vec<&Value> =
        budget["uniform"].as_array().unwrap().iter().map(|it| &it["scheme"]).collect();
    assert!(names.iter().any(|name| **name == "int8-row-convrot"), "{names:?}");
}

#[test]
fn the_recipe_that_is_printed_makes_the_same_file() {
    let folder = folder();
    let flags = [&["--bits", "7"][..], &STATS].concat();
    let recipe = folder.done(&[&["plan", "m.safetensors", "--print-recipe"], &flags[..]].concat());
    assert!(recipe.contains("[[assign]]"), "{recipe}");
    folder.write("r.toml", recipe.as_bytes());
    folder.done(&[&["convert", "m.safetensors", "-o", "a.safetensors"], &flags[..]].concat());
    let again = ["convert", "m.safetensors", "-o", "b.safetensors", "--recipe", "r.toml"];
    folder.done(&[&again[..], &STATS].concat());
    assert!(folder.read("a.safetensors") == folder.read("b.safetensors"));
    let explain = ["plan", "m.safetensors", "--recipe", "r.toml", "--explain"];
    let explained = folder.done(&[&explain[..], &["blocks.0.fc2"], &STATS].concat());
    assert!(explained.contains("→") && explained.contains("assign"), "{explained}");
}

/// What an earlier run has measured is taken over for the same model, statistics and method alone.
#[test]
fn sensitivities_are_kept_and_measured_again_for_anything_else() {
    let folder = folder();
    let measure = |more: &[&str]| {
        let arguments = ["sensitivity", "m.safetensors", "--json", "--schemes", "int8-row,bf16"];
        folder.json(&[&arguments[..], more].concat())
    };
    let losses = |found: &Value| -> Vec<f64> {
        let layers = found["layers"].as_array().unwrap().iter();
        layers.map(|layer| number(&layer["schemes"]["int8-row"]["loss"])).collect()
    };
    let first = measure(&STATS);
    assert_eq!(first["measure"], "nats");
    assert!(losses(&first)[1] > 100.0 * losses(&first)[0]);
    let kept = "m.sensitivity.json";
    let text = String::from_utf8(folder.read(kept)).unwrap();
    let tampered = text.replace("\"loss\": ", "\"loss\": 1");
    folder.write(kept, tampered.as_bytes());
    assert_ne!(losses(&measure(&STATS)), losses(&first));
    write(&folder.path("g.stats.safetensors"), true, 2.0);
    let doubled = measure(&STATS);
    for (twice, once) in losses(&doubled).iter().zip(losses(&first)) {
        assert!((twice / once - 2.0).abs() < 1e-5, "{twice} {once}");
    }
    assert_eq!(measure(&["--stats", "h.stats.safetensors"])["measure"], "output-error");
    assert_eq!(measure(&[])["measure"], "weight-error");
}

#[test]
fn a_file_of_another_kind_is_never_replaced_by_what_was_measured() {
    let folder = folder();
    folder.write("notes.json", b"{\"mine\": true}");
    let named = ["--sensitivity", "notes.json"];
    let words = ["--sensitivity", "notes.json", "another file"];
    folder.refused(&[&["sensitivity", "m.safetensors"][..], &named].concat(), 2, &words);
    let plan = ["plan", "m.safetensors", "--bits", "6"];
    folder.refused(&[&plan[..], &named].concat(), 2, &words);
    assert_eq!(folder.read("notes.json"), b"{\"mine\": true}");
}

#[test]
fn schemes_that_the_layout_cannot_store_are_refused_by_name() {
    let folder = folder();
    let named = ["--for", "comfyui", "--schemes", "int8-row,int4-group-128"];
    let words = ["int4-group-128", "ComfyUI"];
    folder.refused(&[&["sensitivity", "m.safetensors"][..], &named].concat(), 2, &words);
}

#[test]
fn budgets_that_cannot_be_kept_are_refused_before_anything_is_measured() {
    let folder = folder();
    let refused = |flags: &[&str], code, words: &[&str]| {
        folder.refused(&[&["plan", "m.safetensors"], flags].concat(), code, words);
    };
    refused(&["--size", "100"], 2, &["--size", "100 bytes are too few", "the smallest file that"]);
    refused(&["--size", "1GB"], 2, &["--size", "no less than the input"]);
    refused(&["--bits", "2"], 2, &["--bits", "too few", "take is 4."]);
    refused(&["--loss", "0.1"], 2, &["--loss", "needs statistics with gradients"]);
    refused(&["--card", "rtx50"], 2, &["--card", "--size"]);
    refused(&["--bits", "6", "--schemes", "int5"], 2, &["int5"]);
    refused(&["--bits", "6", "--size", "3MB"], 2, &["--bits"]);
}

/// Gradients that say nothing are passed over; the layer is planned by a proxy, by name.
#[test]
fn a_layer_without_usable_gradients_is_told() {
    let folder = folder();
    let mut bytes = folder.read("g.stats.safetensors");
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let offset = &header["blocks.1.fc1.gradient_mean_square"]["data_offsets"][0];
    let place = 8 + length + offset.as_u64().unwrap() as usize;
    for (name, value) in [("zero.stats.safetensors", 0.0_f32), ("nan.stats.safetensors", f32::NAN)]
    {
        bytes[place..place + 4].copy_from_slice(&value.to_le_bytes());
        folder.write(name, &bytes);
    }
    for name in ["zero.stats.safetensors", "nan.stats.safetensors"] {
        let text = folder.done(&["plan", "m.safetensors", "--bits", "6", "--stats", name]);
        assert!(text.contains("`blocks.1.fc1`") && text.contains("stands for it"), "{text}");
    }
}

/// Four matrices that become codes, one number of which may be a NaN, and an embedding that presets keep.
fn with_embedding(nan: bool) -> Folder {
    let tensor = |name: &str, rows, columns, seed, nan: bool| {
        let mut values = gaussian(rows, columns, seed).values;
        if nan {
            values[5] = f32::NAN;
        }
        Tensor::new(&format!("{name}.weight"), "F32", &[rows, columns], f32_bytes(&values))
    };
    let mut tensors: Vec<Tensor> =
        LAYERS.iter().zip(0..).map(|(it, at)| tensor(it, 128, 128, at, nan && at == 2)).collect();
    tensors.push(tensor("tok.embed", 1000, 128, 9, false));
    Folder::with("m.safetensors", &safetensors(&tensors))
}

/// A weight that is kept for a NaN takes the bytes of its numbers, and they count.
#[test]
fn a_size_is_kept_to_the_byte_where_weights_are_kept_for_a_nan() {
    let folder = with_embedding(true);
    for (recipe, rules) in
        [("a.toml", ""), ("b.toml", "[[rules]]\npattern = 'blocks.1'\nscheme = 'int8-row'\n")]
    {
        folder.write(recipe, rules.as_bytes());
        let flags = ["--recipe", recipe, "--size", "640000", "--json"];
        let arguments = ["convert", "m.safetensors", "-o", "o.safetensors", "--force"];
        let report = folder.json(&[&arguments[..], &flags].concat());
        let written = folder.read("o.safetensors").len() as u64;
        assert!(written <= 640_000 && report["output_bytes"] == written, "{recipe}: {written}");
        let planned = folder.json(&[&["plan", "m.safetensors"][..], &flags].concat());
        assert_eq!(planned["budget"]["file"]["bytes"], written, "{recipe}");
        assert_eq!(planned["disk_bytes"], written, "{recipe}");
    }
    let words = ["too few", "blocks.1.fc1.weight", "NaN"];
    folder.refused(&["plan", "m.safetensors", "--size", "605000"], 2, &words);
}

/// Whatever else converts a layer leaves its scheme to the budget, and a larger limit never loses more.
#[test]
fn a_layer_that_include_asks_for_is_chosen_with_the_others() {
    let folder = with_embedding(false);
    let mut last = f64::INFINITY;
    for size in ["105000", "120000", "180000", "210000", "260000", "330000", "380000"] {
        let planned = plan(&folder, &["--size", size, "--include", "embed"]);
        let budget = &planned["budget"];
        assert_eq!(budget["layers"].as_array().unwrap().len(), 5, "{size}");
        assert!(number(&budget["file"]["bytes"]) <= size.parse().unwrap(), "{size}");
        let loss = number(&budget["file"]["loss"]);
        assert!(loss <= last, "{size}: {loss} {last}");
        last = loss;
    }
}

/// What a limit leaves without effect is told, and so is the file that is written beside the model.
#[test]
fn a_budget_tells_what_it_keeps_and_what_has_no_effect() {
    let folder = folder();
    for command in ["plan", "convert"] {
        let text = folder.done(&[command, "m.safetensors", "--bits", "6", "--scheme", "fp8"]);
        let kept = "what was measured is kept for the next time in m.sensitivity.json\n";
        assert!(text.contains(kept), "{command}: {text}");
        assert!(text.contains("note: `--scheme` changes nothing: a budget"), "{command}: {text}");
    }
    assert!(folder.path("m.sensitivity.json").is_file());
    let text = folder.done(&["plan", "m.safetensors", "--bits", "6"]);
    assert!(!text.contains("--scheme"), "{text}");
    let explain = ["plan", "m.safetensors", "--bits", "7", "--explain", "blocks.0.fc2"];
    let text = folder.done(&[&explain[..], &STATS].concat());
    assert!(text.contains("→") && !text.contains("--assign"), "{text}");
}

#[test]
fn limits_below_zero_are_told_as_such() {
    let folder = folder();
    for flag in ["--bits", "--loss", "--size", "--threads", "--memory-limit"] {
        let run = folder.run(&["convert", "m.safetensors", flag, "-3"]);
        assert_eq!(run.code, 2, "{flag}: {}", run.stderr);
        assert!(run.stderr.contains(flag) && !run.stderr.contains("-- -3"), "{}", run.stderr);
        assert!(!run.stderr.contains("unexpected argument"), "{}", run.stderr);
    }
}
