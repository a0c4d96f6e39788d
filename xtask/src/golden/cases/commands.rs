//! Every command with its flags.

use crate::golden::case::Case;

/// Layers in codes that other commands begin with.
const CODES: &str = "convert blocks.safetensors -o a.safetensors --no-provenance -q";

/// Names and commands of cases with the same bytes on every CPU.
const EXACT: [(&str, &[&str]); 46] = [
    ("convert/inputs", &["convert blocks.safetensors small.safetensors --out-dir made"]),
    ("convert/bad-input", &["convert blocks.safetensors broken/hole.safetensors --out-dir made"]),
    ("convert/provenance-before", &["convert made.safetensors", "inspect made-fp8.safetensors"]),
    ("convert/there-already", &[CODES, CODES]),
    ("convert/onto-input", &["convert blocks.safetensors -o blocks.safetensors --force"]),
    (
        "convert/from-codes",
        &[CODES, "convert a.safetensors --scheme int8-row", "convert a.safetensors --keep ff"],
    ),
    (
        "convert/lora-on-codes",
        &[
            "convert flux.safetensors -o a.safetensors --no-provenance -q",
            "convert a.safetensors --merge-lora peft.safetensors --scheme fp8-row",
        ],
    ),
    ("convert/bands", &["convert large.safetensors --memory-limit 51MiB"]),
    (
        "convert/bands-of-rows",
        &["convert large.safetensors --memory-limit 51MiB --scheme int8-row"],
    ),
    ("convert/bands-of-blocks", &["convert large.safetensors --memory-limit 70MiB --scheme nvfp4"]),
    ("convert/one-thread", &["convert flux.safetensors --threads 1"]),
    ("convert/many-threads", &["convert flux.safetensors --threads 7"]),
    ("convert/text", &["convert flux.safetensors > text.txt"]),
    (
        "plan/text",
        &["plan flux.safetensors > text.txt", "plan flux.safetensors --explain img_in > more.txt"],
    ),
    (
        "plan/checkpoint",
        &[
            "plan checkpoint.safetensors",
            "plan checkpoint.safetensors --explain vae.decoder.mid.attn_1.q",
            "plan checkpoint.safetensors --explain extra.proj",
        ],
    ),
    ("plan/statistics", &["plan small.safetensors --stats one.stats.safetensors"]),
    ("plan/bands", &["plan large.safetensors --memory-limit 51MiB"]),
    ("dequantize/bf16", &[CODES, "dequantize a.safetensors"]),
    ("dequantize/f16", &[CODES, "dequantize a.safetensors --dtype f16 --report report.json"]),
    ("dequantize/fp32", &[CODES, "dequantize a.safetensors --dtype fp32 --shard-size 100KB"]),
    ("dequantize/nothing", &["dequantize blocks.safetensors"]),
    ("dequantize/unknown", &[CODES, "dequantize a.safetensors --dtype f8"]),
    (
        "migrate/there-and-back",
        &[
            CODES,
            "migrate a.safetensors --to comfy-legacy -o b.safetensors --no-provenance",
            "migrate b.safetensors --to comfy -o c.safetensors --no-provenance",
        ],
    ),
    (
        "migrate/refused",
        &[
            "convert blocks.safetensors -o a.safetensors --scheme int8-row -q",
            "migrate a.safetensors --to comfy-legacy",
        ],
    ),
    ("migrate/nothing", &["migrate blocks.safetensors --to comfy"]),
    ("edit/entries", &[CODES, "edit a.safetensors --set title=A=B --set format=x --unset ^auth"]),
    (
        "edit/options",
        &[
            CODES,
            "edit a.safetensors -o b.safetensors --full-precision in$ --no-provenance",
            "edit b.safetensors -o c.safetensors --any-precision . --no-provenance",
        ],
    ),
    (
        "edit/input-scales",
        &[
            "convert small.safetensors -o a.safetensors --no-provenance -q",
            "edit a.safetensors -o b.safetensors --input-scale . --stats both.stats.safetensors --no-provenance",
            "convert b.safetensors --scheme fp8-e5m2 -o c.safetensors",
            "edit a.safetensors --input-scale . --stats one.stats.safetensors",
        ],
    ),
    ("edit/nothing", &[CODES, "edit a.safetensors", "edit a.safetensors --unset nowhere"]),
    ("verify/other-model", &["verify blocks.safetensors small.safetensors"]),
    (
        "verify/text",
        &[
            CODES,
            "verify blocks.safetensors a.safetensors > text.txt",
            "inspect a.safetensors > more.txt",
        ],
    ),
    (
        "parts/merged",
        &[
            "convert flux.safetensors -o a.safetensors --part 1/2 -q",
            "convert flux.safetensors -o a.safetensors --part 2/2 -q",
            "merge a.part-2-of-2.safetensors a.part-1-of-2.safetensors -o b.safetensors",
        ],
    ),
    (
        "parts/missing",
        &[
            "convert flux.safetensors -o a.safetensors --part 1/2 -q",
            "merge a.part-1-of-2.safetensors -o b.safetensors",
        ],
    ),
    (
        "recipe/init",
        &["recipe init flux.safetensors > init.txt", "convert flux.safetensors --recipe init.txt"],
    ),
    ("recipe/import", &["recipe import layer-config.json > imported.toml"]),
    ("schemes", &["schemes", "schemes > text.txt"]),
    ("presets", &["presets", "presets > text.txt"]),
    (
        "stats/show",
        &[
            "stats show both.stats.safetensors",
            "stats show stats/small.stats.safetensors",
            "stats show importance.gguf",
            "stats show importance.dat",
        ],
    ),
    (
        "stats/merge-full",
        &["stats merge both.stats.safetensors one.stats.safetensors -o c.stats.safetensors"],
    ),
    (
        "stats/import",
        &[
            "stats merge importance.gguf -o a.stats.safetensors",
            "stats merge importance.dat -o b.stats.safetensors",
        ],
    ),
    (
        "stats/without-method",
        &["convert small.safetensors --stats both.stats.safetensors --method nearest"],
    ),
    ("stats/other-model", &["convert half.safetensors --stats both.stats.safetensors"]),
    ("stats/collector", &["stats collector > collector.txt"]),
    ("completions", &["completions bash > bash.txt", "completions zsh > zsh.txt"]),
    ("help", &["--help", "convert --help", "plan --help", "edit --help"]),
    ("usage", &["convert", "nothing", "convert a.safetensors -o b.safetensors --to fp8"]),
];

