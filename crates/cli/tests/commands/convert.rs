//! The files that `convert` writes, and where they go.

use std::process::{Command, Stdio};

use roundwise_convert::layout::Layout;
use roundwise_testkit::files::{Tensor, safetensors};
use serde_json::Value;

use crate::tool::{File, Folder, PLAIN_WEIGHTS, Run, clip_model, matrix, plain_model};
use crate::{decided, plain, tool};

/// ComfyUI looks rows of a table up in codes of 8 bits with a scale for each or for all, and in no others.
#[test]
fn a_table_gets_the_codes_that_comfyui_looks_up() {
    let folder = Folder::with("t5.safetensors", &tool::t5_model());
    for (scheme, is_read) in [("fp8", true), ("int8-row", true), ("mxfp8", false), ("nvfp4", false)]
    {
        let flags = ["--scheme", scheme, "--include", "shared", "-o", "o.safetensors", "--force"];
        let text = folder.done(&[&["convert", "t5.safetensors"], &flags[..]].concat());
        let file = folder.file("o.safetensors");
        assert_eq!(file.tensors.contains_key("shared.comfy_quant"), is_read, "{scheme}: {text}");
    }
}

#[test]
fn needs_nothing_but_a_file() {
    let folder = plain();
    let text = folder.done(&["convert", "m.safetensors"]);
    assert_eq!(folder.names(), ["m-fp8.safetensors", "m.safetensors"]);
    assert_eq!(folder.read("m.safetensors"), plain_model());
    for line in [
        "m.safetensors → m-fp8.safetensors\n",
        "unrecognised model (preset generic): 2 converted, 4 kept, 0 removed\n",
        "2 weights: fp8; no program is known to open it; ComfyUI does, if it is a model that ComfyUI knows, under ComfyUI's names\n",
        "kept  4-D (convolution): conv.weight\n",
        "kept  a vector (norm gain or scale): blocks.0.norm.weight\n",
        "all weights together",
    ] {
        assert!(text.contains(line), "`{line}` is not in: {text}");
    }
    let file = folder.file("m-fp8.safetensors");
    assert_eq!(file.get("blocks.0.ff.in.comfy_quant").bytes, br#"{"format": "float8_e4m3fn"}"#);
    assert_eq!(file.metadata["author"], "nobody \"at all\"");
    folder.done(&["inspect", "m-fp8.safetensors"]);
    folder.done(&["verify", "m.safetensors", "m-fp8.safetensors"]);
}

#[test]
fn every_scheme_fits_every_layout_that_admits_it() {
    let folder = plain();
    let schemes = folder.json(&["schemes", "--json"]);
    for scheme in schemes.as_array().unwrap() {
        let name = scheme["name"].as_str().unwrap();
        // A file without its model's folder is for no server.
        if Layout::default_for(name.parse().unwrap()).is_for_servers() {
            folder.refused(&["convert", "m.safetensors", "--scheme", name], 1, &["config.json"]);
            continue;
        }
        // A scheme that one layout alone has a place for chooses it.
        let is_legacy = name.starts_with("fp8-log-scales") || name == "fp16-scaled";
        let ending = if is_legacy { "-legacy" } else { "" };
        let output = format!("m-{name}{ending}.safetensors");
        folder.done(&["convert", "m.safetensors", "--quiet", "--scheme", name]);
        let verified = folder.json(&["verify", "m.safetensors", &output, "--json"]);
        let layers = verified["layers"].as_array().unwrap();
        let rounded = match name {
            // The model is in BF16 already.
            "bf16" => 0,
            // A convolution is stored as plain numbers, too.
            "fp16" => 3,
            _ => 2,
        };
        assert_eq!(layers.len(), rounded, "{name}");
        assert!(layers.iter().all(|layer| layer["scheme"] == scheme["read_as"]), "{layers:?}");
        let flags = ["convert", "m.safetensors", "--layout", "comfy-legacy", "--scheme", name];
        match name {
            "fp8" => drop(folder.done(&flags)),
            _ if is_legacy => {
                let flags = ["convert", "m.safetensors", "--layout", "comfy", "--scheme", name];
                folder.run(&flags).must_say(2, &["`comfy` cannot store", "`comfy-legacy`"]);
            }
            _ => folder.run(&flags).must_say(2, &["`comfy-legacy` cannot store", name]),
        }
    }
    let legacy = folder.file("m-fp8-legacy.safetensors");
    assert_eq!(legacy.get("scaled_fp8").shape, [2]);
    assert_eq!(legacy.get("blocks.0.ff.in.scale_weight").shape, [1]);
    folder.done(&["verify", "m.safetensors", "m-fp8-legacy.safetensors"]);
}

#[test]
fn takes_blocks_of_any_size() {
    let folder = plain();
    folder.done(&["convert", "m.safetensors", "--scheme", "int8-block-32"]);
    let file = folder.file("m-int8-block-32.safetensors");
    assert_eq!(file.get("blocks.0.ff.in.weight_scale").shape, [8, 4]);
    let ragged = decided(&folder, PLAIN_WEIGHTS[0], &["--scheme", "int8-block-96"]);
    assert!(ragged.starts_with("copy: rows are not a multiple of 96"), "{ragged}");
}

#[test]
fn searches_scales() {
    let folder = plain();
    folder.done(&["convert", "m.safetensors"]);
    let [absmax, mse] = ["absmax", "mse"].map(|rule| {
        let flags = ["--scheme", "int8-row", "--force", "--json", "--scale-rule", rule];
        let report = folder.json(&[&["convert", "m.safetensors"], &flags[..]].concat());
        report["weight_error"].as_f64().unwrap()
    });
    assert!(mse < absmax, "{mse} {absmax}");
    folder.done(&["verify", "m.safetensors", "m-int8-row.safetensors"]);
}

#[test]
fn takes_folders_and_indexes() {
    let folder = Folder::new();
    let whole = File::parse(&plain_model());
    let index = r#"{"metadata":{},"weight_map":{"#.to_owned();
    let mut map = vec![];
    for (number, half) in [&whole.names()[..3], &whole.names()[3..]].into_iter().enumerate() {
        let shard = format!("model-0000{}-of-00002.safetensors", number + 1);
        let tensors: Vec<Tensor> = half.iter().map(|name| whole.get(name).clone()).collect();
        folder.write(&format!("big/{shard}"), &safetensors(&tensors));
        map.extend(half.iter().map(|name| format!("\"{name}\":\"{shard}\"")));
    }
    let index = index + &map.join(",") + "}}";
    folder.write("big/model.safetensors.index.json", index.as_bytes());
    folder.done(&["convert", "big"]);
    folder.done(&["convert", "big/model.safetensors.index.json"]);
    assert_eq!(folder.read("big-fp8.safetensors"), folder.read("big/model-fp8.safetensors"));
    let inspected = folder.json(&["inspect", "big/model.safetensors.index.json", "--json"]);
    assert_eq!(inspected["files"], 2);
    folder.done(&["verify", "big/model.safetensors.index.json", "big-fp8.safetensors"]);
}

#[test]
fn replaces_only_when_told_to() {
    let folder = plain();
    folder.write("m-fp8.safetensors", b"mine");
    folder.refused(&["convert", "m.safetensors"], 1, &["m-fp8.safetensors", "--force"]);
    folder.done(&["convert", "m.safetensors", "--force"]);
    folder.done(&["verify", "m.safetensors", "m-fp8.safetensors"]);
    folder.write("r.json", b"mine");
    let arguments = ["convert", "m.safetensors", "-o", "x.safetensors", "--report", "r.json"];
    folder.refused(&arguments, 1, &["r.json", "--force"]);
}

#[test]
fn never_writes_two_things_to_one_place() {
    let folder = plain();
    folder.write("other/m.safetensors", &plain_model());
    let inputs = ["convert", "m.safetensors", "other/m.safetensors"];
    let words = ["m.safetensors and other/m.safetensors would both become"];
    folder.refused(&[&inputs[..], &["--out-dir", "."]].concat(), 2, &words);
    folder.refused(&["convert", "m.safetensors", "./m.safetensors"], 2, &["would both become"]);
    let report = ["convert", "m.safetensors", "-o", "x", "--report", "./x"];
    folder.refused(&report, 2, &["m.safetensors and the report would both become"]);
    folder.refused(&[&inputs[..], &["-o", "x"]].concat(), 2, &["--out-dir"]);
    folder.refused(&[&inputs[..], &["--report", "x"]].concat(), 2, &["--report names one"]);
    folder.refused(&["convert", "m.safetensors", "-o", "other"], 2, &["is a folder"]);
    folder.refused(&["convert", "m.safetensors", "-o", "x", "--out-dir", "."], 2, &["cannot be"]);
}

#[test]
fn many_inputs_go_on_past_one_that_fails() {
    let folder = plain();
    folder.write("bad.safetensors", b"nonsense");
    folder.write("z.safetensors", &plain_model());
    std::fs::create_dir(folder.path("out")).unwrap();
    let inputs = ["m.safetensors", "bad.safetensors", "z.safetensors"];
    let arguments = [&["convert", "--out-dir", "out", "--json"], &inputs[..]].concat();
    let run = folder.run(&arguments);
    run.must_say(1, &["error: bad.safetensors:", "1 of 3 inputs failed: bad.safe"]);
    let reports: Value = serde_json::from_str(&run.stdout).unwrap();
    let inputs: Vec<_> = reports.as_array().unwrap().iter().map(|r| &r["input"]).collect();
    assert_eq!(inputs, ["m.safetensors", "z.safetensors"]);
    let names = ["bad.safetensors", "m.safetensors", "out/m-fp8.safetensors"];
    assert_eq!(folder.names(), [&names[..], &["out/z-fp8.safetensors", "z.safetensors"]].concat());
    for input in ["m", "z"] {
        let output = format!("out/{input}-fp8.safetensors");
        folder.done(&["verify", &format!("{input}.safetensors"), &output]);
    }
}

#[test]
fn a_command_that_fits_no_input_is_bad_usage_for_many_as_for_one() {
    let folder = plain();
    folder.write("n.safetensors", &plain_model());
    let flags = ["--keep", "in", "--include", "ff"];
    let both = ["convert", "m.safetensors", "n.safetensors"];
    let words = ["contradict each other", "2 of 2 inputs failed: m.safetensors, n.safetensors"];
    folder.refused(&[&both[..], &flags].concat(), 2, &words);
    folder.write("n.safetensors", b"nonsense");
    folder.refused(&[&both[..], &flags].concat(), 1, &["2 of 2 inputs failed"]);
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_printed_is_converted_all_the_same() {
    for (flags, code, words) in [
        (&[][..], 0, "warning: cannot write to standard output"),
        (&["--json"], 1, "error: cannot write to standard output"),
    ] {
        let folder = plain();
        let mut tool = Command::new(tool::binary());
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let tool = tool.args(["convert", "m.safetensors"]).args(flags);
        let run = Run::of(tool.current_dir(folder.root()).stdout(full).output().unwrap());
        run.must_say(code, &[words, "No space left"]);
        folder.done(&["verify", "m.safetensors", "m-fp8.safetensors"]);
    }
}

#[test]
fn json_of_one_input_is_an_object_and_of_more_an_array() {
    let folder = plain();
    folder.write("n.safetensors", &plain_model());
    assert!(folder.json(&["convert", "m.safetensors", "--json"]).is_object());
    let both = ["convert", "m.safetensors", "n.safetensors", "--json", "--force"];
    assert_eq!(folder.json(&both).as_array().unwrap().len(), 2);
    folder.write("bad.safetensors", b"");
    let run = folder.run(&["convert", "m.safetensors", "bad.safetensors", "--json", "--force"]);
    run.must_say(1, &["error: bad.safetensors: the file is 0 bytes"]);
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 1);
    assert_eq!(json[0]["input"], "m.safetensors");
}

#[test]
fn quiet_prints_nothing_but_errors() {
    let nan = [0xC0, 0x7F].repeat(1024);
    let bad = Tensor::new("bad.weight", "BF16", &[32, 32], nan);
    let bytes = safetensors(&[bad, matrix("good.weight", 32, 32)]);
    let folder = Folder::with("m.safetensors", &bytes);
    let run = folder.run(&["convert", "m.safetensors", "--quiet"]);
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, "", ""));
    folder.refused(&["convert", "m.safetensors", "-q"], 1, &["exists"]);
    let run = folder.run(&["convert", "m.safetensors", "--force"]);
    assert!(run.stdout.contains("kept for a NaN or an infinity: bad.weight"), "{}", run.stdout);
    assert!(run.stdout.contains("row 0 holds a NaN or an infinity: bad.weight"));
}

