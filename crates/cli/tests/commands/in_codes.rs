//! Inputs that are in codes already.

use roundwise_testkit::files::{Tensor, safetensors, safetensors_with_metadata};
use serde_json::Value;

use crate::plain;
use crate::tool::{File, Folder, e4m3, matrix};

/// Decodes the FP8 codes of a layer.
fn decoded_fp8(file: &File, layer: &str) -> Vec<f32> {
    let scale = file.f32(&format!("{layer}.weight_scale"))[0];
    let codes = &file.get(&format!("{layer}.weight")).bytes;
    codes.iter().map(|code| e4m3(*code) * scale).collect()
}

#[test]
fn fp8_becomes_int8_by_its_own_scale() {
    let folder = plain();
    folder.done(&["convert", "m.safetensors"]);
    folder.done(&["convert", "m-fp8.safetensors", "--scheme", "int8", "-o", "i.safetensors"]);
    let [before, after] = ["m-fp8.safetensors", "i.safetensors"].map(|name| folder.file(name));
    for layer in ["blocks.0.ff.in", "blocks.0.ff.out"] {
        let values = decoded_fp8(&before, layer);
        let largest = values.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
        let scale = after.f32(&format!("{layer}.weight_scale"))[0];
        assert_eq!(scale, largest / 127.0);
        let codes = &after.get(&format!("{layer}.weight")).bytes;
        for (value, code) in values.iter().zip(codes) {
            assert_eq!((value / scale).round_ties_even(), f32::from(*code as i8));
        }
    }
    folder.done(&["verify", "m-fp8.safetensors", "i.safetensors"]);
}

/// Programs heed no scale of inputs beside plain numbers, and would round inputs by it once these are codes.
#[test]
fn a_scale_of_inputs_beside_plain_numbers_goes_where_they_become_codes() {
    let layer = "blocks.0.ff.in";
    let number = 0.5_f32.to_le_bytes().to_vec();
    let scale = Tensor::new(&format!("{layer}.input_scale"), "F32", &[], number);
    let tensors = [matrix(&format!("{layer}.weight"), 256, 128), scale];
    let folder = Folder::with("m.safetensors", &safetensors(&tensors));
    let text = folder.done(&["convert", "m.safetensors"]);
    assert!(text.contains("note: left out, for the weights beside are plain numbers"), "{text}");
    let file = folder.file("m-fp8.safetensors");
    assert!(!file.tensors.contains_key(&format!("{layer}.input_scale")), "{:?}", file.names());
    folder.done(&["convert", "m.safetensors", "--scheme", "bf16"]);
    let file = folder.file("m-bf16.safetensors");
    assert!(file.tensors.contains_key(&format!("{layer}.input_scale")), "{:?}", file.names());
}

#[test]
fn legacy_becomes_comfy_with_the_same_codes() {
    let folder = plain();
    folder.done(&["convert", "m.safetensors", "--layout", "comfy-legacy"]);
    folder.done(&["convert", "m-fp8-legacy.safetensors", "-o", "c.safetensors"]);
    let [before, after] = ["m-fp8-legacy.safetensors", "c.safetensors"].map(|n| folder.file(n));
    assert!(after.names().iter().all(|n| !n.contains("scaled_fp8") && !n.contains("scale_w")));
    for layer in ["blocks.0.ff.in", "blocks.0.ff.out"] {
        let weight = format!("{layer}.weight");
        assert_eq!(before.get(&weight).bytes, after.get(&weight).bytes);
        let [old, new] = [
            before.f32(&format!("{layer}.scale_weight")),
            after.f32(&format!("{layer}.weight_scale")),
        ];
        assert!((old[0] - new[0]).abs() <= 1e-6 * old[0], "{old:?} {new:?}");
    }
}

const FULL: &[u8] = br#"{"format": "float8_e4m3fn", "full_precision_matrix_mult": true}"#;

/// Makes the first layer of a converted file ask for products in full precision.
fn ask_for_full_precision(file: &mut File) {
    let marker = file.get_mut("blocks.0.ff.in.comfy_quant");
    marker.bytes = FULL.to_vec();
    marker.shape = vec![FULL.len()];
    let entry = file.metadata.get_mut("_quantization_metadata").unwrap();
    let plain = r#"{"format": "float8_e4m3fn"}"#;
    *entry = entry.replacen(plain, std::str::from_utf8(FULL).unwrap(), 1);
}

