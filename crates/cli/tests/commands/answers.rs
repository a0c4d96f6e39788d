//! Answers in JSON are documented, and answers in text are true.

use std::collections::BTreeSet;
use std::process::Command;

use roundwise_convert::RecipeFile;
use roundwise_convert::recipe::setting_names;
use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::gaussian;
use serde_json::Value;

use crate::tool::{Folder, Run, chroma_model};
use crate::{budget, plain, tool};

/// Paths of all keys, lists as `[]`.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                found.insert(path.clone());
                keys(value, &path, found);
            }
        }
        Value::Array(items) => {
            items.iter().for_each(|item| keys(item, &format!("{path}[]"), found));
        }
        _ => {}
    }
}

/// Keys in the first column of a table of `docs/report.md`, from the heading on; `KEY.*` stands for those that the
/// report has below that key.
fn documented(heading: &str) -> BTreeSet<String> {
    let text = include_str!("../../../../docs/report.md");
    let lines = text.lines().skip_while(|line| *line != format!("## {heading}"));
    let section = lines.skip(1).take_while(|line| !line.starts_with("## "));
    let cells = section.filter(|line| line.starts_with("| `"));
    let cells = cells.filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let keys = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    keys.flat_map(|key| match key.strip_suffix('*') {
        Some(above) => {
            documented("Report").into_iter().filter(|key| key.starts_with(above)).collect()
        }
        None => vec![key.to_owned()],
    })
    .collect()
}

#[track_caller]
fn agree(heading: &str, answers: &[Value]) {
    let mut found = BTreeSet::new();
    answers.iter().for_each(|answer| keys(answer, "", &mut found));
    assert_eq!(found, documented(heading), "docs/report.md, {heading}");
}

#[test]
fn every_key_of_the_report_is_documented() {
    let folder = plain();
    let recipe = "scheme = 'fp8'\nlayout = 'comfy'\nmethod = 'nearest'\n\
        scale_rule = 'absmax'\npreset = 'chroma'\nkeep_distillation = true\n\
        ignore_base_list = true\nkeep = ['txt']\ninclude = ['final']\nmin_size = 10\n\
        heuristic = 'basic'\nprovenance = true\nrules = [{ pattern = 'qkv', scheme = 'int8' }]\n\
        model = 'Chroma'\nas = 'diffusion-model'\nfallback_scheme = 'int8'\nfull_precision = ['qkv']\n\
        merge_lora = ['l.safetensors:0.5']\nallow_unmatched_lora = false\n";
    let name = |part: &str| format!("double_blocks.0.img_attn.qkv.lora_{part}.weight");
    let lora = [
        Tensor::f32(&name("up"), &gaussian(96, 2, 1)),
        Tensor::f32(&name("down"), &gaussian(2, 32, 2)),
    ];
    folder.write("l.safetensors", &safetensors(&lora));
    folder.write("chroma.safetensors", &chroma_model());
    folder.write("r.toml", recipe.as_bytes());
    let arguments = ["convert", "chroma.safetensors", "--recipe", "r.toml"];
    folder.done(&[&arguments[..], &["--report", "r.json", "-q"]].concat());
    let report: Value = serde_json::from_slice(&folder.read("r.json")).unwrap();
    assert_eq!(report["report_version"], 3);
    let input = folder.read("chroma.safetensors");
    assert_eq!(report["input_bytes"], input.len());
    assert_eq!(report["input_hashes"][0]["file"], "chroma.safetensors");
    assert_eq!(report["input_hashes"][0]["blake3"].as_str().unwrap().len(), 64);
    let output = folder.read("chroma-fp8.safetensors");
    assert_eq!(report["output_bytes"], output.len());
    folder.write("m.safetensors", &plain().read("m.safetensors"));
    let learned = ["m.safetensors", "--method", "principal", "--top-k", "4", "--json"];
    let learned = folder.json(&[&["convert"], &learned[..]].concat());
    let soft = ["m.safetensors", "--method", "adaround", "--iterations", "2", "--force", "--json"];
    let betas = ["--beta-start", "10", "--beta-end", "3"];
    let soft = folder.json(&[&["convert"], &soft[..], &betas].concat());
    let budgeted = budget::folder();
    let arguments = ["convert", "m.safetensors", "--bits", "7", "--stats", "g.stats.safetensors"];
    let mixed = budgeted.json(&[&arguments[..], &["--json"]].concat());
    let sides = ["m.safetensors", "--stats", "g.stats.safetensors", "--sides", "both", "--force"];
    let sides = budgeted.json(&[&["convert", "--json"][..], &sides].concat());
    let served = crate::servers::model();
    let arguments = ["convert", "in", "--for", "vllm", "--tp", "1", "--names", "keep"];
    let served = served.json(&[&arguments[..], &["--inputs", "dynamic", "--json"]].concat());
    let blocks = Folder::with("m.gguf", &crate::containers::gguf());
    let blocks = blocks.json(&["convert", "m.gguf", "--scheme", "fp16", "--keep", "a", "--json"]);
    // Beside one large number all others become 0. A norm that is none is kept.
    let mut outlier = gaussian(64, 64, 3);
    outlier.values[0] = 1e4;
    let norm = Tensor::new("norm.weight", "F32", &[1], f32::NAN.to_le_bytes().to_vec());
    let outlier = safetensors(&[Tensor::f32("a.weight", &outlier), norm]);
    let zeroed = Folder::with("m.safetensors", &outlier);
    let zeroed = zeroed.json(&["convert", "m.safetensors", "--scheme", "int8", "--json"]);
    // What only a GPU, or its failure, brings about.
    let on_gpu = serde_json::json!({
        "rounding": { "device_choice": "", "cpu_layers": 1, "tiled_layers": 1 },
        "tensors": [{ "rounding": { "device_failure": "", "device_shortage": "" } }],
    });
    agree("Report", &[report, learned, soft, mixed, sides, served, blocks, zeroed, on_gpu]);
}

