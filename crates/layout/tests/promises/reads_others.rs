//! Files of other programs are read, or it is said why they are not.

use crate::common::Opened;
use crate::common::others::{
    FP8_MARKER, INT8_MARKER, codes, defects, entry, fp8, int8, marker, ones, opened, opened_beside,
    orphans, scale,
};
use roundwise_layout::{MatmulPrecision, Spelling};
use roundwise_testkit::cases::test_each;
use roundwise_testkit::files::{Tensor, bf16_bytes, f16_bytes, f32_bytes};

/// The one layer `a`, decoded, of a file with nothing wrong.
fn read_a(file: &Opened) -> (Spelling, String, Vec<f32>) {
    assert_eq!((defects(file), orphans(file)), (vec![], vec![]));
    assert_eq!(file.stored.layers.keys().collect::<Vec<_>>(), ["a"]);
    let layer = &file.stored.layers["a"];
    let matrix = layer.read(&file.checkpoint).unwrap();
    assert_eq!(matrix.shape(), layer.shape);
    (layer.spelling, layer.scheme.to_string(), matrix.to_f32())
}

#[test]
fn scales_of_servers() {
    let bf16 = |shape: &[usize], values: &[f32]| {
        Tensor::new("a.weight_scale", "BF16", shape, bf16_bytes(values))
    };
    let f16 = Tensor::new("a.weight_scale", "F16", &[2], f16_bytes(&[3.0, 5.0]));
    let f32 = |shape: &[usize], values: &[f32]| scale("a.weight_scale", shape, values);
    let [whole, rows] = [[3.0, 3.0, 6.0, 6.0], [3.0, 3.0, 10.0, 10.0]];
    let cases = [
        (fp8("a.weight", &[2, 2]), f32(&[], &[3.0]), "fp8", whole),
        (fp8("a.weight", &[2, 2]), f32(&[1], &[3.0]), "fp8", whole),
        (fp8("a.weight", &[2, 2]), bf16(&[1, 1], &[3.0]), "fp8", whole),
        (fp8("a.weight", &[2, 2]), f32(&[2], &[3.0, 5.0]), "fp8-row", rows),
        (fp8("a.weight", &[2, 2]), f32(&[2, 1], &[3.0, 5.0]), "fp8-row", rows),
        (fp8("a.weight", &[2, 2]), bf16(&[2], &[3.0, 5.0]), "fp8-row", rows),
        (fp8("a.weight", &[2, 2]), bf16(&[2, 1], &[3.0, 5.0]), "fp8-row", rows),
        (fp8("a.weight", &[2, 2]), f16, "fp8-row", rows),
        (int8("a.weight", &[2, 2]), f32(&[2, 1], &[3.0, 5.0]), "int8-row", rows),
        (int8("a.weight", &[2, 2]), bf16(&[2], &[3.0, 5.0]), "int8-row", rows),
        (int8("a.weight", &[2, 2]), f32(&[1], &[3.0]), "int8", whole),
    ];
    test_each(cases, |(weight, scale, scheme, values)| {
        let file = opened(&[weight.clone(), scale.clone()], None);
        assert_eq!(read_a(&file), (Spelling::WeightScale, (*scheme).to_owned(), values.to_vec()));
    });
}

/// Scales of inputs and outputs lie beside those of weights in vLLM and ModelOpt files.
#[test]
fn scales_of_64_bits_are_rounded_as_programs_do_that_multiply_by_them() {
    let name = "a.weight_scale";
    for (shape, count) in [(vec![], 1), (vec![2, 1], 2)] {
        let scales = [0.1_f64, 0.7];
        let bytes: Vec<u8> = scales[..count].iter().flat_map(|scale| scale.to_le_bytes()).collect();
        let double = Tensor::new(name, "F64", &shape, bytes);
        let single: Vec<f32> = scales[..count].iter().map(|&scale| scale as f32).collect();
        let wanted =
            read_a(&opened(&[fp8("a.weight", &[2, 2]), scale(name, &shape, &single)], None));
        assert_eq!(read_a(&opened(&[fp8("a.weight", &[2, 2]), double], None)), wanted, "{shape:?}");
    }
    let past_f32 = Tensor::new("a.weight_scale", "F64", &[], 1e300_f64.to_le_bytes().to_vec());
    let file = opened(&[fp8("a.weight", &[2, 2]), past_f32], None);
    let problem = "`a.weight_scale` is no number at 0: a NaN or an infinity";
    assert_eq!(defects(&file), [("a", problem)]);
}

