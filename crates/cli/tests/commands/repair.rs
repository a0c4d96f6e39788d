//! Known defects are named with their layer and whom they break, and mended.

use crate::tool::{Folder, plain_model};

const MARKED: &str = "blocks.0.ff.in";
const OTHER: &str = "blocks.0.ff.out";
const FP8: &str = r#"{"format": "float8_e4m3fn"}"#;

fn damaged(name: &str) -> Folder {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/broken/");
    let bytes = std::fs::read(format!("{folder}{name}.safetensors")).unwrap();
    Folder::with("m.safetensors", &bytes)
}

/// Looks first, which must change nothing, then repairs.
fn repaired(name: &str, layer: &str, words: &[&str]) -> Folder {
    let folder = damaged(name);
    let before = folder.snapshot();
    let look = folder.run(&["repair", "m.safetensors"]);
    assert_eq!(look.code, 3, "{name}: {}{}", look.stdout, look.stderr);
    for word in [words, &[layer, "breaks ", "remedy: ", "--write"]].concat() {
        assert!(look.stdout.contains(word), "{name}: no `{word}` in {}", look.stdout);
    }
    assert!(before == folder.snapshot(), "{name}");
    folder.done(&["repair", "m.safetensors", "--write", "-o", "r.safetensors"]);
    assert!(folder.done(&["repair", "r.safetensors"]).contains("nothing to repair"), "{name}");
    assert!(!folder.done(&["inspect", "r.safetensors"]).contains("wrong: "), "{name}");
    folder
}

/// A hint that led back to the command that gave it would help nobody.
#[test]
fn a_repair_is_named_where_it_mends_everything_alone() {
    for (name, helps) in [
        ("marker-with-nul", true),
        ("scale-misnamed", true),
        ("comfy-missing-scale", false),
        ("comfy-unknown-format", false),
        ("marker-zeroed-int8", false),
    ] {
        let folder = damaged(name);
        let hint = "`roundwise repair --write` repairs it";
        for command in ["convert", "plan"] {
            let run = folder.run(&[command, "m.safetensors"]);
            assert_eq!(run.code, 1, "{name}: {}", run.stderr);
            assert_eq!(run.stderr.contains(hint), helps, "{name}: {}", run.stderr);
            let original = run.stderr.contains("start from the original weights");
            assert_eq!(original, !helps, "{name}: {}", run.stderr);
        }
        let run = folder.run(&["repair", "m.safetensors", "--write", "-o", "r.safetensors"]);
        assert_eq!(run.code == 0, helps, "{name}: {}", run.stderr);
        assert!(!run.stderr.contains("repair --write"), "{name}: {}", run.stderr);
    }
}

#[test]
fn every_defect_that_leaves_one_reading_is_mended() {
    let full = r#"{"format": "float8_e4m3fn", "full_precision_matrix_mult": true}"#;
    let rotated = r#"{"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 16, "per_row": true}"#;
    let cases = [
        ("marker-without-format", MARKED, "has no `format`", full),
        ("marker-without-format-int8", MARKED, "has no `format`", rotated),
        ("marker-with-nul", MARKED, "NUL bytes", FP8),
        ("marker-zeroed", MARKED, "NUL bytes", FP8),
        ("markers-in-header-alone", "the file", "marks 2 layers in the header alone", FP8),
        ("markers-in-tensors-alone", "the file", "marks 2 layers in tensors alone", FP8),
        ("marker-missing-in-header", OTHER, "no entry in", FP8),
        ("marker-missing-in-tensors", MARKED, "no marker tensor", FP8),
        ("scale-misnamed", MARKED, "has no `weight_scale`", FP8),
        ("scale-stray", "blocks.1.ff", "has no weight that", FP8),
    ];
    for (name, layer, problem, marker) in cases {
        let folder = repaired(name, layer, &[problem]);
        let [before, after] = ["m.safetensors", "r.safetensors"].map(|file| folder.file(file));
        for (tensor, content) in before.tensors.iter().filter(|(name, _)| !is_of_quantization(name))
        {
            assert!(after.get(tensor).bytes == content.bytes, "{name}: {tensor}");
        }
        assert_eq!(after.get(&format!("{MARKED}.comfy_quant")).bytes, marker.as_bytes(), "{name}");
        assert!(after.metadata["_quantization_metadata"].contains(marker), "{name}");
        let scales = ["weight_scale", "scale_weight"].map(|part| format!("{MARKED}.{part}"));
        let scale = scales.iter().find_map(|scale| before.tensors.get(scale)).unwrap();
        assert_eq!(after.get(&format!("{MARKED}.weight_scale")).bytes, scale.bytes, "{name}");
        assert!(after.names().iter().all(|tensor| !tensor.starts_with("blocks.1")), "{name}");
    }
}

