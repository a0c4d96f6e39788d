//! Files for servers hold what their configuration says, and are read back as they were.

use std::collections::BTreeMap;

use crate::common::{layer_tensors, open, quantize, write};
use roundwise_layout::{LayerShape, Layout, MatmulPrecision, ServedLayers};
use roundwise_scheme::{CATALOG, QuantizedMatrix, Scheme};
use roundwise_tensor_file::TensorSpec;
use roundwise_testkit::weights::{Matrix, gaussian, with_zero_rows};
use serde_json::{Value, json};

const SERVERS: [Layout; 3] = [Layout::CompressedTensors, Layout::Fp8, Layout::ModelOpt];

fn served(layout: Layout) -> impl Iterator<Item = Scheme> {
    let schemes = CATALOG.iter().map(|entry| entry.scheme).filter(|scheme| scheme.has_scales());
    schemes.filter(move |scheme| layout.admits(*scheme).is_ok())
}

fn written(layout: Layout, scheme: Scheme, shape: [usize; 2]) -> Vec<(TensorSpec, Vec<u8>)> {
    let matrix = quantize(&gaussian(shape[0], shape[1], 3), layout.stored_scheme(scheme));
    layer_tensors(layout, "a", matrix, MatmulPrecision::Any)
}

fn scale_bits(matrix: &QuantizedMatrix) -> Vec<u32> {
    matrix.scales().iter().map(|scale| scale.to_bits()).collect()
}

#[test]
fn what_is_written_for_servers_is_found() {
    for layout in SERVERS {
        for scheme in served(layout) {
            for (rows, cols) in [(128, 256), (256, 128), (384, 640)] {
                let weights = [gaussian(rows, cols, 5), with_zero_rows(rows, cols, 6)];
                for weight in weights {
                    let matrix = quantize(&weight, layout.stored_scheme(scheme));
                    let any = MatmulPrecision::Any;
                    let tensors = layer_tensors(layout, "a.b", matrix.clone(), any);
                    let file = open(&write(BTreeMap::new(), &tensors));
                    assert_eq!(file.stored.defects, [], "{layout} {scheme}");
                    assert_eq!(file.stored.orphans, [], "{layout} {scheme}");
                    let found = &file.stored.layers["a.b"];
                    let is_same = found.scheme.is_same_for(matrix.scheme(), cols);
                    assert!(is_same, "{layout} {scheme}: {}", found.scheme);
                    let read = found.read(&file.checkpoint).unwrap();
                    assert!(read.codes() == matrix.codes(), "{layout} {scheme}: codes");
                    assert!(scale_bits(&read) == scale_bits(&matrix), "{layout} {scheme}: scales");
                    assert_eq!(read.zero_points(), matrix.zero_points(), "{layout} {scheme}");
                }
            }
        }
    }
}

#[test]
fn names_dtypes_and_shapes_are_those_that_servers_look_for() {
    let told = |layout: Layout, scheme: &str| -> Vec<String> {
        let tensors = written(layout, scheme.parse().unwrap(), [128, 256]);
        let told = |(spec, _): &(TensorSpec, Vec<u8>)| {
            format!("{} {} {:?}", spec.name, spec.dtype, spec.shape)
        };
        tensors.iter().map(told).collect()
    };
    let packed = Layout::CompressedTensors;
    assert_eq!(told(packed, "fp8"), ["a.weight F8_E4M3 [128, 256]", "a.weight_scale BF16 [1]"]);
    assert_eq!(
        told(packed, "int8-row"),
        ["a.weight I8 [128, 256]", "a.weight_scale BF16 [128, 1]"]
    );
    assert_eq!(
        told(packed, "int4-group-128"),
        ["a.weight_packed I32 [128, 32]", "a.weight_scale BF16 [128, 2]", "a.weight_shape I64 [2]"]
    );
    assert_eq!(
        told(packed, "int4-group-128-asym"),
        [
            "a.weight_packed I32 [128, 32]",
            "a.weight_scale BF16 [128, 2]",
            "a.weight_zero_point I32 [16, 2]",
            "a.weight_shape I64 [2]"
        ]
    );
    assert_eq!(
        told(packed, "nvfp4"),
        [
            "a.weight_packed U8 [128, 128]",
            "a.weight_scale F8_E4M3 [128, 16]",
            "a.weight_global_scale F32 [1]"
        ]
    );
    assert_eq!(
        told(packed, "mxfp4"),
        ["a.weight_packed U8 [128, 128]", "a.weight_scale U8 [128, 8]"]
    );
    assert_eq!(
        told(Layout::Fp8, "fp8-block-128-pow2"),
        ["a.weight F8_E4M3 [128, 256]", "a.weight_scale_inv F32 [1, 2]"]
    );
    assert_eq!(
        told(Layout::ModelOpt, "fp8"),
        ["a.weight F8_E4M3 [128, 256]", "a.weight_scale F32 []"]
    );
    assert_eq!(
        told(Layout::ModelOpt, "nvfp4"),
        ["a.weight U8 [128, 128]", "a.weight_scale F8_E4M3 [128, 16]", "a.weight_scale_2 F32 []"]
    );
}

