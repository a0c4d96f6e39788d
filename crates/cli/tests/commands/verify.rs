//! `verify` finds what is wrong.

use roundwise_testkit::files::{Tensor, safetensors};
use serde_json::Value;

use crate::plain;
use crate::tool::{File, Folder, chroma_model, matrix, t5_model};

/// Damages a converted file; the folder also holds its original.
#[track_caller]
fn finds(flags: &[&str], damage: impl FnOnce(&mut File), words: &[&str]) {
    let folder = plain();
    let arguments = [&["convert", "m.safetensors", "-o", "c.safetensors"], flags].concat();
    folder.done(&arguments);
    let mut file = folder.file("c.safetensors");
    damage(&mut file);
    folder.write("c.safetensors", &file.bytes());
    let run = folder.run(&["verify", "m.safetensors", "c.safetensors"]);
    assert_eq!(run.code, 3, "{}{}", run.stdout, run.stderr);
    for word in words {
        assert!(run.stdout.contains(word), "`{word}` is not in: {}", run.stdout);
    }
    assert!(run.stdout.contains("verification failed"));
}

#[test]
fn quiet_leaves_the_exit_code() {
    let folder = plain();
    folder.write("n.safetensors", &chroma_model());
    folder.done(&["convert", "m.safetensors", "-q"]);
    let right = folder.run(&["verify", "m.safetensors", "m-fp8.safetensors", "-q"]);
    let wrong = folder.run(&["verify", "n.safetensors", "m-fp8.safetensors", "-q"]);
    assert_eq!((right.code, wrong.code), (0, 3));
    assert_eq!(right.stdout + &right.stderr + &wrong.stdout + &wrong.stderr, "");
}

const WEIGHT: &str = "blocks.0.ff.in.weight";
const SCALE: &str = "blocks.0.ff.in.weight_scale";
const MARKER: &str = "blocks.0.ff.in.comfy_quant";

#[test]
fn a_code_that_is_not_a_number() {
    let words = ["wrong: `blocks.0.ff.in.weight` row 1 holds a code that stands for no number"];
    finds(&[], |file| file.get_mut(WEIGHT).bytes[130] = 0x7F, &words);
    finds(&["--scheme", "int8"], |file| file.get_mut(WEIGHT).bytes[130] = 0x80, &words);
}

#[test]
fn a_code_far_from_its_weight() {
    let words = [WEIGHT, "steps of the largest ones off"];
    finds(&[], |file| file.get_mut(WEIGHT).bytes[130] ^= 0x80, &words);
}

#[test]
fn a_copied_tensor_that_changed() {
    let words = ["wrong: `blocks.0.norm.weight` bytes differ from the original"];
    finds(&[], |file| file.get_mut("blocks.0.norm.weight").bytes[0] ^= 1, &words);
}

#[test]
fn a_missing_tensor() {
    let words = ["wrong: `blocks.0.norm.weight` is missing"];
    finds(&[], |file| drop(file.tensors.remove("blocks.0.norm.weight")), &words);
    finds(&[], |file| drop(file.tensors.remove(WEIGHT)), &["`blocks.0.ff.in.weight` is missing"]);
}

#[test]
fn a_tensor_too_many() {
    let extra = || Tensor::new("extra", "U8", &[1], vec![0]);
    let words = ["wrong: `extra` is not in the original"];
    finds(&[], |file| drop(file.tensors.insert("extra".into(), extra())), &words);
}

#[test]
fn a_marker_that_is_missing() {
    let words = ["`blocks.0.ff.in` has an entry in `_quantization_metadata`, but no marker"];
    finds(&[], |file| drop(file.tensors.remove(MARKER)), &words);
    // Gone from the header as well: a scale that ComfyUI ignores.
    let words = ["wrong: `blocks.0.ff.in`", "weight_scale`", "no marker"];
    let damage = |file: &mut File| {
        file.tensors.remove(MARKER);
        file.metadata.remove("_quantization_metadata");
    };
    finds(&[], damage, &words);
    finds(
        &["--layout", "comfy-legacy"],
        |file| drop(file.tensors.remove("scaled_fp8")),
        &["wrong: `blocks.0.ff.in`", "scale_weight`", "no `scaled_fp8`"],
    );
}

#[test]
fn a_marker_that_nobody_understands() {
    let damage = |file: &mut File| {
        file.metadata.remove("_quantization_metadata");
        let marker = file.get_mut(MARKER);
        marker.bytes = b"{\"format\": \"fp7\"}".to_vec();
        marker.shape = vec![marker.bytes.len()];
    };
    finds(&[], damage, &["wrong: `blocks.0.ff.in` format `fp7` is not known"]);
}

#[test]
fn an_orphaned_scale() {
    let scale = || Tensor::new("conv.weight_scale", "F32", &[1], vec![0; 4]);
    let words = ["wrong: `conv`", "`conv.weight_scale`"];
    finds(&[], |file| drop(file.tensors.insert("conv.weight_scale".into(), scale())), &words);
}

#[test]
fn a_scale_of_another_shape() {
    let words = ["`blocks.0.ff.in.weight_scale` has shape [256], `int8-row` needs [256, 1]"];
    finds(&["--scheme", "int8-row"], |file| file.get_mut(SCALE).shape = vec![256], &words);
    let words = ["`blocks.0.ff.in.weight_scale` has shape [2], `fp8` needs one element"];
    let twice = |file: &mut File| {
        let scale = file.get_mut(SCALE);
        scale.bytes = scale.bytes.repeat(2);
        scale.shape = vec![2];
    };
    finds(&[], twice, &words);
}