#[test]
fn scales_of_inputs_and_outputs_change_nothing() {
    let file = opened(
        &[
            fp8("a.weight", &[2, 1]),
            scale("a.weight_scale", &[], &[3.0]),
            scale("a.input_scale", &[], &[9.0]),
            scale("a.k_scale", &[], &[9.0]),
            scale("a.output_scale", &[], &[9.0]),
        ],
        None,
    );
    assert_eq!(read_a(&file), (Spelling::WeightScale, "fp8".to_owned(), vec![3.0, 6.0]));
}

#[test]
fn ragged_blocks_of_weight_scale_inv() {
    let shape = [130, 257];
    let scales: Vec<f32> = (1..=6).map(|scale| scale as f32).collect();
    let name = "a.weight_scale_inv";
    for scales in [
        Tensor::new(name, "F32", &[2, 3], f32_bytes(&scales)),
        Tensor::new(name, "BF16", &[2, 3], bf16_bytes(&scales)),
    ] {
        let file = opened(&[fp8("a.weight", &shape), scales], None);
        let (spelling, scheme, values) = read_a(&file);
        assert_eq!((spelling, scheme.as_str()), (Spelling::WeightScaleInv, "fp8-block-128"));
        let at = |row: usize, col: usize| values[row * shape[1] + col];
        assert_eq!([at(0, 0), at(0, 128), at(0, 256)], [1.0, 2.0, 3.0]);
        assert_eq!([at(127, 127), at(127, 128), at(129, 256)], [2.0, 4.0, 12.0]);
        assert_eq!([at(128, 0), at(128, 255)], [4.0, 5.0]);
    }
    // Mistral writes one number for the whole matrix under this name.
    for shape in [&[][..], &[1]] {
        let file = opened(&[fp8("a.weight", &[200, 1]), scale(name, shape, &[3.0])], None);
        let (spelling, scheme, values) = read_a(&file);
        assert_eq!((spelling, scheme.as_str()), (Spelling::WeightScaleInv, "fp8"));
        assert_eq!(values, [3.0, 6.0].repeat(100));
    }
}

/// Codes 1.0 (2) and 3.0 (5) in every byte, the even column in the low half.
fn fp4(name: &str, rows: usize, bytes: usize) -> Tensor {
    Tensor::new(name, "U8", &[rows, bytes], vec![0x52; rows * bytes])
}

/// Scales of 16 columns lie in rows, unswizzled; one row may begin a tile of a swizzle.
fn fp4_scales(rows: usize, blocks: usize) -> (Tensor, Vec<f32>) {
    let codes: Vec<u8> = (0..rows * blocks).map(|at| 0x30 + at as u8 % 16).collect();
    let decoded =
        |code: &u8| (1.0 + f32::from(code & 7) / 8.0) * 2f32.powi(i32::from(code >> 3) - 7);
    let values = codes.iter().map(decoded).collect();
    (Tensor::new("a.weight_scale", "F8_E4M3", &[rows, blocks], codes), values)
}

