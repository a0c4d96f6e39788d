//! Header entries and options of layers change; weights never do.

use crate::tool::{Folder, PLAIN_WEIGHTS, plain_model};
use roundwise_stats::{
    Knowledge, LayerPlan, LayerShape, LayerStatistics, SecondMoment, StatisticsWriter,
};
use roundwise_tensor_file::Overwrite;
use serde_json::Value;

const LAYERS: [&str; 2] = ["blocks.0.ff.in", "blocks.0.ff.out"];
const FULL: &str = r#"{"format": "float8_e4m3fn", "full_precision_matrix_mult": true}"#;
const ANY: &str = r#"{"format": "float8_e4m3fn"}"#;

fn converted(flags: &[&str]) -> Folder {
    let folder = Folder::with("m.safetensors", &plain_model());
    let convert = ["convert", "m.safetensors", "-o", "a.safetensors", "--no-provenance"];
    folder.done(&[&convert, flags].concat());
    folder
}

fn edited(folder: &Folder, input: &str, output: &str, flags: &[&str]) -> String {
    let edit = ["edit", input, "-o", output, "--no-provenance"];
    folder.done(&[&edit, flags].concat())
}

#[test]
fn entries_come_and_go_and_every_tensor_stays() {
    let folder = converted(&[]);
    let flags = ["--set", "modelspec.title=A = B", "--set", "format=x", "--unset", "^auth"];
    edited(&folder, "a.safetensors", "b.safetensors", &flags);
    let [before, after] = ["a.safetensors", "b.safetensors"].map(|name| folder.file(name));
    let mut expected = before.metadata.clone();
    expected.remove("author");
    expected.insert("modelspec.title".to_owned(), "A = B".to_owned());
    expected.insert("format".to_owned(), "x".to_owned());
    assert_eq!(after.metadata, expected);
    assert_eq!(after.names(), before.names());
    for name in before.names() {
        assert_eq!(after.get(name).bytes, before.get(name).bytes, "{name}");
    }
}

#[test]
fn options_change_in_marker_and_header_of_the_layers_that_match() {
    let folder = converted(&[]);
    let text =
        edited(&folder, "a.safetensors", "full.safetensors", &["--full-precision", r"ff\.in$"]);
    assert!(text.contains("1 layer edited"), "{text}");
    let [before, full] = ["a.safetensors", "full.safetensors"].map(|name| folder.file(name));
    let markers = LAYERS.map(|layer| full.get(&format!("{layer}.comfy_quant")).bytes.clone());
    assert_eq!(markers, [FULL.as_bytes(), ANY.as_bytes()]);
    let entry: Value = serde_json::from_str(&full.metadata["_quantization_metadata"]).unwrap();
    assert_eq!(entry["layers"][LAYERS[0]]["full_precision_matrix_mult"], true);
    assert_eq!(entry["layers"][LAYERS[1]], serde_json::json!({"format": "float8_e4m3fn"}));
    for name in PLAIN_WEIGHTS {
        assert_eq!(full.get(name).bytes, before.get(name).bytes);
    }
    edited(&folder, "full.safetensors", "back.safetensors", &["--any-precision", "."]);
    assert!(folder.read("back.safetensors") == folder.read("a.safetensors"));

    let told = folder.done(&["edit", "a.safetensors", "-o", "t.safetensors", "--set", "a=b c"]);
    assert!(told.contains("0 layers edited"), "{told}");
    let told = folder.done(&["inspect", "t.safetensors"]);
    assert!(told.contains("roundwise edit INPUT --set 'a=b c'"), "{told}");
}

/// Of inputs whose columns have a root mean square of 2 at most.
fn write_statistics(folder: &Folder, name: &str, layers: &[(&str, [u64; 2])]) {
    let shapes = layers.iter().map(|(layer, [rows, columns])| LayerShape {
        module: (*layer).to_owned(),
        rows: *rows,
        columns: *columns,
    });
    let plan = |shape: LayerShape| LayerPlan {
        shape,
        count: 10,
        has_mean: false,
        has_largest: false,
        knowledge: Knowledge::Diagonal,
        mixed: None,
        gradient: None,
    };
    let plans = shapes.map(plan).collect();
    let path = folder.path(name);
    let writer = StatisticsWriter::create(&path, Overwrite::Refuse, "a test", plans).unwrap();
    for (layer, [_, columns]) in layers {
        let mut diagonal = vec![1.0; *columns as usize];
        diagonal[3] = 4.0;
        let known = LayerStatistics::new(10, None, diagonal, SecondMoment::Diagonal).unwrap();
        writer.write(layer, &known).unwrap();
    }
    writer.commit().unwrap();
}

#[test]
fn activation_scales_reach_eight_times_the_largest_column() {
    let folder = converted(&[]);
    let both = [(LAYERS[0], [256, 128]), (LAYERS[1], [128, 256])];
    write_statistics(&folder, "s.stats.safetensors", &both);
    let stats = ["--stats", "s.stats.safetensors"];
    let flags = [&stats[..], &["--input-scale", r"ff\.in"]].concat();
    edited(&folder, "a.safetensors", "b.safetensors", &flags);
    let file = folder.file("b.safetensors");
    assert_eq!(file.f32("blocks.0.ff.in.input_scale"), [8.0 * 2.0 / 448.0]);
    assert!(!file.tensors.contains_key("blocks.0.ff.out.input_scale"));
    // A second edit replaces it, another one leaves it.
    edited(&folder, "b.safetensors", "c.safetensors", &flags);
    edited(&folder, "c.safetensors", "d.safetensors", &["--full-precision", "."]);
    edited(&folder, "d.safetensors", "e.safetensors", &["--any-precision", "."]);
    for again in ["c.safetensors", "e.safetensors"] {
        assert!(folder.read(again) == folder.read("b.safetensors"), "{again}");
    }

    write_statistics(&folder, "one.stats.safetensors", &both[..1]);
    let missing =
        ["edit", "a.safetensors", "--input-scale", ".", "--stats", "one.stats.safetensors"];
    folder.refused(&missing, 2, &["no statistics of layer `blocks.0.ff.out`"]);
}

#[test]
fn what_cannot_be_edited_is_said() {
    let folder = converted(&[]);
    let refused = |flags: &[&str], words: &[&str]| {
        folder.refused(&[&["edit", "a.safetensors"], flags].concat(), 2, words);
    };
    refused(&[], &["edit: changes nothing by itself", "--set", "--input-scale"]);
    refused(&["--set", "=x"], &["expected KEY=VALUE"]);
    refused(&["--set", "a=1", "--set", "a=2"], &["--set `a` is to be `1` and `2`: name one"]);
    refused(&["--set", "roundwise={}"], &["--set: `roundwise`", "writes itself"]);
    refused(&["--unset", "nothing"], &["--unset `nothing` matches no header entry"]);
    refused(&["--unset", "("], &["--unset: regex parse error"]);
    refused(&["--full-precision", "conv"], &["--full-precision `conv` matches no layer in codes"]);
    refused(
        &["--full-precision", "in", "--any-precision", "ff"],
        &["--full-precision and --any-precision contradict each other: `blocks.0.ff.in`"],
    );
    refused(&["--input-scale", "."], &["--stats"]);
    folder.done(&["migrate", "a.safetensors", "--to", "comfy-legacy", "-o", "l.safetensors"]);
    let words = ["layers told by scale_weight have no", "migrate --to comfy", "`blocks.0.ff.in`"];
    folder.refused(&["edit", "l.safetensors", "--full-precision", "."], 2, &words);
}
