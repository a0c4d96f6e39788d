//! The folder of a language model becomes a folder that servers open.

use std::collections::BTreeSet;

use crate::tool::{Folder, matrix, vector};
use roundwise_stats::{LayerPlan, LayerShape, LayerStatistics, SecondMoment, StatisticsWriter};
use roundwise_tensor_file::Overwrite;
use roundwise_testkit::files::{Tensor, safetensors};
use serde_json::{Value, json};

const ATTENTION: &str = "model.layers.0.self_attn";

fn config(model_type: &str) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": model_type,
        "dtype": "bfloat16",
        "hidden_size": 128,
    })
}

/// A language model of one layer, as transformers stores it.
fn model_of(config: &Value) -> Folder {
    let folder = Folder::new();
    let linear = |name: &str, rows, cols| matrix(&format!("{name}.weight"), rows, cols);
    let tensors = [
        linear("model.embed_tokens", 64, 128),
        linear("lm_head", 64, 128),
        linear(&format!("{ATTENTION}.q_proj"), 128, 128),
        linear(&format!("{ATTENTION}.k_proj"), 128, 128),
        linear(&format!("{ATTENTION}.v_proj"), 128, 128),
        linear(&format!("{ATTENTION}.o_proj"), 128, 128),
        linear("model.layers.0.mlp.gate_proj", 256, 128),
        linear("model.layers.0.mlp.up_proj", 256, 128),
        linear("model.layers.0.mlp.down_proj", 128, 256),
        vector("model.layers.0.input_layernorm.weight", 128),
        vector("model.layers.0.post_attention_layernorm.weight", 128),
        vector("model.norm.weight", 128),
    ];
    folder.write("in/model.safetensors", &safetensors(&tensors));
    folder.write("in/config.json", config.to_string().as_bytes());
    folder.write("in/tokenizer.json", b"{\"tokens\": 64}");
    folder.write("in/README.md", b"---\nlicense: mit\n---\n");
    folder
}

pub(crate) fn model() -> Folder {
    model_of(&config("llama"))
}

fn quantization(folder: &Folder, output: &str) -> Value {
    let config = folder.read(&format!("{output}/config.json"));
    serde_json::from_slice::<Value>(&config).unwrap()["quantization_config"].clone()
}

#[test]
fn the_folder_of_a_language_model_is_for_servers_without_a_flag() {
    let folder = model();
    folder.done(&["convert", "in"]);
    let names: Vec<String> =
        folder.names().into_iter().filter(|name| name.starts_with("in-")).collect();
    let beside = ["README.md", "config.json", "model.safetensors", "tokenizer.json"];
    assert_eq!(names, beside.map(|name| format!("in-fp8-row/{name}")));
    for same in ["README.md", "tokenizer.json"] {
        assert_eq!(folder.read(&format!("in-fp8-row/{same}")), folder.read(&format!("in/{same}")));
    }
    let told = quantization(&folder, "in-fp8-row");
    assert_eq!(told["quant_method"], "compressed-tensors");
    assert_eq!(told["ignore"], json!(["lm_head", "model.embed_tokens"]));
    let file = folder.file("in-fp8-row/model.safetensors");
    assert_eq!(file.metadata["format"], "pt");
    assert_eq!(file.get(&format!("{ATTENTION}.q_proj.weight_scale")).shape, [128, 1]);
    assert_eq!(file.get("lm_head.weight").dtype, "BF16");
    folder.done(&["verify", "in", "in-fp8-row"]);
}

#[test]
fn a_configuration_that_is_not_of_the_weights_beside_it_is_refused() {
    let other = |key: &str, value: u64| {
        let mut config = config("llama");
        config[key] = value.into();
        config
    };
    let wrong = [
        ("hidden_size", 4096, "`hidden_size` is 4096, and `model.embed_tokens.weight` is 64 × 128"),
        ("vocab_size", 32000, "`vocab_size` is 32000, and `model.embed_tokens.weight` is 64 × 128"),
        (
            "intermediate_size",
            512,
            "`intermediate_size` is 512, and `model.layers.0.mlp.gate_proj.weight` is 256 × 128",
        ),
        ("num_hidden_layers", 32, "`num_hidden_layers` is 32, and the file has 1"),
    ];
    for (key, value, problem) in wrong {
        let folder = model_of(&other(key, value));
        folder.refused(&["convert", "in"], 1, &[problem]);
        assert!(folder.names().iter().all(|name| name.starts_with("in/")), "{key}");
    }
    // Half of it, as an interrupted download leaves it; a weight file by itself is not read by it.
    let folder = model_of(&config("llama"));
    folder.write("in/config.json", br#"{"model_type": "lla"#);
    folder.refused(&["convert", "in"], 1, &["the one in this folder is no JSON object (EOF"]);
    let file = "in/model.safetensors";
    folder.done(&["convert", file, "-o", "a.safetensors", "--as", "text-encoder"]);
    // Words behind those of the vocabulary, and layers that predict further words.
    let mut more = other("vocab_size", 60);
    more["num_hidden_layers"] = 0.into();
    more["num_nextn_predict_layers"] = 1.into();
    model_of(&more).done(&["convert", "in"]);
}

/// The model with some tensors left out, renamed or added.
fn changed_model(config: &Value, change: &dyn Fn(&mut Vec<Tensor>)) -> Folder {
    let folder = model_of(config);
    let file = folder.file("in/model.safetensors");
    let mut tensors: Vec<Tensor> = file.tensors.values().cloned().collect();
    change(&mut tensors);
    folder.write("in/model.safetensors", &safetensors(&tensors));
    folder
}

fn renamed(tensors: &mut [Tensor], from: &str, to: &str) {
    for tensor in tensors {
        tensor.name = tensor.name.replacen(from, to, 1);
    }
}

#[test]
fn a_folder_without_a_tensor_that_its_family_has_is_refused_with_its_name() {
    let llama = config("llama");
    let mut untied = llama.clone();
    untied["tie_word_embeddings"] = false.into();
    let mut biased = llama.clone();
    biased["attention_bias"] = true.into();
    let [qwen2, qwen3] = ["qwen2", "qwen3"].map(config);
    for (config, left_out) in [
        (&llama, "model.layers.0.mlp.up_proj.weight"),
        (&llama, "model.layers.0.self_attn.v_proj.weight"),
        (&llama, "model.layers.0.input_layernorm.weight"),
        (&llama, "model.norm.weight"),
        (&untied, "lm_head.weight"),
        // The model has none of these to begin with.
        (&biased, "model.layers.0.self_attn.q_proj.bias"),
        (&qwen2, "model.layers.0.self_attn.q_proj.bias"),
        (&qwen3, "model.layers.0.self_attn.q_norm.weight"),
    ] {
        let folder = changed_model(config, &|tensors| tensors.retain(|it| it.name != left_out));
        let problem = format!("no tensor is called `{left_out}`");
        folder.refused(&["convert", "in"], 1, &[&problem, "fetch all files of the model again"]);
    }
    // A head that is the embedding, or of which nothing is said.
    changed_model(&llama, &|tensors| tensors.retain(|it| it.name != "lm_head.weight"))
        .done(&["convert", "in"]);
}

#[test]
fn weights_of_another_family_than_the_configuration_names_are_refused() {
    for (family, problem) in [
        ("mixtral", "no tensor is called `model.layers.0.block_sparse_moe.gate.weight`"),
        ("phi3", "no tensor is called `model.layers.0.self_attn.qkv_proj.weight`"),
        ("gpt_oss", "some layer of a `gpt_oss` has a `self_attn.sinks`, and none of the file has"),
        ("deepseek_v3", "some layer of a `deepseek_v3` has a `self_attn.kv_b_proj`"),
        ("qwen3_5", "some layer of a `qwen3_5` has a `linear_attn.in_proj_qkv`"),
    ] {
        model_of(&config(family)).refused(&["convert", "in"], 1, &[problem]);
    }
    let folder = model_with_experts();
    folder.write("in/config.json", config("qwen3").to_string().as_bytes());
    let problem =
        "layers of a `qwen3` have no experts, and the file has `model.layers.0.mlp.experts";
    folder.refused(&["convert", "in"], 1, &[problem]);
    // Layers of a family that another one lacks, and a part that nobody knows.
    let plan = |config: &Value| model_of(config).done(&["plan", "in"]);
    let text = plan(&config("cohere"));
    assert!(text.contains("`model.layers.0.post_attention_layernorm.weight` is no name"), "{text}");
    let mut part = config("llava");
    part["text_config"] = json!({"model_type": "unheard_of"});
    assert!(plan(&part).contains("is a `unheard_of`, for which there are no rules here"));
}

#[test]
fn experts_of_a_shape_that_no_server_loads_are_refused() {
    let folder = model_with_experts();
    let file = folder.file("in/model.safetensors");
    let changed = |name: &str, tensor: Tensor| {
        let mut tensors: Vec<Tensor> = file.tensors.values().cloned().collect();
        tensors.retain(|it| it.name != name);
        tensors.push(tensor);
        folder.write("in/model.safetensors", &safetensors(&tensors));
    };
    let up = "model.layers.0.mlp.experts.1.up_proj.weight";
    changed(up, matrix(up, 64, 128));
    let problem = format!(
        "`{up}` is [64, 128], and `model.layers.0.mlp.experts.0.up_proj.weight` is [128, 128]"
    );
    folder.refused(&["convert", "in"], 1, &[&problem, "joined into one tensor"]);
    // As the configuration has it, where it says so.
    let mut sized = config("qwen3_moe");
    sized["moe_intermediate_size"] = 128.into();
    folder.write("in/config.json", sized.to_string().as_bytes());
    folder.refused(&["convert", "in"], 1, &["`moe_intermediate_size` is 128, and", up]);
    changed(up, matrix(up, 128, 128));
    folder.done(&["plan", "in"]);
    sized["num_experts"] = 4.into();
    folder.write("in/config.json", sized.to_string().as_bytes());
    folder.refused(&["convert", "in"], 1, &["no tensor is called `model.layers.0.mlp.experts.2."]);
    // All in one tensor.
    let banks = |shape: &[usize]| {
        let mut config = config("gpt_oss");
        config["num_local_experts"] = 2.into();
        let name = "model.layers.0.mlp.experts.down_proj";
        let count: usize = shape.iter().product();
        let bytes = vec![0; 2 * count];
        changed_model(&config, &|tensors| {
            tensors.retain(|it| !it.name.contains(".mlp."));
            tensors.push(vector(&format!("{ATTENTION}.sinks"), 8));
            tensors.push(Tensor::new(name, "BF16", shape, bytes.clone()));
        })
    };
    banks(&[2, 64, 128]).done(&["plan", "in"]);
    for scheme in ["fp8-row", "mxfp4"] {
        let convert = ["convert", "in", "--scheme", scheme];
        let problem =
            "`num_local_experts` is 2, and `model.layers.0.mlp.experts.down_proj` holds 3 experts";
        banks(&[3, 64, 128]).refused(&convert, 1, &[problem]);
        let problem = "is [2, 2, 64, 128], and a matrix for each expert has 3 dimensions";
        banks(&[2, 2, 64, 128]).refused(&convert, 1, &[problem]);
    }
}

#[test]
fn a_layer_or_an_expert_that_lacks_what_others_have_is_refused() {
    let mut moe = config("qwen2_moe");
    moe["num_experts"] = 3.into();
    let experts = |count: usize, left_out: &'static str| {
        move |tensors: &mut Vec<Tensor>| {
            tensors.retain(|it| !it.name.contains(".mlp."));
            let names = ["gate_proj", "up_proj", "down_proj"];
            let names = (0..count).flat_map(|number| names.map(|name| format!("{number}.{name}")));
            let bank = "model.layers.0.mlp.experts";
            let experts = names.map(|it| matrix(&format!("{bank}.{it}.weight"), 128, 128));
            tensors.extend(experts.filter(|it| !it.name.contains(left_out)));
            tensors.push(matrix("model.layers.0.mlp.gate.weight", 3, 128));
            tensors.push(matrix("model.layers.0.mlp.shared_expert_gate.weight", 1, 128));
            let biases = ["q_proj", "k_proj", "v_proj"];
            tensors.extend(biases.map(|it| vector(&format!("{ATTENTION}.{it}.bias"), 128)));
        }
    };
    changed_model(&moe, &experts(3, "none")).done(&["plan", "in"]);
    for (count, left_out) in [(3, "experts.1.up_proj"), (2, "experts.2.down_proj")] {
        let folder = changed_model(&moe, &experts(count, left_out));
        let problem = format!("no tensor is called `model.layers.0.mlp.{left_out}.weight`");
        folder.refused(&["convert", "in"], 1, &[&problem]);
    }
}

