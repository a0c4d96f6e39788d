//! Learned rounding from the command line: every method, what its report says, and what is refused.

use crate::tool::Folder;
use roundwise_testkit::files::{Tensor, safetensors};
use roundwise_testkit::weights::gaussian;
use serde_json::Value;

/// Two layers, one with a bias. What searches do to any matrix and scheme is tested in `rounding`.
fn model() -> Vec<u8> {
    let tensor = |name: &str, shape: &[usize], seed| {
        let count = shape.iter().product();
        let values = gaussian(1, count, seed);
        Tensor::new(
            name,
            "F32",
            shape,
            values.values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        )
    };
    safetensors(&[
        tensor("blocks.0.ff.in.bias", &[96], 1),
        tensor("blocks.0.ff.in.weight", &[96, 64], 2),
        tensor("blocks.0.ff.out.weight", &[64, 96], 3),
    ])
}

fn folder() -> Folder {
    Folder::with("m.safetensors", &model())
}

const METHODS: [&[&str]; 9] = [
    &["nearest"],
    &["stochastic"],
    &["principal", "--top-k", "8"],
    &["principal-input", "--top-k", "8"],
    &["sampled", "--calibration-rows", "16"],
    &["adaround", "--iterations", "20"],
    &["adaround-fast", "--iterations", "20"],
    &["tpec"],
    &["tpec-fast", "--top-k", "2"],
];

fn convert(folder: &Folder, method: &[&str], more: &[&str]) -> Value {
    let arguments = ["convert", "m.safetensors", "-o", "o.safetensors", "--force", "--json"];
    folder.json(&[&arguments[..], more, &["--method"], method].concat())
}

#[test]
fn every_method_writes_a_file_that_verifies() {
    let folder = folder();
    let schemes = ["fp8", "fp8-e5m2", "int8-row", "int8-block-32"];
    for (method, scheme) in METHODS.iter().zip(schemes.iter().cycle()) {
        convert(&folder, method, &["--scheme", scheme]);
        folder.done(&["verify", "m.safetensors", "o.safetensors"]);
    }
}

#[test]
fn no_layer_is_worse_than_nearest_in_what_was_minimised() {
    let folder = folder();
    for method in METHODS {
        let report = convert(&folder, method, &[]);
        assert_eq!(report["rounding"].is_null(), method[0] == "nearest");
        for layer in report["tensors"].as_array().unwrap() {
            let rounding = &layer["rounding"];
            if !rounding.is_null() {
                let value = |key: &str| rounding[key].as_f64().unwrap();
                assert!(value("objective_value") <= value("nearest_objective_value"), "{layer}");
                assert_eq!(rounding["failure"], Value::Null);
            }
        }
    }
}

#[test]
fn the_error_in_the_report_is_that_of_the_file() {
    let folder = folder();
    let report = convert(&folder, &["principal", "--top-k", "8"], &[]);
    let verified = folder.json(&["verify", "m.safetensors", "o.safetensors", "--json"]);
    for layer in verified["layers"].as_array().unwrap() {
        let reported = report["tensors"].as_array().unwrap();
        let same = reported.iter().find(|one| one["name"] == layer["name"]).unwrap();
        assert_eq!(same["weight_error"], layer["weight_error"]);
        assert!(same["rounding"]["changed_share"].as_f64().unwrap() > 0.0);
    }
    let ratio = report["rounding"]["weight_error_ratio"].as_f64().unwrap();
    assert!((1.0..=1.03).contains(&ratio), "{ratio}");
}

#[test]
fn threads_and_runs_change_no_byte() {
    let folder = folder();
    for method in &METHODS[1..] {
        let outputs = ["1", "4"].map(|threads| {
            convert(&folder, method, &["--threads", threads]);
            folder.read("o.safetensors")
        });
        assert!(outputs[0] == outputs[1], "{method:?}");
    }
}

#[test]
fn the_summary_tells_what_learning_did() {
    let folder = folder();
    let text = folder.done(&["convert", "m.safetensors", "--method", "principal", "--top-k", "8"]);
    assert!(text.contains("method principal on cpu: objective "), "{text}");
    assert!(text.contains("nearest codes stored for 0 of 2 weights"), "{text}");
    #[cfg(not(any(feature = "cuda", feature = "vulkan")))]
    assert!(!text.contains("auto stands for"), "{text}");
    #[cfg(any(feature = "cuda", feature = "vulkan"))]
    assert!(text.contains("auto stands for "), "{text}");
    assert!(folder.names().contains(&"m_learned_fp8_tensor.safetensors".to_owned()));
}

#[test]
fn a_recipe_file_names_a_method_too() {
    let folder = folder();
    folder.write("r.toml", b"method = 'tpec-fast'\n[method_options]\ntop_k = 2\niterations = 9\n");
    let arguments =
        ["convert", "m.safetensors", "--recipe", "r.toml", "--iterations", "5", "--json"];
    let report = folder.json(&arguments);
    assert_eq!(report["recipe"]["method_options"]["iterations"], 5);
    assert_eq!(report["recipe"]["method_options"]["top_k"], 2);
    assert_eq!(report["rounding"]["method"], "tpec-fast");
    folder.write("r.toml", b"[method_options]\ntopk = 2\n");
    folder.refused(&["plan", "m.safetensors", "--recipe", "r.toml"], 2, &["topk"]);
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let folder = folder();
    let learned = ["convert", "m.safetensors", "--method", "tpec", "--device"];
    folder.refused(&[&learned[..], &["tpu"]].concat(), 2, &["tpu", "cuda:INDEX"]);
    #[cfg(not(feature = "cuda"))]
    for devices in ["cuda", "cuda:0,cuda:1"] {
        folder.refused(&[&learned[..], &[devices]].concat(), 1, &["cuda:0", "feature `cuda`"]);
    }
    folder.refused(&[&learned[..], &["cuda:0,cpu"]].concat(), 2, &["only GPUs of one kind"]);
    for devices in ["ndarray", "cuda:0,cuda:1"] {
        let nearest = ["convert", "m.safetensors", "--device", devices];
        folder.refused(&nearest, 2, &["--device", "`nearest`"]);
    }
}

