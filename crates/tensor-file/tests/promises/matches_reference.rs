//! Whole files have the bytes of the reference writer. Hashes: `docs/layouts.md`, taken from
//! files that ComfyUI 0.33 loads.

use std::collections::BTreeMap;

use crate::common::spec;
use roundwise_tensor_file::{Dtype, Manifest, Overwrite, TensorFileWriter, TensorSpec};
use sha2::{Digest, Sha256};

const WEIGHT: &[u8] = &[0xfe, 0xe2, 0xfa, 0xfb, 0xf7, 0x75, 0xe2, 0xe2];
const SCALE: &[u8] = &[0x0f, 0xea, 0x20, 0x3b];
const BIAS: &[u8] = &[0x00, 0x3f, 0x80, 0xbe];
const ONES: &[u8] = &[0x80, 0x3f, 0x80, 0x3f, 0x80, 0x3f, 0x80, 0x3f];
const MARKER: &[u8] = br#"{"format": "float8_e4m3fn"}"#;

/// (header bytes, file bytes, SHA-256) of a file with these tensors, given in any order.
fn written(metadata: &[(&str, &str)], tensors: &[(TensorSpec, &[u8])]) -> (usize, usize, String) {
    let metadata: BTreeMap<String, String> =
        metadata.iter().map(|&(key, value)| (key.into(), value.into())).collect();
    let specs = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    let manifest = Manifest::new(metadata, specs).unwrap();
    let header_bytes = manifest.header_bytes().len();
    let file_bytes = manifest.file_bytes();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let writer = TensorFileWriter::create(&path, manifest, Overwrite::Refuse).unwrap();
    for (spec, bytes) in tensors {
        writer.write(&spec.name, bytes).unwrap();
    }
    assert_eq!(writer.commit().unwrap().bytes, file_bytes);
    let file = std::fs::read(path).unwrap();
    let hash = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
    (header_bytes, file.len(), hash)
}

fn comfy_tensors() -> [(TensorSpec, &'static [u8]); 5] {
    [
        (spec("blk.lin.comfy_quant", Dtype::U8, &[27]), MARKER),
        (spec("blk.lin.weight", Dtype::F8E4M3, &[2, 4]), WEIGHT),
        (spec("blk.norm.weight", Dtype::BF16, &[4]), ONES),
        (spec("blk.lin.bias", Dtype::BF16, &[2]), BIAS),
        (spec("blk.lin.weight_scale", Dtype::F32, &[]), SCALE),
    ]
}

#[test]
fn minimal_comfyui_model() {
    let (header, file, hash) = written(&[], &comfy_tensors());
    assert_eq!((header, file), (360, 419));
    assert_eq!(hash, "fe9ac373dcc7d57542dc2e2324dacec9d807b100cb97062ed32306acf8caef8b");
}

#[test]
fn minimal_comfyui_model_with_header_metadata() {
    let layers = r#"{"format_version": "1.0", "layers": {"blk.lin": {"format": "float8_e4m3fn"}}}"#;
    let (header, file, hash) = written(&[("_quantization_metadata", layers)], &comfy_tensors());
    assert_eq!((header, file), (488, 547));
    assert_eq!(hash, "11332605c00f25649a0a7c7ba6c11f6d92954467698538ed03b77b01f29590e8");
}

#[test]
fn legacy_scaled_fp8_with_each_marker() {
    let cases = [
        (2, "09717784b1f54dc52598534047884a05c256f88153bfdb1cc37317cee0ea7db3"),
        (0, "ad0ea35c926d87b1c76312d824c26b94d4edf8038e02673636e5f518f82af3bd"),
        (1, "db0a426ce8a1b9e2907e20952c0f4955aab6a5b7fb921d72093eb81547f251ff"),
    ];
    for (marker, expected) in cases {
        let (header, file, hash) = written(
            &[],
            &[
                (spec("scaled_fp8", Dtype::F8E4M3, &[marker]), &[0; 2][..marker as usize]),
                (spec("blk.lin.weight", Dtype::F8E4M3, &[2, 4]), WEIGHT),
                (spec("blk.lin.bias", Dtype::BF16, &[2]), BIAS),
                (spec("blk.lin.scale_weight", Dtype::F32, &[1]), SCALE),
            ],
        );
        assert_eq!((header, file), (280, 304 + marker as usize));
        assert_eq!(hash, expected);
    }
}
