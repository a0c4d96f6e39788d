//! The memory that `plan` states is enough.

#![cfg(target_os = "linux")]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::tool::Folder;
use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::gaussian;

/// Edge of the weights: large beside everything else that a program needs.
const EDGE: usize = 1536;

/// Weights of the same numbers under different names; BF16 and F32 take turns.
fn model(weights: usize) -> Vec<u8> {
    let matrix = gaussian(EDGE, EDGE, 1);
    let [bf16, f32] = [Tensor::bf16("", &matrix), Tensor::f32("", &matrix)];
    let named = |number: usize| Tensor {
        name: format!("blocks.{number}.ff.weight"),
        ..[&bf16, &f32][number % 2].clone()
    };
    safetensors(&(0..weights).map(named).collect::<Vec<_>>())
}

/// Most memory that a program had, in bytes; looks until it ends.
fn peak_of(mut child: Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        // The system keeps the maximum; a program that has ended has none any more.
        peak = kib.map_or(peak, |kib| kib * 1024).max(peak);
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success(), "{ended}");
            return peak;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What the allocator gives back a hundredth of a second late, which shows where the machine has other work to do.
const LATE_BYTES: u64 = 8 << 20;

#[track_caller]
fn is_enough(folder: &Folder, input: &str, flags: &[&str]) {
    let plan = folder.json(&[&["plan", input, "--json"], flags].concat());
    let stated = plan["peak_memory_bytes"].as_u64().unwrap();
    let mut tool = Command::new(crate::tool::binary());
    let tool = tool.args(["convert", input, "-q", "--force", "-o", "out.safetensors"]);
    let tool = tool.args(flags).current_dir(folder.root()).stdin(Stdio::null());
    let used = peak_of(tool.spawn().unwrap());
    assert!(used > (EDGE * EDGE) as u64, "measured {used} bytes, less than one weight");
    assert!(used <= stated + LATE_BYTES, "{input} {flags:?}: used {used} bytes, stated {stated}");
    // Enough, and not a number out of the blue.
    assert!(stated < 3 * used, "{input} {flags:?}: used {used} bytes, stated {stated}");
}

#[test]
fn a_conversion_takes_no_more_memory_than_the_plan_states() {
    let folder = Folder::with("m.safetensors", &model(8));
    for threads in ["1", "4"] {
        let threads = ["--threads", threads];
        for flags in [
            &["--scheme", "fp8"][..],
            &["--scheme", "int8-row", "--scale-rule", "mse"],
            &["--scheme", "int8-block-64"],
            &["--scheme", "fp8", "--keep", "[4-7]"],
        ] {
            is_enough(&folder, "m.safetensors", &[&threads[..], flags].concat());
        }
    }
}

#[test]
fn decoding_takes_no_more_memory_than_the_plan_states() {
    let folder = Folder::with("m.safetensors", &model(8));
    folder.done(&["convert", "m.safetensors", "-q"]);
    for threads in ["1", "4"] {
        for flags in [&["--scheme", "int8-row"][..], &["--scheme", "int8", "--keep", "[4-7]"]] {
            let flags = [&["--threads", threads], flags].concat();
            is_enough(&folder, "m-fp8.safetensors", &flags);
        }
    }
}

#[test]
fn learning_takes_no_more_memory_than_the_plan_states() {
    let folder = Folder::with("m.safetensors", &model(2));
    for flags in [
        &["--method", "principal", "--effort", "fast"][..],
        &["--method", "principal-input", "--top-k", "16"],
        &["--method", "sampled", "--calibration-rows", "512", "--effort", "fast"],
        &["--method", "tpec", "--iterations", "2"],
    ] {
        is_enough(&folder, "m.safetensors", flags);
    }
}

#[test]
fn learning_of_choices_takes_no_more_memory_than_the_plan_states() {
    let folder = Folder::with("m.safetensors", &model(2));
    for flags in [
        &["--method", "adaround", "--iterations", "2"][..],
        &["--method", "adaround", "--iterations", "2", "--optimizer", "gooddog"],
    ] {
        is_enough(&folder, "m.safetensors", flags);
    }
}

/// Large enough that a band is a small part of it.
fn wide() -> Folder {
    let matrix = gaussian(4096, 2048, 3);
    Folder::with("m.safetensors", &safetensors(&[Tensor::f32("a.weight", &matrix)]))
}

/// What a limit leaves out is the check that holds a weight whole.
#[test]
fn a_weight_by_bands_of_rows_is_the_same_and_fits_the_limit() {
    let folder = wide();
    let limit = ["--memory-limit", "48MiB"];
    for flags in [
        &["--scheme", "fp8"][..],
        &["--scheme", "int8-row", "--scale-rule", "mse"],
        &["--scheme", "fp8-block-64"],
        &["--scheme", "int8-row-convrot"],
        &["--scheme", "mxfp8"],
        &["--scheme", "nvfp4"],
        &["--scheme", "bf16"],
    ] {
        let base = ["convert", "m.safetensors", "-q", "--force", "-o"];
        folder.done(&[&base[..], &["whole.safetensors"], flags].concat());
        is_enough(&folder, "m.safetensors", &[&limit[..], flags].concat());
        assert!(folder.read("out.safetensors") == folder.read("whole.safetensors"), "{flags:?}");
        let plan = folder.json(&[&["plan", "m.safetensors", "--json"], &limit[..], flags].concat());
        assert!(plan["peak_memory_bytes"].as_u64().unwrap() <= 48 << 20, "{flags:?}");
    }
}

#[test]
fn what_does_not_fit_the_limit_says_what_it_needs() {
    let folder = wide();
    let convert = ["convert", "m.safetensors", "--memory-limit"];
    for (limit, flags, words) in [
        ("1MiB", &[][..], ["MiB of memory at least, 1.0 MiB are allowed", "cannot be lower"]),
        (
            "64MiB",
            &["--method", "principal"],
            ["MiB of memory at least, 64.0 MiB are allowed", "takes it by bands"],
        ),
    ] {
        folder.refused(&[&convert[..], &[limit], flags].concat(), 1, &words);
    }
}
