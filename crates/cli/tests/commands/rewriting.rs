//! Files in codes keep their codes in another layout, or become plain numbers.

use crate::tool::{Folder, PLAIN_WEIGHTS, plain_model};

/// A converted file `a.safetensors` of two layers.
fn converted() -> Folder {
    let folder = Folder::with("m.safetensors", &plain_model());
    folder.done(&["convert", "m.safetensors", "-o", "a.safetensors", "-q"]);
    folder
}

#[test]
fn every_command_that_writes_a_model_writes_shards() {
    let folder = converted();
    let commands: [(&[&str], &str); 3] = [
        (&["dequantize"], "a-bf16"),
        (&["migrate", "--to", "comfy-legacy"], "a-comfy-legacy"),
        (&["edit", "--set", "author=me"], "a-edited"),
    ];
    for (command, output) in commands {
        let whole = format!("{output}.safetensors");
        folder.done(&[command, &["a.safetensors", "-o", &whole, "-q"]].concat());
        folder.done(&[command, &["a.safetensors", "--shard-size", "40KB", "-q"]].concat());
        let index = format!("{output}/model.safetensors.index.json");
        assert!(folder.names().contains(&index), "{:?}", folder.names());
        let [one, many] = [&whole, output].map(|path| folder.json(&["inspect", path, "--json"]));
        assert_eq!(one["dtypes"], many["dtypes"]);
        assert!(many["files"].as_u64().unwrap() > 1);
        let again = [command, &["a.safetensors", "--shard-size", "40KB"]].concat();
        folder.refused(&again, 1, &["exists already", "which is made anew"]);
    }
}

#[test]
fn summaries_say_what_changed() {
    let folder = converted();
    for (command, words) in [
        (
            &["dequantize", "a.safetensors", "--dtype", "fp16"][..],
            &["2 layers decoded to fp16, 2 scales and 2 markers left out, 4 tensors kept"][..],
        ),
        (
            &["edit", "a.safetensors", "--full-precision", "in$", "--set", "license=mit"],
            &[
                "1 layer edited, 1 scale and 1 marker written anew, 7 tensors kept",
                "note: header entries set `license`\n",
            ],
        ),
        (
            &["edit", "a.safetensors", "--unset", "author", "-o", "b.safetensors"],
            &["0 layers edited, 10 tensors kept", "note: header entries left out `author`\n"],
        ),
    ] {
        let text = folder.done(command);
        for word in words {
            assert!(text.contains(word), "no `{word}` in {text}");
        }
    }
}

#[test]
fn dtypes_have_the_names_that_other_programs_give_them() {
    let folder = converted();
    for (name, dtype) in [("fp16", "F16"), ("f16", "F16"), ("fp32", "F32"), ("f32", "F32")] {
        folder.done(&["dequantize", "a.safetensors", "--dtype", name, "--force", "-q"]);
        let output = format!("a-{}.safetensors", dtype.to_lowercase());
        assert_eq!(folder.file(&output).dtype(PLAIN_WEIGHTS[0]), dtype);
    }
}

#[test]
fn a_config_that_no_longer_holds_is_noted() {
    let folder = converted();
    let noted = "`config.json` beside the input has a `quantization_config`";
    let flags = ["dequantize", "a.safetensors", "--force"];
    assert!(!folder.done(&flags).contains("config.json"));
    folder.write("config.json", br#"{"quantization_config": {}}"#);
    assert!(folder.done(&flags).contains(noted));
}

#[test]
fn what_is_wrong_with_the_input_comes_before_an_output_that_exists() {
    let folder = Folder::with("m.safetensors", &plain_model());
    folder.write("m-bf16.safetensors", b"mine");
    folder.refused(&["dequantize", "m.safetensors"], 1, &["nothing is in codes"]);
}

#[test]
fn output_and_report_are_two_files() {
    let folder = converted();
    let flags = ["dequantize", "a.safetensors", "-o", "x", "--report", "./x", "--force"];
    folder.refused(&flags, 2, &["the output and the report would both become"]);
}
