//! Files of other programs, as they are shown and named.

use roundwise_testkit::files::{Tensor, safetensors};

use crate::plain;
use crate::tool::Folder;

const STATE: &[u8] = include_bytes!("../../../../fixtures/pickled/state.pt");

#[test]
fn outputs_lose_the_ending_of_their_input() {
    let folder = Folder::with("state.pt", STATE);
    folder.done(&["convert", "state.pt", "-q"]);
    assert_eq!(folder.names(), ["state-fp8.safetensors", "state.pt"]);
}

const TRAINING: &[u8] = include_bytes!("../../../../fixtures/checkpoints/training.pt");

#[test]
fn what_was_read_of_a_training_checkpoint_is_said() {
    let folder = Folder::with("t.pt", TRAINING);
    let words = [
        "read the dictionary `model_state_dict`; passed over optimizer_state_dict, loss",
        "passed over objects of posix.system, recipes.Mode; nothing was run",
    ];
    let inspected = folder.done(&["inspect", "t.pt"]);
    let planned = folder.done(&["plan", "t.pt", "--scheme", "fp16"]);
    for words in words {
        assert!(inspected.contains(words), "no `{words}` in {inspected}");
        assert!(planned.contains(&format!("note: {words}")), "no `{words}` in {planned}");
    }
}

/// A GGUF file of version 3 with one entry in its header and a weight in Q8_0 and one in F32.
pub(crate) fn gguf() -> Vec<u8> {
    gguf_of(2)
}

/// The same with so many rows in Q8_0.
fn gguf_of(rows: u64) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut file = b"GGUF".to_vec();
    file.extend([&3_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &1_u64.to_le_bytes()].concat());
    const STRING: u32 = 8;
    file.extend([text("general.name"), STRING.to_le_bytes().to_vec(), text("small")].concat());
    let end = (rows * 34).next_multiple_of(32);
    for (name, kind, offset, rows) in [("a.weight", 8_u32, 0_u64, rows), ("b.weight", 0, end, 2)] {
        let shape = [2_u32.to_le_bytes().to_vec(), [32, rows].map(u64::to_le_bytes).concat()];
        file.extend([text(name), shape.concat()].concat());
        file.extend([&kind.to_le_bytes()[..], &offset.to_le_bytes()].concat());
    }
    file.resize(file.len().next_multiple_of(32), 0);
    let half = 0x3c00_u16.to_le_bytes();
    let block = |row: u64| [&half[..], &[if row == 0 { 3 } else { 5 }; 32]].concat();
    let mut blocks: Vec<u8> = (0..rows).flat_map(block).collect();
    blocks.resize(blocks.len().next_multiple_of(32), 0);
    file.extend(blocks);
    file.extend((1..=64).flat_map(|value| (value as f32).to_le_bytes()));
    file
}

#[test]
fn what_a_gguf_held_is_said() {
    let folder = Folder::with("m.gguf", &gguf());
    let plan = folder.done(&["plan", "m.gguf", "--keep", "a"]);
    for words in [
        "a.weight  [2, 32]  Q8_0   BF16",
        "note: tensors in Q8_0, decoded on reading: 1; those that are kept are stored as BF16",
        "note: entries of the GGUF header, such as a tokenizer, that outputs have no place for: 1",
    ] {
        assert!(plan.contains(words), "no `{words}` in {plan}");
    }
    let inspected = folder.done(&["inspect", "m.gguf"]);
    for words in ["Q8_0 ", "Q8_0 is decoded to F32 on reading", "entries of the GGUF header"] {
        assert!(inspected.contains(words), "no `{words}` in {inspected}");
    }
    let json = folder.json(&["inspect", "m.gguf", "--json"]);
    let sizes = [(&json["dtypes"][0], "F32", 256), (&json["dtypes"][1], "Q8_0", 68)];
    for (found, dtype, bytes) in sizes {
        assert_eq!((&found["dtype"], &found["bytes"]), (&dtype.into(), &bytes.into()));
    }
    folder.done(&["convert", "m.gguf", "-q", "--keep", "a"]);
    let kept = folder.file("m-fp8.safetensors");
    // 3 and 5 in BF16.
    assert_eq!(kept.get("a.weight").bytes[62..66], [0x40, 0x40, 0xa0, 0x40]);
    folder.done(&["verify", "m.gguf", "m-fp8.safetensors"]);
}

#[test]
fn blocks_of_a_gguf_are_decoded_and_nothing_else_is_made_of_them() {
    let folder = Folder::with("m.gguf", &gguf());
    let text = folder.done(&["dequantize", "m.gguf", "--dtype", "f32"]);
    assert!(text.contains("1 layer decoded to f32"), "{text}");
    assert!(text.contains("decoded  was Q8_0"), "{text}");
    assert_eq!(folder.file("m-f32.safetensors").f32("a.weight")[31..33], [3.0, 5.0]);
    folder.done(&["dequantize", "m.gguf", "-q"]);
    for file in ["m-f32.safetensors", "m-bf16.safetensors"] {
        folder.done(&["verify", "m.gguf", file]);
    }
    let words =
        ["holds blocks of GGUF (Q8_0), which no layout has a place for", "dequantize` into plain"];
    folder.refused(&["migrate", "m.gguf", "--to", "comfy"], 1, &words);
    let words = ["is GGUF", "`roundwise dequantize` makes a file that"];
    folder.refused(&["edit", "m.gguf", "--set", "a=b"], 2, &words);
}

#[test]
fn an_output_that_is_larger_than_its_gguf_is_told_with_what_helps() {
    let folder = Folder::with("m.gguf", &gguf_of(64));
    let grows = folder.done(&["plan", "m.gguf", "--scheme", "bf16"]);
    assert!(grows.contains("note: the output is larger than the input"), "{grows}");
    let shrinks = folder.done(&["plan", "m.gguf", "--scheme", "fp8"]);
    assert!(!shrinks.contains("larger than the input"), "{shrinks}");
}

#[test]
fn a_model_beside_its_outputs_is_named() {
    let folder = plain();
    folder.done(&["convert", "m.safetensors", "-q"]);
    let words =
        ["2 candidates", "name the file that is meant, such as ./m.safetensors; outputs are"];
    folder.refused(&["convert", "."], 1, &words);
}

#[test]
fn a_layer_of_compressed_tensors_is_explained_by_its_own_name() {
    let codes = Tensor::new("a.weight_packed", "U8", &[32, 16], vec![0x21; 512]);
    let scale = Tensor::new("a.weight_scale", "F8_E4M3", &[32, 2], vec![0x38; 64]);
    let whole = Tensor::new("a.weight_global_scale", "F32", &[1], 1_f32.to_le_bytes().to_vec());
    let folder = Folder::with("m.safetensors", &safetensors(&[codes, scale, whole]));
    let text = folder.done(&["plan", "m.safetensors", "--explain", "a"]);
    assert!(text.starts_with("a.weight_packed: fp8, linear weight; was nvfp4"), "{text}");
}