#[test]
fn products_in_full_precision_stay_so() {
    let folder = plain();
    folder.done(&["convert", "m.safetensors"]);
    let mut file = folder.file("m-fp8.safetensors");
    ask_for_full_precision(&mut file);
    folder.write("full.safetensors", &file.bytes());
    folder.done(&["convert", "full.safetensors", "--scheme", "int8-row"]);
    folder.done(&["verify", "full.safetensors", "full-int8-row.safetensors"]);
    let mut after = folder.file("full-int8-row.safetensors");
    let full =
        r#"{"format": "int8_tensorwise", "full_precision_matrix_mult": true, "per_row": true}"#;
    assert_eq!(after.get("blocks.0.ff.in.comfy_quant").bytes, full.as_bytes());
    assert!(after.metadata["_quantization_metadata"].contains(full));
    let any = br#"{"format": "int8_tensorwise", "per_row": true}"#;
    assert_eq!(after.get("blocks.0.ff.out.comfy_quant").bytes, any);

    let marker = after.get_mut("blocks.0.ff.in.comfy_quant");
    (marker.bytes, marker.shape) = (any.to_vec(), vec![any.len()]);
    after.metadata.remove("_quantization_metadata");
    folder.write("lost.safetensors", &after.bytes());
    let run = folder.run(&["verify", "full.safetensors", "lost.safetensors"]);
    assert_eq!(run.code, 3);
    let words = "wrong: `blocks.0.ff.in` no longer asks for products in full precision";
    assert!(run.stdout.contains(words), "{}", run.stdout);
}

#[test]
fn a_legacy_marker_of_two_elements_asks_for_full_precision_of_every_layer() {
    let folder = plain();
    folder.done(&["convert", "m.safetensors", "--layout", "comfy-legacy"]);
    let mut file = folder.file("m-fp8-legacy.safetensors");
    folder.done(&["convert", "m-fp8-legacy.safetensors", "-o", "full.safetensors"]);
    let marker = file.get_mut("scaled_fp8");
    (marker.bytes, marker.shape) = (vec![0], vec![1]);
    folder.write("one.safetensors", &file.bytes());
    folder.done(&["convert", "one.safetensors", "-o", "any.safetensors"]);
    let any = br#"{"format": "float8_e4m3fn"}"#;
    for layer in ["blocks.0.ff.in", "blocks.0.ff.out"] {
        let name = format!("{layer}.comfy_quant");
        assert_eq!(folder.file("full.safetensors").get(&name).bytes, FULL);
        assert_eq!(folder.file("any.safetensors").get(&name).bytes, any);
    }
}

/// Two shards of one tensor group each, with header entries of their own.
fn shards(folder: &Folder, file: &File, metadata: [&[(&str, &str)]; 2]) {
    let mut map = vec![];
    for (number, entries) in metadata.into_iter().enumerate() {
        let layer = ["blocks.0.ff.in", "blocks.0.ff.out"][number];
        let is_here = |name: &&str| name.starts_with(layer);
        let names: Vec<&str> = file.names().into_iter().filter(is_here).collect();
        let tensors: Vec<Tensor> = names.iter().map(|name| file.get(name).clone()).collect();
        let shard = format!("{number}.safetensors");
        folder.write(&format!("big/{shard}"), &safetensors_with_metadata(&tensors, entries));
        map.extend(names.iter().map(|name| format!("\"{name}\":\"{shard}\"")));
    }
    let index = format!("{{\"weight_map\":{{{}}}}}", map.join(","));
    folder.write("big/model.safetensors.index.json", index.as_bytes());
}