#[test]
fn whole_numbers_are_packed_from_the_lowest_bits_and_made_positive() {
    let scheme = Layout::CompressedTensors.stored_scheme("int4-row".parse().unwrap());
    // Two's complement nibbles of −7, −1, 0, 1, 7, 2, 3 and −2.
    let codes = vec![9, 15, 0, 1, 7, 2, 3, 14];
    let matrix = QuantizedMatrix::from_parts(scheme, [1, 8], codes, vec![0.5]).unwrap();
    let packed = Layout::CompressedTensors.pack("a", matrix, MatmulPrecision::Any);
    assert_eq!(packed[0].bytes, [0x71, 0x98, 0xAF, 0x6B]);
    assert_eq!(
        packed[2].bytes,
        [[1_u64, 8]].concat().iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<u8>>()
    );
}

/// The bytes are those of compressed-tensors' own compressor, which is given these weights and scales.
#[test]
fn zero_points_are_packed_down_the_rows() {
    let scheme: Scheme = "int4-group-32-asym".parse().unwrap();
    let scheme = Layout::CompressedTensors.stored_scheme(scheme);
    // From −3 to 4.5 in steps of 0.5 in the first row, from 0 to 15 in the second.
    let low = |row: usize| if row == 0 { -3.0 } else { 0.0 };
    let step = |row: usize| if row == 0 { 0.5 } else { 1.0 };
    let weight = Matrix::from_fn(8, 32, |row, col| low(row) + step(row) * (col % 16) as f32);
    let matrix = quantize(&weight, scheme);
    assert_eq!(matrix.zero_points(), [-2, -8, -8, -8, -8, -8, -8, -8]);
    assert_eq!(matrix.to_f32(), weight.values);
    let packed = Layout::CompressedTensors.pack("a", matrix, MatmulPrecision::Any);
    assert_eq!(packed[0].bytes[..8], [0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE]);
    assert_eq!(packed[2].bytes, [0x06, 0, 0, 0]);
}

#[test]
fn zero_points_are_told_and_take_whole_words_of_rows() {
    let config = told(Layout::CompressedTensors, &layers(&[("m.q", "int4-group-64-asym")], &[]));
    let weights = &config["config_groups"]["group_0"]["weights"];
    assert_eq!((&weights["symmetric"], &weights["num_bits"]), (&json!(false), &json!(4)));
    assert_eq!((&weights["group_size"], &weights["type"]), (&json!(64), &json!("int")));
    let scheme: Scheme = "int4-group-64-asym".parse().unwrap();
    assert!(Layout::CompressedTensors.takes(scheme, [16, 128]).is_ok());
    let refused = Layout::CompressedTensors.takes(scheme, [12, 128]).unwrap_err().to_string();
    assert!(refused.contains("rows are not a multiple of 8 (found 12)"), "{refused}");
}