#[test]
fn small_matrices_keep_their_numbers_where_the_method_says_so() {
    let folder = Folder::with(
        "m.safetensors",
        &safetensors(&[
            Tensor::new("a.weight", "F32", &[16, 16], vec![1; 16 * 16 * 4]),
            Tensor::new("b.weight", "F32", &[64, 64], vec![1; 64 * 64 * 4]),
        ]),
    );
    let plan = ["plan", "m.safetensors", "--method", "adaround-fast"];
    let text = folder.done(&plan);
    assert!(text.contains("256 elements, under the minimum of 1024"), "{text}");
    let text = folder.done(&[&plan[..], &["--min-size", "1"]].concat());
    assert!(!text.contains("under the minimum"), "{text}");
}

#[test]
fn a_corrected_bias_keeps_the_mean_output() {
    let folder = folder();
    for method in [&["nearest"][..], &["principal", "--top-k", "8"]] {
        let correct = [method, &["--bias-correction", "synthetic-plus"]].concat();
        let report = convert(&folder, &correct, &[]);
        let layers = report["tensors"].as_array().unwrap();
        let bias = layers.iter().find(|one| one["name"] == "blocks.0.ff.in.bias").unwrap();
        assert_eq!(bias["decision"], "correct");
        let file = |name: &str| folder.file(name).get("blocks.0.ff.in.bias").clone();
        let (before, after) = (file("m.safetensors"), file("o.safetensors"));
        assert_eq!(before.shape, after.shape);
        assert_ne!(before.bytes, after.bytes);

        let verify = ["verify", "m.safetensors", "o.safetensors"];
        let strict = folder.run(&verify);
        assert_eq!(strict.code, 3);
        assert!(strict.stdout.contains("`--corrected-biases`"), "{}", strict.stdout);
        folder.done(&[&verify[..], &["--corrected-biases"]].concat());
    }
}

#[test]
fn a_bias_that_is_kept_or_missing_is_not_corrected() {
    let folder = folder();
    let correct = ["plan", "m.safetensors", "--bias-correction", "synthetic-plus", "--json"];
    let decisions = |plan: &Value| {
        let tensors = plan["tensors"].as_array().unwrap();
        let bias = tensors.iter().find(|one| one["name"] == "blocks.0.ff.in.bias").unwrap();
        bias["decision"].as_str().unwrap().to_owned()
    };
    assert_eq!(decisions(&folder.json(&correct)), "correct");
    let plan = folder.json(&[&correct[..], &["--keep", "bias"]].concat());
    assert_eq!(decisions(&plan), "copy");
    let notes = plan["notes"].as_array().unwrap();
    let is_noted = |note: &Value| {
        note.as_str().unwrap().starts_with("`method_options.bias_correction` changes")
    };
    assert!(notes.iter().any(is_noted), "{notes:?}");
}

#[test]
fn numbers_that_no_machine_holds_are_refused() {
    let folder = folder();
    for (flags, words) in [
        (&["--method", "sampled", "--calibration-rows", "1000000000000"][..], "1 to 65536"),
        (&["--method", "principal", "--lambda", "nan"], "above 0"),
        (&["--method", "principal", "--lambda", "-1"], "above 0"),
        (
            &["--method", "principal", "--weight-error-budget", "inf"],
            "--weight-error-budget: inf is",
        ),
        (&["--method", "principal", "--weight-error-budget", "3"], "0.03 for 3 %"),
        (&["--method", "principal", "--top-k", "0"], "1 or more"),
        (&["--threads", "1000000"], "from 1 to 1024"),
        (&["--method", "principal", "--solver", "nearest"], "`nearest` is not known"),
    ] {
        folder.refused(&[&["convert", "m.safetensors"], flags].concat(), 2, &[words]);
    }
    let most = ["--top-k", "18446744073709551615", "--iterations", "3", "--solver", "anneal"];
    let report = convert(&folder, &["principal"], &most);
    assert_eq!(report["tensors"][1]["rounding"]["rank"], 64);
}

#[test]
fn a_bias_that_is_no_number_fails_verification() {
    let folder = folder();
    folder.done(&["convert", "m.safetensors", "-o", "o.safetensors", "-q"]);
    let mut file = folder.file("o.safetensors");
    file.get_mut("blocks.0.ff.in.bias").bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    folder.write("o.safetensors", &file.bytes());
    let verify = ["verify", "m.safetensors", "o.safetensors", "--corrected-biases"];
    let run = folder.run(&verify);
    assert_eq!(run.code, 3, "{}", run.stdout);
    assert!(run.stdout.contains("`blocks.0.ff.in.bias` is no bias"), "{}", run.stdout);
}
