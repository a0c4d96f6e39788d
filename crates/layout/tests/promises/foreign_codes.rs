//! Codes of other programs are decoded to what their own dequantizers give, or it is said why they are not.
//!
//! `fixtures/codes` holds layers that those programs have made, beside the numbers that they decode them to.

use std::path::Path;

use crate::common::{Opened, open, open_beside};
use roundwise_layout::{
    FOREIGN_PROGRAMS, ForeignLayer, ForeignProgram, LayerShape, Layout, MatmulPrecision,
    REFUSED_PROGRAMS, Spelling, StoredLayer,
};
use roundwise_scheme::Scheme;
use roundwise_tensor_file::Checkpoint;
use roundwise_testkit::files::{Tensor, f32_bytes, safetensors_with_metadata};

const FILES: [&str; 8] = [
    "awq",
    "bitsandbytes",
    "compressed_tensors",
    "gptq",
    "hqq",
    "quanto",
    "torchao",
    "transformers",
];

/// What the program's own configuration would say beside the file.
fn config(file: &str) -> &'static str {
    match file {
        "gptq" => r#"{"quantization_config": {"checkpoint_format": "gptq", "desc_act": true}}"#,
        _ => "{}",
    }
}

/// The tensors of a fixture, and its header's entries.
struct Fixture {
    tensors: Vec<Tensor>,
    metadata: Vec<(String, String)>,
}

impl Fixture {
    fn read(file: &str) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/codes");
        let path = Path::new(folder).join(format!("{file}.safetensors"));
        let checkpoint = Checkpoint::open(&path).unwrap();
        let tensors = checkpoint.tensors().iter().map(|header| {
            let shape: Vec<usize> = header.shape.iter().map(|&size| size as usize).collect();
            let bytes = checkpoint.read(header).unwrap();
            Tensor::new(&header.name, header.dtype.name(), &shape, bytes)
        });
        let tensors = tensors.collect();
        let entries = checkpoint.metadata().iter();
        let metadata = entries.map(|(key, value)| (key.clone(), value.clone())).collect();
        Self { tensors, metadata }
    }

    fn open(&self, file: &str) -> Opened {
        let entries: Vec<_> =
            self.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        open_beside(&safetensors_with_metadata(&self.tensors, &entries), Some(config(file)))
    }

    /// Names and numbers of what was decoded, those of the last rows where there are many.
    fn expected(&self) -> impl Iterator<Item = (&str, Vec<f32>)> {
        self.tensors.iter().filter_map(|tensor| {
            let name = tensor.name.strip_prefix("expected.")?;
            assert_eq!(tensor.dtype, "F32");
            Some((name, numbers(&tensor.bytes)))
        })
    }

    fn without(&self, name: &str) -> Self {
        let others = self.tensors.iter().filter(|tensor| tensor.name != name);
        Self { tensors: others.cloned().collect(), metadata: self.metadata.clone() }
    }

    fn with(&self, changed: Tensor) -> Self {
        let mut fixture = self.without(&changed.name);
        fixture.tensors.push(changed);
        fixture
    }

    /// The tensors that are the program's.
    fn of_the_program(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.iter().filter(|tensor| !tensor.name.starts_with("expected."))
    }
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn decode(opened: &Opened, layer: &ForeignLayer) -> Result<Vec<f32>, String> {
    let mut values = vec![0.0; layer.rows() * layer.cols()];
    let decoded = layer.decode(&opened.checkpoint, 0..layer.rows(), &mut values);
    decoded.map(|()| values).map_err(|error| error.to_string())
}

/// The numbers of the tensor of this name, if its layer was found.
fn read(opened: &Opened, name: &str) -> Option<Result<Vec<f32>, String>> {
    let layer = name.strip_suffix(".weight").unwrap_or(name);
    if let Some(foreign) = opened.stored.foreign.get(layer) {
        assert_eq!(foreign.name, name);
        return Some(decode(opened, foreign));
    }
    let stored = opened.stored.layers.get(layer)?;
    let read = stored.read(&opened.checkpoint).map(|matrix| matrix.to_f32());
    Some(read.map_err(|error| error.to_string()))
}