/// A setting that is added to recipes is in reports, too.
#[test]
fn every_setting_of_a_recipe_is_documented() {
    const OTHER_NAMES: [&str; 2] = ["spelling", "rounding"];
    let text = include_str!("../../../../docs/report.md");
    for name in setting_names::<RecipeFile>().iter().filter(|name| !OTHER_NAMES.contains(name)) {
        assert!(text.contains(&format!("`recipe.{name}`")), "docs/report.md: recipe.{name}");
    }
}

/// So is it a flag, but for what other commands are for and what only files hold.
#[test]
fn every_setting_of_a_recipe_is_a_flag_or_said_to_be_none() {
    const OF_FILES: [&str; 2] = ["assign", "model"];
    const OF_COMMANDS: [&str; 4] = ["decode_to", "migrate_to", "edit", "repair"];
    const OTHER_WORDS: [(&str, &str); 4] = [
        ("method_options", "effort"),
        ("rules", "rule"),
        ("tensor_parallel", "tp"),
        ("provenance", "no-provenance"),
    ];
    let help = Folder::new().done(&["convert", "--help"]);
    for name in setting_names::<RecipeFile>() {
        if OF_FILES.contains(name) || OF_COMMANDS.contains(name) {
            continue;
        }
        let other = OTHER_WORDS.iter().find(|(setting, _)| setting == name);
        let flag = other.map_or_else(|| name.replace('_', "-"), |(_, flag)| (*flag).to_owned());
        assert!(help.contains(&format!("--{flag}")), "{name}: no flag --{flag}");
    }
}

#[test]
fn every_key_of_the_plan_is_documented() {
    let budgeted = budget::folder();
    let arguments = ["plan", "m.safetensors", "--bits", "7", "--stats", "g.stats.safetensors"];
    let mixed = budgeted.json(&[&arguments[..], &["--json"]].concat());
    agree("Plan", &[plain().json(&["plan", "m.safetensors", "--json"]), mixed]);
}

#[test]
fn every_key_of_sensitivities_is_documented() {
    let arguments = ["sensitivity", "m.safetensors", "--schemes", "fp8", "--json"];
    let found = budget::folder().done(&arguments).replace("\"fp8\"", "\"SCHEME\"");
    agree("Sensitivity", &[serde_json::from_str(&found).unwrap()]);
}

#[test]
fn every_key_of_inspect_and_verify_is_documented() {
    let folder = plain();
    folder.done(&["convert", "m.safetensors", "-q"]);
    let mut file = folder.file("m-fp8.safetensors");
    file.tensors.insert(
        "conv.weight_scale".into(),
        Tensor::new("conv.weight_scale", "F32", &[1], vec![0; 4]),
    );
    let bank = vec![0; 2 * 16 * 16 * 2];
    let bank = Tensor::new("mlp.experts.gate_up_proj", "BF16", &[2, 16, 16], bank);
    file.tensors.insert(bank.name.clone(), bank);
    folder.write("bad.safetensors", &file.bytes());
    let mut inspected = folder.json(&["inspect", "bad.safetensors", "--json"]);
    assert_eq!(inspected["metadata"]["format"], "pt");
    inspected["metadata"] = Value::Null; // its keys are the file's
    agree("Inspect", &[inspected]);
    let run = folder.run(&["verify", "m.safetensors", "bad.safetensors", "--json"]);
    agree("Verify", &[serde_json::from_str(&run.stdout).unwrap()]);
}

#[test]
fn every_key_of_presets_is_documented() {
    agree("Presets", &[Folder::new().json(&["presets", "--json"])]);
}

#[test]
fn presets_tell_what_they_are_for_and_how_models_are_recognised() {
    // Lines are broken at the width of prose.
    let text = Folder::new().done(&["presets"]);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for lines in [
        "base: every model every model, on top of its own preset ",
        "flux2: FLUX.2 FLUX.2 by double_blocks.0.img_attn.norm.key_norm.scale | ",
        " and double_stream_modulation_img.lin.weight ",
        "chroma, distillation_large, keep_distillation: Chroma ",
        "distillation_small: Chroma, guidance network only on request only ",
        "not converted: ",
    ] {
        assert!(text.contains(lines), "`{lines}` is not in: {text}");
    }
    // Every name that is listed is accepted.
    let folder = plain();
    for preset in folder.json(&["presets", "--json"]).as_array().unwrap() {
        let name = preset["name"].as_str().unwrap();
        let run = folder.run(&["plan", "m.safetensors", "--preset", name]);
        let expected = if preset["refuses"].is_null() { 0 } else { 1 };
        assert_eq!(run.code, expected, "{name}: {}", run.stderr);
    }
}