/// Where a weight is called `weight_packed`, a family of text encoders that is told by its shape seems to be there.
#[test]
fn a_model_is_not_taken_for_another_one_by_the_names_of_its_codes() {
    let folder = changed_model(&config("gemma3_text"), &|tensors| {
        tensors.retain(|it| !it.name.contains(".mlp."));
        for (name, rows, cols) in [("gate", 1024, 128), ("up", 1024, 128), ("down", 128, 1024)] {
            tensors.push(matrix(&format!("model.layers.0.mlp.{name}_proj.weight"), rows, cols));
        }
        let norms = ["self_attn.q_norm", "self_attn.k_norm"];
        let norms = norms.into_iter().chain(["pre_feedforward_layernorm"]);
        let norms = norms.chain(["post_feedforward_layernorm"]);
        tensors.extend(norms.map(|it| vector(&format!("model.layers.0.{it}.weight"), 128)));
    });
    let told = folder.done(&["convert", "in", "--scheme", "int4-group-128", "-o", "out"]);
    assert!(told.contains("int4-group-128, opened by vLLM"), "{told}");
}

/// vLLM and transformers look under the names of the family alone.
#[test]
fn a_folder_whose_names_begin_otherwise_than_those_of_its_family_is_refused() {
    for (from, to, missing) in [
        ("", "language_model.", "model.embed_tokens.weight"),
        ("model.", "model.language_model.", "model.embed_tokens.weight"),
        ("model.layers", "transformer.h", "model.layers.0.self_attn.q_proj.weight"),
    ] {
        let mut config = config("llama");
        config["num_hidden_layers"] = 1.into();
        let folder = changed_model(&config, &|tensors| renamed(tensors, from, to));
        let problem = format!("no tensor is called `{missing}`");
        folder.refused(&["convert", "in"], 1, &[&problem]);
    }
    // So do models that see.
    let folder =
        changed_model(&config("mistral3"), &|tensors| renamed(tensors, "", "language_model."));
    assert!(folder.done(&["plan", "in"]).contains("is opened by vLLM"));
}

#[test]
fn rows_that_do_not_fit_the_heads_of_the_configuration_are_refused() {
    for (heads, shared, problem) in [
        (8, 4, "`num_key_value_heads` × size of a head is 4 × 16, and"),
        (8, 16, "`num_key_value_heads` × size of a head is 16 × 16, and"),
    ] {
        let mut config = config("llama");
        config["num_attention_heads"] = heads.into();
        config["num_key_value_heads"] = shared.into();
        let name = format!("{problem} `{ATTENTION}.k_proj.weight` is 128 × 128");
        model_of(&config).refused(&["convert", "in"], 1, &[&name]);
        // Without the other numbers nothing is said of the heads of these.
        config["model_type"] = "gemma".into();
        model_of(&config).done(&["convert", "in"]);
        config["head_dim"] = 32.into();
        let name = format!("is 8 × 32, and `{ATTENTION}.o_proj.weight`");
        config.as_object_mut().unwrap().remove("num_key_value_heads");
        model_of(&config).refused(&["convert", "in"], 1, &[&name]);
    }
}

/// Some programs leave such tensors out, others stop at them.
#[test]
fn a_folder_with_tensors_that_its_family_does_not_have_is_not_promised() {
    for (name, reason) in [
        ("v_head.weight", "no module of a `llama` in transformers has `v_head.weight`"),
        ("model.vision_tower.a.weight", "has `model.vision_tower.a.weight`"),
        (
            "model.layers.0.self_attn.q_proj.bias",
            "switches no bias on that would be `model.layers.0.self_attn.q_proj.bias`",
        ),
        ("model.layers.0.self_attn.q_norm.weight", "is no name that files of a `llama` have"),
    ] {
        let folder = changed_model(&config("llama"), &|tensors| tensors.push(vector(name, 128)));
        let text = folder.done(&["plan", "in"]);
        assert!(text.contains("no program is known to open it") && text.contains(reason), "{text}");
    }
    // What programs pass over by name, as old files have it.
    let old = format!("{ATTENTION}.rotary_emb.inv_freq");
    let folder = changed_model(&config("llama"), &|tensors| tensors.push(vector(&old, 16)));
    assert!(folder.done(&["plan", "in"]).contains("is opened by vLLM"));
    // A model that gives vectors has no `model.` before its names.
    let folder = changed_model(&config("llama"), &|tensors| renamed(tensors, "model.", ""));
    assert!(folder.done(&["plan", "in"]).contains("as in models that give vectors"));
}

/// No setting makes a program read codes where its module knows none.
#[test]
fn tables_and_routers_stay_numbers_whatever_is_asked_for() {
    let folder = model();
    for flags in [
        &["--include", "embed_tokens"][..],
        &["--ignore-base-list"],
        &["--rule", "embed_tokens=int8-row"],
    ] {
        let text = folder.done(&[&["convert", "in", "-o", "out", "--force"], flags].concat());
        assert!(
            text.contains("programs would take its codes for numbers; token embedding"),
            "{text}"
        );
        assert_eq!(folder.file("out/model.safetensors").dtype("model.embed_tokens.weight"), "BF16");
        std::fs::remove_dir_all(folder.path("out")).unwrap();
    }
}