#[test]
fn numbers_are_those_of_the_programs_own_dequantizers() {
    for file in FILES {
        let fixture = Fixture::read(file);
        let opened = fixture.open(file);
        assert_eq!(opened.stored.defects, []);
        assert_eq!(opened.stored.orphans, []);
        let mut layers = 0;
        for (name, expected) in fixture.expected() {
            let found = read(&opened, name).unwrap_or_else(|| panic!("{file}: no {name}")).unwrap();
            let last = &found[found.len() - expected.len()..];
            let differ = last.iter().zip(&expected).filter(|(a, b)| a.to_bits() != b.to_bits());
            let differ: Vec<_> = differ.take(3).collect();
            // A zero has no sign of its own in some programs.
            let is_same = differ.iter().all(|(a, b)| **a == 0.0 && **b == 0.0);
            assert!(is_same, "{file}, {name}: {differ:?}");
            layers += 1;
        }
        let found = opened.stored.foreign.len() + opened.stored.layers.len();
        assert_eq!(found, layers, "{file}");
    }
}

#[test]
fn rows_by_themselves_are_those_of_the_whole() {
    for file in FILES {
        let opened = Fixture::read(file).open(file);
        for (name, layer) in &opened.stored.foreign {
            let whole = decode(&opened, layer).unwrap();
            for height in [1, 3] {
                let mut joined = vec![];
                for first in (0..layer.rows()).step_by(height) {
                    let rows = first..layer.rows().min(first + height);
                    let mut values = vec![0.0; rows.len() * layer.cols()];
                    layer.decode(&opened.checkpoint, rows, &mut values).unwrap();
                    joined.extend(values);
                }
                assert_eq!(bits(&joined), bits(&whole), "{file}, {name}, {height}");
            }
        }
    }
}

/// Their matrices lie transposed in the numbers, whose rows are inputs.
#[test]
fn codes_of_gpt_oss_are_those_of_a_scheme() {
    let opened = Fixture::read("transformers").open("transformers");
    let name = "mlp.experts.down_proj";
    let bank = &opened.stored.expert_blocks[name];
    assert_eq!((bank.scheme, bank.experts, bank.shape), (Scheme::MXFP4, 2, [6, 64]));
    assert_eq!(opened.stored.expert_blocks.len(), 1);
    let numbers = decode(&opened, &opened.stored.foreign[name]).unwrap();
    let [rows, cols] = bank.shape;
    for (expert, numbers) in numbers.chunks(rows * cols).enumerate() {
        let matrix = bank.read_expert(&opened.checkpoint, expert).unwrap();
        let codes = matrix.to_f32();
        let turned = (0..rows * cols).map(|at| numbers[at % cols * rows + at / cols]);
        assert_eq!(bits(&codes), bits(&turned.collect::<Vec<_>>()), "{expert}");
        let shape = matrix.shape().into();
        assert!(Layout::Mxfp4.takes(bank.scheme, LayerShape { experts: Some(2), ..shape }).is_ok());
        // Packed again, they are the bytes that were read.
        for packed in Layout::Mxfp4.pack(name, matrix, MatmulPrecision::Any) {
            let header = opened.checkpoint.get(&packed.name).unwrap();
            let bytes = opened.checkpoint.read(header).unwrap();
            let length = packed.bytes.len();
            assert!(bytes[expert * length..][..length] == packed.bytes, "{}", packed.name);
        }
    }
}

#[test]
fn codes_are_told_in_words() {
    let told = |file: &str, layer: &str| {
        let opened = Fixture::read(file).open(file);
        let layer = &opened.stored.foreign[layer];
        let dtype = layer.dtype.map_or("unknown", |dtype| dtype.name());
        format!("{}: {} {:?} {dtype}", layer.program.name, layer.codes, layer.shape)
    };
    let cases = [
        ("bitsandbytes", "nf4", "bitsandbytes (NF4): 4 bits in blocks of 64 [4, 96] BF16"),
        (
            "bitsandbytes",
            "nested",
            "bitsandbytes (NF4): 4 bits in blocks of 64, scales in 8 bits [260, 64] F16",
        ),
        ("bitsandbytes", "int8", "bitsandbytes (INT8): 8 bits in rows [4, 40] unknown"),
        ("gptq", "four", "GPTQ: 4 bits in groups of 16, in another order [16, 64] F16"),
        ("gptq", "three", "GPTQ: 3 bits in groups of 16 [32, 32] F16"),
        ("awq", "q", "AWQ: 4 bits in groups of 32 [24, 64] F16"),
        ("hqq", "four", "HQQ: 4 bits in groups of 32 along axis 1 [8, 64] F32"),
        ("quanto", "int8", "quanto: 8 bits (qint8) in rows [6, 32] unknown"),
        (
            "transformers",
            "mlp.experts.down_proj",
            "gpt-oss (MXFP4): 4 bits in groups of 32 [2, 64, 6] unknown",
        ),
        (
            "transformers",
            "experts.gate_up_proj",
            "transformers (FP8 experts): 8 bits in blocks of 128×128 [2, 2, 256] unknown",
        ),
    ];
    for (file, layer, expected) in cases {
        assert_eq!(told(file, layer), expected);
    }
}

