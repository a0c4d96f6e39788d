//! Learned rounding on a GPU is as good as on the CPU. Where no driver is found, the tests say so.

#![allow(clippy::print_stderr, reason = "a device that is not here is told of")]

use serde_json::Value;

use crate::statistics::{IN, OUT, folder, layer, number};
use crate::tool::Folder;

/// Sums in another order move a code here and there, and with it the error by a small part.
const ERROR_RATIO: f64 = 0.02;
/// Products as TF32 choose other codes among those that cost nearly the same.
const ERROR_RATIO_CUDA: f64 = 0.05;

/// Returns the devices that can be used here, with what their results may differ by.
fn devices(folder: &Folder) -> Vec<(&'static str, f64)> {
    let built = [
        ("cuda", ERROR_RATIO_CUDA, cfg!(feature = "cuda")),
        ("vulkan", ERROR_RATIO, cfg!(feature = "vulkan") && !cfg!(target_os = "macos")),
        ("metal", ERROR_RATIO, cfg!(feature = "vulkan") && cfg!(target_os = "macos")),
    ];
    let is_here = |(device, ratio, is_built): (&'static str, f64, bool)| {
        if !is_built {
            return None;
        }
        let arguments = [
            "convert",
            "m.safetensors",
            "--method",
            "principal",
            "--top-k",
            "8",
            "--device",
            device,
        ];
        let run = folder.run(&[&arguments[..], &["-o", "probe.safetensors"]].concat());
        match run.code {
            0 => Some((device, ratio)),
            _ => {
                assert!(run.stderr.contains("driver"), "{}", run.stderr);
                eprintln!("not run: {}", run.stderr);
                None
            }
        }
    };
    built.into_iter().filter_map(is_here).collect()
}

fn converted(folder: &Folder, device: &str, more: &[&str]) -> Value {
    let convert = ["convert", "m.safetensors", "-o", "o.safetensors", "--force", "--json"];
    let report = folder.json(&[&convert[..], &["--device", device], more].concat());
    let totals = &report["rounding"];
    assert!(totals["device"].as_str().unwrap().starts_with(device), "{totals}");
    assert_eq!(totals["failed_layers"], 0, "{report}");
    report
}

#[track_caller]
fn assert_near(found: f64, expected: f64, ratio: f64, what: &str) {
    assert!((found / expected - 1.0).abs() <= ratio, "{what}: {found} is not {expected}");
}

#[test]
fn codes_of_real_inputs_have_the_output_error_of_the_cpus() {
    let folder = folder();
    let stats = ["--stats", "both.stats.safetensors"];
    for (device, ratio) in devices(&folder) {
        for scheme in ["fp8", "int8-row"] {
            let errors = |device: &str| {
                converted(&folder, device, &[&stats[..], &["--scheme", scheme]].concat());
                // Of the codes in the file, and on the CPU.
                let verify = ["verify", "m.safetensors", "o.safetensors", "--json"];
                let found = folder.json(&[&verify[..], &stats].concat());
                [IN, OUT]
                    .map(|name| number(&layer(&found, &format!("{name}.weight"))["output_error"]))
            };
            for (found, expected) in errors(device).into_iter().zip(errors("cpu")) {
                assert_near(found, expected, ratio, &format!("{device}, {scheme}"));
            }
        }
    }
}

#[test]
fn codes_along_singular_vectors_have_the_errors_of_the_cpus() {
    let folder = folder();
    for (device, ratio) in devices(&folder) {
        for more in [&["--effort", "normal"][..], &["--optimizer", "prodigy", "--iterations", "40"]]
        {
            let more = [&["--method", "principal", "--top-k", "8"], more].concat();
            let totals = |device: &str| converted(&folder, device, &more)["rounding"].clone();
            let (found, expected) = (totals(device), totals("cpu"));
            for key in ["objective_ratio", "weight_error_ratio"] {
                let what = format!("{device}, {more:?}, {key}");
                assert_near(number(&found[key]), number(&expected[key]), ratio, &what);
            }
        }
    }
}

#[test]
fn the_summary_says_that_last_bits_may_differ() {
    let folder = folder();
    for (device, _) in devices(&folder) {
        let arguments = ["convert", "m.safetensors", "--method", "principal", "--device", device];
        let text = folder.done(&arguments);
        assert!(text.contains(&format!("on {device}:0: ")), "{text}");
        assert!(text.contains("the last bits may differ"), "{text}");
        assert!(!text.contains("auto stands for"), "{text}");
    }
}
