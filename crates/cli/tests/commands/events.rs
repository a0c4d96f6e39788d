//! `convert --events`: what happens, as lines of JSON for programs.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::gaussian;
use serde_json::Value;

use crate::tool::{self, Folder};

fn start(folder: &Folder, arguments: &[&str]) -> Child {
    let mut tool = Command::new(tool::binary());
    tool.args(["convert", "m.safetensors", "--events"]).args(arguments);
    tool.current_dir(folder.root()).stdin(Stdio::piped()).stdout(Stdio::piped());
    tool.stderr(Stdio::null()).spawn().unwrap()
}

/// Lines of a command that gets to its end.
fn told(folder: &Folder, arguments: &[&str]) -> (i32, Vec<Value>) {
    let mut tool = Command::new(tool::binary());
    tool.args(arguments).arg("--events").current_dir(folder.root());
    tool.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = tool.spawn().unwrap();
    let input = child.stdin.take();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let code = child.wait().unwrap().code().unwrap();
    drop(input);
    (code, text.lines().map(parsed).collect())
}

#[test]
fn every_command_that_works_long_tells_what_it_does() {
    let folder = crate::plain();
    folder.done(&["convert", "m.safetensors", "-o", "c.safetensors"]);
    for (arguments, code, last, phase) in [
        (vec!["dequantize", "c.safetensors", "-o", "d"], 0, "done", "converting"),
        (
            vec!["migrate", "c.safetensors", "--to", "comfy-legacy", "-o", "l"],
            0,
            "done",
            "converting",
        ),
        (vec!["verify", "m.safetensors", "c.safetensors"], 0, "done", "comparing"),
        (vec!["verify", "c.safetensors", "m.safetensors"], 3, "done", "comparing"),
        (vec!["try", "m.safetensors", "--scheme", "int8-row"], 0, "done", "converting"),
        (vec!["plan", "m.safetensors", "--bits", "9"], 0, "done", "converting"),
        (vec!["repair", "c.safetensors", "--write", "-o", "r"], 1, "failed", ""),
        (vec!["dequantize", "m.safetensors", "-o", "e"], 1, "failed", ""),
    ] {
        let (ended, lines) = told(&folder, &arguments);
        assert_eq!(ended, code, "{arguments:?}: {lines:?}");
        assert_eq!(lines.last().unwrap()["event"], last, "{arguments:?}");
        let is_phase = |line: &Value| line["event"] == "phase" && line["name"] == phase;
        assert!(phase.is_empty() || lines.iter().any(is_phase), "{arguments:?}: {lines:?}");
        if last == "failed" {
            let kind = lines.last().unwrap()["kind"].as_str().unwrap();
            assert!(kind.starts_with("nothing_"), "{kind}");
        }
    }
}

/// What the page shows of a budget, and takes into its recipe.
#[test]
fn a_plan_within_a_limit_tells_its_search_and_then_the_choice() {
    let folder = crate::plain();
    let (code, lines) = told(&folder, &["plan", "m.safetensors", "--bits", "9"]);
    assert_eq!(code, 0, "{lines:?}");
    let begun = lines.iter().filter(|line| line["event"] == "begun").count();
    assert!(begun > 0, "{lines:?}");
    let choice = &lines.last().unwrap()["report"];
    let layers = choice["budget"]["layers"].as_array().unwrap();
    assert!(!layers.is_empty() && layers.iter().all(|layer| layer["scheme"].is_string()));
    assert!(choice["budget"]["file"]["bits"].as_f64() <= Some(9.0), "{choice}");
    assert!(choice["recipe"]["scheme"].is_string(), "{choice}");
    let (code, lines) = told(&folder, &["plan", "m.safetensors", "--bits", "0.1"]);
    assert_eq!((code, &lines.last().unwrap()["event"]), (2, &Value::from("failed")));
    assert_ne!(lines.last().unwrap()["message"], "");
    let (code, lines) = told(&folder, &["plan", "m.safetensors"]);
    assert_eq!((code, lines.len()), (2, 1), "nothing is told of a plan without a limit: {lines:?}");
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn every_tensor_is_told_between_the_phases_and_the_report_comes_last() {
    let folder = crate::plain();
    let mut child = start(&folder, &["-o", "o.safetensors"]);
    // As long as standard input stays open, nobody asks to stop.
    let input = child.stdin.take();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    drop(input);
    let lines: Vec<Value> = text.lines().map(parsed).collect();
    let phases = lines.iter().filter(|line| line["event"] == "phase");
    let phases: Vec<&str> = phases.filter_map(|line| line["name"].as_str()).collect();
    assert_eq!(phases, ["converting", "checking", "syncing"]);
    let report = &lines.last().unwrap()["report"];
    assert_eq!(lines.last().unwrap()["event"], "done");
    for layer in report["tensors"].as_array().unwrap() {
        let is_of = |line: &&Value, event: &str| {
            line["event"] == event
                && (line["tensor"] == layer["name"] || line["tensor"]["name"] == layer["name"])
        };
        assert_eq!(lines.iter().filter(|line| is_of(line, "begun")).count(), 1);
        let finished: Vec<_> = lines.iter().filter(|line| is_of(line, "finished")).collect();
        assert_eq!(finished.len(), 1);
        assert_eq!(&finished[0]["tensor"], layer);
        assert_eq!(finished[0]["output"], "o.safetensors");
        assert_eq!(finished[0]["is_recalled"], false);
    }
}

#[test]
fn a_line_stop_stops_and_what_is_finished_is_told_and_gone_on_with() {
    let matrix = gaussian(256, 1024, 1);
    let tensors: Vec<Tensor> =
        (0..32).map(|i| Tensor::bf16(&format!("blocks.{i}.ff.weight"), &matrix)).collect();
    let folder = Folder::with("m.safetensors", &safetensors(&tensors));
    let arguments = ["--scale-rule", "mse", "--threads", "1"];
    let mut child = start(&folder, &arguments);
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let is_finished = |line: &String| parsed(line)["event"] == "finished";
    lines.find(is_finished).expect("a tensor is finished");
    input.write_all(b"stop\n").unwrap();
    let last = parsed(&lines.last().unwrap());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(last["event"], "failed");
    assert_eq!(last["unfinished_files"].as_array().unwrap().len(), 1, "{last}");

    let mut child = start(&folder, &arguments);
    let input = child.stdin.take();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    let lines: Vec<Value> = text.lines().map(parsed).collect();
    assert!(lines.iter().any(|line| line["event"] == "resumed"));
    assert!(lines.iter().any(|line| line["event"] == "finished" && line["is_recalled"] == true));
    assert_eq!(lines.last().unwrap()["event"], "done");
}
