//! Every scheme with nearest codes.

use crate::golden::case::Case;

const SCHEMES: [&str; 26] = [
    "fp8",
    "fp8-e5m2",
    "fp8-row",
    "fp8-block-64",
    "fp8-block-128",
    "fp8-block-128-pow2",
    "fp8-block3d-64",
    "fp8-log-scales",
    "fp8-log-scales-narrow",
    "fp8-log-scales-shared",
    "mxfp8",
    "hybrid-mxfp8",
    "int8",
    "int8-row",
    "int8-row-convrot",
    "int8-row-convrot-16",
    "int8-block-64",
    "int8-block-128",
    "int8-block-32",
    "nvfp4",
    "int4-convrot",
    "int4-asym",
    "int4-asym-16",
    "fp16",
    "bf16",
    "fp16-scaled",
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for scheme in SCHEMES {
        cases.push(Case::exact(
            format!("scheme/{scheme}"),
            &[&format!("convert layer.safetensors --scheme {scheme}")],
        ));
        cases.push(read(scheme));
        cases.push(Case::exact(
            format!("ragged/{scheme}"),
            &[
                &format!("convert ragged.safetensors -o a.safetensors --scheme {scheme}"),
                &format!(
                    "convert ragged.safetensors -o b.safetensors --scheme {scheme} --scale-rule mse"
                ),
            ],
        ));
    }
    cases
}

/// Returns a case that gives a file in codes to every command that reads codes.
fn read(scheme: &str) -> Case {
    let convert = "convert blocks.safetensors -o a.safetensors --no-provenance --scheme";
    Case::exact(
        format!("read/{scheme}"),
        &[
            &format!("{convert} {scheme}"),
            "inspect a.safetensors",
            "verify blocks.safetensors a.safetensors",
            "repair a.safetensors",
            "dequantize a.safetensors --dtype f32",
            "plan a.safetensors --scheme int8-row",
        ],
    )
}