fn is_of_quantization(name: &str) -> bool {
    ["comfy_quant", "weight_scale", "scale_weight", "scaled_fp8"]
        .iter()
        .any(|end| name.ends_with(end))
}

/// A file without markers stays one.
#[test]
fn dummy_scales_are_left_out_of_legacy_files() {
    let words = ["holds no codes", "FP8 without a scale"];
    let folder = repaired("scale-dummy", OTHER, &words);
    let [before, after] = ["m.safetensors", "r.safetensors"].map(|file| folder.file(file));
    let mut names = before.names();
    names.retain(|name| *name != "blocks.0.ff.out.scale_weight");
    assert_eq!(after.names(), names);
    for name in names {
        assert_eq!(after.get(name).bytes, before.get(name).bytes, "{name}");
    }
}

#[test]
fn defects_of_the_file_itself_are_mended() {
    let folder = damaged("trailing-bytes");
    let refused = ["8 bytes follow the last tensor", "roundwise repair --write"];
    folder.refused(&["convert", "m.safetensors"], 1, &refused);
    let words = ["8 bytes follow the last tensor", "the safetensors library", "without them"];
    let folder = repaired("trailing-bytes", "the file", &words);
    folder.done(&["convert", "r.safetensors", "--scheme", "fp16"]);

    let entry = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let header = format!(r#"{{"__metadata__":{{"format":"pt","step":1200}},"a":{entry}}}"#);
    let length = (header.len() as u64).to_le_bytes();
    let folder = Folder::with("m.safetensors", &[&length[..], header.as_bytes(), &[7; 4]].concat());
    let problem = "`__metadata__`.`step` is the number 1200, expected a string";
    folder.refused(&["convert", "m.safetensors"], 1, &[problem, "roundwise repair --write"]);
    let look = folder.run(&["repair", "m.safetensors"]);
    assert_eq!(look.code, 3);
    assert!(look.stdout.contains(problem), "{}", look.stdout);
    folder.done(&["repair", "m.safetensors", "--write", "-o", "r.safetensors"]);
    let mended = folder.file("r.safetensors");
    assert_eq!(mended.metadata["step"], "1200");
    assert_eq!(mended.get("a").bytes, [7; 4]);
}

#[test]
fn what_could_have_been_two_things_is_not_guessed_at() {
    let folder = damaged("marker-zeroed-int8");
    let look = folder.run(&["repair", "m.safetensors"]);
    assert_eq!(look.code, 3);
    for word in ["without remedy: `blocks.0.ff.in`", "NUL bytes", "original weights"] {
        assert!(look.stdout.contains(word), "{word}: {}", look.stdout);
    }
    folder.refused(&["repair", "m.safetensors", "--write"], 1, &["`blocks.0.ff.in`", "NUL bytes"]);
}

#[test]
fn a_file_in_order_is_not_rewritten() {
    let folder = damaged("all-zero");
    let look = folder.done(&["repair", "m.safetensors"]);
    assert!(look.contains("nothing to repair"), "{look}");
    let before = folder.snapshot();
    assert!(folder.done(&["repair", "m.safetensors", "--write"]).contains("nothing to repair"));
    assert!(before == folder.snapshot());
}

#[test]
fn what_is_about_the_repaired_file_needs_one() {
    let folder = damaged("marker-with-nul");
    for flags in [&["-o", "r.safetensors"][..], &["--report", "r.json"], &["--shard-size", "5GB"]] {
        let words = ["is about the repaired file, and none is written without `--write`"];
        folder.refused(&[&["repair", "m.safetensors"], flags].concat(), 2, &words);
    }
}

#[test]
fn one_layer_is_called_one() {
    let folder = damaged("comfy-fp8");
    let mut file = folder.file("m.safetensors");
    file.metadata.remove("_quantization_metadata");
    folder.write("m.safetensors", &file.bytes());
    let look = folder.run(&["repair", "m.safetensors"]).stdout;
    assert!(look.contains("1 defect that can be repaired, 0 that cannot"), "{look}");
    assert!(look.contains("marks 1 layer in tensors alone"), "{look}");
}

/// `verify` names every defect that `repair` would mend.
#[test]
fn verify_names_the_layer_and_whom_it_breaks() {
    let cases = [
        ("marker-without-format", MARKED, "ComfyUI from 0.3.77"),
        ("marker-with-nul", MARKED, "ComfyUI from 0.3.77"),
        ("marker-zeroed", MARKED, "ComfyUI from 0.3.77"),
        ("marker-missing-in-header", OTHER, "ComfyUI 0.3.68 to 0.3.76"),
        ("marker-missing-in-tensors", MARKED, "without the header's entries"),
        ("scale-misnamed", MARKED, "ComfyUI, which stops"),
        ("scale-stray", "blocks.1.ff", "unexpected keys"),
        ("scale-dummy", OTHER, "turns the weight into FP8 without a scale"),
    ];
    for (name, layer, breaks) in cases {
        let folder = repaired(name, layer, &[]);
        folder.done(&["dequantize", "r.safetensors", "-o", "plain.safetensors", "--dtype", "f32"]);
        let run = folder.run(&["verify", "plain.safetensors", "m.safetensors"]);
        assert_eq!(run.code, 3, "{name}: {}{}", run.stdout, run.stderr);
        for word in [&format!("wrong: `{layer}`"), breaks] {
            assert!(run.stdout.contains(word), "{name}: no `{word}` in {}", run.stdout);
        }
        folder.done(&["verify", "plain.safetensors", "r.safetensors"]);
    }
}

/// `inspect` and `repair` list the same defects.
#[test]
fn inspect_tells_every_defect_that_repair_tells() {
    for name in ["comfy-fp8", "markers-in-tensors-alone", "markers-in-header-alone", "scale-stray"]
    {
        let folder = damaged(name);
        let repair = folder.run(&["repair", "m.safetensors", "--json"]);
        let repair: serde_json::Value = serde_json::from_str(&repair.stdout).unwrap();
        let inspected = folder.json(&["inspect", "m.safetensors", "--json"]);
        let problems = |list: &serde_json::Value| -> Vec<String> {
            list.as_array().unwrap().iter().map(|it| it["problem"].to_string()).collect()
        };
        let repairs = [problems(&repair["repairs"]), problems(&repair["defects"])].concat();
        assert_eq!(problems(&inspected["findings"]), repairs, "{name}");
    }
}

#[test]
fn a_scale_of_nothing_is_left_out_of_whatever_is_made_of_the_file() {
    let folder = damaged("scale-stray");
    for (command, output) in [
        (&["convert", "m.safetensors"][..], "m-fp8.safetensors"),
        (&["dequantize", "m.safetensors"], "m-bf16.safetensors"),
        (&["migrate", "m.safetensors", "--to", "comfy"], "m-comfy.safetensors"),
    ] {
        let text = folder.done(command);
        assert!(text.contains("left out, for they scale no weight of the file"), "{text}");
        assert!(
            folder.file(output).names().iter().all(|name| !name.starts_with("blocks.1")),
            "{output}"
        );
        folder.done(&["verify", "m.safetensors", output]);
    }
    assert!(folder.done(&["repair", "m-fp8.safetensors"]).contains("nothing to repair"));
}

/// What a scale that is no number stood for is known to nobody.
#[test]
fn no_repair_is_promised_of_a_scale_that_is_no_number() {
    let folder = Folder::with("m.safetensors", &plain_model());
    folder.done(&["convert", "m.safetensors", "-o", "a.safetensors"]);
    let mut file = folder.file("a.safetensors");
    file.get_mut("blocks.0.ff.in.weight_scale").bytes = f32::NAN.to_le_bytes().to_vec();
    folder.write("a.safetensors", &file.bytes());
    let run = folder.run(&["convert", "a.safetensors", "-o", "b.safetensors"]);
    assert!(run.code == 1 && !run.stderr.contains("repairs it"), "{}", run.stderr);
    let run = folder.run(&["repair", "a.safetensors"]);
    assert!(run.stdout.contains("0 defects that can be repaired, 1 that cannot"), "{}", run.stdout);
    let run = folder.run(&["repair", "a.safetensors", "--write"]);
    assert_ne!(run.code, 0);
    assert_eq!(folder.names(), ["a.safetensors", "m.safetensors"]);
}

/// Loaders ask, as Python does, whether something is true.
#[test]
fn an_option_in_a_number_is_read_as_python_reads_it() {
    let folder = Folder::with("m.safetensors", &plain_model());
    folder.done(&["convert", "m.safetensors", "-o", "a.safetensors"]);
    for (value, is_full) in [("1", true), ("0", false), (r#""false""#, true), ("null", false)] {
        let mut file = folder.file("a.safetensors");
        let marker =
            format!(r#"{{"format": "float8_e4m3fn", "full_precision_matrix_mult": {value}}}"#);
        let tensor = file.get_mut("blocks.0.ff.in.comfy_quant");
        (tensor.shape, tensor.bytes) = (vec![marker.len()], marker.clone().into_bytes());
        file.metadata.remove("_quantization_metadata");
        folder.write("b.safetensors", &file.bytes());
        folder.done(&[
            "migrate",
            "b.safetensors",
            "--to",
            "comfy",
            "-o",
            "c.safetensors",
            "--force",
        ]);
        let marker = folder.file("c.safetensors").get("blocks.0.ff.in.comfy_quant").bytes.clone();
        let marker = String::from_utf8(marker).unwrap();
        assert_eq!(marker.contains("full_precision"), is_full, "{value}: {marker}");
    }
}
