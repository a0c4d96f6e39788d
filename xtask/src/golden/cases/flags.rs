//! Flags of `convert` and `plan`, on one model.

use crate::golden::case::Case;

/// Flags of `convert` for the small FLUX.
const CONVERT: [(&str, &str); 32] = [
    ("plain", ""),
    ("no-provenance", "--no-provenance"),
    ("report", "--report report.json --out-dir made"),
    ("legacy", "--layout comfy-legacy"),
    ("legacy-refused", "--layout comfy-legacy --scheme int8"),
    ("keep", "--keep single_blocks --keep attn.qkv"),
    ("include", "--include txt_in"),
    ("ignore-base-list", "--ignore-base-list --scheme int8-row"),
    ("rules", "--rule attn=int8-row --rule mlp=mxfp8 --rule single_blocks.0=fp8-block-64"),
    ("ragged-rule", "--rule attn=fp8-block-100"),
    ("fallback", "--fallback-scheme int8-row"),
    ("full-precision", "--full-precision img_mlp --full-precision linear1"),
    ("min-size", "--min-size 20000"),
    ("basic", "--heuristic basic"),
    ("classic", "--heuristic classic --scheme int8-row"),
    ("preset", "--preset wan"),
    ("preset-unknown", "--preset nothing"),
    ("shards", "--shard-size 100KB"),
    ("part", "--part 2/3"),
    ("several", "--to fp8 --to int8-row=rows.safetensors --to nvfp4 --rule mod=bf16"),
    ("several-report", "--to fp8 --to mxfp8 --report report.json"),
    ("recipe", "--recipe recipe.toml --merge-lora peft.safetensors"),
    (
        "recipe-and-flags",
        "--recipe recipe.toml --scheme fp8 --keep img_mlp --merge-lora peft.safetensors",
    ),
    ("layer-config", "--recipe layer-config.json"),
    ("lora", "--merge-lora peft.safetensors"),
    ("lora-strengths", "--merge-lora kohya.safetensors:0.5 --merge-lora peft.safetensors:-1"),
    ("lora-plain", "--merge-lora kohya.safetensors --keep attn"),
    ("lora-stray", "--merge-lora stray.safetensors"),
    ("lora-stray-allowed", "--merge-lora stray.safetensors --allow-unmatched-lora"),
    ("lora-other-kind", "--merge-lora loha.safetensors"),
    ("no-verify", "--no-verify --fresh --force"),
    ("unknown-scheme", "--scheme fp9"),
];

/// Flags of `plan` for the small FLUX.
const PLAN: [(&str, &str); 9] = [
    ("plain", ""),
    ("flags", "--keep attn.qkv --include txt_in --rule mlp=int8-row --fallback-scheme bf16"),
    ("idle-rule", "--keep nothing --rule nowhere=fp8"),
    ("too-little-memory", "--memory-limit 1MiB"),
    ("learned", "--method principal"),
    ("lora", "--merge-lora peft.safetensors"),
    ("legacy", "--layout comfy-legacy"),
    ("several-complaints", "--scheme fp9 --keep ( --top-k 0 --heuristic none"),
    ("contradiction", "--rule a=fp8 --rule a=int8"),
];

/// Layers of the small FLUX, and flags.
const EXPLAIN: [(&str, &str); 10] = [
    ("weight", "double_blocks.0.img_attn.qkv"),
    ("kept-by-preset", "img_in"),
    ("fallback", "img_in --fallback-scheme int8-row"),
    ("include", "txt_in --include txt_in"),
    ("rule", "double_blocks.0.img_mlp.0 --rule mlp=int8-row"),
    ("contradiction", "double_blocks.0.img_mlp.0 --rule mlp=int8-row --keep img"),
    ("ragged-rule", "double_blocks.0.img_mlp.0 --rule mlp=fp8-block-100"),
    ("small", "final_layer.linear --min-size 100000 --ignore-base-list"),
    ("vector", "double_blocks.0.img_attn.norm.key_norm.scale"),
    ("unknown", "nowhere"),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![];
    for (name, flags) in CONVERT {
        let command = format!("convert flux.safetensors {flags}");
        cases.push(Case::exact(format!("convert/{name}"), &[&command]));
    }
    for (name, flags) in PLAN {
        cases.push(Case::exact(
            format!("plan/{name}"),
            &[&format!("plan flux.safetensors {flags}")],
        ));
    }
    for (name, flags) in EXPLAIN {
        let command = format!("plan flux.safetensors --explain {flags}");
        cases.push(Case::exact(format!("explain/{name}"), &[&command]));
    }
    cases
}