#[test]
fn draws_nothing_where_there_is_no_terminal() {
    let folder = plain();
    let run = folder.run(&["convert", "m.safetensors"]);
    assert_eq!(run.stderr, "");
    assert!(!run.stdout.contains('\u{1b}'));
}

#[test]
fn a_reader_that_goes_away_stops_nothing() {
    let folder = plain();
    folder.write("n.safetensors", &plain_model());
    let mut tool = Command::new(tool::binary());
    let tool = tool.args(["convert", "m.safetensors", "n.safetensors"]);
    let tool = tool.current_dir(folder.root()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = tool.spawn().unwrap();
    drop(child.stdout.take());
    Run::of(child.wait_with_output().unwrap()).must_say(0, &[]);
    let names = ["m-fp8.safetensors", "m.safetensors", "n-fp8.safetensors", "n.safetensors"];
    assert_eq!(folder.names(), names);
    for input in ["m", "n"] {
        let output = format!("{input}-fp8.safetensors");
        folder.done(&["verify", &format!("{input}.safetensors"), &output]);
    }
}

/// A program that asked for a report and did not get all of it must not think that it has.
#[test]
fn a_report_that_nobody_takes_is_a_failure() {
    for command in ["convert", "plan", "inspect"] {
        let folder = plain();
        let mut tool = Command::new(tool::binary());
        let tool = tool.args([command, "m.safetensors", "--json"]).current_dir(folder.root());
        let tool = tool.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = tool.spawn().unwrap();
        drop(child.stdout.take());
        let run = Run::of(child.wait_with_output().unwrap());
        assert_eq!((run.code, run.stderr.as_str()), (1, ""), "{command}");
    }
}

#[test]
fn a_mistake_in_the_last_input_is_told_before_the_first_is_converted() {
    let folder = plain();
    folder.write("clip.safetensors", &clip_model());
    let inputs = ["convert", "m.safetensors", "clip.safetensors", "gone.safetensors"];
    let script = r#""$0" "$@" 2>&1"#;
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", script]).arg(tool::binary()).args(inputs);
    let run = Run::of(shell.current_dir(folder.root()).output().unwrap());
    let place = |words| run.stdout.find(words).unwrap_or_else(|| panic!("{}", run.stdout));
    let told = ["not converted: CLIP-L", "gone.safetensors: cannot open"].map(place);
    assert!(told.iter().all(|told| *told < place("2 converted")), "{}", run.stdout);
    assert!(place("2 converted") < place("2 of 3 inputs failed"), "{}", run.stdout);
    assert_eq!(run.code, 1);
}

#[test]
fn the_folder_for_outputs_is_created_once_there_is_something_for_it() {
    let folder = plain();
    folder.write("bad.safetensors", b"nonsense");
    let refused = ["convert", "bad.safetensors", "--out-dir", "new/er"];
    folder.refused(&refused, 1, &["bad.safetensors"]);
    assert!(!folder.path("new").exists());
    folder.done(&["convert", "m.safetensors", "--out-dir", "new/er", "-q"]);
    folder.done(&["verify", "m.safetensors", "new/er/m-fp8.safetensors"]);
    let in_file = ["convert", "m.safetensors", "--out-dir", "m.safetensors/x"];
    folder.refused(&in_file, 1, &["m.safetensors/x: cannot create the folder"]);
}
