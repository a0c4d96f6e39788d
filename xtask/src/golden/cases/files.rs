//! Every kind of file that is read: models, containers, codes of other programs, broken files.

use crate::golden::case::Case;
use crate::golden::models::Models;

/// Models that have a preset or a form of their own.
const MODELS: [&str; 12] = [
    "checkpoint.safetensors",
    "unet.safetensors",
    "chroma.safetensors",
    "t5.safetensors",
    "clip.safetensors",
    "diffusers.safetensors",
    "wrapped.safetensors",
    "folder",
    "model.gguf",
    "weights.gguf",
    "made.safetensors",
    "layer.safetensors",
];

/// Layers in codes as servers read them.
const SERVERS: [&str; 6] =
    ["fp8-channel", "fp8-block", "int8-channel", "nvfp4", "nvfp4-modelopt", "mxfp8"];

pub(super) fn cases(models: &Models) -> Vec<Case> {
    let mut cases = vec![];
    for model in MODELS {
        cases.push(Case::exact(
            format!("model/{model}"),
            &[
                &format!("inspect {model}"),
                &format!("plan {model}"),
                &format!("recipe init {model} > init.txt"),
                &format!("convert {model} --scheme int8-row -o a.safetensors"),
                &format!("convert {model} --layout comfy-legacy -o b.safetensors"),
            ],
        ));
    }
    cases.push(Case::exact(
        "model/folder-shards",
        &[
            "convert folder --shard-size 60KB -o a --no-provenance",
            "verify folder a",
            "inspect a",
            "dequantize a --shard-size 1GB",
        ],
    ));
    cases.push(Case::exact(
        "model/chroma-distilled",
        &["convert chroma.safetensors --keep-distillation"],
    ));
    for name in SERVERS {
        let file = format!("server-{name}.safetensors");
        cases.push(Case::exact(
            format!("server/{name}"),
            &[
                &format!("inspect {file}"),
                &format!("migrate {file} --to comfy -o a.safetensors"),
                &format!("dequantize {file} --dtype f32 -o b.safetensors"),
                &format!("convert {file} --scheme int8-row -o c.safetensors"),
            ],
        ));
    }
    for (folder, name) in ["pickled", "broken"]
        .into_iter()
        .flat_map(|folder| models.inside(folder).map(move |name| (folder, name)))
        .chain([("broken", "missing-shard")])
    {
        let path = format!("{folder}/{name}");
        cases.push(Case::exact(
            path.clone(),
            &[
                &format!("inspect {path}"),
                &format!("convert {path} -o a.safetensors"),
                &format!("dequantize {path} -o b.safetensors"),
                &format!("repair {path}"),
                &format!("repair {path} --write -o c.safetensors"),
            ],
        ));
    }
    cases
}
