//! Ctrl-C in the middle of the work.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::gaussian;

use crate::tool;
use crate::tool::Folder;

/// Slow to convert with searched scales, quick to make.
fn slow_model() -> Vec<u8> {
    let matrix = gaussian(256, 1024, 1);
    let tensors: Vec<Tensor> =
        (0..32).map(|i| Tensor::bf16(&format!("blocks.{i}.ff.weight"), &matrix)).collect();
    safetensors(&tensors)
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_is_finished() {
    let whole = Folder::with("m.safetensors", &slow_model());
    whole.done(&["convert", "m.safetensors", "--scale-rule", "mse"]);
    let whole = whole.read("m-fp8.safetensors");
    // Once for an orderly end; twice, as people do, for an end at once.
    for (signal, times) in [("INT", 1), ("TERM", 1), ("INT", 2)] {
        let folder = Folder::with("m.safetensors", &slow_model());
        folder.write("m-fp8.safetensors", b"mine");
        let arguments = ["convert", "m.safetensors", "--force", "--scale-rule", "mse"];
        let mut tool = Command::new(tool::binary());
        tool.args(arguments).args(["--threads", "1"]).current_dir(folder.root());
        let child = tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for_a_record(&folder);
        let id = child.id().to_string();
        for _ in 0..times {
            let kill = Command::new("kill").args(["-s", signal, &id]).status();
            assert!(kill.unwrap().success());
        }
        let run = tool::Run::of(child.wait_with_output().unwrap());
        let words: &[&str] = match times {
            1 => &[
                "of 32 tensors are finished, in ",
                "the same command continues; with `--fr",
                "to give it up, remove that and the `.journal` beside it",
            ],
            _ => &["error: stopped"],
        };
        run.must_say(130, words);
        assert_eq!(run.stdout, "");
        assert_eq!(folder.read("m-fp8.safetensors"), b"mine");
        let run = folder.run(&arguments);
        run.must_say(0, &["note: continuing an earlier run, which had finished"]);
        assert!(folder.read("m-fp8.safetensors") == whole, "{signal} × {times}");
        assert_eq!(folder.names(), ["m-fp8.safetensors", "m.safetensors"]);
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_tells_what_was_measured() {
    let folder = Folder::with("m.safetensors", &slow_model());
    let arguments = ["--method", "principal", "--schemes", "fp8", "--threads", "1"];
    let arguments = [&["sensitivity", "m.safetensors"], &arguments[..]].concat();
    let mut tool = Command::new(tool::binary());
    let tool = tool.args(arguments).current_dir(folder.root());
    let child = tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while !folder.path("m.sensitivity.json").exists() {
        assert!(Instant::now() < deadline, "the tool never measured a layer");
        std::thread::sleep(Duration::from_millis(2));
    }
    let kill = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    let words = ["of 32 layers are measured, and kept in m.sensitivity.json", "continues"];
    let run = tool::Run::of(child.wait_with_output().unwrap());
    run.must_say(130, &words);
    assert!(!run.stderr.contains("nothing was written"), "{}", run.stderr);
}

#[test]
fn the_work_of_another_command_is_given_up_only_when_told_to() {
    let folder = Folder::with("m.safetensors", &slow_model());
    let arguments = ["convert", "m.safetensors", "--scale-rule", "mse", "--threads", "1"];
    let mut tool = Command::new(tool::binary());
    let tool = tool.args(arguments).current_dir(folder.root());
    let mut child = tool.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for_a_record(&folder);
    child.kill().unwrap();
    child.wait().unwrap();
    let words = ["m-fp8.safetensors.partial: is the unfinished output of another run"];
    let words = [
        &words[..],
        &["the recipe differs in `--scale-rule`", "former input and settings", "--fresh"],
    ]
    .concat();
    folder.refused(&["convert", "m.safetensors"], 1, &words);
    folder.done(&["convert", "m.safetensors", "--fresh"]);
    assert_eq!(folder.names(), ["m-fp8.safetensors", "m.safetensors"]);
    folder.done(&["verify", "m.safetensors", "m-fp8.safetensors"]);
}

#[cfg(unix)]
#[test]
fn a_comparison_can_be_stopped() {
    use std::os::unix::process::ExitStatusExt;
    let folder = Folder::with("m.safetensors", &slow_model());
    folder.done(&["convert", "m.safetensors"]);
    let mut tool = Command::new(tool::binary());
    tool.args(["verify", "m.safetensors", "m-fp8.safetensors", "--threads", "1"]);
    let tool = tool.current_dir(folder.root()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = tool.spawn().unwrap();
    // Sooner or later one falls into the work; before that it ends the program as well.
    let id = child.id().to_string();
    while child.try_wait().unwrap().is_none() {
        let _ = Command::new("kill").args(["-s", "INT", &id]).stderr(Stdio::null()).status();
        std::thread::sleep(Duration::from_millis(2));
    }
    const INTERRUPT: i32 = 2;
    let status = child.wait().unwrap();
    assert!(status.code() == Some(130) || status.signal() == Some(INTERRUPT), "{status}");
}

/// Waits until the journal has more than its first line.
fn wait_for_a_record(folder: &Folder) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let journal = folder.path(".m-fp8.safetensors.journal");
    while std::fs::read(&journal).map_or(0, |text| text.split(|&b| b == b'\n').count()) < 3 {
        assert!(Instant::now() < deadline, "the tool never finished a tensor");
        std::thread::sleep(Duration::from_millis(2));
    }
}