fn is_plain(layer: &StoredLayer) -> bool {
    layer.spelling == Spelling::Plain
}

/// Without one of its tensors a layer is refused, or it was not needed.
#[test]
fn a_layer_that_lacks_a_tensor_is_never_other_numbers() {
    for file in FILES {
        let fixture = Fixture::read(file);
        let names: Vec<&str> = fixture.of_the_program().map(|it| it.name.as_str()).collect();
        for missing in names {
            let opened = fixture.without(missing).open(file);
            for (name, expected) in fixture.expected() {
                // Only a configuration tells codes with zero points from others, and FP8 codes without
                // scales are numbers by themselves.
                let is_told_by_nothing = missing == "asym.weight_zero_point";
                if is_told_by_nothing || opened.stored.layers.values().any(is_plain) {
                    continue;
                }
                if let Some(Ok(found)) = read(&opened, name) {
                    let is_same = found[found.len() - expected.len()..] == expected;
                    assert!(is_same, "{file}: {name} has other numbers without {missing}");
                }
            }
        }
    }
}

/// Whatever shape a tensor has, nothing panics, and what is read has the numbers that its shape says.
#[test]
fn tensors_of_other_shapes_and_dtypes_are_refused_or_read() {
    for file in FILES {
        let fixture = Fixture::read(file);
        for tensor in fixture.of_the_program() {
            for changed in changes(tensor) {
                let told =
                    format!("{file}: {} as {} {:?}", tensor.name, changed.dtype, changed.shape);
                let opened = fixture.with(changed).open(file);
                for layer in opened.stored.foreign.values() {
                    let count: u64 = layer.shape.iter().product();
                    assert_eq!(count as usize, layer.rows() * layer.cols(), "{told}");
                    let _ = decode(&opened, layer);
                }
                for layer in opened.stored.layers.values() {
                    let _ = layer.read(&opened.checkpoint);
                }
            }
        }
    }
}

