//! Several outputs from one reading of the input: each is the one that it would be alone.

use crate::tool::{Folder, plain_model};
use roundwise_testkit::files::{Tensor, f32_bytes, safetensors};

const SCHEMES: [&str; 4] = ["int8-row-convrot", "fp8", "nvfp4", "int8-block-64"];

/// Makes all schemes at once in one folder, and one after the other in another.
fn compare(model: &[u8], flags: &[&str]) {
    let [together, alone] = [(); 2].map(|()| Folder::with("m.safetensors", model));
    let named: Vec<String> =
        SCHEMES.iter().map(|scheme| format!("--to={scheme}=out-{scheme}")).collect();
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    together.done(&[&["convert", "m.safetensors"], &named[..], flags].concat());
    for scheme in SCHEMES {
        let output = format!("out-{scheme}");
        let named = ["convert", "m.safetensors", "-o", &output, "--scheme", scheme];
        alone.done(&[&named[..], flags].concat());
        assert!(together.read(&output) == alone.read(&output), "{scheme} {flags:?}");
    }
    assert_eq!(together.names(), alone.names());
}

#[test]
fn nearest_outputs_are_those_made_alone() {
    compare(&plain_model(), &[]);
    compare(&plain_model(), &["--scale-rule", "mse", "--threads", "3"]);
}

#[test]
fn learned_outputs_are_those_made_alone() {
    compare(&plain_model(), &["--method", "principal", "--top-k", "16", "--effort", "fast"]);
    compare(&plain_model(), &["--method", "tpec-fast", "--top-k", "4", "--iterations", "20"]);
}

#[test]
fn a_weight_that_is_kept_is_kept_in_all_of_them() {
    let mut values = vec![0.5; 64 * 64];
    values[77] = f32::NAN;
    let model = safetensors(&[
        Tensor::new("blocks.0.bad.weight", "F32", &[64, 64], f32_bytes(&values)),
        crate::tool::matrix("blocks.0.good.weight", 64, 64),
    ]);
    compare(&model, &[]);
}

#[test]
fn names_that_are_not_given_are_the_usual_ones() {
    let folder = Folder::with("m.safetensors", &plain_model());
    let reports =
        folder.json(&["convert", "m.safetensors", "--to", "fp8", "--to", "int8-row", "--json"]);
    assert_eq!(reports.as_array().unwrap().len(), 2);
    assert_eq!(folder.names(), ["m-fp8.safetensors", "m-int8-row.safetensors", "m.safetensors"]);
    let other = Folder::with("n.safetensors", &plain_model());
    other.done(&[
        "convert",
        "n.safetensors",
        "--to",
        "fp8",
        "--to",
        "fp8-row",
        "--report",
        "r.json",
    ]);
    let reports: Vec<serde_json::Value> = serde_json::from_slice(&other.read("r.json")).unwrap();
    assert_eq!(reports[1]["output"], "n-fp8-row.safetensors");
    assert!(reports[0]["input_hashes"] == reports[1]["input_hashes"]);
}

#[test]
fn outputs_that_cannot_be_made_together_are_refused_before_any_work() {
    let folder = Folder::with("m.safetensors", &plain_model());
    folder.write("there", b"something");
    for (flags, code, words) in [
        (&["--to", "fp8", "--to", "fp8"][..], 2, ["m.safetensors as fp8", "would both become"]),
        (&["--to", "fp8=out", "--to", "int8-row=out"], 2, ["as int8-row", "would both become out"]),
        (&["--to", "fp9"], 2, ["--to", "fp9"]),
        (
            &["--to", "int8", "--layout", "comfy-legacy"],
            2,
            ["error: --to int8: layout `comfy-legacy`", "cannot store"],
        ),
        (&["--to", "fp8="], 2, ["--to", "no file is named"]),
        (&["--to", "fp8", "--scheme", "fp8"], 2, ["--to", "--scheme"]),
        (&["--to", "fp8", "-o", "out"], 2, ["--to", "--output"]),
        (&["--to", "fp8", "--part", "1/2"], 2, ["--to", "--part"]),
        (&["--to", "fp8", "--to", "int8-row=there"], 1, ["there", "exists already"]),
        (&["--to", "fp8=a", "n.safetensors"], 2, ["--to", "--out-dir"]),
        (&["--to", "fp8=m.safetensors", "--force"], 2, ["m.safetensors", "is an input"]),
    ] {
        folder.refused(&[&["convert", "m.safetensors"], flags].concat(), code, &words);
    }
}