/// Programs score tokens by the embedding, and look for no other head.
#[test]
fn a_head_that_is_tied_to_the_embedding_stays_numbers() {
    let mut config = config("llama");
    config["tie_word_embeddings"] = true.into();
    let folder = model_of(&config);
    let text = folder.done(&["convert", "in", "-o", "out", "--include", "lm_head"]);
    assert!(text.contains("the configuration ties it to the embedding"), "{text}");
    assert_eq!(folder.file("out/model.safetensors").dtype("lm_head.weight"), "BF16");
    model().done(&["convert", "in", "-o", "out", "--include", "lm_head"]);
}

#[test]
fn settings_that_servers_files_have_no_place_for_are_noted() {
    let folder = model();
    for (flags, note) in [
        (&["--full-precision", "q_proj"][..], "`q_proj` changes nothing"),
        (&["--names", "keep"], "`--names` changes nothing: the names are the model's own"),
        (
            &["--tp", "2", "--scheme", "fp8-row"],
            "`--tp` changes nothing: such codes are shared out",
        ),
    ] {
        let text = folder.done(&[&["plan", "in"][..], flags].concat());
        assert!(text.contains(note), "{flags:?}: {text}");
    }
}

/// Programs look for weights under the names of the family alone: MLX calls its experts otherwise, and joins what
/// others have apart.
#[test]
fn layers_under_names_that_the_family_does_not_have_are_not_promised() {
    let folder = model();
    let file = folder.file("in/model.safetensors");
    for (name, other) in [
        ("mlp.gate_proj", "mlp.switch_mlp.gate_proj"),
        ("self_attn.q_proj", "self_attn.qkv_proj"),
        ("self_attn.o_proj", "attention.wo"),
    ] {
        let mut tensors: Vec<_> = file.tensors.values().cloned().collect();
        for tensor in &mut tensors {
            tensor.name = tensor.name.replace(name, other);
        }
        folder.write("in/model.safetensors", &safetensors(&tensors));
        let text = folder.done(&["plan", "in"]);
        let reason =
            format!("no program is known to open it; `model.layers.0.{other}.weight` is no name");
        assert!(text.contains(&reason), "{text}");
    }
}

/// BitNet's program rounds plain numbers to three values whenever it multiplies by them.
#[test]
fn numbers_under_a_method_that_is_not_known_are_refused() {
    let mut bitnet = config("llama");
    bitnet["quantization_config"] =
        json!({"quant_method": "bitnet", "linear_class": "autobitlinear"});
    let folder = model_of(&bitnet);
    for command in [&["convert", "in"][..], &["dequantize", "in", "-o", "out"]] {
        folder.refused(
            command,
            1,
            &["`quant_method: bitnet` of its `config.json` is not known here"],
        );
    }
    // What a program makes codes of when it loads the file is plain numbers until then.
    let mut loaded = config("llama");
    loaded["quantization_config"] = json!({"quant_method": "bitsandbytes", "load_in_4bit": true});
    model_of(&loaded).done(&["convert", "in"]);
}

/// With one block in it a matrix has one scale, as with one for the whole.
#[test]
fn a_matrix_of_one_block_is_read_back() {
    let folder = model();
    folder.done(&[
        "convert",
        "in",
        "--scheme",
        "fp8-block-128",
        "--layout",
        "compressed-tensors",
        "-o",
        "out",
    ]);
    let file = folder.file("out/model.safetensors");
    assert_eq!(file.get(&format!("{ATTENTION}.q_proj.weight_scale")).shape, [1, 1]);
    folder.done(&["verify", "in", "out"]);
}

#[test]
fn a_configuration_that_says_something_else_of_the_codes_is_told() {
    let folder = model();
    folder.done(&["convert", "in", "-o", "out"]);
    folder.done(&["verify", "in", "out"]);
    let config: Value = serde_json::from_slice(&folder.read("out/config.json")).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut config = config.clone();
        change(&mut config);
        folder.write("out/config.json", config.to_string().as_bytes());
        let run = folder.run(&["verify", "in", "out"]);
        assert_eq!(run.code, 3, "{}{}", run.stdout, run.stderr);
        let text = folder.done(&["inspect", "out"]);
        assert!(text.contains("opened by: none: it"), "{text}");
        run.stdout
    };
    let text =
        changed(&|config| drop(config.as_object_mut().unwrap().remove("quantization_config")));
    assert!(text.contains("in codes, of which its `config.json` says nothing"), "{text}");
    let text = changed(&|config| {
        config["quantization_config"]["ignore"] = json!(["model.layers.0.mlp.up_proj"]);
    });
    assert!(
        text.contains("`model.layers.0.mlp.up_proj` is in codes, and the configuration lists it"),
        "{text}"
    );
    let text = changed(&|config| {
        config["quantization_config"]["config_groups"]["group_0"]["weights"]["num_bits"] = 4.into();
    });
    assert!(text.contains("is `fp8-row`, `num_bits` 8, and the configuration says 4"), "{text}");
    let text = changed(&|config| {
        config["quantization_config"]["config_groups"]["group_0"]["weights"]["strategy"] =
            "tensor".into();
    });
    assert!(
        text.contains("`strategy` \"channel\", and the configuration says \"tensor\""),
        "{text}"
    );
    let text = changed(&|config| config["quantization_config"]["quant_method"] = "fp8".into());
    assert!(text.contains("with a scale for each row, and `quant_method: fp8`"), "{text}");
    let text = changed(&|config| config["quantization_config"]["quant_method"] = "gptq".into());
    let problem = "is spelled `weight_scale`, and the configuration says `quant_method: gptq`";
    assert!(text.contains(problem), "{text}");
    std::fs::remove_file(folder.path("out/config.json")).unwrap();
    let run = folder.run(&["verify", "in", "out"]);
    assert_eq!(run.code, 3, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("no `config.json` that can be read beside it"), "{}", run.stdout);
    assert!(folder.done(&["inspect", "out"]).contains("opened by: none: it holds layers in codes"));
}