/// Returns the header entry of one layer in codes.
fn entry_of(layer: &str, marker: &str) -> String {
    format!(r#"{{"format_version": "1.0", "layers": {{"{layer}": {marker}}}}}"#)
}

#[test]
fn layers_of_every_shard_s_header_are_read() {
    let folder = plain();
    folder.done(&["convert", "m.safetensors", "--scheme", "int8-row"]);
    let mut file = folder.file("m-int8-row.safetensors");
    file.tensors.retain(|name, _| !name.ends_with("comfy_quant"));
    let marker = r#"{"format": "int8_tensorwise", "per_row": true}"#;
    let [one, two] = ["blocks.0.ff.in", "blocks.0.ff.out"].map(|layer| entry_of(layer, marker));
    let key = "_quantization_metadata";
    shards(&folder, &file, [&[(key, &one), ("a", "1")], &[(key, &two), ("a", "2")]]);
    let inspected = folder.json(&["inspect", "big", "--json"]);
    assert_eq!(inspected["quantized"][0]["layers"], 2, "{inspected}");
    assert_eq!(inspected["quantized"][0]["spelling"], "comfy_quant marker");
    // Nothing else is wrong than that no tensor marks them.
    assert_eq!(inspected["findings"].as_array().unwrap().len(), 1, "{inspected}");
    assert_eq!(inspected["findings"][0]["problem"], "marks 2 layers in the header alone");

    let note = "note: later shards have another value for header entry `a`; the first is kept";
    assert!(folder.done(&["plan", "big"]).contains(note));
    assert!(folder.done(&["convert", "big", "--scheme", "int8-row"]).contains(note));
    let after = folder.file("big-int8-row.safetensors");
    assert_eq!(after.metadata["a"], "1");
    let entry: Value = serde_json::from_str(&after.metadata[key]).unwrap();
    assert_eq!(entry["layers"].as_object().unwrap().len(), 2);
}

#[test]
fn shards_that_mark_a_layer_differently_are_refused() {
    let folder = plain();
    folder.done(&["convert", "m.safetensors"]);
    let file = folder.file("m-fp8.safetensors");
    let formats = ["float8_e4m3fn", "float8_e5m2"]
        .map(|name| entry_of("blocks.0.ff.in", &format!(r#"{{"format": "{name}"}}"#)));
    let key = "_quantization_metadata";
    shards(&folder, &file, [&[(key, &formats[0])], &[(key, &formats[1])]]);
    let words = ["`blocks.0.ff.in` one shard's header says", "another's"];
    folder.refused(&["convert", "big"], 1, &words);
}

#[test]
fn plain_fp8_codes_are_the_values() {
    let codes: Vec<u8> = (0..64 * 64).map(|i| (i % 120) as u8).collect();
    let weight = Tensor::new("a.weight", "F8_E4M3", &[64, 64], codes.clone());
    let folder = Folder::with("m.safetensors", &safetensors(&[weight]));
    folder.done(&["convert", "m.safetensors", "--scheme", "int8"]);
    let file = folder.file("m-int8.safetensors");
    let largest = codes.iter().map(|code| e4m3(*code)).fold(0.0, f32::max);
    assert_eq!(file.f32("a.weight_scale"), [largest / 127.0]);
}

/// No other codes of the scheme are nearer to what the input's stand for.
#[test]
fn codes_of_the_scheme_that_is_asked_for_stay() {
    // None is the largest code, so that a scale of its own would be another than 1.
    let codes: Vec<u8> = (0..64 * 64).map(|i| (i % 120) as u8).collect();
    let weight = Tensor::new("a.weight", "F8_E4M3", &[64, 64], codes.clone());
    let folder = Folder::with("m.safetensors", &safetensors(&[weight]));
    for method in ["nearest", "principal"] {
        let text = folder.done(&["convert", "m.safetensors", "--method", method, "--force"]);
        let note = "note: 1 weight is in codes of fp8 already and keeps its codes: none of its numbers changes";
        assert!(text.contains(note), "{text}");
        let file = folder.file("m-fp8.safetensors");
        assert_eq!(file.get("a.weight").bytes, codes);
        assert_eq!(file.f32("a.weight_scale"), [1.0]);
        assert_eq!(file.get("a.comfy_quant").bytes, br#"{"format": "float8_e4m3fn"}"#);
    }
    let report = folder.json(&["convert", "m.safetensors", "--json", "--force"]);
    assert_eq!(report["weight_error"], 0.0);
    folder.done(&["verify", "m.safetensors", "m-fp8.safetensors"]);
    // A scale that is no power of two, and codes of blocks.
    let folder = plain();
    for scheme in ["fp8", "int8-row", "nvfp4", "int4-convrot", "mxfp8", "int4-asym"] {
        let [once, twice] = ["once", "twice"].map(|name| format!("{name}-{scheme}.safetensors"));
        let rule = ["--scale-rule", "mse"];
        let flags: &[&str] = if scheme == "int4-asym" { &[] } else { &rule };
        let convert = ["convert", "m.safetensors", "--scheme", scheme, "-o", &once];
        folder.done(&[&convert, flags].concat());
        folder.done(&["convert", &once, "--scheme", scheme, "-o", &twice]);
        let [once, twice] = [once, twice].map(|name| folder.file(&name));
        for name in once.names() {
            assert_eq!(once.get(name).bytes, twice.get(name).bytes, "{scheme}: {name}");
        }
    }
}

#[test]
fn settings_of_a_search_are_noted_where_all_codes_stay() {
    let folder = plain();
    folder.done(&["convert", "m.safetensors"]);
    for (flags, note) in [
        (["--method", "principal"], "`--method` changes nothing: all weights keep their codes"),
        (["--scale-rule", "mse"], "`--scale-rule` changes nothing: all weights keep their codes"),
    ] {
        let convert = ["convert", "m-fp8.safetensors", "-o", "a.safetensors", "--force"];
        let text = folder.done(&[&convert[..], &flags].concat());
        assert!(text.contains(note), "{text}");
    }
}

/// Programs round inputs by them, as the maker of the file measured.
#[test]
fn scales_of_inputs_stay_with_codes_that_stay_and_are_told_where_they_go() {
    for scheme in ["fp8", "fp8-e5m2", "nvfp4"] {
        let folder = plain();
        folder.done(&["convert", "m.safetensors", "--scheme", scheme, "-o", "a.safetensors"]);
        let mut file = folder.file("a.safetensors");
        let name = "blocks.0.ff.in.input_scale";
        let number = 0.5_f32.to_le_bytes().to_vec();
        file.tensors.insert(name.to_owned(), Tensor::new(name, "F32", &[], number));
        folder.write("a.safetensors", &file.bytes());
        folder.done(&["convert", "a.safetensors", "--scheme", scheme, "-o", "b.safetensors"]);
        assert_eq!(folder.file("b.safetensors").f32(name), [0.5], "{scheme}");
        let other = if scheme == "nvfp4" { "fp8" } else { "nvfp4" };
        let text =
            folder.done(&["convert", "a.safetensors", "--scheme", other, "-o", "c.safetensors"]);
        let note =
            "the stored scales of inputs of 1 layer are left out, for they are of other codes";
        assert!(text.contains(note), "{scheme}: {text}");
    }
}

#[test]
fn a_nan_among_codes_of_the_scheme_is_found() {
    let mut codes: Vec<u8> = (0..64 * 64).map(|i| (i % 120) as u8).collect();
    codes[100] = 0x7F;
    let tensors =
        [Tensor::new("a.weight", "F8_E4M3", &[64, 64], codes), matrix("b.weight", 256, 128)];
    let folder = Folder::with("m.safetensors", &safetensors(&tensors));
    let text = folder.done(&["convert", "m.safetensors"]);
    assert!(text.contains("row 1 holds a NaN or an infinity; was fp8 (no scale)"), "{text}");
}

/// A program that multiplies in 8 bits goes on doing so, wherever its marker has the option.
#[test]
fn the_bits_of_inputs_stay_and_unknown_options_are_told() {
    let folder = plain();
    folder.done(&["convert", "m.safetensors", "--scheme", "int4-convrot", "-o", "a.safetensors"]);
    let mut file = folder.file("a.safetensors");
    let marker = file.get_mut("blocks.0.ff.in.comfy_quant");
    let plain = String::from_utf8(marker.bytes.clone()).unwrap();
    let more = plain.replace('}', r#", "linear_dtype": "int8", "transposed": true}"#);
    (marker.bytes, marker.shape) = (more.clone().into_bytes(), vec![more.len()]);
    let entry = file.metadata.get_mut("_quantization_metadata").unwrap();
    *entry = entry.replacen(&plain, &more, 1);
    folder.write("options.safetensors", &file.bytes());
    let note = "options of markers that are not known here, and that outputs are without: \
                `transposed` of 1 layer";
    assert!(folder.done(&["inspect", "options.safetensors"]).contains(note));
    for command in [
        &["migrate", "options.safetensors", "--to", "comfy"][..],
        &["convert", "options.safetensors", "--scheme", "int4-convrot"],
    ] {
        let text = folder.done(&[command, &["-o", "b.safetensors", "--force"]].concat());
        assert!(text.contains(note), "{text}");
        let marker = folder.file("b.safetensors").get("blocks.0.ff.in.comfy_quant").bytes.clone();
        let kept = plain.replace('}', r#", "linear_dtype": "int8"}"#);
        assert_eq!(String::from_utf8(marker).unwrap(), kept);
    }
}

#[test]
fn a_kept_layer_is_decoded_to_bf16() {
    let folder = plain();
    folder.done(&["convert", "m.safetensors"]);
    let flags = ["--keep", r"ff\.in", "--scheme", "int8", "-o", "i.safetensors"];
    let text = folder.done(&[&["convert", "m-fp8.safetensors"], &flags[..]].concat());
    assert!(text.contains(r"decoded  kept by `ff\.in`; was fp8 (comfy_quant marker)"), "{text}");
    let [before, after] = ["m-fp8.safetensors", "i.safetensors"].map(|name| folder.file(name));
    let values = decoded_fp8(&before, "blocks.0.ff.in");
    for (found, expected) in after.bf16("blocks.0.ff.in.weight").iter().zip(values) {
        assert!((found - expected).abs() <= expected.abs() / 256.0, "{found} {expected}");
    }
    assert!(!after.tensors.contains_key("blocks.0.ff.in.weight_scale"));
    folder.done(&["verify", "m-fp8.safetensors", "i.safetensors"]);
}

#[test]
fn errors_against_codes_of_the_input_are_said_to_be_so() {
    let folder = plain();
    assert!(!folder.done(&["convert", "m.safetensors"]).contains("in codes already"));
    let text = folder.done(&["convert", "m-fp8.safetensors", "--scheme", "int8"]);
    let line =
        "  note: 2 weights were in codes already (fp8): errors are against what these stand for";
    assert!(text.contains(line), "{text}");
}