#[test]
fn a_preset_that_is_named_lists_what_it_keeps() {
    let told = |arguments: &[&str]| {
        let text = Folder::new().done(arguments);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let text = told(&["presets", "flux"]);
    assert!(text.contains("keeps `img_in`") && text.contains("keeps what `base` keeps"), "{text}");
    assert!(!told(&["presets"]).contains("keeps `"));
}

#[test]
fn every_key_of_schemes_is_documented() {
    agree("Schemes", &[Folder::new().json(&["schemes", "--json"])]);
}

#[test]
fn plan_writes_nothing_and_tells_the_size() {
    let folder = plain();
    let before = folder.snapshot();
    let text = folder.done(&["plan", "m.safetensors"]);
    let plan = folder.json(&["plan", "m.safetensors", "--json"]);
    assert_eq!(folder.done(&["plan", "m.safetensors", "--quiet"]), "");
    assert!(before == folder.snapshot());
    assert!(text.contains("blocks.0.ff.in.weight   [256, 128]    BF16   fp8      linear weight\n"));
    folder.done(&["convert", "m.safetensors", "-q"]);
    assert_eq!(plan["output_bytes"], folder.read("m-fp8.safetensors").len());
}

#[test]
fn inspect_tells_the_command_that_makes_the_file_again() {
    let folder = plain();
    let flags = ["--scheme", "int8-row", "--keep", r"it's$|ff\.out", "--rule", r"\.in=fp8-row"];
    let flags = [&flags[..], &["--method", "principal", "--top-p", "0.5", "--min-k", "1"]].concat();
    folder.done(&[&["convert", "m.safetensors", "-q", "-o", "a.safetensors"], &flags[..]].concat());
    let made = &folder.json(&["inspect", "a.safetensors", "--json"])["provenance"];
    let command = made["command"].as_str().unwrap();
    assert!(folder.done(&["inspect", "a.safetensors"]).contains(command), "{command}");
    let script = command.replacen("roundwise", "\"$0\"", 1).replacen("INPUT", "\"$1\"", 1);
    let mut shell = Command::new("sh");
    let shell = shell.arg("-c").arg(script + " -q -o b.safetensors").arg(tool::binary());
    let run = Run::of(shell.arg("m.safetensors").current_dir(folder.root()).output().unwrap());
    run.must_say(0, &[]);
    assert!(folder.read("a.safetensors") == folder.read("b.safetensors"), "{command}");
    folder.done(&["convert", "m.safetensors", "-q", "--no-provenance"]);
    let silent = folder.json(&["inspect", "m-fp8.safetensors", "--json"]);
    assert!(silent["provenance"].is_null(), "{silent}");
}

#[test]
fn inspect_tells_who_opens_the_file() {
    let folder = plain();
    folder.done(&["convert", "m.safetensors", "-q", "--scheme", "fp8-row"]);
    let text = folder.done(&["inspect", "m-fp8-row.safetensors"]);
    for line in ["opened by: no program is known to open it", "header `format`: pt"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(folder.done(&["inspect", "m.safetensors"]).contains("original weights"));
    let extract = ["-o", "o.safetensors", "-q", "--extract-error-lora", "2"];
    folder.done(&[&["convert", "m.safetensors"][..], &extract].concat());
    assert!(folder.done(&["inspect", "o-error-lora.safetensors"]).contains("load adapters"));
}

#[test]
fn schemes_and_completions_need_no_file() {
    let folder = Folder::new();
    let schemes = folder.done(&["schemes"]);
    for name in folder.json(&["schemes", "--json"]).as_array().unwrap() {
        let name = name["name"].as_str().unwrap();
        assert!(schemes.lines().any(|line| line.trim().starts_with(name)), "{name}: {schemes}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = folder.done(&["completions", shell]);
        for word in ["roundwise", "convert", "scale-rule"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert!(folder.done(&["--help"]).contains("Exit codes: 0 done, 1 failed, 2 bad usage"));
    folder.run(&[]).must_say(2, &["Usage:"]);
    assert_eq!(folder.names(), [""; 0]);
}

/// What few people need stands in `--help` alone.
#[test]
fn short_help_lists_the_usual_flags() {
    let folder = Folder::new();
    let [short, long] = ["-h", "--help"].map(|flag| folder.done(&["convert", flag]));
    for flag in ["--scheme", "--keep", "--stats", "--size", "--recipe"] {
        assert!(short.contains(flag), "{flag}: {short}");
    }
    assert!(long.contains("--beta-start") && !short.contains("--beta-start"), "{short}");
    assert!(short.lines().count() < 70, "{} lines", short.lines().count());
}