/// Programs then miss tensors, or read numbers as codes.
#[test]
fn entries_about_the_whole_file_are_held_against_it() {
    let folder = model();
    folder.done(&["convert", "in", "-o", "out", "--scheme", "int4-group-128"]);
    let config: Value = serde_json::from_slice(&folder.read("out/config.json")).unwrap();
    for (change, problem) in [
        (json!({"quantization_status": "frozen"}), "says `quantization_status: frozen`"),
        (json!({"kv_cache_scheme": {"num_bits": 8, "dynamic": false}}), "has a `kv_cache_scheme`"),
        (json!({"ignore": []}), "holds `lm_head` as plain numbers"),
        (
            json!({"config_groups": {"group_0": {
                "targets": ["Linear"], "weights": {"num_bits": 4, "actorder": "group"},
            }}}),
            "has no `weight_g_idx`",
        ),
    ] {
        let mut config = config.clone();
        let told = config["quantization_config"].as_object_mut().unwrap();
        told.extend(change.as_object().unwrap().clone());
        folder.write("out/config.json", config.to_string().as_bytes());
        let run = folder.run(&["verify", "in", "out"]);
        assert_eq!(run.code, 3, "{problem}: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains(problem), "{}", run.stdout);
    }
    // What another program calls layers, and what only it knows, says nothing of these.
    let mut config = config.clone();
    let group = &mut config["quantization_config"]["config_groups"]["group_0"];
    group["targets"] = json!(["re:.*proj"]);
    group["weights"]["num_bits"] = 8.into();
    folder.write("out/config.json", config.to_string().as_bytes());
    folder.done(&["verify", "in", "out"]);
    config["quantization_config"]["quant_method"] = "unheard-of".into();
    folder.write("out/config.json", config.to_string().as_bytes());
    folder.done(&["verify", "in", "out"]);
}

/// transformers looks for packed codes of all experts there.
#[test]
fn kept_experts_beside_packed_codes_are_not_promised_to_transformers() {
    let folder = model_with_experts();
    let keep = ["--keep", "experts"];
    for (scheme, opened) in [
        ("int4-group-128", "opened by vLLM and SGLang\n"),
        ("mxfp4", "opened by vLLM and SGLang\n"),
        ("fp8-row", "opened by vLLM, SGLang and transformers"),
    ] {
        let plan = ["plan", "in", "--for", "vllm", "--scheme", scheme];
        let text = folder.done(&[&plan[..], &keep].concat());
        assert!(text.contains(opened), "{scheme}: {text}");
    }
    let convert = ["convert", "in", "--for", "transformers", "--scheme", "mxfp4"];
    let words = ["transformers reads no experts as plain numbers beside packed codes"];
    folder.refused(&[&convert[..], &keep].concat(), 2, &words);
}

/// Programs load the adapter that a folder describes.
#[test]
fn the_description_of_an_adapter_does_not_go_along_without_it() {
    let folder = model();
    folder.write("in/adapter_config.json", b"{\"peft_type\": \"LORA\"}");
    let told = folder.done(&["convert", "in", "-o", "out"]);
    assert!(told.contains("adapter_config.json"), "{told}");
    assert!(!folder.names().contains(&"out/adapter_config.json".to_owned()));
    folder.write("in/adapter_model.safetensors", &folder.read("in/model.safetensors"));
    folder.refused(&["convert", "in", "-o", "other"], 1, &["adapter_model.safetensors"]);
}

#[test]
fn sizes_of_groups_and_blocks_are_held_against_the_configuration() {
    for (flags, entry, problem) in [
        (
            &["--scheme", "int4-group-64"][..],
            ["config_groups", "group_0", "weights", "group_size"],
            "is `int4-group-64`, `group_size` 64, and the configuration says 32",
        ),
        (
            &["--scheme", "fp8-block-128", "--spelling", "fp8"],
            ["weight_block_size", "", "", ""],
            "`weight_block_size` [128,128], and the configuration says 32",
        ),
        (
            &["--scheme", "nvfp4", "--spelling", "modelopt"],
            ["quant_algo", "", "", ""],
            "is `nvfp4`, `quant_algo` \"W4A16_NVFP4\", and the configuration says 32",
        ),
    ] {
        let folder = model();
        folder.done(&[&["convert", "in", "-o", "out"][..], flags].concat());
        folder.done(&["verify", "in", "out"]);
        let mut config: Value = serde_json::from_slice(&folder.read("out/config.json")).unwrap();
        let mut told = &mut config["quantization_config"];
        for key in entry.into_iter().filter(|key| !key.is_empty()) {
            told = &mut told[key];
        }
        *told = 32.into();
        folder.write("out/config.json", config.to_string().as_bytes());
        for command in [&["verify", "in", "out"][..], &["repair", "out"]] {
            let run = folder.run(command);
            assert_eq!(run.code, 3, "{}{}", run.stdout, run.stderr);
            assert!(run.stdout.contains(problem), "{}", run.stdout);
        }
        // By the codes, the configuration is written anew.
        let layout = flags.get(3).unwrap_or(&"compressed-tensors");
        folder.done(&["migrate", "out", "--to", layout, "-o", "mended"]);
        folder.done(&["verify", "in", "mended"]);
    }
}

/// A group that is a whole row is stored as a scale of rows is.
#[test]
fn a_row_of_one_group_keeps_the_name_that_it_was_asked_for() {
    let folder = model();
    folder.done(&["convert", "in", "-o", "out", "--scheme", "int4-group-128"]);
    let inspected = folder.done(&["inspect", "out"]);
    assert!(inspected.contains("int4-group-128") && !inspected.contains("int4-row"), "{inspected}");
}

/// Everything that is no folder of a model for servers is for ComfyUI.
#[test]
fn a_folder_whose_configuration_does_not_say_what_it_holds_is_told() {
    let folder = model();
    let convert = ["convert", "in", "-o", "a.safetensors", "--scheme", "fp8", "--force"];
    let told = |problem: &str| {
        let text = folder.done(&convert);
        assert!(text.contains(problem) && text.contains("the output is for ComfyUI"), "{text}");
        folder.refused(
            &["convert", "in", "--for", "vllm"],
            1,
            &["none beside the weights describes"],
        );
    };
    let silent = r#"{"architectures": ["LlamaForCausalLM"], "model_type": null}"#;
    folder.write("in/config.json", silent.as_bytes());
    told("without `model_type`");
    std::fs::remove_file(folder.path("in/config.json")).unwrap();
    told("the folder holds no `config.json`");
    let text = folder.done(&[&convert[..], &["--for", "comfyui"]].concat());
    assert!(!text.contains("from which servers learn"), "{text}");
    folder.write("in/config.json", b"[]");
    folder.refused(&convert, 1, &["is no JSON object"]);
}

#[test]
fn an_index_stands_for_its_folder() {
    let folder = model();
    let file = folder.file("in/model.safetensors");
    let map: serde_json::Map<String, Value> =
        file.tensors.keys().map(|name| (name.clone(), "model.safetensors".into())).collect();
    let index = json!({"metadata": {}, "weight_map": map});
    folder.write("in/model.safetensors.index.json", index.to_string().as_bytes());
    let told = folder.done(&["convert", "in/model.safetensors.index.json", "-o", "out"]);
    assert!(told.contains("opened by vLLM"), "{told}");
    assert_eq!(quantization(&folder, "out")["quant_method"], "compressed-tensors");
}

#[test]
fn an_output_has_a_name_that_says_what_is_written() {
    let folder = model();
    let convert = ["convert", "in", "--for", "vllm", "-o", "out.safetensors"];
    let problem = "the output is a folder, and this is the name of a file";
    folder.refused(&convert, 2, &["out.safetensors", problem]);
    let file = ["convert", "in/model.safetensors", "--as", "text-encoder"];
    for (name, fit) in [("out.gguf", "out.safetensors"), ("out.BIN", "out.safetensors")] {
        let help = format!("name {fit}");
        folder.refused(
            &[&file[..], &["-o", name]].concat(),
            2,
            &["outputs are safetensors", &help],
        );
    }
}

/// What is kept is not looked at for its rounding, and all that a model answers comes through it.
#[test]
fn a_kept_weight_that_holds_no_numbers_is_told() {
    for (name, bytes) in
        [("model.embed_tokens.weight", [0xC0, 0x7F]), ("model.norm.weight", [0x80, 0xFF])]
    {
        let folder = changed_model(&config("llama"), &|tensors| {
            let tensor = tensors.iter_mut().find(|it| it.name == name).unwrap();
            tensor.dtype = "BF16".into();
            let count: usize = tensor.shape.iter().product();
            tensor.bytes = vec![0; 2 * count];
            tensor.bytes[2 * count - 2..].copy_from_slice(&bytes);
        });
        let told = folder.done(&["convert", "in", "-o", "out", "--report", "r.json"]);
        let words = format!("`{name}`, which stays as it is, holds a NaN or an infinity");
        assert!(told.contains(&words), "{told}");
        let report: Value = serde_json::from_slice(&folder.read("r.json")).unwrap();
        let marked = report["tensors"].as_array().unwrap().iter();
        assert_eq!(marked.filter(|it| it["is_not_finite"] == true).count(), 1);
    }
}

/// Mistral's own program reads another file of the same folder.
#[test]
fn the_file_that_transformers_reads_is_taken_of_a_folder_with_several() {
    let folder = model();
    folder.write("in/consolidated.safetensors", &folder.read("in/model.safetensors"));
    let told = folder.done(&["convert", "in", "-o", "out"]);
    assert!(told.contains("passed over files beside `model.safetensors`"), "{told}");
    assert!(told.contains("consolidated.safetensors"), "{told}");
    assert!(!folder.names().contains(&"out/consolidated.safetensors".to_owned()));
}

#[test]
fn a_single_file_or_comfyui_by_name_is_for_comfyui() {
    let folder = model();
    folder.done(&["convert", "in", "-o", "a.safetensors", "--as", "text-encoder"]);
    assert!(folder.file("a.safetensors").names().iter().any(|name| name.ends_with("comfy_quant")));
    folder.done(&[
        "convert",
        "in",
        "--for",
        "comfyui",
        "-o",
        "b.safetensors",
        "--as",
        "text-encoder",
    ]);
    let names = |name: &str| folder.file(name).names().join(" ");
    assert_eq!(names("a.safetensors"), names("b.safetensors"));
}

#[test]
fn every_scheme_for_servers_comes_back_as_numbers() {
    for scheme in [
        "fp8",
        "fp8-row",
        "fp8-block-128",
        "fp8-block-128-pow2",
        "int8-row",
        "int8-group-128",
        "int4-row",
        "int4-group-32",
        "int4-group-128",
        "int4-group-32-asym",
        "int4-group-128-asym",
        "nvfp4",
        "mxfp4",
        "mxfp8",
    ] {
        let folder = model();
        folder.done(&["convert", "in", "--for", "vllm", "--scheme", scheme, "-o", "out"]);
        folder.done(&["verify", "in", "out"]);
        folder.done(&["dequantize", "out", "-o", "plain.safetensors", "--dtype", "f32"]);
        let (before, after) =
            (folder.file("in/model.safetensors"), folder.file("plain.safetensors"));
        assert_eq!(before.names(), after.names(), "{scheme}");
    }
}

/// A shared factor of scales is that of the largest weight of the stack.
#[test]
fn layers_that_servers_stack_share_what_a_tensor_has_one_of() {
    for (scheme, part, of_mlp) in [("fp8", "weight_scale", 2), ("nvfp4", "weight_global_scale", 2)]
    {
        let folder = model();
        folder.done(&["convert", "in", "--scheme", scheme, "--for", "vllm", "-o", "out"]);
        let file = folder.file("out/model.safetensors");
        let bytes = |layer: &str| file.get(&format!("{layer}.{part}")).bytes.clone();
        let attention = ["q_proj", "k_proj", "v_proj"].map(|name| format!("{ATTENTION}.{name}"));
        assert!(attention.iter().all(|layer| bytes(layer) == bytes(&attention[0])), "{scheme}");
        let mlp = ["gate_proj", "up_proj"].map(|name| format!("model.layers.0.mlp.{name}"));
        assert_eq!(mlp.len(), of_mlp);
        assert_eq!(bytes(&mlp[0]), bytes(&mlp[1]), "{scheme}");
    }
}

#[test]
fn a_stack_with_a_layer_that_is_kept_is_kept() {
    let folder = model();
    folder.done(&["convert", "in", "--keep", "v_proj", "-o", "out"]);
    let told = quantization(&folder, "out");
    let kept: Vec<String> =
        ["k_proj", "q_proj", "v_proj"].map(|name| format!("{ATTENTION}.{name}")).to_vec();
    for layer in kept {
        assert!(told["ignore"].as_array().unwrap().contains(&json!(layer)), "{told:#}");
    }
    let plan = folder.done(&["plan", "in", "--keep", "v_proj"]);
    let because = format!("servers store it as they store `{ATTENTION}.v_proj`");
    assert!(plan.contains(&because), "{plan}");
    let explain = ["--explain", &format!("{ATTENTION}.q_proj")];
    let explained = folder.done(&[&["plan", "in", "--keep", "v_proj"][..], &explain].concat());
    assert!(explained.contains(&format!("→  stack of servers   {because}")), "{explained}");
}

/// Without a layout or a program being named: the banks are most of such a model.
#[test]
fn mxfp4_of_gpt_oss_is_that_of_its_banks() {
    let folder = model_of(&config("gpt_oss"));
    let bank = |name: &str, rows: usize, cols: usize| {
        let bytes = matrix(name, 2 * rows, cols).bytes;
        Tensor::new(&format!("model.layers.0.mlp.experts.{name}"), "BF16", &[2, rows, cols], bytes)
    };
    let tensors = [
        matrix(&format!("{ATTENTION}.q_proj.weight"), 128, 64),
        vector(&format!("{ATTENTION}.sinks"), 8),
        bank("gate_up_proj", 64, 192),
        bank("down_proj", 96, 64),
    ];
    folder.write("in/model.safetensors", &safetensors(&tensors));
    let mut config: Value = serde_json::from_slice(&folder.read("in/config.json")).unwrap();
    config["hidden_size"] = 64.into();
    folder.write("in/config.json", config.to_string().as_bytes());
    let told = folder.done(&["convert", "in", "--scheme", "mxfp4"]);
    assert!(told.contains("opened by transformers, vLLM and SGLang"), "{told}");
    assert!(told.contains("servers read all else as plain numbers"), "{told}");
    let file = folder.file("in-mxfp4/model.safetensors");
    let blocks = file.get("model.layers.0.mlp.experts.down_proj_blocks");
    assert_eq!((blocks.dtype.as_str(), &blocks.shape[..]), ("U8", &[2, 64, 3, 16][..]));
    assert_eq!(quantization(&folder, "in-mxfp4")["quant_method"], "mxfp4");
    folder.done(&["verify", "in", "in-mxfp4"]);
    folder.done(&["dequantize", "in-mxfp4", "-o", "plain"]);
    let plain = folder.file("plain/model.safetensors");
    assert_eq!(plain.get("model.layers.0.mlp.experts.down_proj").shape, [2, 96, 64]);
    assert_eq!(quantization(&folder, "plain"), Value::Null);
    // The other layout, for its other layers.
    let flags = ["--layout", "compressed-tensors", "-o", "others"];
    let told = folder.done(&[&["convert", "in", "--scheme", "mxfp4"][..], &flags].concat());
    assert!(told.contains("2 expert banks stay") && told.contains("layout `mxfp4`"), "{told}");
}

/// A language model of one layer with two experts.
fn model_with_experts() -> Folder {
    let folder = model();
    let file = folder.file("in/model.safetensors");
    let others = file.tensors.values().filter(|tensor| !tensor.name.contains(".mlp."));
    let mut tensors: Vec<_> = others.cloned().collect();
    tensors.extend([0, 1].into_iter().flat_map(|expert| {
        expert_layers(expert).map(|name| matrix(&format!("{name}.weight"), 128, 128))
    }));
    tensors.push(matrix("model.layers.0.mlp.gate.weight", 2, 128));
    tensors.extend(["q_norm", "k_norm"].map(|it| vector(&format!("{ATTENTION}.{it}.weight"), 128)));
    folder.write("in/model.safetensors", &safetensors(&tensors));
    folder.write("in/config.json", config("qwen3_moe").to_string().as_bytes());
    folder
}

fn expert_layers(expert: usize) -> [String; 3] {
    ["gate_proj", "up_proj", "down_proj"]
        .map(|name| format!("model.layers.0.mlp.experts.{expert}.{name}"))
}

/// transformers joins experts when it loads them, and does not decode every way of storing there.
#[test]
fn a_model_with_experts_is_promised_to_transformers_only_where_it_joins_them() {
    let folder = model_with_experts();
    let plan = |scheme: &str, more: &[&str]| {
        folder.done(&[&["plan", "in", "--for", "vllm", "--scheme", scheme][..], more].concat())
    };
    for scheme in ["fp8", "fp8-row", "int4-group-128", "int8-group-128", "mxfp4", "fp8-block-128"] {
        let opened = plan(scheme, &[]);
        assert!(opened.contains("transformers"), "{scheme}: {opened}");
    }
    for scheme in ["nvfp4", "mxfp8", "int8-row"] {
        let opened = plan(scheme, &[]);
        assert!(opened.contains(&format!("{scheme} is opened by vLLM and SGLang\n")), "{opened}");
        let convert = ["convert", "in", "--for", "transformers", "--scheme", scheme, "-o", "out"];
        folder.refused(&convert, 2, &["transformers does not read", scheme]);
    }
    for (program, title) in
        [("vllm", "vLLM"), ("sglang", "SGLang"), ("transformers", "transformers")]
    {
        let convert = ["convert", "in", "--scheme", "int4-group-128-asym", "--for", program];
        let told = format!("{title} does not read");
        folder.refused(&convert, 2, &[&told, "no program is known that does"]);
    }
    // vLLM and SGLang take the scheme of the first one for all of a layer.
    for more in [["--rule", "experts.1=int4-group-128"], ["--keep", "experts.1.down_proj"]] {
        let convert = [&["convert", "in", "--scheme", "fp8-row"][..], &more].concat();
        let told = ["experts of one layer would be stored in several ways", "`--keep`"];
        folder.refused(&convert, 2, &told);
    }
    let budget = ["plan", "in", "--for", "vllm", "--bits", "6.5", "--json"];
    let budget = folder.json(&budget);
    let layers = budget["budget"]["layers"].as_array().unwrap();
    let experts = layers.iter().filter(|it| it["name"].as_str().unwrap().contains("experts"));
    let schemes: BTreeSet<_> = experts.map(|it| it["scheme"].as_str().unwrap()).collect();
    assert_eq!(schemes.len(), 1, "{schemes:?}");
}

#[test]
fn parts_of_a_folder_for_servers_are_refused() {
    let folder = model();
    folder.refused(
        &["convert", "in", "--part", "1/2", "-o", "out"],
        2,
        &["--part", "of its whole"],
    );
    assert!(folder.names().iter().all(|name| !name.starts_with("out")), "{:?}", folder.names());
}

#[test]
fn layers_of_one_stack_are_refused_in_different_schemes() {
    let folder = model();
    let rules = ["--rule", "q_proj=int8-row", "--rule", "mlp.up_proj=int8-row"];
    let plan = [&["plan", "in", "--for", "vllm", "--scheme", "fp8-row"][..], &rules].concat();
    folder.refused(&plan, 2, &["int8-row beside fp8-row", "servers stack layers", "q_proj`"]);
}

#[test]
fn a_budget_for_servers_mixes_their_schemes_and_gives_a_stack_one() {
    let folder = model();
    let flags = ["--bits", "6.5", "--card", "rtx50"];
    let plan = folder.json(&[&["plan", "in", "--json"][..], &flags].concat());
    let layers = plan["budget"]["layers"].as_array().unwrap();
    let scheme = |name: &str| {
        let layer = layers.iter().find(|layer| layer["name"].as_str().unwrap().ends_with(name));
        layer.unwrap_or_else(|| panic!("{name}: {plan:#}"))["scheme"].clone()
    };
    assert_eq!(scheme("q_proj"), scheme("k_proj"));
    assert_eq!(scheme("gate_proj"), scheme("up_proj"));
    assert!(plan["budget"]["file"]["bits"].as_f64().unwrap() <= 6.5);
    folder.done(&[&["convert", "in", "-o", "out"][..], &flags].concat());
    assert_eq!(quantization(&folder, "out")["format"], "mixed-precision");
    folder.done(&["verify", "in", "out"]);
}

/// Statistics of every layer of the model, with or without the largest input, 21.
fn write_statistics(folder: &Folder, name: &str, with_largest: bool) {
    let mlp = ["gate_proj", "up_proj", "down_proj"].map(|it| format!("model.layers.0.mlp.{it}"));
    let largest = with_largest.then_some(21.0);
    write_statistics_of(folder, name, attention_layers().into_iter().chain(mlp), largest);
}

fn attention_layers() -> [String; 4] {
    ["q_proj", "k_proj", "v_proj", "o_proj"].map(|it| format!("{ATTENTION}.{it}"))
}

/// Statistics of some layers, which have 256 columns where they are an MLP's last.
fn write_statistics_of(
    folder: &Folder,
    name: &str,
    layers: impl Iterator<Item = String>,
    largest: Option<f32>,
) {
    let layers = layers.map(|module| {
        let columns = if module.ends_with("mlp.down_proj") { 256 } else { 128 };
        let known = LayerStatistics::new(9, None, vec![4.0; columns], SecondMoment::Diagonal);
        let known = known.unwrap();
        let known = match largest {
            Some(largest) => known.with_largest(largest).unwrap(),
            None => known,
        };
        (LayerShape { module, rows: 0, columns: columns as u64 }, known)
    });
    let layers: Vec<_> = layers.collect();
    let plans = layers.iter().map(|(shape, known)| LayerPlan::of(shape.clone(), known)).collect();
    let path = folder.path(name);
    let writer = StatisticsWriter::create(&path, Overwrite::Replace, "a test", plans).unwrap();
    for (shape, known) in &layers {
        writer.write(&shape.module, known).unwrap();
    }
    writer.commit().unwrap();
}

#[test]
fn static_scales_of_inputs_come_from_the_largest_input_of_the_statistics() {
    let folder = model();
    write_statistics(&folder, "s.stats.safetensors", true);
    let stats = ["--inputs", "static", "--stats", "s.stats.safetensors"];
    let convert = |scheme: &str, output: &str, more: &[&str]| {
        let what = ["convert", "in", "--for", "vllm", "--scheme", scheme, "-o", output];
        let text = folder.done(&[&what[..], &stats, more].concat());
        assert!(text.contains("scales of inputs are stored for 7 of 7 layers"), "{text}");
        folder.done(&["verify", "in", output]);
        quantization(&folder, output)
    };
    let number = |output: &str, part: &str| {
        folder
            .file(&format!("{output}/model.safetensors"))
            .f32(&format!("{ATTENTION}.q_proj.{part}"))
    };
    // 2688 · 2⁻⁷ is 21 to the digit.
    let told = convert("nvfp4", "four", &[]);
    assert_eq!(told["config_groups"]["group_0"]["input_activations"]["dynamic"], "local");
    assert_eq!(number("four", "input_global_scale"), [128.0]);
    let told = convert("nvfp4", "modelopt", &["--layout", "modelopt"]);
    assert_eq!(told["quant_algo"], "NVFP4");
    assert_eq!(number("modelopt", "input_scale"), [1.0 / 128.0]);
    let told = convert("fp8", "eight", &[]);
    assert_eq!(told["config_groups"]["group_0"]["input_activations"]["strategy"], "tensor");
    let file = folder.file("eight/model.safetensors");
    let scale = file.get(&format!("{ATTENTION}.q_proj.input_scale"));
    assert_eq!((scale.dtype.as_str(), &scale.shape[..]), ("BF16", &[1][..]));
    // 21 / 448 is 1.5 · 2⁻⁵ to the digit.
    assert_eq!(scale.bytes, [0x40, 0x3D]);
    let told = convert("fp8", "modelopt-eight", &["--layout", "modelopt"]);
    assert_eq!(told["quant_algo"], "FP8");
    assert_eq!(number("modelopt-eight", "input_scale"), [21.0 / 448.0]);
    let of_stack = ["q", "k", "v"].map(|layer| {
        let file = folder.file("modelopt-eight/model.safetensors");
        file.f32(&format!("{ATTENTION}.{layer}_proj.weight_scale"))
    });
    assert!(of_stack.iter().all(|scale| *scale == of_stack[0]), "{of_stack:?}");
    let text = folder.done(&["inspect", "modelopt-eight"]);
    assert!(text.contains("modelopt"), "{text}");
    folder.done(&["dequantize", "modelopt-eight", "-o", "eight-numbers.safetensors"]);
    assert_eq!(
        folder.file("eight-numbers.safetensors").names(),
        folder.file("in/model.safetensors").names()
    );
    let moved = ["migrate", "modelopt-eight", "--to", "modelopt", "-o", "modelopt-again"];
    assert!(!folder.done(&moved).contains("are left out"));
    assert_eq!(quantization(&folder, "modelopt-again"), told);
    // They stay where the layout does, and are told to be left out where it has another form for them.
    for (from, scale) in [("four", "input_global_scale"), ("eight", "input_scale")] {
        let to = format!("{from}-again");
        let text = folder.done(&["migrate", from, "--to", "compressed-tensors", "-o", &to]);
        assert!(!text.contains("are left out"), "{text}");
        let name = format!("{ATTENTION}.q_proj.{scale}");
        let [before, after] = [from, &to].map(|it| folder.file(&format!("{it}/model.safetensors")));
        assert_eq!(before.get(&name).bytes, after.get(&name).bytes);
        assert_eq!(quantization(&folder, &to), quantization(&folder, from));
    }
    let text = folder.done(&["migrate", "four", "--to", "modelopt", "-o", "moved"]);
    assert!(text.contains("note: the stored scales of inputs of 7 layers are left out"), "{text}");
    assert_eq!(quantization(&folder, "moved")["quant_algo"], "W4A16_NVFP4");
    // The codes are those of any conversion by these statistics.
    folder.done(
        &[&["convert", "in", "--for", "vllm", "--scheme", "nvfp4", "-o", "plain"], &stats[2..]]
            .concat(),
    );
    let plain = folder.file("plain/model.safetensors");
    let codes = format!("{ATTENTION}.q_proj.weight_packed");
    assert_eq!(plain.get(&codes).bytes, folder.file("four/model.safetensors").get(&codes).bytes);
    assert_eq!(
        quantization(&folder, "plain")["config_groups"]["group_0"]["input_activations"],
        Value::Null
    );
    folder.done(&["dequantize", "four", "-o", "numbers.safetensors"]);
    let (numbers, before) =
        (folder.file("numbers.safetensors"), folder.file("in/model.safetensors"));
    assert_eq!(numbers.names(), before.names());
}

#[test]
fn an_expert_that_no_input_reached_has_the_scale_of_the_experts_beside_it() {
    let folder = model_with_experts();
    let known = attention_layers().into_iter().chain(expert_layers(0));
    write_statistics_of(&folder, "s.stats.safetensors", known, Some(21.0));
    let stats = ["--inputs", "static", "--stats", "s.stats.safetensors", "--scheme", "fp8"];
    let convert =
        |program| [&["convert", "in", "-o", "out", "--for", program][..], &stats].concat();
    // It has no place for them: their names would be unexpected.
    folder.refused(
        &convert("transformers"),
        2,
        &["transformers reads no experts with stored scales", "`dynamic`"],
    );
    let told = folder.done(&convert("vllm"));
    assert!(told.contains("fp8, opened by vLLM and SGLang\n"), "{told}");
    assert!(told.contains("nearest codes for 3 weights without statistics"), "{told}");
    let file = folder.file("out/model.safetensors");
    for layer in [expert_layers(0), expert_layers(1)].concat() {
        // 21 / 448 is 1.5 · 2⁻⁵ to the digit.
        assert_eq!(file.get(&format!("{layer}.input_scale")).bytes, [0x40, 0x3D], "{layer}");
    }
    folder.done(&["verify", "in", "out"]);
    // Nor does it when they are there already, or move.
    let told = folder.done(&["inspect", "out"]);
    assert!(told.contains("vLLM and SGLang") && !told.contains("transformers"), "{told}");
    let told = folder.done(&["migrate", "out", "--to", "compressed-tensors", "-o", "moved"]);
    assert!(told.contains("fp8, opened by vLLM and SGLang\n"), "{told}");
    let migrate = ["migrate", "out", "--for", "transformers", "-o", "moved-again"];
    folder.refused(&migrate, 2, &["transformers reads no experts", "`dynamic`"]);
    // Of no expert, in this place, is anything known.
    let known = attention_layers().into_iter().chain(expert_layers(0).into_iter().skip(1));
    write_statistics_of(&folder, "s.stats.safetensors", known, Some(21.0));
    let problem = "holds no statistics of layer `model.layers.0.mlp.experts.0.gate_proj`";
    folder.refused(&[&convert("vllm")[..], &["--force"]].concat(), 2, &[problem]);
}

#[test]
fn older_statistics_give_static_scales_with_room_above() {
    let folder = model();
    write_statistics(&folder, "s.stats.safetensors", false);
    let stats = ["--inputs", "static", "--stats", "s.stats.safetensors"];
    folder.done(
        &[&["convert", "in", "--for", "vllm", "--scheme", "nvfp4", "-o", "out"], &stats[..]]
            .concat(),
    );
    let file = folder.file("out/model.safetensors");
    // Eight times 2 is below 21, and above half of it.
    assert_eq!(file.f32(&format!("{ATTENTION}.q_proj.input_global_scale")), [128.0]);
}

#[test]
fn static_scales_of_inputs_are_refused_where_there_are_none() {
    let folder = model();
    write_statistics(&folder, "s.stats.safetensors", true);
    let convert = ["convert", "in", "--for", "vllm", "--inputs", "static"];
    let words =
        ["--inputs", "`fp8-row`, which is meant where no scheme is named", "`nvfp4` have them"];
    folder.refused(&convert, 2, &words);
    write_statistics_of(
        &folder,
        "some.stats.safetensors",
        attention_layers().into_iter(),
        Some(21.0),
    );
    let some = ["--scheme", "fp8", "--stats", "some.stats.safetensors"];
    let words =
        ["no statistics of layer `model.layers.0.mlp.down_proj`", "keep the layer (--keep)"];
    folder.refused(&[&convert[..], &some].concat(), 2, &words);
    let modelopt = ["convert", "in", "--layout", "modelopt", "--scheme", "fp8"];
    folder.refused(&modelopt, 2, &["--inputs", "only with stored scales of inputs"]);
    folder.done(&["convert", "in", "--for", "vllm", "--scheme", "fp8", "-o", "tokens"]);
    let migrate = ["migrate", "tokens", "--to", "modelopt", "-o", "moved"];
    folder.refused(&migrate, 1, &["need a stored scale of its inputs", "down_proj"]);
    let without = [&convert[..], &["--scheme", "nvfp4"]].concat();
    folder.refused(&without, 2, &["a stored scale of inputs needs statistics", "--stats"]);
    let comfy = ["convert", "in", "--for", "comfyui", "--scheme", "nvfp4", "--inputs", "static"];
    folder.refused(&comfy, 2, &["--inputs", "stores no scales of inputs"]);
    let run = folder.run(&["convert", "in", "--for", "vllm", "--scheme", "awq"]);
    assert!(run.code == 2 && !run.stderr.contains("is stored as"), "{}", run.stderr);
    let unknown = ["convert", "in", "--inputs", "statik"];
    folder.refused(&unknown, 2, &["is `static` meant?"]);
}

/// Python writes numbers that JSON has none for, as in configurations of models with state spaces.
#[test]
fn a_configuration_with_numbers_of_python_is_read_and_kept() {
    let folder = model();
    let text = String::from_utf8(folder.read("in/config.json")).unwrap();
    let text = text.replacen('{', "{\"time_step_limit\": [0.0, Infinity], ", 1);
    folder.write("in/config.json", text.as_bytes());
    let told = folder.done(&["convert", "in", "-o", "out"]);
    assert!(told.contains("opened by vLLM"), "{told}");
    let written = String::from_utf8(folder.read("out/config.json")).unwrap();
    assert!(written.contains("    Infinity\n") && written.contains("quant_method"), "{written}");
    folder.done(&["verify", "in", "out"]);
}

/// A collector names what transformers builds of a file.
#[test]
fn statistics_fit_under_the_names_of_modules() {
    let folder =
        changed_model(&config("mistral3"), &|tensors| renamed(tensors, "", "language_model."));
    let layers = attention_layers()
        .into_iter()
        .chain(["gate_proj", "up_proj", "down_proj"].map(|it| format!("model.layers.0.mlp.{it}")));
    let layers = layers.map(|layer| layer.replacen("model.", "model.language_model.", 1));
    write_statistics_of(&folder, "s.stats.safetensors", layers, None);
    let flags = ["--scheme", "int4-group-128", "--stats", "s.stats.safetensors", "-o", "out"];
    let told = folder.done(&[&["convert", "in"][..], &flags].concat());
    assert!(!told.contains("without statistics"), "{told}");
}

#[test]
fn several_schemes_are_groups_of_one_configuration() {
    let folder = model();
    let rule = ["--scheme", "int4-group-128", "--rule", "down_proj=fp8-row", "-o", "out"];
    folder.done(&[&["convert", "in", "--for", "sglang"][..], &rule].concat());
    let told = quantization(&folder, "out");
    assert_eq!(told["format"], "mixed-precision");
    assert_eq!(
        told["config_groups"]["group_1"]["targets"],
        json!(["model.layers.0.mlp.down_proj"])
    );
}

#[test]
fn layers_that_devices_cannot_share_out_in_whole_blocks_are_kept() {
    let folder = model();
    let flags = ["--scheme", "fp8-block-128", "--tp", "2"];
    let plan = folder.done(&[&["plan", "in", "--for", "vllm"][..], &flags].concat());
    assert!(plan.contains("2 devices cannot share out 128 rows in whole blocks of 128"), "{plan}");
    assert!(plan.contains("2 devices cannot share out 128 columns"), "{plan}");
    folder.refused(
        &["convert", "in", "--for", "comfyui", "--tp", "2"],
        2,
        &["--tp", "does not apply to layout `comfy`"],
    );
}

#[test]
fn each_spelling_has_its_configuration() {
    let folder = model();
    for (layout, scheme, method, more) in [
        ("fp8", "fp8-block-128-pow2", "fp8", None),
        ("modelopt", "fp8-row", "modelopt", Some("hf_quant_config.json")),
    ] {
        let flags = ["--spelling", layout, "--scheme", scheme, "-o", layout];
        folder.done(&[&["convert", "in"][..], &flags].concat());
        assert_eq!(quantization(&folder, layout)["quant_method"], method);
        if let Some(more) = more {
            assert!(folder.path(&format!("{layout}/{more}")).is_file());
        }
        folder.done(&["verify", "in", layout]);
    }
}

#[test]
fn what_servers_could_not_open_is_refused_with_a_way_out() {
    let folder = model();
    std::fs::remove_file(folder.path("in/config.json")).unwrap();
    folder.refused(
        &["convert", "in", "--for", "vllm"],
        1,
        &["config.json", "name the model's folder"],
    );
    let folder = model();
    folder.refused(
        &["convert", "in", "--for", "vllm", "--layout", "comfy"],
        2,
        &["--layout", "vLLM does not read"],
    );
    folder.refused(
        &["convert", "in", "--for", "vllm", "--scheme", "int8-row-convrot"],
        2,
        &["no server reads it", "int8-row"],
    );
    folder.refused(&["convert", "in", "--for", "llama.cpp"], 2, &["--for", "vllm"]);
}

#[test]
fn a_family_without_rules_is_converted_without_a_claim() {
    let folder = model_of(&config("nobody_knows"));
    let plan = folder.done(&["plan", "in"]);
    assert!(plan.contains("no program is known to open it"), "{plan}");
    assert!(plan.contains("`nobody_knows`"), "{plan}");
    let known = model().done(&["plan", "in"]);
    assert!(known.contains("opened by vLLM"), "{known}");
}

#[test]
fn codes_of_an_input_are_decoded_and_told_anew() {
    let folder = model();
    folder.done(&["convert", "in", "--scheme", "fp8-row", "-o", "first"]);
    folder.done(&["convert", "first", "--scheme", "int4-group-128", "-o", "second"]);
    assert_eq!(quantization(&folder, "second")["format"], "pack-quantized");
    let decoded = folder.done(&["dequantize", "second", "-o", "third", "--shard-size", "1GB"]);
    assert!(!decoded.is_empty());
    assert_eq!(quantization(&folder, "third"), Value::Null);
}

#[test]
fn codes_move_to_comfyui_and_back_untouched() {
    for scheme in ["fp8", "int8-row", "nvfp4", "mxfp8"] {
        let folder = model();
        folder.done(&["convert", "in", "--for", "vllm", "--scheme", scheme, "-o", "served"]);
        folder.done(&["migrate", "served", "--for", "comfyui", "-o", "m.safetensors"]);
        let numbers = |input: &str, output: &str| {
            folder.done(&["dequantize", input, "-o", output, "--dtype", "f32"]);
            let file = folder.file(output);
            file.names().iter().map(|name| file.get(name).bytes.clone()).collect::<Vec<_>>()
        };
        let served = numbers("served", "a.safetensors");
        assert!(served == numbers("m.safetensors", "b.safetensors"), "{scheme}");
    }
}

/// The recipe that is printed for a model is that of its conversion.
#[test]
fn the_recipe_of_a_folder_does_what_no_recipe_does() {
    let folder = model();
    let recipe = folder.done(&["recipe", "init", "in"]);
    folder.write("r.toml", recipe.as_bytes());
    folder.done(&["convert", "in", "-o", "a", "--no-provenance"]);
    folder.done(&["convert", "in", "-o", "b", "--no-provenance", "--recipe", "r.toml"]);
    for name in ["model.safetensors", "config.json"] {
        assert!(folder.read(&format!("a/{name}")) == folder.read(&format!("b/{name}")), "{recipe}");
    }
}

#[test]
fn an_adapter_for_comfyui_is_refused_beside_a_folder_for_servers() {
    let folder = model();
    let words = ["--extract-error-lora", "compressed-tensors"];
    folder.refused(&["convert", "in", "--extract-error-lora", "2", "-o", "out"], 2, &words);
    assert!(!folder.path("out").exists());
}

/// vLLM rounds the cache of keys and values by scales of the file where the entry is there.
#[test]
fn scales_of_the_cache_go_along_with_their_entry_or_not_at_all() {
    let folder = model();
    folder.done(&["convert", "in", "--for", "vllm", "--scheme", "fp8", "-o", "cached"]);
    let mut tensors: Vec<Tensor> =
        folder.file("cached/model.safetensors").tensors.values().cloned().collect();
    tensors.extend(["k_scale", "v_scale"].map(|it| vector(&format!("{ATTENTION}.{it}"), 1)));
    folder.write("cached/model.safetensors", &safetensors(&tensors));
    let mut config: Value = serde_json::from_slice(&folder.read("cached/config.json")).unwrap();
    let cache = json!({"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": false});
    config["quantization_config"]["kv_cache_scheme"] = cache.clone();
    folder.write("cached/config.json", config.to_string().as_bytes());
    let scales = |file: &str| {
        folder.file(file).names().iter().filter(|name| name.ends_with("k_scale")).count()
    };
    for (command, output) in [
        (&["convert", "cached", "--for", "vllm", "--scheme", "fp8"][..], "same"),
        (&["convert", "cached", "--for", "vllm", "--scheme", "fp8-row"], "row"),
        (&["migrate", "cached", "--to", "compressed-tensors"], "moved"),
    ] {
        let text = folder.done(&[command, &["-o", output]].concat());
        assert!(!text.contains("of the cache"), "{output}: {text}");
        assert_eq!(quantization(&folder, output)["kv_cache_scheme"], cache, "{output}");
        assert_eq!(scales(&format!("{output}/model.safetensors")), 1, "{output}");
    }
    let layer = format!("{ATTENTION}.k_scale");
    let plan =
        ["plan", "cached", "--layout", "modelopt", "--scheme", "fp8-row", "--explain", &layer];
    assert!(folder.done(&plan).contains("cache of keys and values"));
    for (command, output, file) in [
        (
            &["convert", "cached", "--layout", "modelopt", "--scheme", "fp8-row", "-o", "other"][..],
            "other",
            "other/model.safetensors",
        ),
        (&["dequantize", "cached", "-o", "plain.safetensors"], "plain", "plain.safetensors"),
    ] {
        let text = folder.done(command);
        let note = "2 scales of the cache of keys and values are left out";
        assert!(text.contains(note), "{output}: {text}");
        assert_eq!(scales(file), 0, "{output}");
    }
    // Without the entry no program looks for them.
    config["quantization_config"]["kv_cache_scheme"] = Value::Null;
    folder.write("cached/config.json", config.to_string().as_bytes());
    let to_row = ["convert", "cached", "--for", "vllm", "--scheme", "fp8-row", "-o", "untold"];
    assert!(folder.done(&to_row).contains("of the cache of keys and values are left out"));
    assert_eq!(scales("untold/model.safetensors"), 0);
}

/// The folder was named: what is missing is a class that writes.
#[test]
fn a_model_that_writes_no_text_is_refused_for_servers_with_its_class() {
    for class in ["LlamaModel", "LlamaForSequenceClassification"] {
        let mut config = config("llama");
        config["architectures"] = json!([class]);
        let folder = model_of(&config);
        let told = format!("names `{class}`, which writes none");
        folder.refused(
            &["convert", "in", "--for", "vllm"],
            1,
            &[&told, "name ComfyUI as the program"],
        );
    }
}

/// What servers read beside the weights goes along with a folder alone.
#[test]
fn a_weight_file_by_itself_is_refused_for_servers_with_its_folder() {
    let folder = model();
    for command in ["convert", "plan"] {
        let words = ["`config.json` and tokenizer", "name the folder: in"];
        folder.refused(&[command, "in/model.safetensors", "--for", "vllm"], 2, &words);
    }
    folder.done(&["convert", "in", "-o", "served"]);
    let migrate = ["migrate", "served/model.safetensors", "--for", "vllm", "-o", "out"];
    folder.refused(&migrate, 2, &["name the folder: served"]);
    assert!(folder.names().iter().all(|name| !name.starts_with("out")), "{:?}", folder.names());
}

#[test]
fn codes_do_not_move_to_servers_without_a_configuration() {
    let folder = model();
    let to_file = ["convert", "in", "-o", "c.safetensors", "--as", "text-encoder"];
    folder.done(&[&to_file[..], &["--scheme", "int8-row"]].concat());
    let run = folder.run(&["migrate", "c.safetensors", "--for", "vllm", "-o", "out"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("config.json") && !run.stderr.contains("--as"), "{}", run.stderr);
    folder.refused(&["migrate", "c.safetensors"], 2, &["--to", "--for"]);
}

/// A folder that is decoded, repaired or edited can be served as before.
#[test]
fn what_is_rewritten_of_a_folder_stays_a_folder() {
    let folder = model();
    folder.done(&["convert", "in", "-o", "served"]);
    folder.done(&["dequantize", "served"]);
    folder.done(&["edit", "served", "--set", "author=me", "-o", "edited"]);
    for output in ["served-bf16", "edited"] {
        assert_eq!(
            folder.read(&format!("{output}/tokenizer.json")),
            folder.read("in/tokenizer.json")
        );
    }
    assert_eq!(quantization(&folder, "served-bf16"), Value::Null);
    assert_eq!(folder.read("edited/config.json"), folder.read("served/config.json"));
    assert_eq!(folder.file("edited/model.safetensors").metadata["author"], "me");
    // Whoever names a single file gets one.
    folder.done(&["dequantize", "served", "-o", "plain.safetensors"]);
    assert!(folder.path("plain.safetensors").is_file());
}

#[test]
fn what_is_stored_otherwise_or_not_copied_is_noted() {
    let folder = model();
    folder.write("in/sub/more.txt", b"x");
    folder.write("in/.hidden", b"x");
    folder.write("in/.gitattributes", b"x");
    let flags = ["--for", "vllm", "--scheme", "fp8-block-128", "-o", "out"];
    let text = folder.done(&[&["convert", "in"][..], &flags].concat());
    assert!(text.contains("`fp8-block-128` is stored as `fp8-block-128-pow2`"), "{text}");
    assert!(text.contains("not copied: `.hidden`, `sub`\n"), "{text}");
    assert!(!folder.path("out/sub").exists());
    let named = ["--scheme", "fp8-block-128-pow2", "--for", "vllm"];
    let text = folder.done(&[&["plan", "in"][..], &named].concat());
    assert!(!text.contains("is stored as"), "{text}");
}

/// The configuration is there: what opens the folder is what its conversion has told.
#[test]
fn inspect_names_the_programs_that_the_conversion_named() {
    for (scheme, layout) in [
        ("fp8-row", "compressed-tensors"),
        ("fp8-row", "modelopt"),
        ("nvfp4", "compressed-tensors"),
    ] {
        let folder = model();
        let flags = ["--scheme", scheme, "--layout", layout, "-o", "out"];
        let report =
            folder.json(&[&["convert", "in", "--for", "vllm", "--json"][..], &flags].concat());
        let told = report["consumers"][0]["program"].as_str().unwrap();
        let inspected = folder.done(&["inspect", "out"]);
        assert!(inspected.contains(&format!("opened by: {told}\n")), "{layout}: {inspected}");
        std::fs::remove_file(folder.path("out/config.json")).unwrap();
        let inspected = folder.done(&["inspect", "out/model.safetensors"]);
        assert!(inspected.contains("with a matching config.json"), "{inspected}");
        let inspected = folder.done(&["inspect", "out"]);
        assert!(inspected.contains("opened by: none: it holds layers in codes"), "{inspected}");
    }
}
