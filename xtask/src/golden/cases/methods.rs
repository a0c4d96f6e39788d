//! Learned rounding: every method, and its settings.

use crate::golden::case::Case;

/// With few steps.
const METHODS: [(&str, &str); 8] = [
    ("stochastic", ""),
    ("principal", "--top-k 8"),
    ("principal-input", "--top-k 8"),
    ("sampled", "--calibration-rows 16"),
    ("adaround", "--iterations 20 --calibration-rows 32"),
    ("adaround-fast", "--iterations 20"),
    ("tpec", "--iterations 50"),
    ("tpec-fast", "--top-k 2 --iterations 20"),
];

const SCHEMES: [&str; 6] = ["fp8", "int8-row", "fp8-block-32", "mxfp8", "nvfp4", "int4-convrot"];

const OPTIMIZERS: [&str; 8] =
    ["original", "sgd", "adam", "adamw", "radam", "rmsprop", "gooddog", "prodigy"];

const SCHEDULES: [&str; 6] =
    ["constant", "cosine", "exponential", "plateau", "adaptive", "doubling"];

/// Other settings, by the names of their cases.
const SETTINGS: [(&str, &str); 25] = [
    ("feedback", "--method principal --top-k 8 --solver feedback"),
    ("anneal", "--method principal --top-k 8 --solver anneal --iterations 10"),
    ("greedy", "--method principal --top-k 8 --solver greedy --iterations 50"),
    ("adaround-of-principal", "--method principal --top-k 8 --solver adaround --iterations 10"),
    ("effort-fast", "--method principal --top-k 8 --effort fast"),
    ("effort-high", "--method principal --top-k 8 --effort high --scheme int8-row"),
    ("budget", "--method principal --top-k 8 --weight-error-budget 0.1"),
    ("lambda", "--method principal --top-k 8 --lambda 0.5"),
    ("top-p", "--method principal --top-p 0.1 --min-k 2 --max-k 5"),
    ("scale-rule", "--method principal --top-k 8 --scale-rule mse"),
    ("reg-lambda", "--method adaround --iterations 10 --reg-lambda 0.1 --calibration-rows 32"),
    ("batch", "--method adaround --iterations 10 --calibration-rows 32 --calibration-batch 8"),
    ("adaround-gooddog", "--method adaround-fast --iterations 10 --optimizer gooddog"),
    ("rate", "--method tpec-fast --iterations 10 --learning-rate 0.5 --patience 3"),
    ("rules", "--method principal --top-k 8 --rule out=int8-row --scheme fp8-row"),
    ("device-cpu", "--method principal --top-k 8 --device cpu"),
    ("device-ndarray", "--method principal --top-k 8 --device ndarray"),
    ("bias-plus", "--bias-correction synthetic-plus"),
    ("bias-minus", "--bias-correction synthetic-minus --scheme int8-row"),
    ("bias-principal", "--method principal --top-k 8 --bias-correction synthetic-plus"),
    ("bias-tpec", "--method tpec --iterations 20 --bias-correction synthetic-minus"),
    ("bias-inputs", "--stats both.stats.safetensors --bias-correction inputs"),
    ("damping", "--stats both.stats.safetensors --damping 0.1"),
    (
        "bias-inputs-principal",
        "--stats both.stats.safetensors --method principal --top-k 8 --bias-correction inputs",
    ),
    ("stats-of-one", "--stats one.stats.safetensors --scheme int8-row"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for (method, flags) in METHODS {
        for scheme in SCHEMES {
            let flags = format!("--scheme {scheme} --method {method} {flags}");
            cases.push(learned(&format!("{method}-{scheme}"), &flags));
        }
    }
    for scheme in SCHEMES {
        let flags = format!("--scheme {scheme} --stats both.stats.safetensors");
        cases.push(learned(&format!("activations-{scheme}"), &flags));
    }
    let descent = "--method principal --top-k 8 --solver descent --iterations 15";
    cases.extend(OPTIMIZERS.map(|it| learned(it, &format!("{descent} --optimizer {it}"))));
    cases.extend(SCHEDULES.map(|schedule| {
        learned(schedule, &format!("{descent} --optimizer adam --schedule {schedule}"))
    }));
    cases.extend(SETTINGS.map(|(name, flags)| learned(name, flags)));
    let layer = "convert layer.safetensors --method principal --top-k 32 --effort fast";
    cases.extend(["fp8", "int8-row", "int8-block-128"].map(|scheme| {
        Case::learned(format!("layer/{scheme}"), &[&format!("{layer} --scheme {scheme}")])
    }));
    cases.push(Case::learned(
        "method/verify",
        &[
            "convert small.safetensors -o a.safetensors --stats both.stats.safetensors --no-provenance",
            "verify small.safetensors a.safetensors --stats both.stats.safetensors",
            "convert small.safetensors -o b.safetensors --bias-correction synthetic-plus --no-provenance",
            "verify small.safetensors b.safetensors",
            "verify small.safetensors b.safetensors --corrected-biases",
        ],
    ));
    cases
}

fn learned(name: &str, flags: &str) -> Case {
    Case::learned(format!("method/{name}"), &[&format!("convert small.safetensors {flags}")])
}
