//! Layers that cannot be read for certain are refused, with what was found and what was expected.

use crate::common::open;
use crate::common::others::{
    FP8_MARKER, INT8_MARKER, codes, defects, entry, fp8, int8, marker, ones, opened, orphans, scale,
};
use roundwise_layout::{MARKER_LIMIT_BYTES, Spelling};
use roundwise_testkit::cases::test_each;
use roundwise_testkit::files::{Tensor, safetensors_with_metadata};

/// The file has one defect, in layer `a`, and reads nothing there.
#[track_caller]
fn assert_refused(tensors: &[Tensor], header: Option<&str>, problem: &str) {
    let file = opened(tensors, header);
    assert_eq!(defects(&file), [("a", problem)]);
    assert_eq!(orphans(&file), []);
}

#[test]
fn damaged_marker_tensors() {
    let cases = [
        ("{\"format\": \"float8_e4m3fn\"}\0", "marker holds NUL bytes"),
        ("", "marker is not JSON: EOF while parsing a value at line 1 column 0"),
        ("{format: 3}", "marker is not JSON: key must be a string at line 1 column 2"),
        ("\"float8_e4m3fn\"", "marker is not a JSON object"),
        (r#"{"per_row": true}"#, "marker has no `format`"),
        (r#"{"params": {"format": "float8_e4m3fn"}}"#, "marker has no `format`"),
        (r#"{"format": null}"#, "marker is not understood: invalid type: null, expected a string"),
        (
            r#"{"format": "int8_blockwise", "group_size": -1}"#,
            "marker is not understood: invalid value: integer `-1`, expected u64",
        ),
    ];
    test_each(cases, |&(text, problem)| {
        let weight = fp8("a.weight", &[2, 2]);
        let tensors = [weight, scale("a.weight_scale", &[], &[3.0]), marker("a", text)];
        assert_refused(&tensors, None, problem);
    });
    let text = format!("{FP8_MARKER}{}", " ".repeat(MARKER_LIMIT_BYTES as usize));
    let problem = "marker has 65563 bytes, more than 65536";
    assert_refused(&[fp8("a.weight", &[2, 2]), marker("a", &text)], None, problem);
}

#[test]
fn damaged_header_entries() {
    let tensors = || [fp8("a.weight", &[2, 2]), scale("a.weight_scale", &[], &[3.0])];
    let no_layers = "`_quantization_metadata` is not JSON with an object `layers`";
    for text in ["", "{", "[]", "{}", r#"{"layers": []}"#, r#"{"format_version": "1.0"}"#] {
        assert_eq!(defects(&opened(&tensors(), Some(text))), [("", no_layers)]);
    }
    let problem = "header entry has no `format`";
    assert_refused(&tensors(), Some(&entry(r#"{"per_row": true}"#)), problem);
    assert_refused(&tensors(), Some(&entry("\"fp8\"")), "header entry is not a JSON object");
    // A good marker tensor does not help: the loader takes the header's.
    let [weight, scale] = tensors();
    assert_refused(&[weight, scale, marker("a", FP8_MARKER)], Some(&entry("{}")), problem);
}

#[test]
fn header_and_marker_tensor_that_disagree() {
    let block =
        |size: u32| format!(r#"{{"format": "float8_e4m3fn_blockwise", "group_size": {size}}}"#);
    let full = r#"{"format": "float8_e4m3fn", "full_precision_matrix_mult": true}"#;
    let cases = [
        (FP8_MARKER.to_owned(), r#"{"format": "float8_e5m2"}"#.to_owned()),
        (block(1), block(2)),
        (full.to_owned(), FP8_MARKER.to_owned()),
    ];
    test_each(cases, |(header, tensor)| {
        let tensors = [
            fp8("a.weight", &[2, 2]),
            scale("a.weight_scale", &[1, 1], &[3.0]),
            marker("a", tensor),
        ];
        let problem = format!("the header says {header}, its marker {tensor}");
        assert_refused(&tensors, Some(&entry(header)), &problem);
    });
}

#[test]
fn markers_that_no_scheme_answers_to() {
    let fp8 = || fp8("a.weight", &[2, 4]);
    let int8 = || int8("a.weight", &[2, 4]);
    let rotated = r#"{"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 4}"#;
    let block =
        |size: &str| format!(r#"{{"format": "float8_e4m3fn_blockwise", "group_size": {size}}}"#);
    let cases = [
        (fp8(), r#"{"format": "awq_w4a16"}"#.to_owned(), "format `awq_w4a16` is not known"),
        (
            fp8(),
            r#"{"format": "mxfp8"}"#.to_owned(),
            "holds [2, 4] codes, no [2, 4] filled up to multiples of 32",
        ),
        (
            ones("a.weight", "U8", &[2, 8]),
            r#"{"format": "nvfp4", "orig_shape": [2, 17]}"#.to_owned(),
            "holds [2, 16] codes, no [2, 17] filled up to multiples of 16",
        ),
        (
            ones("a.weight", "U8", &[2, 8]),
            r#"{"format": "nvfp4", "orig_shape": [18446744073709551615]}"#.to_owned(),
            "`orig_shape` is [18446744073709551615], no matrix",
        ),
        (
            ones("a.weight", "U8", &[2, 8]),
            r#"{"format": "nvfp4"}"#.to_owned(),
            "`a.weight_scale` is F32 [], format `nvfp4` needs F8_E4M3 [128, 4]",
        ),
        (
            codes("a.weight", "I8", &[2, 6], [1, 2]),
            rotated.to_owned(),
            "`convrot_groupsize` is 4; a power of 4 that divides 6 columns is needed",
        ),
        (
            codes("a.weight", "I8", &[2, 6], [1, 2]),
            r#"{"format": "convrot_w4a4", "convrot_groupsize": 8}"#.to_owned(),
            "`convrot_groupsize` is 8; a power of 4 that divides 12 columns is needed",
        ),
        (
            ones("a.weight", "U8", &[2, 4]),
            r#"{"format": "convrot_w4a4", "convrot_groupsize": 4}"#.to_owned(),
            "`a.weight` is U8 [2, 4], format `convrot_w4a4` needs I8 [2, 4]",
        ),
        (fp8(), block("0"), "`group_size` is 0"),
        (
            fp8(),
            block("18446744073709551615"),
            "rows are not a multiple of 18446744073709551615 (found 2); one scale per \
             18446744073709551615×18446744073709551615 block covers whole blocks only",
        ),
        (
            fp8(),
            r#"{"format": "float8_e4m3fn_blockwise"}"#.to_owned(),
            "rows are not a multiple of 64 (found 2); one scale per 64×64 block covers whole \
             blocks only",
        ),
        (int8(), FP8_MARKER.to_owned(), "is marked e4m3, but its weight is I8"),
        (fp8(), INT8_MARKER.to_owned(), "is marked int8, but its weight is F8_E4M3"),
        (
            ones("a.weight", "BF16", &[2, 4]),
            FP8_MARKER.to_owned(),
            "is marked `float8_e4m3fn`, but its weight is BF16",
        ),
    ];
    test_each(cases, |(weight, text, problem)| {
        let scale = scale("a.weight_scale", &[], &[3.0]);
        assert_refused(&[weight.clone(), scale.clone(), marker("a", text)], None, problem);
        assert_refused(&[weight.clone(), scale], Some(&entry(text)), problem);
    });
}

#[test]
fn marked_layers_without_scales() {
    let rowwise = r#"{"format": "float8_e4m3fn_rowwise"}"#;
    let cases = [
        (fp8("a.weight", &[2, 2]), FP8_MARKER, "is marked `float8_e4m3fn`"),
        (fp8("a.weight", &[2, 2]), rowwise, "is marked `float8_e4m3fn_rowwise`"),
        (int8("a.weight", &[2, 2]), INT8_MARKER, "is marked `int8_tensorwise`"),
    ];
    test_each(cases, |(weight, text, problem)| {
        let problem = format!("{problem}, but has no `weight_scale`");
        assert_refused(&[weight.clone(), marker("a", text)], None, &problem);
        // The loader knows no other name for it beside a marker.
        let legacy = scale("a.scale_weight", &[1], &[3.0]);
        assert_refused(&[weight.clone(), legacy, marker("a", text)], None, &problem);
    });
}

#[test]
fn scales_of_the_wrong_shape() {
    let fp8 = |shape: &[usize]| fp8("a.weight", shape);
    let int8 = |shape: &[usize]| int8("a.weight", shape);
    let rowwise = r#"{"format": "float8_e4m3fn_rowwise"}"#;
    let blockwise = r#"{"format": "int8_blockwise", "group_size": 2}"#;
    let marked = |text: &str| marker("a", text);
    let none = || ones("b.bias", "F32", &[1]);
    let cases = [
        (fp8(&[2, 4]), marked(FP8_MARKER), "weight_scale", vec![2, 1], "`fp8` needs one element"),
        (
            fp8(&[2, 4]),
            marked(FP8_MARKER),
            "weight_scale",
            vec![1, 1, 1],
            "`fp8` needs one element",
        ),
        (fp8(&[2, 4]), marked(rowwise), "weight_scale", vec![2, 1], "`fp8-row` needs [2]"),
        (int8(&[2, 4]), marked(INT8_MARKER), "weight_scale", vec![2], "`int8-row` needs [2, 1]"),
        (int8(&[2, 4]), marked(INT8_MARKER), "weight_scale", vec![4, 1], "`int8-row` needs [2, 1]"),
        (
            int8(&[2, 4]),
            marked(blockwise),
            "weight_scale",
            vec![2, 2],
            "`int8-block-2` needs [1, 2]",
        ),
        (int8(&[2, 4]), marked(blockwise), "weight_scale", vec![2], "`int8-block-2` needs [1, 2]"),
        (fp8(&[2, 4]), none(), "weight_scale", vec![4], "`fp8-row` needs [2]"),
        (fp8(&[2, 4]), none(), "weight_scale", vec![1, 2], "`fp8-row` needs [2]"),
        (fp8(&[2, 4]), none(), "weight_scale", vec![0], "`fp8-row` needs [2]"),
        (fp8(&[2, 2, 2]), none(), "weight_scale", vec![2], "`fp8-row` needs [1]"),
        (fp8(&[2, 4]), none(), "weight_scale_inv", vec![2, 1], "`fp8-block-128` needs [1, 1]"),
        (fp8(&[129, 4]), none(), "weight_scale_inv", vec![1, 1], "`fp8-block-128` needs [2, 1]"),
        (fp8(&[2, 4]), none(), "scale_weight", vec![2, 1], "`fp8` needs one element"),
    ];
    test_each(cases, |(weight, marker, part, shape, needs)| {
        let name = format!("a.{part}");
        let count = shape.iter().product();
        let tensors = [weight.clone(), scale(&name, shape, &vec![1.0; count]), marker.clone()];
        let problem = format!("`{name}` has shape {shape:?}, {needs}");
        assert_refused(&tensors, None, &problem);
    });
}

#[test]
fn scales_of_the_wrong_kind() {
    let problem = |name: &str, dtype: &str| {
        format!(
            "`a.{name}` is {dtype}, expected F32, BF16 or F16; packed scales are not read there"
        )
    };
    let weight = || fp8("a.weight", &[2, 2]);
    let format = ones("scale_format", "U8", &[1]);
    let scale = ones("a.scale_weight", "U8", &[]);
    assert_refused(
        &[weight(), scale, format],
        None,
        "`a.scale_weight` is a logarithm in a range that the file does not tell: `scale_format` is \
         [1], expected [8, 12, 6] or [8, 10, 2]",
    );
    // A byte for the whole matrix might as well be a logarithm.
    let scale = ones("a.weight_scale_inv", "U8", &[]);
    assert_refused(&[weight(), scale], None, &problem("weight_scale_inv", "U8"));
    let scale = ones("a.weight_scale", "U8", &[1]);
    assert_refused(
        &[weight(), scale, marker("a", FP8_MARKER)],
        None,
        &problem("weight_scale", "U8"),
    );
}

#[test]
fn whole_numbers_are_no_weights() {
    let integers = [
        ("BOOL", 1),
        ("U8", 1),
        ("I16", 2),
        ("U16", 2),
        ("I32", 4),
        ("U32", 4),
        ("U64", 8),
        ("F8_E4M3FNUZ", 1),
    ];
    test_each(integers, |&(dtype, width)| {
        let integers = |name: &str, shape: &[usize]| {
            Tensor::new(name, dtype, shape, vec![1; shape.iter().product::<usize>() * width])
        };
        let problem = format!(
            "its weight is {dtype}, which no model has as numbers: codes of a program that is not known"
        );
        assert_refused(&[integers("a.weight", &[2, 8])], None, &problem);
        // Beside what nobody knows the meaning of, too.
        let other = ones("a.parameters", "F32", &[2]);
        assert_refused(&[integers("a.weight", &[2, 8]), other], None, &problem);
        // Counters and tables of other names are data.
        for data in [integers("a.weight", &[8]), integers("a.ids", &[2, 8])] {
            assert_eq!(defects(&opened(&[data], None)), []);
        }
    });
}

#[test]
fn scales_that_are_no_numbers() {
    let tensor = |name: &str, dtype: &str, shape: &[usize], bytes: &[u8]| {
        Tensor::new(name, dtype, shape, bytes.repeat(shape.iter().product()))
    };
    let [nan, infinity] = [f32::NAN, f32::INFINITY].map(|value| value.to_le_bytes());
    let cases = [
        vec![
            fp8("a.weight", &[2, 2]),
            tensor("a.weight_scale", "F32", &[], &nan),
            marker("a", FP8_MARKER),
        ],
        vec![fp8("a.weight", &[2, 2]), tensor("a.weight_scale", "F32", &[2, 1], &infinity)],
        vec![
            fp8("a.weight", &[2, 2]),
            tensor("a.weight_scale_inv", "BF16", &[1, 1], &[0xC0, 0xFF]),
        ],
        vec![fp8("a.weight", &[2, 2]), tensor("a.scale", "F8_E8M0", &[1, 1], &[0xFF])],
        vec![fp8("a.weight", &[2, 2]), tensor("a.scale_weight", "F16", &[1], &[0, 0xFC])],
        vec![
            ones("a.weight", "U8", &[2, 8]),
            ones("a.weight_scale", "F8_E4M3", &[2, 1]),
            tensor("a.weight_scale_2", "F32", &[], &nan),
        ],
        vec![
            ones("a.weight", "U8", &[2, 8]),
            tensor("a.weight_scale", "F8_E4M3", &[2, 1], &[0x7F]),
            ones("a.weight_scale_2", "F32", &[]),
        ],
        vec![
            ones("a.weight_packed", "U8", &[2, 8]),
            ones("a.weight_scale", "F8_E4M3", &[2, 1]),
            tensor("a.weight_global_scale", "F32", &[1], &infinity),
        ],
    ];
    for tensors in cases {
        let file = opened(&tensors, None);
        let found = defects(&file);
        let [("a", problem)] = found.as_slice() else { panic!("{found:?}") };
        assert!(problem.contains("is no number at 0: a NaN or an infinity"), "{problem}");
    }
    // What is longer than a few pages is looked at when it is read.
    let rows = 5000;
    let mut scales = vec![1.0; rows];
    scales[4321] = f32::NAN;
    let file =
        opened(&[fp8("a.weight", &[rows, 1]), scale("a.weight_scale", &[rows, 1], &scales)], None);
    let error = file.stored.layers["a"].read(&file.checkpoint).unwrap_err().to_string();
    assert_eq!(error, "layer `a`: scale 4321 is no number: a NaN or an infinity");
}

#[test]
fn unknown_scales_beside_codes() {
    let beside = |dtype: &str, part: &str| {
        format!("its weight is {dtype} beside `{part}`, a kind of scale that is not known there")
    };
    for part in ["scale", "scales", "weight_zero_point", "absmax", "quant_state", "weight_amax"] {
        let other = ones(&format!("a.{part}"), "F32", &[1]);
        assert_refused(&[fp8("a.weight", &[2, 2]), other], None, &beside("F8_E4M3", part));
    }
    // A second scale or a zero point changes the values that the first one gives.
    for part in ["weight_zero_point", "weight_scale_2", "weight_scale_inv", "pre_quant_scale"] {
        let tensors = [
            int8("a.weight", &[2, 2]),
            scale("a.weight_scale", &[2, 1], &[1.0, 2.0]),
            ones(&format!("a.{part}"), "F32", &[1]),
        ];
        let file = opened(&tensors, None);
        assert!(file.stored.layers.is_empty(), "{part}");
        let found = if part == "weight_scale_inv" { "weight_scale" } else { part };
        assert_eq!(defects(&file), [("a", beside("I8", found).as_str())]);
    }
    // Below the layer, or beside it, is not beside the weight.
    let others = [ones("a.b.scale", "F32", &[1]), ones("a2.scale", "F32", &[1])];
    let [below, near] = others;
    let file = opened(&[fp8("a.weight", &[2, 2]), below, near], None);
    assert_eq!((defects(&file), file.stored.layers["a"].spelling), (vec![], Spelling::Plain));
}

#[test]
fn codes_without_a_scale_beside_one_of_an_unknown_name() {
    for name in
        ["m.a_scale", "m.a_weight_scale", "scales.m.a", "weight_scale.m.a.weight", "m.weight_scale"]
    {
        let file = opened(&[fp8("m.a.weight", &[2, 2]), scale(name, &[], &[0.5])], None);
        assert!(file.stored.layers.is_empty(), "{name}");
        let problem = format!(
            "its weight is e4m3 without a scale, and `{name}` may be one under a name that is not known"
        );
        assert_eq!(defects(&file), [("m.a", problem.as_str())]);
    }
    // Parameters that are called so are of other layers, or no numbers of a scale.
    for name in ["m.a_norm.scale", "m.b_scale", "scales.m.b", "m.weight_scaler"] {
        let file = opened(&[fp8("m.a.weight", &[2, 2]), scale(name, &[], &[0.5])], None);
        assert_eq!((defects(&file), file.stored.layers["m.a"].spelling), (vec![], Spelling::Plain));
    }
}

#[test]
fn codes_without_a_scale_beside_one_of_the_whole_model() {
    let weight = || fp8("m.a.weight", &[2, 2]);
    for name in ["global_scale", "fp8_scales", "scale", "weight_scale_all"] {
        let file = opened(&[weight(), scale(name, &[], &[0.5])], None);
        let problem =
            format!("its weight is e4m3 without a scale, and `{name}` may be one of all weights");
        assert_eq!(defects(&file), [("m.a", problem.as_str())]);
    }
    let with_entry = |key: &str, value: &str| {
        let metadata = [(key, value)];
        open(&safetensors_with_metadata(&[weight()], &metadata))
    };
    for (key, value) in [("fp8_scale", "0.005"), ("quantization", r#"{"scale": 0.005}"#)] {
        let problem = format!(
            "its weight is e4m3 without a scale, and header entry `{key}` may be one of all weights"
        );
        assert_eq!(defects(&with_entry(key, value)), [("m.a", problem.as_str())]);
    }
    // CLIP has a parameter, and trainers settings, that are called so.
    let file = opened(&[weight(), scale("logit_scale", &[], &[4.6])], None);
    assert_eq!(defects(&file), vec![]);
    for (key, value) in [("ss_scale_weight_norms", "None"), ("quantization", r#"{"scale": "row"}"#)]
    {
        assert_eq!(defects(&with_entry(key, value)), vec![], "{key}");
    }
}

#[test]
fn fp8_under_other_names_than_a_weight_beside_what_may_be_its_scale() {
    for (name, beside) in [
        ("m.in_proj_weight", "m.in_proj_weight_scale"),
        ("m.modulation", "m.modulation.weight_scale"),
        ("m.modulation", "m.modulation_scale_inv"),
        ("m.bias", "m.bias_scale"),
        ("m.w1", "m.w1.scale"),
    ] {
        let file = opened(&[fp8(name, &[2, 2]), scale(beside, &[], &[0.5])], None);
        let problem = format!("holds F8_E4M3 numbers beside `{beside}`, which may be their scale");
        assert_eq!(defects(&file), [(name, problem.as_str())]);
        // Without it the numbers are what they say.
        assert_eq!(defects(&opened(&[fp8(name, &[2, 2])], None)), []);
    }
}

#[test]
fn codes_beside_a_tensor_that_may_make_another_weight_of_them() {
    let scaled = || vec![fp8("m.a.weight", &[2, 2]), scale("m.a.weight_scale", &[], &[0.5])];
    let plain = || vec![fp8("m.a.weight", &[2, 2])];
    for part in ["weights_scaling_factor", "sf", "perm", "lora_up.weight", "weight_quantizer._max"]
    {
        for mut tensors in [scaled(), plain()] {
            let name = format!("m.a.{part}");
            tensors.push(ones(&name, "F32", &[2]));
            let file = opened(&tensors, None);
            assert!(file.stored.layers.is_empty(), "{part}");
            let problem = format!(
                "holds codes beside `{name}`, which is not known there and may make another weight of them"
            );
            assert_eq!(defects(&file), [("m.a", problem.as_str())]);
        }
    }
    for part in ["pre_quant_scale", "smooth_scale", "lora_A.weight"] {
        let name = format!("m.a.{part}");
        let file = opened(&[ones("m.a.weight", "F32", &[2, 2]), ones(&name, "F32", &[2])], None);
        let problem = format!("holds a weight that `{name}` is multiplied with or added to");
        assert_eq!(defects(&file), [("m.a", problem.as_str())]);
    }
    // What rounds inputs, what is added, and what another module has leave the weight as it is.
    for part in ["bias", "input_amax", "input_quantizer._amax", "norm.weight", "running_mean"] {
        let mut tensors = scaled();
        tensors.push(ones(&format!("m.a.{part}"), "F32", &[2]));
        assert!(opened(&tensors, None).stored.layers.contains_key("m.a"), "{part}");
    }
}

#[test]
fn codes_under_names_of_their_own() {
    for (codes_name, dtype, width, scale_name) in
        [("B", "I32", 4, "s"), ("packed", "U8", 1, "amax"), ("weight_int4", "I8", 1, "weight_s")]
    {
        let tensors = [
            Tensor::new(&format!("m.a.{codes_name}"), dtype, &[2, 8], vec![1; 16 * width]),
            scale(&format!("m.a.{scale_name}"), &[2], &[0.5, 1.0]),
        ];
        let file = opened(&tensors, None);
        let found = defects(&file);
        let [("m.a", problem)] = found.as_slice() else { panic!("{codes_name}: {found:?}") };
        assert!(problem.contains("of a kind that is not known"), "{problem}");
    }
    // Tables of indices are I64.
    let tensors = [
        Tensor::new("m.a.relative_position_index", "I64", &[2, 2], vec![1; 32]),
        scale("m.a.relative_position_bias_table", &[2], &[0.5, 1.0]),
    ];
    assert_eq!(defects(&opened(&tensors, None)), []);
}

/// A program that copied such a layer would lose its scales.
#[test]
fn packed_codes() {
    for dtype in ["U8", "I32"] {
        let weight = codes("a.weight", dtype, &[2, 4], [1, 2]);
        let weight = Tensor { shape: vec![2, 4 / if dtype == "U8" { 1 } else { 4 }], ..weight };
        let scale = ones("a.weight_scale", "F32", &[2, 1]);
        let problem = format!(
            "its weight is {dtype} beside `weight_scale`; codes are read from F8_E4M3, F8_E5M2 and I8"
        );
        assert_refused(&[weight, scale], None, &problem);
    }
}

#[test]
fn packed_weights_of_other_kinds() {
    let packed = |dtype: &str| {
        let width = if dtype == "I32" { 4 } else { 1 };
        Tensor::new("a.weight_packed", dtype, &[2, 8], vec![0; 16 * width])
    };
    let parts = |dtype: &str, global: bool| {
        let mut tensors = vec![packed(dtype), ones("a.weight_scale", "F8_E4M3", &[2, 1])];
        tensors.extend(global.then(|| ones("a.weight_global_scale", "F32", &[1])));
        tensors
    };
    let unknown = |dtype: &str| {
        format!(
            "its weight is packed in {dtype}; of packed codes NVFP4 is read, whose scales are \
             `weight_scale` and `weight_global_scale`"
        )
    };
    let integers = "holds codes of compressed-tensors (pack-quantized), `a.weight_shape` is missing; \
                    that program can save them as plain numbers";
    assert_refused(&parts("I32", false), None, integers);
    assert_refused(&parts("U8", false), None, &unknown("U8"));
    let wide = "`a.weight_packed` is I32 [2, 8], NVFP4 needs U8 [N, K / 2]";
    assert_refused(&parts("I32", true), None, wide);
    let mut scales = parts("U8", true);
    scales[1] = ones("a.weight_scale", "F8_E4M3", &[2, 2]);
    let problem = "`a.weight_scale` is F8_E4M3 [2, 2], NVFP4 needs F8_E4M3 [2, 1]";
    assert_refused(&scales, None, problem);
    let mut twice = parts("U8", true);
    twice.push(ones("a.weight", "BF16", &[2, 16]));
    let file = opened(&twice, None);
    assert_eq!(defects(&file), [("a", "has both `a.weight` and `a.weight_packed`")]);
}

#[test]
fn int8_without_a_scale() {
    assert_refused(
        &[int8("a.weight", &[2, 2])],
        None,
        "holds INT8 codes, but has no `weight_scale`",
    );
    // Of convolutions and expert banks, too.
    let problem = "holds INT8 codes, but has no `weight_scale`";
    assert_refused(&[int8("a.weight", &[2, 2, 2])], None, problem);
    // Counters are data.
    for shape in [&[][..], &[4]] {
        let file = opened(&[int8("a.weight", shape)], None);
        assert!(defects(&file).is_empty() && file.stored.layers.is_empty());
    }
}