#[test]
fn nvfp4_of_servers_divides_or_multiplies() {
    let (scales, blocks) = fp4_scales(130, 5);
    let global = 3.0;
    for (spelling, tensors) in [
        (
            Spelling::WeightPacked,
            [
                fp4("a.weight_packed", 130, 40),
                scale("a.weight_global_scale", &[1], &[global]),
                scale("a.input_global_scale", &[1], &[7.0]),
            ],
        ),
        (
            Spelling::WeightScale2,
            [
                fp4("a.weight", 130, 40),
                scale("a.weight_scale_2", &[], &[global]),
                scale("a.input_scale", &[], &[7.0]),
            ],
        ),
    ] {
        let file = opened(&[tensors.to_vec(), vec![scales.clone()]].concat(), None);
        assert_eq!(file.stored.side_tensors.len(), 3, "{spelling}");
        let (found, scheme, values) = read_a(&file);
        assert_eq!((found, scheme.as_str()), (spelling, "nvfp4"));
        for (at, value) in values.iter().enumerate() {
            let block = blocks[at / 80 * 5 + at % 80 / 16];
            let scale = match spelling {
                Spelling::WeightPacked => block / global,
                _ => block * global,
            };
            assert_eq!(*value, [1.0, 3.0][at % 2] * scale, "{spelling}, {at}");
        }
        // Thirds are not exact: other numbers would come from multiplying.
        let layer = &file.stored.layers["a"];
        let is_exact = layer.multiplies_exactly(&file.checkpoint).unwrap();
        assert_eq!(is_exact, spelling == Spelling::WeightScale2);
    }
}

#[test]
fn powers_of_two_of_servers_lie_in_rows() {
    let exponents: Vec<u8> = (0..130 * 3).map(|at| 120 + at as u8 % 8).collect();
    let scales = Tensor::new("a.weight_scale", "U8", &[130, 3], exponents.clone());
    let file = opened(&[fp8("a.weight", &[130, 96]), scales], None);
    let (spelling, scheme, values) = read_a(&file);
    assert_eq!((spelling, scheme.as_str()), (Spelling::WeightScale, "mxfp8"));
    for (at, value) in values.iter().enumerate() {
        let (row, col) = (at / 96, at % 96);
        let exponent = i32::from(exponents[row * 3 + col / 32]) - 127;
        assert_eq!(*value, [1.0, 2.0][row % 2] * 2f32.powi(exponent), "{row}, {col}");
    }
}

/// DeepSeek has bytes for scales from V4 on, under its own name or that of Hugging Face.
#[test]
fn powers_of_two_scale_blocks() {
    let exponents: Vec<u8> = vec![126, 127, 128, 129, 0, 254];
    for (spelling, part) in [
        (Spelling::Scale, "scale"),
        (Spelling::WeightScaleInv, "weight_scale_inv"),
        (Spelling::WeightScale, "weight_scale"),
    ] {
        for dtype in ["F8_E8M0", "U8"] {
            let scales = Tensor::new(&format!("a.{part}"), dtype, &[2, 3], exponents.clone());
            let file = opened(&[fp8("a.weight", &[130, 257]), scales], None);
            assert_eq!(file.stored.side_tensors.len(), 1);
            let (found, scheme, values) = read_a(&file);
            assert_eq!((found, scheme.as_str()), (spelling, "fp8-block-128"));
            let at = |row: usize, col: usize| values[row * 257 + col];
            assert_eq!([at(0, 0), at(1, 128), at(0, 256)], [0.5, 2.0, 2.0]);
            let smallest = f32::from_bits(1 << 22);
            assert_eq!([at(128, 0), at(128, 128), at(128, 256)], [4.0, smallest, 2f32.powi(127)]);
        }
    }
    for (cols, blocks, scheme) in [(256, 2, "fp8-block3d-128"), (64, 2, "fp8-block3d-32")] {
        let scales = Tensor::new("a.scale", "F8_E8M0", &[3, blocks], vec![128; 3 * blocks]);
        let file = opened(&[fp8("a.weight", &[3, cols]), scales], None);
        assert_eq!(read_a(&file).1, scheme);
    }
    // A parameter of that name beside plain numbers is none of our business.
    let plain = [ones("a.weight", "BF16", &[2, 2]), ones("a.scale", "U8", &[1, 1])];
    let file = opened(&plain, None);
    assert!(file.stored.side_tensors.is_empty() && file.stored.defects.is_empty());
}

