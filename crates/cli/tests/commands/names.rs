//! Names of other dialects: what is made of such a file is what is made of the original.

use roundwise_stats::{
    Knowledge, LayerPlan, LayerShape, LayerStatistics, SecondMoment, StatisticsWriter,
};
use roundwise_tensor_file::Overwrite;
use roundwise_testkit::files::{Tensor, f32_bytes, safetensors};
use roundwise_testkit::weights::gaussian;

use crate::tool::Folder;

const HIDDEN: usize = 64;

fn tensor(name: &str, shape: &[usize]) -> Tensor {
    let seed = name.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31) + u64::from(byte));
    let values = gaussian(1, shape.iter().product(), seed).values;
    Tensor::new(name, "F32", shape, f32_bytes(&values))
}

/// Our layer, what diffusers has of it with their rows, its columns, and whether it has a bias.
type Layer = (&'static str, &'static [(&'static str, usize)], usize, bool);

/// A FLUX of one double and one single block, as `flux_to_diffusers` of ComfyUI has its names.
const FLUX: &[Layer] = &[
    (
        "double_blocks.0.img_attn.qkv",
        &[
            ("transformer_blocks.0.attn.to_q", 64),
            ("transformer_blocks.0.attn.to_k", 64),
            ("transformer_blocks.0.attn.to_v", 64),
        ],
        64,
        true,
    ),
    (
        "double_blocks.0.txt_attn.qkv",
        &[
            ("transformer_blocks.0.attn.add_q_proj", 64),
            ("transformer_blocks.0.attn.add_k_proj", 64),
            ("transformer_blocks.0.attn.add_v_proj", 64),
        ],
        64,
        true,
    ),
    ("double_blocks.0.img_attn.proj", &[("transformer_blocks.0.attn.to_out.0", 64)], 64, true),
    ("double_blocks.0.txt_attn.proj", &[("transformer_blocks.0.attn.to_add_out", 64)], 64, true),
    ("double_blocks.0.img_mod.lin", &[("transformer_blocks.0.norm1.linear", 384)], 64, true),
    (
        "double_blocks.0.txt_mod.lin",
        &[("transformer_blocks.0.norm1_context.linear", 384)],
        64,
        true,
    ),
    ("double_blocks.0.img_mlp.0", &[("transformer_blocks.0.ff.net.0.proj", 256)], 64, true),
    ("double_blocks.0.img_mlp.2", &[("transformer_blocks.0.ff.net.2", 64)], 256, true),
    ("double_blocks.0.txt_mlp.0", &[("transformer_blocks.0.ff_context.net.0.proj", 256)], 64, true),
    ("double_blocks.0.txt_mlp.2", &[("transformer_blocks.0.ff_context.net.2", 64)], 256, true),
    (
        "single_blocks.0.linear1",
        &[
            ("single_transformer_blocks.0.attn.to_q", 64),
            ("single_transformer_blocks.0.attn.to_k", 64),
            ("single_transformer_blocks.0.attn.to_v", 64),
            ("single_transformer_blocks.0.proj_mlp", 256),
        ],
        64,
        true,
    ),
    ("single_blocks.0.linear2", &[("single_transformer_blocks.0.proj_out", 64)], 320, true),
    (
        "single_blocks.0.modulation.lin",
        &[("single_transformer_blocks.0.norm.linear", 192)],
        64,
        true,
    ),
    ("img_in", &[("x_embedder", 64)], 16, true),
    ("txt_in", &[("context_embedder", 64)], 48, true),
    ("time_in.in_layer", &[("time_text_embed.timestep_embedder.linear_1", 64)], 32, true),
    ("vector_in.in_layer", &[("time_text_embed.text_embedder.linear_1", 64)], 24, true),
    ("final_layer.linear", &[("proj_out", 16)], 64, true),
    ("final_layer.adaLN_modulation.1", &[("norm_out.linear", 128)], 64, true),
];

const NORMS: [(&str, &str); 6] = [
    ("double_blocks.0.img_attn.norm.query_norm", "transformer_blocks.0.attn.norm_q"),
    ("double_blocks.0.img_attn.norm.key_norm", "transformer_blocks.0.attn.norm_k"),
    ("double_blocks.0.txt_attn.norm.query_norm", "transformer_blocks.0.attn.norm_added_q"),
    ("double_blocks.0.txt_attn.norm.key_norm", "transformer_blocks.0.attn.norm_added_k"),
    ("single_blocks.0.norm.query_norm", "single_transformer_blocks.0.attn.norm_q"),
    ("single_blocks.0.norm.key_norm", "single_transformer_blocks.0.attn.norm_k"),
];

/// The model under diffusers' names and under its own.
fn flux() -> [Vec<Tensor>; 2] {
    let (mut theirs, mut ours) = (vec![], vec![]);
    for (name, parts, cols, has_bias) in FLUX {
        for (leaf, cols) in [("weight", Some(*cols)), ("bias", None)] {
            if leaf == "bias" && !has_bias {
                continue;
            }
            let shape = |rows: usize| [Some(rows), cols].into_iter().flatten().collect::<Vec<_>>();
            let made: Vec<Tensor> = parts
                .iter()
                .map(|(part, rows)| tensor(&format!("{part}.{leaf}"), &shape(*rows)))
                .collect();
            let mut bytes: Vec<u8> = made.iter().flat_map(|part| part.bytes.clone()).collect();
            if name.ends_with("adaLN_modulation.1") {
                let middle = bytes.len() / 2;
                bytes.rotate_left(middle);
            }
            let rows = parts.iter().map(|(_, rows)| rows).sum();
            ours.push(Tensor::new(&format!("{name}.{leaf}"), "F32", &shape(rows), bytes));
            theirs.extend(made);
        }
    }
    for (own, other) in NORMS {
        let norm = tensor(&format!("{other}.weight"), &[HIDDEN]);
        ours.push(Tensor { name: format!("{own}.scale"), ..norm.clone() });
        theirs.push(norm);
    }
    [theirs, ours]
}

fn folder() -> Folder {
    let [theirs, ours] = flux();
    let folder = Folder::with("theirs.safetensors", &safetensors(&theirs));
    folder.write("ours.safetensors", &safetensors(&ours));
    folder
}

/// Converts a file and returns the bytes of the output.
#[track_caller]
fn converted(folder: &Folder, input: &str, flags: &[&str]) -> Vec<u8> {
    let output = format!("{input}-out.safetensors");
    let always = ["convert", input, "-o", &output, "--force", "--no-provenance", "-q"];
    folder.done(&[&always[..], flags].concat());
    folder.read(&output)
}

#[track_caller]
fn assert_same(folder: &Folder, flags: &[&str]) {
    let [theirs, ours] =
        ["theirs.safetensors", "ours.safetensors"].map(|input| converted(folder, input, flags));
    assert!(theirs == ours, "{flags:?}");
}

#[test]
fn what_diffusers_names_becomes_what_the_original_becomes() {
    let folder = folder();
    for scheme in ["fp8", "int8-row", "nvfp4", "bf16"] {
        assert_same(&folder, &["--scheme", scheme]);
    }
    assert_same(&folder, &["--method", "principal", "--top-k", "4"]);
    let lora = [
        tensor("transformer.transformer_blocks.0.attn.to_k.lora_A.weight", &[4, 64]),
        tensor("transformer.transformer_blocks.0.attn.to_k.lora_B.weight", &[64, 4]),
    ];
    folder.write("lora.safetensors", &safetensors(&lora));
    assert_same(&folder, &["--merge-lora", "lora.safetensors"]);
}

#[test]
fn what_became_of_the_names_is_said_and_they_can_be_kept() {
    let folder = folder();
    let plan = folder.done(&["plan", "theirs.safetensors"]);
    let note = "note: names translated from diffusers' to the model's own: 44 tensors, 6 of them \
                joined from several, 2 of them with rows in another order";
    let plain: String = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(plain.contains(note), "{plan}");
    assert!(plan.contains("double_blocks.0.img_attn.qkv.weight"), "{plan}");
    let inspected = folder.done(&["inspect", "theirs.safetensors"]);
    assert!(inspected.contains("names: diffusers; `convert` translates them"), "{inspected}");

    let keep = ["convert", "theirs.safetensors", "--names", "keep"];
    folder.refused(&keep, 1, &["its names are diffusers'"]);
    folder.done(&[&keep[..], &["--scheme", "bf16", "-o", "k.safetensors", "-q"]].concat());
    let kept = folder.file("k.safetensors");
    assert!(kept.tensors.contains_key("transformer_blocks.0.attn.to_q.weight"));
    folder.done(&["verify", "theirs.safetensors", "k.safetensors", "-q"]);
}

#[test]
fn a_converted_file_is_compared_with_either_original() {
    let folder = folder();
    converted(&folder, "theirs.safetensors", &[]);
    for original in ["theirs.safetensors", "ours.safetensors"] {
        folder.done(&["verify", original, "theirs.safetensors-out.safetensors"]);
    }
}

#[test]
fn layers_answer_to_both_names() {
    let folder = folder();
    for file in ["theirs.safetensors", "ours.safetensors"] {
        for name in ["transformer_blocks.0.attn.to_k", "double_blocks.0.img_attn.qkv.weight"] {
            let text = folder.done(&["plan", file, "--explain", name]);
            assert!(text.starts_with("double_blocks.0.img_attn.qkv.weight: "), "{text}");
        }
    }
}

#[test]
fn a_name_that_is_not_known_stops_the_translation_of_all() {
    let [mut theirs, _] = flux();
    theirs.push(tensor("transformer_blocks.0.attn.to_extra.weight", &[64, 64]));
    let folder = Folder::with("m.safetensors", &safetensors(&theirs));
    let words = ["transformer_blocks.0.attn.to_extra.weight", "FLUX.1", "`--names keep`"];
    folder.refused(&["convert", "m.safetensors"], 1, &words);
    assert_eq!(folder.names(), ["m.safetensors"]);
    let inspected = folder.done(&["inspect", "m.safetensors"]);
    assert!(inspected.contains("names are not translated"), "{inspected}");
}

/// A layer in FP8 with one scale.
fn in_codes(layer: &str, rows: usize) -> [Tensor; 2] {
    let scale = 0.5_f32.to_le_bytes().to_vec();
    [
        Tensor::new(&format!("{layer}.weight"), "F8_E4M3", &[rows, 64], vec![0x38; rows * 64]),
        Tensor::new(&format!("{layer}.weight_scale"), "F32", &[], scale),
    ]
}

#[test]
fn codes_go_with_their_layer_where_no_rows_move() {
    let [mut theirs, _] = flux();
    let layer = "transformer_blocks.0.attn.to_q";
    theirs.retain(|tensor| tensor.name != format!("{layer}.weight"));
    theirs.extend(in_codes(layer, 64));
    let folder = Folder::with("m.safetensors", &safetensors(&theirs));
    // The other parts of the joined layer are in F32 here.
    let steps = [
        "`roundwise dequantize m.safetensors -o m-plain.safetensors --dtype f32`",
        "`roundwise convert m-plain.safetensors`",
    ];
    folder.refused(&["convert", "m.safetensors"], 1, &[layer, "codes", steps[0], steps[1]]);
    for step in steps {
        let typed: Vec<&str> = step.trim_matches('`').split(' ').skip(1).chain(["-q"]).collect();
        folder.done(&typed);
    }
    let told = folder.done(&["inspect", "m.safetensors"]);
    assert!(
        told.contains("names are not translated: tensor `transformer_blocks.0.attn.to_q"),
        "{told}"
    );
    assert!(!told.contains("\\n"), "{told}");

    // Where all parts of the layer are in codes, or the others are in the usual dtype, none is named.
    let [mut theirs, _] = flux();
    for tensor in theirs.iter_mut().filter(|tensor| tensor.name.ends_with(".weight")) {
        let halves = tensor.bytes.as_chunks::<4>().0.iter().flat_map(|bytes| [bytes[2], bytes[3]]);
        (tensor.dtype, tensor.bytes) = ("BF16".into(), halves.collect());
    }
    let layer = "transformer_blocks.0.attn.to_q";
    theirs.retain(|tensor| tensor.name != format!("{layer}.weight"));
    theirs.extend(in_codes(layer, 64));
    folder.write("m.safetensors", &safetensors(&theirs));
    let steps = ["`roundwise dequantize m.safetensors -o m-plain.safetensors`, then"];
    folder.refused(&["convert", "m.safetensors"], 1, &[layer, "codes", steps[0]]);

    let [mut theirs, _] = flux();
    let layer = "transformer_blocks.0.ff.net.2";
    theirs.retain(|tensor| tensor.name != format!("{layer}.weight"));
    theirs.push(tensor("transformer_blocks.0.ff.net.2.weight", &[64, 64]));
    let at = theirs.len() - 1;
    theirs.splice(at.., in_codes(layer, 64));
    folder.write("m.safetensors", &safetensors(&theirs));
    let flags = ["dequantize", "m.safetensors", "-q", "--names", "translate", "-o"];
    folder.done(&[&flags[..], &["a.safetensors"]].concat());
    let decoded = folder.file("a.safetensors");
    assert_eq!(decoded.tensors["double_blocks.0.img_mlp.2.weight"].dtype, "BF16");
    folder.done(&["dequantize", "m.safetensors", "-q", "-o", "b.safetensors"]);
    assert!(folder.file("b.safetensors").tensors.contains_key(&format!("{layer}.weight")));
}

#[test]
fn what_training_code_puts_before_names_is_taken_off() {
    let [_, ours] = flux();
    let folder = Folder::with("ours.safetensors", &safetensors(&ours));
    for wrapper in ["_orig_mod.", "module._orig_mod."] {
        let wrapped: Vec<Tensor> = ours
            .iter()
            .map(|tensor| Tensor { name: format!("{wrapper}{}", tensor.name), ..tensor.clone() })
            .collect();
        folder.write("theirs.safetensors", &safetensors(&wrapped));
        assert_same(&folder, &[]);
        let plan = folder.done(&["plan", "theirs.safetensors"]);
        assert!(plan.contains(&format!("note: `{wrapper}`, which training code puts")), "{plan}");
        folder.done(&["verify", "theirs.safetensors", "ours.safetensors-out.safetensors"]);
        let keep = converted(&folder, "theirs.safetensors", &["--names", "keep"]);
        let name = format!("{wrapper}double_blocks.0.img_attn.qkv.weight");
        assert!(keep.windows(name.len()).any(|it| it == name.as_bytes()));
    }
}

/// Trainers wrap single blocks, to share them out or to compute them again.
#[test]
fn what_training_code_puts_inside_names_is_taken_off() {
    let [_, ours] = flux();
    let folder = Folder::with("ours.safetensors", &safetensors(&ours));
    for wrapper in ["_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod."] {
        let wrapped =
            |name: &str| name.replace("double_blocks.0.", &format!("double_blocks.0.{wrapper}"));
        let theirs: Vec<Tensor> = ours
            .iter()
            .map(|tensor| Tensor { name: wrapped(&tensor.name), ..tensor.clone() })
            .collect();
        folder.write("theirs.safetensors", &safetensors(&theirs));
        assert_same(&folder, &[]);
        let plan = folder.done(&["plan", "theirs.safetensors"]);
        let note = format!("note: `{wrapper}`, which training code puts inside names");
        assert!(plan.contains(&note), "{plan}");
        folder.done(&["verify", "theirs.safetensors", "ours.safetensors-out.safetensors"]);
        assert!(folder.done(&["inspect", "theirs.safetensors"]).contains("FLUX.1"));
        let keep = converted(&folder, "theirs.safetensors", &["--names", "keep"]);
        let name = format!("double_blocks.0.{wrapper}img_attn.qkv.weight");
        assert!(keep.windows(name.len()).any(|it| it == name.as_bytes()));
    }
}

/// Statistics of layers, the same for all that have as many columns unless `scale` says otherwise.
fn write_statistics(
    folder: &Folder,
    name: &str,
    layers: &[(String, usize, usize)],
    scale: impl Fn(&str) -> f32,
) {
    let shape = |(module, rows, cols): &(String, usize, usize)| LayerShape {
        module: module.clone(),
        rows: *rows as u64,
        columns: *cols as u64,
    };
    let plan = |layer| LayerPlan {
        shape: shape(layer),
        count: 2000,
        has_mean: true,
        has_largest: false,
        knowledge: Knowledge::Diagonal,
        mixed: None,
        gradient: None,
    };
    let plans = layers.iter().map(plan).collect();
    let path = folder.path(name);
    let writer = StatisticsWriter::create(&path, Overwrite::Replace, "a test", plans).unwrap();
    for (module, _, cols) in layers {
        let mean: Vec<f32> = (0..*cols).map(|i| scale(module) * (0.5 + (i % 3) as f32)).collect();
        let diagonal = mean.iter().map(|mean| mean * mean + 0.1).collect();
        let layer = LayerStatistics::new(2000, Some(mean), diagonal, SecondMoment::Diagonal);
        writer.write(module, &layer.unwrap()).unwrap();
    }
    writer.commit().unwrap();
}

#[test]
fn statistics_are_found_under_either_names() {
    let folder = folder();
    let theirs: Vec<_> = FLUX
        .iter()
        .flat_map(|(_, parts, cols, _)| {
            parts.iter().map(move |(part, rows)| ((*part).to_owned(), *rows, *cols))
        })
        .collect();
    let rows = |parts: &[(&str, usize)]| parts.iter().map(|(_, rows)| rows).sum();
    let ours: Vec<_> = FLUX
        .iter()
        .map(|(name, parts, cols, _)| ((*name).to_owned(), rows(parts), *cols))
        .collect();
    write_statistics(&folder, "theirs.stats.safetensors", &theirs, |_| 1.0);
    write_statistics(&folder, "ours.stats.safetensors", &ours, |_| 1.0);
    let expected = converted(&folder, "ours.safetensors", &["--stats", "ours.stats.safetensors"]);
    assert!(expected != converted(&folder, "ours.safetensors", &[]));
    for file in ["theirs.safetensors", "ours.safetensors"] {
        for statistics in ["theirs.stats.safetensors", "ours.stats.safetensors"] {
            let found = converted(&folder, file, &["--stats", statistics]);
            assert!(found == expected, "{file} {statistics}");
        }
    }
    let odd = |module: &str| if module.ends_with("0.attn.to_k") { 2.0 } else { 1.0 };
    write_statistics(&folder, "odd.stats.safetensors", &theirs, odd);
    let words = ["transformer_blocks.0.attn.to_k", "double_blocks.0.img_attn.qkv", "other inputs"];
    let flags = ["convert", "ours.safetensors", "--stats", "odd.stats.safetensors"];
    folder.refused(&flags, 2, &words);
}

/// A GGUF file of version 3 with weights in F32.
fn gguf(tensors: &[Tensor]) -> Vec<u8> {
    gguf_of("llama", tensors)
}

/// A GGUF file as [`gguf`] makes it, of another architecture.
fn gguf_of(architecture: &str, tensors: &[Tensor]) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let number = |key: &str, value: u32| {
        [text(key), 4_u32.to_le_bytes().to_vec(), value.to_le_bytes().to_vec()].concat()
    };
    let mut file = b"GGUF".to_vec();
    file.extend(3_u32.to_le_bytes());
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend(3_u64.to_le_bytes());
    file.extend(
        [text("general.architecture"), 8_u32.to_le_bytes().to_vec(), text(architecture)].concat(),
    );
    file.extend(number(&format!("{architecture}.attention.head_count"), 4));
    file.extend(number(&format!("{architecture}.attention.head_count_kv"), 2));
    let mut data = vec![];
    for tensor in tensors {
        file.extend(text(&tensor.name));
        file.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|size| file.extend((*size as u64).to_le_bytes()));
        file.extend([&0_u32.to_le_bytes()[..], &(data.len() as u64).to_le_bytes()].concat());
        data.extend(&tensor.bytes);
        data.resize(data.len().next_multiple_of(32), 0);
    }
    file.resize(file.len().next_multiple_of(32), 0);
    [file, data].concat()
}

/// Rows as llama.cpp has them: of each head the rows of both halves in turn.
fn turned(tensor: Tensor, heads: usize) -> Tensor {
    let row = tensor.bytes.len() / tensor.shape[0];
    let head = tensor.shape[0] / heads;
    let rows = (0..tensor.shape[0]).map(|at| {
        let (number, inside) = (at / head, at % head);
        number * head + inside / 2 + inside % 2 * (head / 2)
    });
    let bytes = rows.flat_map(|from| tensor.bytes[from * row..][..row].to_vec()).collect();
    Tensor { bytes, ..tensor }
}

#[test]
fn language_models_of_llama_cpp_become_what_transformers_has() {
    let layers: [(&str, &str, [usize; 2]); 9] = [
        ("model.embed_tokens", "token_embd", [96, 64]),
        ("model.layers.0.self_attn.q_proj", "blk.0.attn_q", [64, 64]),
        ("model.layers.0.self_attn.k_proj", "blk.0.attn_k", [32, 64]),
        ("model.layers.0.self_attn.v_proj", "blk.0.attn_v", [32, 64]),
        ("model.layers.0.self_attn.o_proj", "blk.0.attn_output", [64, 64]),
        ("model.layers.0.mlp.gate_proj", "blk.0.ffn_gate", [128, 64]),
        ("model.layers.0.mlp.up_proj", "blk.0.ffn_up", [128, 64]),
        ("model.layers.0.mlp.down_proj", "blk.0.ffn_down", [64, 128]),
        ("lm_head", "output", [96, 64]),
    ];
    let norms = [
        ("model.layers.0.input_layernorm", "blk.0.attn_norm"),
        ("model.layers.0.post_attention_layernorm", "blk.0.ffn_norm"),
        ("model.norm", "output_norm"),
    ];
    let (mut ours, mut theirs) = (vec![], vec![]);
    for (name, other, shape) in layers {
        let weight = tensor(&format!("{name}.weight"), &shape);
        let stored = Tensor { name: format!("{other}.weight"), ..weight.clone() };
        theirs.push(match name.rsplit('.').next() {
            Some("q_proj") => turned(stored, 4),
            Some("k_proj") => turned(stored, 2),
            _ => stored,
        });
        ours.push(weight);
    }
    for (name, other) in norms {
        let norm = tensor(&format!("{name}.weight"), &[64]);
        theirs.push(Tensor { name: format!("{other}.weight"), ..norm.clone() });
        ours.push(norm);
    }
    theirs.push(tensor("rope_freqs.weight", &[8]));
    let folder = Folder::with("theirs.safetensors", &gguf(&theirs));
    folder.write("ours.safetensors", &safetensors(&ours));
    // No program is known to take codes of such a model, so that somebody has to ask.
    let kept = folder.done(&["convert", "theirs.safetensors", "-o", "kept.safetensors"]);
    assert!(kept.contains("names stay llama.cpp's"), "{kept}");
    assert!(kept.contains("`translate` for `--names`"), "{kept}");
    assert!(folder.file("kept.safetensors").names().contains(&"blk.0.attn_q.weight"));
    let verified = folder.done(&["verify", "theirs.safetensors", "kept.safetensors"]);
    assert!(verified.contains("everything is in order"), "{verified}");
    assert_same(&folder, &["--names", "translate"]);
    let plan = folder.done(&["plan", "theirs.safetensors", "--names", "translate"]);
    let plain: String = plan.split_whitespace().collect::<Vec<_>>().join(" ");
    let note = "names translated from llama.cpp's to the model's own: 12 tensors, 2 of them with \
                rows in another order; left out, for models compute it: rope_freqs.weight";
    assert!(plain.contains(note), "{plan}");
}

#[test]
fn names_of_llama_cpp_that_nothing_translates_stay_for_a_reason_that_is_told() {
    let plain = ["token_embd", "blk.0.attn_q", "blk.0.ffn_down"];
    let plain = plain.map(|name| tensor(&format!("{name}.weight"), &[64, 64]));
    let experts = tensor("blk.0.ffn_gate_exps.weight", &[4, 64, 64]);
    let with_experts = [&plain[..], &[experts]].concat();
    let cases = [
        ("gemma3", &plain[..], "Gemma have 1 added to the norms"),
        ("llama", &with_experts, "stacks the experts of a layer"),
        ("qwen3moe", &with_experts, "stacks the experts of a layer"),
        ("zork", &plain[..], "no table here is of the architecture `zork`"),
    ];
    for (architecture, tensors, reason) in cases {
        let folder = Folder::with("m.gguf", &gguf_of(architecture, tensors));
        for flags in [&["convert", "m.gguf", "-o", "m.safetensors"][..], &["plan", "m.gguf"]] {
            let done = folder.done(flags);
            let words: Vec<&str> = done.split_whitespace().collect();
            let told = words.join(" ");
            assert!(told.contains("names stay llama.cpp's: ") && told.contains(reason), "{done}");
            assert_eq!(tensors.len() > 3, told.contains("1 expert bank stays"), "{done}");
        }
        folder.done(&["verify", "m.gguf", "m.safetensors"]);
        let plain = ["convert", "m.gguf", "-o", "plain.safetensors", "--scheme", "bf16"];
        let done = folder.done(&plain);
        assert!(done.contains("names stay llama.cpp's: "), "{architecture}");
        // What is told of codes holds of plain numbers as well.
        let nobody = "bf16; no program is known to open it; its names are llama.cpp's";
        assert!(done.contains(nobody) && !done.contains("any program"), "{done}");
        let inspected = folder.done(&["inspect", "plain.safetensors"]);
        assert!(inspected.contains("opened by: no program that is known"), "{inspected}");
        let inspected = folder.done(&["inspect", "m.gguf"]);
        assert!(inspected.contains("opened by: programs that read GGUF files"), "{inspected}");
        assert!(
            inspected.contains(reason) && !inspected.contains("makes them the model's own"),
            "{inspected}"
        );
        assert_eq!(tensors.len() > 3, inspected.contains("expert banks, which are kept: 1 tensor"));
        // Whoever asks for other names is told that there are none.
        let translate = ["convert", "m.gguf", "-o", "t.safetensors", "--names", "translate"];
        folder.refused(&translate, 1, &["llama.cpp"]);
    }
}

#[test]
fn models_whose_names_are_of_several_files_of_diffusers_are_refused_for_that_reason() {
    let ltx2 = [
        "time_embed.emb.timestep_embedder.linear_1.weight",
        "transformer_blocks.0.attn1.to_q.weight",
        "proj_in.weight",
        "audio_proj_in.weight",
    ];
    let animate = [
        "condition_embedder.time_embedder.linear_1.weight",
        "blocks.0.attn1.to_q.weight",
        "face_adapter.0.to_q.weight",
    ];
    for (names, words) in [
        (&ltx2[..], ["LTX-2", "connectors", "fp16"]),
        (&animate[..], ["Wan Animate", "motion encoder", "fp16"]),
    ] {
        let tensors: Vec<Tensor> = names.iter().map(|name| tensor(name, &[64, 64])).collect();
        let folder = Folder::with("m.safetensors", &safetensors(&tensors));
        for command in ["convert", "plan"] {
            folder.refused(&[command, "m.safetensors"], 1, &words);
        }
        let inspected = folder.done(&["inspect", "m.safetensors"]);
        assert!(inspected.contains(words[0]) && inspected.contains(words[1]), "{inspected}");
        assert!(!inspected.contains("`convert` translates them"), "{inspected}");
        folder.done(&["convert", "m.safetensors", "-q", "--scheme", "bf16", "-o", "b.safetensors"]);
    }
}

#[test]
fn a_pattern_under_names_of_the_file_is_told_what_it_would_be() {
    let folder = folder();
    for flags in [["--keep", "transformer_blocks.0.attn.to_q"], ["--rule", "x_embedder=int8-row"]] {
        let words = ["matches no", "patterns are about the names of the output", "` there"];
        folder.refused(&[&["plan", "theirs.safetensors"], &flags[..]].concat(), 2, &words);
    }
    let words = ["`transformer_blocks.0.attn.to_q` is `double_blocks.0.img_attn.qkv` there"];
    let keep = ["--keep", r"transformer_blocks\.0\.attn\.to_q"];
    folder.refused(&[&["plan", "theirs.safetensors"], &keep[..]].concat(), 2, &words);
}

#[test]
fn an_explanation_lists_the_parts_of_a_joined_layer_and_asks_for_one_of_them() {
    let folder = folder();
    let asked = "double_blocks.0.img_attn.qkv";
    let parts = ["to_q", "to_k", "to_v"].map(|it| format!("transformer_blocks.0.attn.{it}"));
    let told = folder.done(&["plan", "theirs.safetensors", "--explain", asked]);
    assert!(told.contains(&format!("in the file: {}", parts.join(", "))), "{told}");
    let bias = format!("{asked}.bias: ");
    for name in [format!("{asked}.bias"), format!("{}.bias", parts[0])] {
        let told = folder.done(&["plan", "theirs.safetensors", "--explain", &name]);
        assert!(told.starts_with(&bias), "{told}");
    }
    let kept = ["plan", "theirs.safetensors", "--names", "keep", "--scheme", "bf16", "--explain"];
    let words = ["in 3 tensors", "to_q.weight`", "to_k.weight`", "to_v.weight`", "name one"];
    folder.refused(&[&kept[..], &[asked]].concat(), 2, &words);
    let words = ["is `double_blocks.0.img_attn.proj` meant?"];
    let misspelt = ["plan", "theirs.safetensors", "--explain", "double_blocks.0.img_atn.proj"];
    folder.refused(&misspelt, 2, &words);
}

#[test]
fn joined_layers_of_several_dtypes_are_told_how_they_become_one() {
    let [mut theirs, _] = flux();
    let query = theirs.iter_mut().find(|it| it.name.ends_with("0.attn.to_k.weight")).unwrap();
    *query = Tensor::bf16(&query.name.clone(), &gaussian(64, 64, 3));
    let folder = Folder::with("m.safetensors", &safetensors(&theirs));
    let words = ["to_k", "BF16", "F32", "`--names keep` with scheme `bf16`"];
    folder.refused(&["convert", "m.safetensors"], 1, &words);
    let one = ["convert", "m.safetensors", "--names", "keep", "--scheme", "bf16", "-o"];
    folder.done(&[&one[..], &["one.safetensors"]].concat());
}