/// The tensor cut short, turned, flattened, of other dtypes, and with other bytes.
fn changes(tensor: &Tensor) -> Vec<Tensor> {
    let Tensor { name, dtype, shape, bytes } = tensor;
    let new = |dtype: &str, shape: &[usize], bytes: Vec<u8>| Tensor::new(name, dtype, shape, bytes);
    let mut changed = vec![new("U8", &[bytes.len()], bytes.clone()), new(dtype, &[0], vec![])];
    if let [first, rest @ ..] = shape.as_slice() {
        let half = first / 2;
        let row_bytes = bytes.len() / (*first).max(1);
        let cut = [&[half][..], rest].concat();
        changed.push(new(dtype, &cut, bytes[..half * row_bytes].to_vec()));
        let turned: Vec<usize> = shape.iter().rev().copied().collect();
        changed.push(new(dtype, &turned, bytes.clone()));
        let count = shape.iter().product();
        changed.push(new(dtype, &[count], bytes.clone()));
        changed.push(new(dtype, &[1, count], bytes.clone()));
        changed.push(new(dtype, &[&[1][..], shape].concat(), bytes.clone()));
    }
    let width = bytes.len() / shape.iter().product::<usize>().max(1);
    let same_width: &[&str] = match width {
        1 => &["U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "BOOL"],
        2 => &["F16", "BF16", "I16"],
        4 => &["F32", "I32", "U32"],
        _ => &["I64", "F64"],
    };
    changed.extend(same_width.iter().map(|dtype| new(dtype, shape, bytes.clone())));
    changed.extend([0x00, 0x7F, 0x80, 0xFF].map(|byte| new(dtype, shape, vec![byte; bytes.len()])));
    changed
}

#[test]
fn scales_that_are_no_numbers_are_defects_of_their_layers() {
    let not_numbers = |tensor: &Tensor| -> Option<Vec<u8>> {
        let mut bytes = tensor.bytes.clone();
        let value: &[u8] = match tensor.dtype.as_str() {
            "F32" => &[0, 0, 0xC0, 0x7F],
            "F16" => &[0, 0x7C],
            "BF16" => &[0xC0, 0x7F],
            "F8_E8M0" => &[0xFF],
            _ => return None,
        };
        bytes[..value.len()].copy_from_slice(value);
        Some(bytes)
    };
    let mut tried = 0;
    for file in FILES {
        let fixture = Fixture::read(file);
        for tensor in fixture.of_the_program() {
            let Some(bytes) = not_numbers(tensor) else { continue };
            // What is no part of the codes may be anything.
            if tensor.name.ends_with(".bias") || tensor.name.ends_with("put_scale") {
                continue;
            }
            let opened = fixture.with(Tensor { bytes, ..tensor.clone() }).open(file);
            let layer =
                &opened.stored.defects.first().unwrap_or_else(|| panic!("{}", tensor.name)).layer;
            assert!(tensor.name.starts_with(layer.as_str()), "{}: {layer}", tensor.name);
            tried += 1;
        }
    }
    assert!(tried > 40, "{tried}");
}

fn gptq(zero_word: u32) -> Vec<Tensor> {
    let words = |name: &str, shape: &[usize], word: u32| {
        Tensor::new(name, "I32", shape, word.to_le_bytes().repeat(shape.iter().product()))
    };
    vec![
        words("a.qweight", &[1, 8], 0x7654_3210),
        words("a.qzeros", &[1, 1], zero_word),
        Tensor::new("a.scales", "F32", &[1, 8], f32_bytes(&[2.0; 8])),
    ]
}

#[test]
fn zero_points_of_gptq_are_as_the_configuration_says() {
    let first = |zeros: u32, config: Option<&str>| {
        let opened = open_beside(&safetensors_with_metadata(&gptq(zeros), &[]), config);
        read(&opened, "a.weight").map(|values| values.unwrap()[0])
    };
    let v1 = r#"{"quantization_config": {"quant_method": "gptq", "bits": 4}}"#;
    let v2 = r#"{"quantization_config": {"bits": 4, "checkpoint_format": "gptq_v2"}}"#;
    let marlin = r#"{"quantization_config": {"bits": 4, "checkpoint_format": "marlin"}}"#;
    let gptqmodel = r#"{"quantization_config": {"bits": 4, "checkpoint_format": "gptq",
        "meta": {"quantizer": ["gptqmodel:2.0.0"]}}}"#;
    assert_eq!(first(0x3333_3333, Some(v1)), Some(-8.0));
    assert_eq!(first(0x3333_3333, Some(v2)), Some(-6.0));
    assert_eq!(first(0x3333_3333, Some(marlin)), None);
    // AutoRound's own packing stores them as they are, and does not say so; symmetric ones tell.
    let auto_round = |packing: &str| {
        format!(
            r#"{{"quantization_config": {{"quant_method": "auto-round", "packing_format": "{packing}"}}}}"#
        )
    };
    assert_eq!(first(0x3333_3333, Some(&auto_round("auto_round:auto_gptq"))), Some(-8.0));
    assert_eq!(first(0x8888_8888, Some(&auto_round("auto_round"))), Some(-16.0));
    assert_eq!(first(0x3333_3333, Some(&auto_round("auto_round"))), None);
    assert_eq!(first(0x3333_3333, Some(&auto_round("auto_round:auto_awq"))), None);
    let awq = r#"{"quantization_config": {"quant_method": "awq", "bits": 4}}"#;
    assert_eq!(first(0x3333_3333, Some(awq)), None);
    // The first zero point is 0: of GPTQModel's words, one has been taken off the whole.
    assert_eq!(first(0xFFFF_FFFF, Some(v1)), Some(0.0));
    assert_eq!(first(0x1111_1110_u32.wrapping_sub(0x1111_1111), Some(gptqmodel)), Some(0.0));
    // Without a configuration only the middle of the range is certain.
    assert_eq!(first(0x7777_7777, None), Some(-16.0));
    assert_eq!(first(0x8888_8888, None), Some(-16.0));
    assert_eq!(first(0x3333_3333, None), None);
}