/// ComfyUI has the even column in the high half and multiplies by the factor of all scales; servers
/// have it in the low half, and compressed-tensors divides.
#[test]
fn nvfp4_means_the_same_numbers_to_comfyui_and_to_servers() {
    let scheme = Layout::CompressedTensors.stored_scheme(Scheme::NVFP4);
    for weight in [gaussian(32, 64, 8), with_zero_rows(48, 32, 9)] {
        let matrix = quantize(&weight, scheme);
        let layouts = [Layout::Comfy, Layout::CompressedTensors, Layout::ModelOpt];
        let numbers = layouts.map(|layout| {
            let tensors = layer_tensors(layout, "a", matrix.clone(), MatmulPrecision::Any);
            let file = open(&write(BTreeMap::new(), &tensors));
            let layer = &file.stored.layers["a"];
            assert!(layer.multiplies_exactly(&file.checkpoint).unwrap(), "{layout}");
            let read = layer.read(&file.checkpoint).unwrap();
            read.to_f32().iter().map(|number| number.to_bits()).collect::<Vec<u32>>()
        });
        assert!(numbers[0] == numbers[1] && numbers[0] == numbers[2]);
    }
}

fn layers(codes: &[(&str, &str)], kept: &[&str]) -> ServedLayers {
    let scheme = |name: &str| name.parse::<Scheme>().unwrap();
    ServedLayers {
        codes: codes.iter().map(|(layer, name)| ((*layer).to_owned(), scheme(name))).collect(),
        kept: kept.iter().map(|layer| (*layer).to_owned()).collect(),
        ..ServedLayers::default()
    }
}

fn told(layout: Layout, layers: &ServedLayers) -> Value {
    layout.server_config(layers).unwrap().quantization_config
}

#[test]
fn kept_matrices_are_told_by_name_in_the_words_of_each_layout() {
    let layers = layers(&[("m.q", "fp8-row"), ("m.k", "fp8-row"), ("m.o", "bf16")], &["lm_head"]);
    let config = told(Layout::CompressedTensors, &layers);
    assert_eq!(config["ignore"], json!(["lm_head", "m.o"]));
    assert_eq!(config["format"], "float-quantized");
    assert_eq!(config["config_groups"]["group_0"]["targets"], json!(["Linear"]));
    assert_eq!(config["config_groups"]["group_0"]["weights"]["strategy"], "channel");
    let modelopt = Layout::ModelOpt.server_config(&layers).unwrap();
    assert_eq!(modelopt.quantization_config["ignore"], json!(["lm_head", "m.o"]));
    assert_eq!(modelopt.file.unwrap().0, "hf_quant_config.json");
}

#[test]
fn kept_banks_are_told_by_every_name_that_programs_ask_for() {
    let banks = ["m.experts.gate_up_proj", "m.experts.down_proj"].map(str::to_owned).to_vec();
    let layers = ServedLayers { kept_banks: banks, ..layers(&[("m.q", "fp8-row")], &[]) };
    let names = [
        "m.experts",
        "m.experts.0.down_proj",
        "m.experts.0.gate_proj",
        "m.experts.0.up_proj",
        "m.experts.down_proj",
        "m.experts.gate_up_proj",
    ];
    for layout in [Layout::CompressedTensors, Layout::ModelOpt] {
        assert_eq!(told(layout, &layers)["ignore"], json!(names), "{layout}");
    }
}

#[test]
fn stored_scales_of_inputs_are_told_where_the_layout_has_a_place_for_them() {
    let with =
        |names: &[(&str, &str)]| ServedLayers { has_input_scales: true, ..layers(names, &[]) };
    let inputs = |layers: &ServedLayers, group: &str| {
        told(Layout::CompressedTensors, layers)["config_groups"][group]["input_activations"].clone()
    };
    let nvfp4 = with(&[("m.q", "nvfp4"), ("m.k", "nvfp4"), ("m.d", "fp8-row")]);
    assert_eq!(inputs(&nvfp4, "group_0")["dynamic"], "local");
    assert_eq!(inputs(&nvfp4, "group_0")["num_bits"], 4);
    assert_eq!(inputs(&nvfp4, "group_1")["dynamic"], true);
    let fp8 = inputs(&with(&[("m.q", "fp8")]), "group_0");
    assert_eq!((&fp8["dynamic"], &fp8["strategy"]), (&json!(false), &json!("tensor")));
    assert_eq!(told(Layout::ModelOpt, &with(&[("m.q", "nvfp4")]))["quant_algo"], "NVFP4");
    let fp8 = Layout::ModelOpt.server_config(&with(&[("m.q", "fp8")])).unwrap();
    assert_eq!(fp8.quantization_config["quant_algo"], "FP8");
    assert_eq!(fp8.file.unwrap().1["quantization"]["quant_algo"], "FP8");
    let without = layers(&[("m.q", "nvfp4")], &[]);
    assert_eq!(inputs(&without, "group_0"), Value::Null);
    assert_eq!(told(Layout::ModelOpt, &without)["quant_algo"], "W4A16_NVFP4");
}

