//! Layers and whole files have the bytes that existing loaders accept.

use std::collections::BTreeMap;

use crate::common::{layer_tensors, open, quantize, write};
use roundwise_layout::{Layout, Marker, MatmulPrecision, Spelling};
use roundwise_scheme::Scheme;
use roundwise_tensor_file::{Dtype, TensorSpec};
use roundwise_testkit::bytes::{assert_equal_bytes, hex, to_hex};
use roundwise_testkit::cases::test_each;
use roundwise_testkit::weights::{all_zero, contract_b, contract_c, contract_i};
use serde_json::Value;
use sha2::{Digest, Sha256};

const VECTORS: &str = include_str!("../../../../fixtures/golden/contract-vectors.json");

type Tensors = Vec<(TensorSpec, Vec<u8>)>;

fn golden() -> Vec<Value> {
    let golden: Value = serde_json::from_str(VECTORS).unwrap();
    golden["vectors"].as_array().unwrap().clone()
}

fn tensor(name: &str, dtype: Dtype, shape: &[u64], digits: &str) -> (TensorSpec, Vec<u8>) {
    (TensorSpec { name: name.into(), dtype, shape: shape.to_vec() }, hex(digits))
}

/// Generator B, 2 × 4, as layer `layer`.
fn layer(layout: Layout, layer: &str, scheme: &str) -> Tensors {
    let matrix = quantize(&contract_b(2, 4), scheme.parse().unwrap());
    layer_tensors(layout, layer, matrix, MatmulPrecision::Any)
}

fn bias() -> (TensorSpec, Vec<u8>) {
    tensor("blk.lin.bias", Dtype::BF16, &[2], "003f80be")
}

/// The tensors that `convert` makes of a model with this one layer.
fn whole_file(name: &str) -> Vec<u8> {
    let fp8: Scheme = "fp8".parse().unwrap();
    let mut metadata = BTreeMap::new();
    let mut tensors = match name {
        "file-comfy-fp8" | "file-comfy-fp8-metadata" => {
            let mut tensors = layer(Layout::Comfy, "blk.lin", "fp8");
            tensors.push(bias());
            tensors.push(tensor("blk.norm.weight", Dtype::BF16, &[4], "803f803f803f803f"));
            tensors
        }
        "file-comfy-int8-row" => layer(Layout::Comfy, "a", "int8-row"),
        _ => {
            let mut tensors = layer(Layout::ComfyLegacy, "blk.lin", "fp8");
            tensors.push(bias());
            tensors
        }
    };
    match name {
        "file-comfy-fp8-metadata" => {
            metadata.extend(
                Layout::Comfy
                    .header_entry([("blk.lin", fp8, [2, 4], MatmulPrecision::Any)].into_iter()),
            );
        }
        "file-legacy-fp8-marker-2" => {
            tensors.extend(Layout::ComfyLegacy.file_tensors("", MatmulPrecision::Full, &[fp8]));
        }
        "file-legacy-fp8-marker-0" => {
            tensors.extend(Layout::ComfyLegacy.file_tensors("", MatmulPrecision::Any, &[fp8]));
        }
        // Other programs' files; never written here.
        "file-legacy-fp8-marker-1" => {
            tensors.push(tensor("scaled_fp8", Dtype::F8E4M3, &[1], "00"));
        }
        _ => {}
    }
    write(metadata, &tensors)
}

#[test]
#[expect(clippy::print_stdout, reason = "shows that the vectors were found")]
fn every_golden_file() {
    let mut checked = 0;
    let files = golden().into_iter().filter(|vector| !vector["file"].is_null());
    test_each(files, |vector| {
        let bytes = whole_file(vector["name"].as_str().unwrap());
        let expected = &vector["file"];
        assert_equal_bytes(&bytes, &hex(expected["hex"].as_str().unwrap()));
        assert_eq!(bytes.len() as u64, expected["bytes"].as_u64().unwrap());
        assert_eq!(to_hex(&Sha256::digest(&bytes)), expected["sha256"].as_str().unwrap());

        let file = open(&bytes);
        assert_eq!(file.stored.layers.len(), 1);
        assert_eq!((file.stored.defects, file.stored.orphans), (vec![], vec![]));
        checked += 1;
    });
    println!("golden files: {checked}");
    assert!(checked >= 6);
}

