//! Killed without a word at any moment, the same command makes the same file.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::tool::Folder;
use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::random::Random;
use roundwise_testkit::weights::gaussian;

fn model() -> Vec<u8> {
    let weights =
        (0..24).map(|n| Tensor::bf16(&format!("blocks.{n}.ff.weight"), &gaussian(256, 256, n)));
    let biases = (0..24)
        .map(|n| Tensor { shape: vec![64], ..Tensor::f32(&format!("b.{n}"), &gaussian(1, 64, n)) });
    safetensors(&weights.chain(biases).collect::<Vec<_>>())
}

/// Runs the tool until it ends or `after` has passed, then kills it. Says whether it ended.
fn run_for(folder: &Folder, arguments: &[&str], after: Duration) -> bool {
    let mut tool = Command::new(crate::tool::binary());
    let tool = tool.args(arguments).current_dir(folder.root());
    let mut child = tool.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + after;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return true;
        }
        if Instant::now() >= deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Kills the tool again and again on its way, and compares what comes out in the end.
fn survives(flags: &[&str], seed: u64) {
    let folder = Folder::with("m.safetensors", &model());
    let arguments = [&["convert", "m.safetensors", "-o", "out"], flags].concat();
    let started = Instant::now();
    folder.done(&arguments);
    let whole_run = started.elapsed();
    let whole = folder.read("out");
    let mut random = Random::new(seed);
    let mut kills = 0;
    for _ in 0..2 {
        std::fs::remove_file(folder.path("out")).unwrap();
        // From one moment to the next, until a run gets to its end.
        let share = || whole_run.mul_f64(random.below(1000) as f64 / 1000.0);
        kills += std::iter::repeat_with(share)
            .take(20)
            .take_while(|after| !run_for(&folder, &arguments, *after))
            .take_while(|_| !folder.path("out").exists())
            .count();
        if !folder.path("out").exists() {
            folder.done(&arguments);
        }
        // Killed between the last two steps: the output is there, its journal still is.
        if folder.path(".out.journal").exists() {
            folder.done(&[&arguments[..], &["--force"]].concat());
        }
        assert!(folder.read("out") == whole, "{flags:?}, seed {seed}: another file");
        assert_eq!(folder.names(), ["m.safetensors", "out"]);
    }
    assert!(kills > 0, "{flags:?}: the tool was never killed");
}

#[test]
fn nearest_rounding_survives_kills() {
    survives(&["--scale-rule", "mse", "--threads", "1"], 1);
}

#[test]
fn learned_rounding_survives_kills() {
    survives(&["--method", "principal", "--top-k", "8", "--effort", "fast"], 2);
}