pub(super) fn cases() -> Vec<Case> {
    let exact = EXACT.map(|(name, commands)| Case::exact(name, commands));
    exact.into_iter().chain(learned()).collect()
}

/// Commands in which products have a say.
fn learned() -> Vec<Case> {
    let part = "--method principal --top-k 8 -q --part";
    vec![
        Case::learned(
            "convert/error-lora",
            &[
                "convert flux.safetensors --scheme int8-block-64 --extract-error-lora 4",
                "inspect flux-int8-block-64-error-lora.safetensors",
            ],
        ),
        Case::learned(
            "convert/several-learned",
            &["convert small.safetensors --to fp8 --to int8-row --method principal --top-k 8"],
        ),
        Case::learned(
            "parts/learned",
            &[
                &format!("convert small.safetensors -o a.safetensors {part} 1/2"),
                &format!("convert small.safetensors -o a.safetensors {part} 2/2"),
                "merge a.part-1-of-2.safetensors a.part-2-of-2.safetensors -o b.safetensors",
            ],
        ),
        Case::learned(
            "stats/forced",
            &["convert half.safetensors --stats both.stats.safetensors --force-stats"],
        ),
        Case::learned(
            "stats/merge-factors",
            &["stats merge stats/small.stats.safetensors stats/small.stats.safetensors -o c"],
        ),
    ]
}