#[test]
fn a_missing_scale() {
    let damage = |file: &mut File| drop(file.tensors.remove(SCALE));
    finds(&[], damage, &["wrong: `blocks.0.ff.in`", "has no `weight_scale`"]);
}

#[test]
fn a_scale_of_another_size() {
    for (factor, word) in [(0.001, "its largest weight is"), (4.0, "steps of the largest ones off")]
    {
        let damage = |file: &mut File| {
            let scale = file.f32(SCALE)[0] * factor;
            file.get_mut(SCALE).bytes = scale.to_le_bytes().to_vec();
        };
        finds(&[], damage, &[WEIGHT, word]);
    }
    let not_positive = "a scale is not a positive number";
    let values = [(f32::NAN, "is no number at 0"), (0.0, not_positive), (-1.0, not_positive)];
    for (value, word) in values {
        let damage = |file: &mut File| {
            file.get_mut(SCALE).bytes = value.to_le_bytes().to_vec();
        };
        finds(&[], damage, &["blocks.0.ff.in", word]);
    }
}

#[test]
fn a_lost_block() {
    let words = [WEIGHT, "the largest weight of the block at row 0, column 0 is"];
    let first_is_nothing = |file: &mut File| file.get_mut(SCALE).bytes[0] = 0;
    finds(&["--scheme", "mxfp8"], first_is_nothing, &words);
    let row =
        |file: &mut File| file.get_mut(SCALE).bytes[..4].copy_from_slice(&1e-9_f32.to_le_bytes());
    finds(&["--scheme", "int8-row"], row, &words);
}

#[test]
fn lost_header_entries() {
    let words = ["wrong: the file header entry `author` is missing or changed"];
    finds(&[], |file| drop(file.metadata.remove("author")), &words);
    let damage = |file: &mut File| drop(file.metadata.insert("format".into(), "np".into()));
    finds(&[], damage, &["header entry `format` is missing or changed"]);
}

#[test]
fn another_model() {
    let folder = plain();
    folder.write("t5.safetensors", &t5_model());
    folder.done(&["convert", "t5.safetensors", "-q"]);
    let run = folder.run(&["verify", "m.safetensors", "t5-fp8.safetensors"]);
    assert_eq!(run.code, 3);
    assert!(run.stdout.contains("is recognised as T5"), "{}", run.stdout);
    assert!(run.stdout.contains(&format!("wrong: `{WEIGHT}` is missing")), "{}", run.stdout);
}

#[test]
fn many_findings_are_cut_short_in_the_order_of_names() {
    let tensors: Vec<Tensor> = (10..42).map(|n| matrix(&format!("b.{n}.weight"), 8, 8)).collect();
    let folder = Folder::with("m.safetensors", &safetensors(&tensors));
    folder.done(&["convert", "m.safetensors", "--keep", "[1-3].$", "-q"]);
    let mut file = folder.file("m-fp8.safetensors");
    file.tensors.retain(|name, _| !name.starts_with("b.1") && !name.starts_with("b.2"));
    file.metadata.insert("_quantization_metadata".into(), "nonsense".into());
    for n in 10..42 {
        file.tensors.remove(&format!("b.{n}.weight"));
    }
    folder.write("c.safetensors", &file.bytes());
    let run = folder.run(&["verify", "m.safetensors", "c.safetensors"]);
    assert_eq!(run.code, 3);
    let wrong: Vec<&str> = run.stdout.lines().filter(|line| line.starts_with("wrong: ")).collect();
    assert_eq!(wrong.len(), 20, "{}", run.stdout);
    assert!(wrong[0].starts_with("wrong: the file "), "{}", run.stdout);
    assert!(wrong[1..].is_sorted(), "{}", run.stdout);
    let json = folder.run(&["verify", "m.safetensors", "c.safetensors", "--json"]).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    let more = json["findings"].as_array().unwrap().len() - 20;
    let more = format!("… and {more} more (`--json` lists all)\nverification failed\n");
    assert!(run.stdout.ends_with(&more), "{}", run.stdout);
}

#[test]
fn a_broken_file_is_a_failure_and_not_a_finding() {
    let folder = plain();
    folder.write("c.safetensors", b"");
    let words = ["c.safetensors", "the file is 0 bytes"];
    folder.refused(&["verify", "m.safetensors", "c.safetensors"], 1, &words);
}

#[test]
fn a_merged_file_is_told_to_be_one() {
    let folder = plain();
    let pair = [
        matrix("blocks.0.ff.in.lora_up.weight", 256, 4),
        matrix("blocks.0.ff.in.lora_down.weight", 4, 128),
    ];
    folder.write("lora.safetensors", &safetensors(&pair));
    let weak = ["--merge-lora", "lora.safetensors:0", "-o", "weak.safetensors"];
    let text = folder.done(&[&["convert", "m.safetensors"][..], &weak].concat());
    assert!(text.contains("--merge-lora `lora.safetensors:0` changes nothing"), "{text}");
    let strong = ["convert", "m.safetensors", "--merge-lora", "lora.safetensors:1e30"];
    folder.refused(&strong, 2, &["--merge-lora", "from -1000 to 1000"]);
    let merge = ["--merge-lora", "lora.safetensors", "-o", "o.safetensors", "-q"];
    folder.done(&[&["convert", "m.safetensors"], &merge[..]].concat());
    let run = folder.run(&["verify", "m.safetensors", "o.safetensors"]);
    run.must_say(0, &[]);
    assert!(run.stdout.contains("lora.safetensors went into it"), "{}", run.stdout);
}