#[test]
fn codes_of_a_rotated_model_are_refused() {
    for entry in [r#""rotation": "quarot""#, r#""transform_config": {"config_groups": {"R4": {}}}"#]
    {
        let config =
            format!(r#"{{"quantization_config": {{"quant_method": "gptq", "bits": 4, {entry}}}}}"#);
        let file = safetensors_with_metadata(&gptq(0x7777_7777), &[]);
        let opened = open_beside(&file, Some(&config));
        assert!(opened.stored.foreign.is_empty(), "{entry}");
        let [defect] = opened.stored.defects.as_slice() else { panic!("{entry}") };
        assert!(defect.problem.contains("of a rotated weight"), "{}", defect.problem);
    }
    let idle =
        r#"{"quantization_config": {"quant_method": "gptq", "bits": 4, "transform_config": {}}}"#;
    let file = safetensors_with_metadata(&gptq(0x7777_7777), &[]);
    assert!(!open_beside(&file, Some(idle)).stored.foreign.is_empty());
}

#[test]
fn codes_that_the_configuration_gives_scales_are_no_weights_without_one() {
    let layer = |name: &str| Tensor::new(name, "F8_E4M3", &[2, 2], vec![0x38; 4]);
    let scale = Tensor::new("a.weight_scale", "F32", &[], f32_bytes(&[2.0]));
    let bytes = safetensors_with_metadata(&[layer("a.weight"), scale, layer("b.weight")], &[]);
    let told = r#"{"quantization_config": {"quant_method": "fp8"}}"#;
    let opened = open_beside(&bytes, Some(told));
    assert_eq!(opened.stored.layers.keys().collect::<Vec<_>>(), ["a"]);
    let [defect] = opened.stored.defects.as_slice() else { panic!("one layer has no scale") };
    assert_eq!(
        (defect.layer.as_str(), defect.problem.as_str()),
        (
            "b",
            "its weight is e4m3 without a scale, and the configuration beside the file says `quant_method: fp8`, \
             whose codes have scales"
        )
    );
    for silent in [None, Some(r#"{"model_type": "llama"}"#)] {
        let opened = open_beside(&bytes, silent);
        assert_eq!(opened.stored.layers["b"].spelling, Spelling::Plain);
    }
}

#[test]
fn codes_with_zero_points_need_them() {
    let fixture = Fixture::read("compressed_tensors").without("asym.weight_zero_point");
    let file = safetensors_with_metadata(&fixture.tensors, &[]);
    let config = r#"{"quantization_config": {"config_groups":
        {"group_0": {"weights": {"num_bits": 4, "symmetric": false}}}}}"#;
    let opened = open_beside(&file, Some(config));
    let defect = opened.stored.defects.iter().find(|defect| defect.layer == "asym").unwrap();
    assert!(defect.problem.contains("`asym.weight_zero_point` is missing"), "{}", defect.problem);
}

#[test]
fn tables_that_no_program_decodes_with_are_refused() {
    let mut fixture = Fixture::read("bitsandbytes");
    let table = fixture.tensors.iter_mut().find(|it| it.name == "nf4.weight.quant_map").unwrap();
    table.bytes = f32_bytes(&std::array::from_fn::<f32, 16, _>(|at| at as f32 / 7.5 - 1.0));
    let opened = fixture.open("bitsandbytes");
    let [defect] = opened.stored.defects.as_slice() else { panic!("{:?}", opened.stored.defects) };
    assert_eq!(defect.layer, "nf4");
    assert!(defect.problem.contains("bitsandbytes (NF4), `nf4.weight.quant_map` is another table"));
}

#[test]
fn two_layers_of_one_name_are_refused() {
    let mut tensors = gptq(0x7777_7777);
    tensors.push(Tensor::new("a.weight", "F32", &[1], vec![0; 4]));
    let opened = open(&safetensors_with_metadata(&tensors, &[]));
    assert!(opened.stored.foreign.is_empty());
    let problem = &opened.stored.defects[0].problem;
    assert!(problem.contains("has both `a.weight` and `a.qweight`"), "{problem}");
}

#[test]
fn documentation_lists_every_program() {
    let page = include_str!("../../../../docs/codes.md");
    for program in FOREIGN_PROGRAMS {
        let ForeignProgram { name, told_by, reads, formula, .. } = program;
        let row = format!("| {name} | {told_by} | {reads} | {formula} |");
        assert!(page.contains(&row), "docs/codes.md lacks the row\n{row}");
    }
    let refused = page.split("## Refused by name").nth(1).unwrap();
    for program in REFUSED_PROGRAMS {
        assert!(refused.contains(program), "docs/codes.md does not refuse {program}");
    }
}