#[test]
fn the_smaller_group_of_two_schemes_is_told_by_name() {
    let layers =
        layers(&[("m.q", "int4-group-128"), ("m.k", "int4-group-128"), ("m.d", "fp8-row")], &[]);
    let config = told(Layout::CompressedTensors, &layers);
    assert_eq!(config["format"], "mixed-precision");
    let groups = &config["config_groups"];
    assert_eq!(groups["group_0"]["format"], "pack-quantized");
    assert_eq!(groups["group_0"]["weights"]["group_size"], 128);
    assert_eq!(groups["group_0"]["input_activations"], Value::Null);
    assert_eq!(groups["group_1"]["targets"], json!(["m.d"]));
}

#[test]
fn powers_of_two_are_told_where_all_scales_are_such() {
    let of = |name: &str| told(Layout::Fp8, &layers(&[("m.q", name)], &["lm_head"]));
    assert_eq!(of("fp8-block-128-pow2")["scale_fmt"], "ue8m0");
    assert_eq!(of("fp8-block-128").get("scale_fmt"), None);
    for list in ["modules_to_not_convert", "ignored_layers"] {
        assert_eq!(of("fp8-block-128")[list], json!(["lm_head"]));
    }
}

#[test]
fn a_layout_of_banks_has_codes_for_nothing_else() {
    let layout = Layout::Mxfp4;
    let bank = LayerShape { experts: Some(3), matrix: [40, 64] };
    let tensors = layout.layer_tensors("m.e.up", Scheme::MXFP4, MatmulPrecision::Any, bank);
    let told: Vec<_> =
        tensors.iter().map(|it| format!("{} {} {:?}", it.name, it.dtype, it.shape)).collect();
    assert_eq!(told, ["m.e.up_blocks U8 [3, 40, 2, 16]", "m.e.up_scales U8 [3, 40, 2]"]);
    assert!(layout.takes(Scheme::MXFP4, bank).is_ok());
    let refused = |shape: LayerShape| layout.takes(Scheme::MXFP4, shape).unwrap_err().to_string();
    assert!(refused([40, 64].into()).contains("banks of experts only"));
    let ragged = LayerShape { matrix: [40, 48], ..bank };
    assert!(refused(ragged).contains("columns are not a multiple of 32 (found 48)"));
    for other in CATALOG.iter().map(|entry| entry.scheme).filter(|it| *it != Scheme::MXFP4) {
        assert_eq!(layout.admits(other).is_ok(), !other.has_scales(), "{other}");
    }
}

#[test]
fn schemes_that_no_server_reads_are_refused_with_another_way() {
    for (layout, scheme, help) in [
        (Layout::CompressedTensors, "int4-convrot", "layout `comfy` stores it"),
        (Layout::Fp8, "fp8-row", "blocks of 128×128 only"),
        (Layout::ModelOpt, "int8-row", "use layout `compressed-tensors`"),
        (Layout::Comfy, "int4-group-128-asym", "servers read it in layout `compressed-tensors`"),
        (Layout::Comfy, "int4-group-128", "servers read it in layout `compressed-tensors`"),
    ] {
        let refused = layout.admits(scheme.parse().unwrap()).unwrap_err().to_string();
        assert!(refused.contains(help), "{refused}");
    }
}