/// Codes, scales and their shapes; marker texts and lengths are those of the contract's table.
#[test]
#[expect(clippy::print_stdout, reason = "shows that the vectors were found")]
fn every_golden_layer() {
    let expected: BTreeMap<&str, (Dtype, &[u64], &str)> = BTreeMap::from([
        ("fp8", (Dtype::F8E4M3, &[][..], r#"{"format": "float8_e4m3fn"}"#)),
        ("fp8-e5m2", (Dtype::F8E5M2, &[], r#"{"format": "float8_e5m2"}"#)),
        ("fp8-row", (Dtype::F8E4M3, &[4], r#"{"format": "float8_e4m3fn_rowwise"}"#)),
        (
            "fp8-block-2",
            (Dtype::F8E4M3, &[2, 2], r#"{"format": "float8_e4m3fn_blockwise", "group_size": 2}"#),
        ),
        ("int8", (Dtype::I8, &[], r#"{"format": "int8_tensorwise"}"#)),
        ("int8-row", (Dtype::I8, &[2, 1], r#"{"format": "int8_tensorwise", "per_row": true}"#)),
        ("int8-block-2", (Dtype::I8, &[2, 2], r#"{"format": "int8_blockwise", "group_size": 2}"#)),
    ]);
    let mut checked = vec![];
    let layers = golden().into_iter().filter(|vector| {
        let is_b = vector["generator"] == "B" && vector["weight_hex"].is_string();
        is_b && expected.contains_key(vector["scheme"].as_str().unwrap())
    });
    test_each(layers, |vector| {
        let [rows, cols] = ["rows", "cols"].map(|key| vector[key].as_u64().unwrap());
        let name = vector["scheme"].as_str().unwrap();
        let (dtype, scale_shape, marker) = expected[name];
        let matrix = quantize(&contract_b(rows as usize, cols as usize), name.parse().unwrap());
        let found = layer_tensors(Layout::Comfy, "x", matrix, MatmulPrecision::Any);
        let text = |key: &str| vector[key].as_str().unwrap();
        let marker_bytes = to_hex(marker.as_bytes());
        let tensors = vec![
            tensor("x.weight", dtype, &[rows, cols], text("weight_hex")),
            tensor("x.weight_scale", Dtype::F32, scale_shape, text("scales_hex")),
            tensor("x.comfy_quant", Dtype::U8, &[marker.len() as u64], &marker_bytes),
        ];
        assert_eq!(found, tensors);
        checked.push(name.to_owned());
    });
    println!("golden layers: {}", checked.join(", "));
    assert_eq!(checked.len(), expected.len());
}

/// Rotated, packed and byte-scaled layers, part by part, and files that hold one of them.
#[test]
#[expect(clippy::print_stdout, reason = "shows that the vectors were found")]
fn every_golden_packed_layer() {
    let golden: Value = serde_json::from_str(VECTORS).unwrap();
    let mut checked = BTreeMap::<String, usize>::new();
    let layers = golden["packed"].as_array().unwrap().clone();
    test_each(layers, |vector| {
        let [rows, cols] = ["rows", "cols"].map(|key| vector[key].as_u64().unwrap() as usize);
        let matrix = match vector["generator"].as_str().unwrap() {
            "B" => contract_b(rows, cols),
            "C" => contract_c(rows, cols),
            "I" => contract_i(rows, cols),
            "I/1e6" => contract_i(rows, cols).map(|_, _, value| value * 1e-6),
            other => panic!("generator {other}"),
        };
        let name = vector["scheme"].as_str().unwrap();
        let quantized = quantize(&matrix, name.parse().unwrap());
        let layout = Layout::default_for(quantized.scheme());
        let mut tensors = layer_tensors(layout, "a", quantized.clone(), MatmulPrecision::Any);
        for (part, expected) in vector["parts"].as_object().unwrap() {
            let name = format!("a.{part}");
            let (_, bytes) = tensors.iter().find(|(spec, _)| spec.name == name).unwrap();
            match expected.as_str().unwrap() {
                text if text.starts_with("sha256:") => {
                    assert_eq!(format!("sha256:{}", to_hex(&Sha256::digest(bytes))), text);
                }
                text => assert_equal_bytes(bytes, &hex(text)),
            }
            *checked.entry(name.clone()).or_default() += 1;
        }
        tensors.extend(layout.file_tensors("", MatmulPrecision::Any, &[quantized.scheme()]));
        let file = write(BTreeMap::new(), &tensors);
        if let Some(expected) = vector["file"].as_object() {
            assert_eq!(file.len() as u64, expected["bytes"].as_u64().unwrap());
            assert_eq!(to_hex(&Sha256::digest(&file)), expected["sha256"].as_str().unwrap());
            *checked.entry("file".to_owned()).or_default() += 1;
        }
        let opened = open(&file);
        assert_eq!((&opened.stored.defects, &opened.stored.orphans), (&vec![], &vec![]));
        if let Some(stored) = opened.stored.layers.get("a") {
            assert_eq!(stored.read(&opened.checkpoint).unwrap(), quantized);
        }
    });
    println!("golden packed layers, by part: {checked:?}");
    assert!(checked.values().sum::<usize>() >= 50, "{checked:?}");
}

#[test]
fn marker_texts_of_other_writers_come_back() {
    let cases = [
        (r#"{"format": "float8_e4m3fn", "full_precision_matrix_mult": true}"#, 63),
        (r#"{"format": "int8_blockwise", "group_size": 128}"#, 47),
        (
            r#"{"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 256, "per_row": true}"#,
            89,
        ),
        (r#"{"format": "convrot_w4a4", "convrot_groupsize": 256}"#, 52),
        (r#"{"format": "asym_w4a8_int8", "group_size": 16, "convrot_groupsize": 256}"#, 72),
        (r#"{"format": "nvfp4"}"#, 19),
    ];
    test_each(cases, |&(text, length)| {
        assert_eq!(text.len(), length);
        assert_eq!(Marker::from_json(text.as_bytes()).unwrap().to_json(), text);
    });
    let long = r#"{"format": "mxfp8", "group_size": 32, "orig_dtype": "torch.bfloat16", "orig_shape": [20, 40]}"#;
    let short = r#"{"format": "mxfp8", "group_size": 32, "orig_shape": [20, 40]}"#;
    assert_eq!(Marker::from_json(long.as_bytes()).unwrap().to_json(), short);
    let nested = r#"{"format": "int8_tensorwise", "params": {"convrot": true, "per_row": false}, "per_row": true}"#;
    let flat = r#"{"format": "int8_tensorwise", "convrot": true, "per_row": true}"#;
    assert_eq!(Marker::from_json(nested.as_bytes()).unwrap().to_json(), flat);
}

/// Scales of a zero layer are ones in the shape that its loader wants.
#[test]
fn zero_layers() {
    let cases = [
        ("fp8", &[][..]),
        ("fp8-e5m2", &[]),
        ("fp8-row", &[4]),
        ("fp8-block-2", &[2, 3]),
        ("int8", &[]),
        ("int8-row", &[4, 1]),
        ("int8-block-2", &[2, 3]),
    ];
    test_each(cases, |&(scheme, shape)| {
        let matrix = quantize(&all_zero(4, 6), scheme.parse().unwrap());
        let tensors = layer_tensors(Layout::Comfy, "x", matrix, MatmulPrecision::Any);
        let scales = "0000803f".repeat(shape.iter().product::<u64>() as usize);
        assert_eq!(tensors[0].1, [0; 24]);
        assert_eq!(tensors[1], tensor("x.weight_scale", Dtype::F32, shape, &scales));
    });
}

/// The header is one JSON string with a space after `:` and `,`, layers in the order given.
#[test]
fn header_entry_of_several_layers() {
    let layers = [
        ("b.1", "int8-row", MatmulPrecision::Any),
        ("a \"q\"", "fp8-block-64", MatmulPrecision::Full),
    ];
    let layers = layers
        .into_iter()
        .map(|(layer, scheme, precision)| (layer, scheme.parse().unwrap(), [2, 2], precision));
    // ComfyUI would leave `scale_weight` aside.
    assert_eq!(Layout::ComfyLegacy.header_entry(layers.clone()), None);
    let (key, value) = Layout::Comfy.header_entry(layers).unwrap();
    assert_eq!(key, "_quantization_metadata");
    assert_eq!(
        value,
        r#"{"format_version": "1.0", "layers": {"b.1": {"format": "int8_tensorwise", "per_row": true}, "#
            .to_owned()
            + r#""a \"q\"": {"format": "float8_e4m3fn_blockwise", "group_size": 64, "#
            + r#""full_precision_matrix_mult": true}}}"#
    );
}

#[test]
fn legacy_marker_has_the_prefix_of_the_model() {
    for (precision, elements) in [(MatmulPrecision::Full, 2), (MatmulPrecision::Any, 0)] {
        let schemes = ["fp8".parse().unwrap()];
        let tensors =
            Layout::ComfyLegacy.file_tensors("model.diffusion_model.", precision, &schemes);
        let name = "model.diffusion_model.scaled_fp8";
        let digits = "00".repeat(elements as usize);
        assert_eq!(tensors, [tensor(name, Dtype::F8E4M3, &[elements], &digits)]);
    }
    assert_eq!(Layout::Comfy.file_tensors("", MatmulPrecision::Full, &[]), []);
}

#[test]
fn fixtures_are_read_as_their_readme_says() {
    let stored = |name: &str| {
        let path = format!("{}/../../fixtures/broken/{name}", env!("CARGO_MANIFEST_DIR"));
        open(&std::fs::read(path).unwrap()).stored
    };
    let cases = [
        ("fp8-plain.safetensors", Spelling::Plain, "fp8"),
        ("comfy-fp8.safetensors", Spelling::Comfy, "fp8"),
        ("legacy-scaled-fp8.safetensors", Spelling::ComfyLegacy, "fp8"),
        ("hf-block-fp8.safetensors", Spelling::WeightScaleInv, "fp8-block-128"),
        // Without any marker in the file this is how vLLM spells it.
        ("orphan-scale.safetensors", Spelling::WeightScale, "fp8"),
    ];
    test_each(cases, |&(name, spelling, scheme)| {
        let stored = stored(name);
        let layer = &stored.layers["blocks.0.ff.in"];
        assert_eq!((layer.spelling, layer.scheme.to_string().as_str()), (spelling, scheme));
        assert_eq!((stored.layers.len(), stored.defects), (1, vec![]));
    });
    let cases = [
        ("comfy-unknown-format.safetensors", "format `float7_e9m9` is not known"),
        ("comfy-missing-scale.safetensors", "is marked `float8_e4m3fn`, but has no `weight_scale`"),
    ];
    test_each(cases, |&(name, problem)| {
        let stored = stored(name);
        assert!(stored.layers.is_empty());
        let defects: Vec<_> = stored.defects.iter().map(|d| (&*d.layer, &*d.problem)).collect();
        assert_eq!(defects, [("blocks.0.ff.in", problem)]);
    });
}