#[test]
fn blocks_of_weight_scale_are_those_of_the_configuration_or_128() {
    let scales = scale("a.weight_scale", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let file = opened(&[fp8("a.weight", &[130, 257]), scales], None);
    let (spelling, scheme, values) = read_a(&file);
    assert_eq!((spelling, scheme.as_str()), (Spelling::WeightScale, "fp8-block-128"));
    assert_eq!([values[0], values[128], values[129 * 257 + 256]], [1.0, 2.0, 12.0]);

    for part in ["weight_scale", "weight_scale_inv"] {
        let config = r#"{"quantization_config": {"weight_block_size": [4, 2]}}"#;
        let scales = scale(&format!("a.{part}"), &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let file = opened_beside(&[fp8("a.weight", &[6, 6]), scales], config);
        let (_, scheme, values) = read_a(&file);
        assert_eq!(scheme, "e4m3-block-4x2");
        assert_eq!(values[4 * 6..5 * 6], [4.0, 4.0, 5.0, 5.0, 6.0, 6.0]);
    }
}

#[test]
fn blocks_of_the_configuration_go_before_others_that_fit() {
    let scales = || scale("a.weight_scale_inv", &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let weight = || fp8("a.weight", &[192, 192]);
    let config = r#"{"quantization_config": {"weight_block_size": [96, 96]}}"#;
    let (_, scheme, values) = read_a(&opened_beside(&[weight(), scales()], config));
    assert_eq!((scheme.as_str(), values[96], values[128]), ("fp8-block-96", 2.0, 2.0));
    let (_, scheme, values) = read_a(&opened(&[weight(), scales()], None));
    assert_eq!((scheme.as_str(), values[96], values[128]), ("fp8-block-128", 1.0, 2.0));
}

#[test]
fn the_scale_of_one_block_has_two_dimensions() {
    for (shape, scheme) in [(&[1, 1][..], "fp8-block-128"), (&[1], "fp8"), (&[], "fp8")] {
        let tensors = [fp8("a.weight", &[128, 128]), scale("a.weight_scale", shape, &[2.0])];
        assert_eq!(read_a(&opened(&tensors, None)).1, scheme, "{shape:?}");
    }
}

/// Symmetric schemes of compressed-tensors may write them.
#[test]
fn zero_points_that_are_zero_change_nothing() {
    let tensors = [
        int8("a.weight", &[2, 2]),
        scale("a.weight_scale", &[2, 1], &[3.0, 5.0]),
        Tensor::new("a.weight_zero_point", "I8", &[2, 1], vec![0, 0]),
    ];
    let file = opened(&tensors, None);
    let values = vec![3.0, 3.0, 10.0, 10.0];
    assert_eq!(read_a(&file), (Spelling::WeightScale, "int8-row".to_owned(), values));
    assert_eq!(file.stored.side_tensors.len(), 2);
}

#[test]
fn legacy_scales() {
    let marked =
        |name: &str, elements: usize| Tensor::new(name, "F8_E4M3", &[elements], vec![0; elements]);
    for (prefix, marker) in [
        ("", marked("scaled_fp8", 2)),
        ("", marked("scaled_fp8", 0)),
        ("", ones("scaled_fp8", "F32", &[1])),
        ("m.d.", marked("m.d.scaled_fp8", 2)),
        ("m.d.", marked("scaled_fp8", 2)),
    ] {
        let tensors = [
            fp8(&format!("{prefix}a.weight"), &[2, 1]),
            scale(&format!("{prefix}a.scale_weight"), &[1], &[3.0]),
            scale(&format!("{prefix}a.scale_input"), &[1], &[1.0]),
            marker,
        ];
        let file = opened(&tensors, None);
        assert_eq!((defects(&file), orphans(&file)), (vec![], vec![]));
        let layer = &file.stored.layers[&format!("{prefix}a")];
        assert_eq!(
            (layer.spelling, layer.scheme.to_string().as_str()),
            (Spelling::ComfyLegacy, "fp8")
        );
        assert_eq!(layer.read(&file.checkpoint).unwrap().to_f32(), [3.0, 6.0]);
        assert_eq!(file.stored.side_tensors.len(), 3);
    }
}

/// ComfyUI looks for `scale_weight` only where `scaled_fp8` tells it to. The layer can be decoded
/// all the same.
#[test]
fn scales_that_comfyui_does_not_heed() {
    let weight = || fp8("m.a.weight", &[2, 1]);
    let legacy = || scale("m.a.scale_weight", &[1], &[3.0]);
    let other_layer = [fp8("b.weight", &[1, 1]), scale("b.weight_scale", &[], &[1.0])];
    let [other_weight, other_scale] = other_layer;
    let other = vec![other_weight, other_scale, marker("b", FP8_MARKER)];
    let with_other = |tensors: [Tensor; 2]| [tensors.to_vec(), other.clone()].concat();
    let elsewhere = Tensor::new("n.scaled_fp8", "F8_E4M3", &[0], vec![]);
    let header = r#"{"layers": {"b": {"format": "float8_e4m3fn"}}}"#;
    let whole_file = Tensor::new("scaled_fp8", "F8_E4M3", &[0], vec![]);
    let mut legacy_beside_header = with_other([weight(), legacy()]);
    legacy_beside_header.push(whole_file);
    let cases = [
        (vec![weight(), legacy()], None, "`m.a.scale_weight`: the file has no `scaled_fp8` for it"),
        (
            vec![weight(), legacy(), elsewhere],
            None,
            "`m.a.scale_weight`: the file has no `scaled_fp8` for it",
        ),
        (legacy_beside_header, Some(header), "`m.a.scale_weight`: the header lists other layers"),
        (
            with_other([weight(), scale("m.a.weight_scale", &[], &[3.0])]),
            None,
            "`m.a.weight_scale`: the layer has no marker, other layers have",
        ),
    ];
    test_each(cases, |(tensors, header, problem)| {
        let file = opened(tensors, *header);
        let problem = format!("has {}", problem.replace(':', ", which ComfyUI does not heed:"));
        assert_eq!((defects(&file), orphans(&file)), (vec![], vec![("m.a", problem.as_str())]));
        let layer = &file.stored.layers["m.a"];
        assert_eq!(layer.read(&file.checkpoint).unwrap().to_f32(), [3.0, 6.0]);
    });
}

#[test]
fn codes_without_scales_are_values() {
    let e5m2 = codes("a.weight", "F8_E5M2", &[2, 1], [0x3C, 0x40]);
    let file = opened(&[e5m2], None);
    assert_eq!(read_a(&file), (Spelling::Plain, "fp8-e5m2".to_owned(), vec![1.0, 2.0]));
    for shape in [&[][..], &[3], &[2, 1, 3], &[1, 3]] {
        let file = opened(&[fp8("a.weight", shape)], None);
        let (spelling, scheme, values) = read_a(&file);
        assert_eq!((spelling, scheme.as_str()), (Spelling::Plain, "fp8"));
        assert_eq!(values.len(), shape.iter().product::<usize>());
        assert_eq!(file.stored.layers["a"].shape, [1, values.len()]);
    }
}

#[test]
fn markers_in_the_header_or_in_tensors_or_both() {
    let weight = fp8("a.weight", &[2, 1]);
    let scale = |shape: &[usize]| scale("a.weight_scale", shape, &[3.0]);
    let header_only = opened(&[weight.clone(), scale(&[])], Some(&entry(FP8_MARKER)));
    let tensor_only = opened(&[weight.clone(), scale(&[1]), marker("a", FP8_MARKER)], None);
    // Notes that no loader reads may differ.
    let noted = r#"{"orig_dtype": "torch.bfloat16", "format": "float8_e4m3fn", "per_row": false}"#;
    let both = opened(&[weight, scale(&[1, 1]), marker("a", noted)], Some(&entry(FP8_MARKER)));
    for file in [header_only, tensor_only, both] {
        assert_eq!(read_a(&file), (Spelling::Comfy, "fp8".to_owned(), vec![3.0, 6.0]));
        assert_eq!(file.stored.matmul_precisions, [].into());
        assert_eq!(file.stored.unknown_options, [].into());
    }
}

#[test]
fn header_entries_carry_the_prefix_of_the_names() {
    let name = "model.diffusion_model.blocks.0.q";
    let full = r#"{"format": "float8_e4m3fn", "full_precision_matrix_mult": true}"#;
    let tensors = [
        fp8(&format!("{name}.weight"), &[1, 2]),
        scale(&format!("{name}.weight_scale"), &[], &[3.0]),
        scale(&format!("{name}.input_scale"), &[], &[1.0]),
    ];
    let file = opened(&tensors, Some(&entry(full).replace(r#""a""#, &format!("{name:?}"))));
    assert_eq!((defects(&file), orphans(&file)), (vec![], vec![]));
    assert_eq!(file.stored.layers[name].spelling, Spelling::Comfy);
    assert_eq!(file.stored.matmul_precisions, [(name.to_owned(), MatmulPrecision::Full)].into());

    // Without the prefix the entry belongs to nothing, and the scale has no marker.
    let file = opened(&tensors, Some(&entry(full).replace(r#""a""#, r#""blocks.0.q""#)));
    let problem = format!(
        "has `{name}.weight_scale`, which ComfyUI does not heed: the layer has no marker, other layers have"
    );
    assert_eq!(
        orphans(&file),
        [("blocks.0.q", "is marked as quantized, but has no weight"), (name, problem.as_str())]
    );
}

#[test]
fn int8_rows_are_known_by_the_shape_of_their_scales() {
    let per_row = r#"{"format": "int8_tensorwise", "per_row": true}"#;
    let cases = [
        (2, INT8_MARKER, vec![2, 1], "int8-row"),
        (2, per_row, vec![2, 1], "int8-row"),
        (2, INT8_MARKER, vec![], "int8"),
        (2, per_row, vec![1], "int8"),
        (1, per_row, vec![1, 1], "int8-row"),
        (1, INT8_MARKER, vec![1, 1], "int8"),
    ];
    test_each(cases, |(rows, text, shape, scheme)| {
        let count = shape.iter().product();
        let scale = scale("a.weight_scale", shape, &vec![3.0; count]);
        let file = opened(&[int8("a.weight", &[*rows, 1]), scale, marker("a", text)], None);
        let (spelling, found, values) = read_a(&file);
        assert_eq!((spelling, found.as_str()), (Spelling::Comfy, *scheme));
        assert_eq!(values, [3.0, 6.0][..*rows]);
    });
}

/// `MoEExperts` of ComfyUI: an expert's matrix is a slice, and so are its scales.
#[test]
fn expert_banks_of_comfyui_have_the_scales_of_each_expert() {
    let codes = |dtype: &str| Tensor::new("a.weight", dtype, &[2, 2, 3], vec![0x38; 12]);
    let read = |tensors: &[Tensor]| {
        let file = opened(tensors, None);
        assert_eq!((defects(&file), orphans(&file)), (vec![], vec![]));
        let layer = file.stored.layers["a"].clone();
        let matrix = layer.read(&file.checkpoint).unwrap();
        let [rows, cols] = matrix.shape();
        let mut values = vec![0.0; cols];
        let mut all = vec![];
        for row in 0..rows {
            matrix.decode_row(row, &mut values);
            all.extend(values.clone());
        }
        (layer.scheme.to_string(), layer.experts, all)
    };
    // 0x38 is 1 in E4M3 and 56 in INT8.
    let of_experts = scale("a.weight_scale", &[2], &[2.0, 3.0]);
    let fp8 = read(&[codes("F8_E4M3"), of_experts, marker("a", FP8_MARKER)]);
    let values = [[2.0; 6], [3.0; 6]].concat();
    assert_eq!(fp8, ("fp8".to_owned(), Some(2), values));
    let of_rows = scale("a.weight_scale", &[2, 2, 1], &[1.0, 2.0, 3.0, 4.0]);
    let int8 = read(&[codes("I8"), of_rows, marker("a", INT8_MARKER)]);
    let values = [56.0, 112.0, 168.0, 224.0].map(|value| [value; 3]).concat();
    assert_eq!(int8, ("int8-row".to_owned(), Some(2), values));
    // Anything else is no bank that ComfyUI reads.
    let other = scale("a.weight_scale", &[3], &[1.0; 3]);
    let file = opened(&[codes("F8_E4M3"), other, marker("a", FP8_MARKER)], None);
    assert_eq!(defects(&file).len(), 1);
}
