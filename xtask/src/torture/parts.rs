//! One model in parts, and a model whose tensors lie in another order.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use roundwise_tensor_file::Checkpoint;
use serde_json::{Map, json};

use super::{LEARNED, command};
use crate::command;

/// Converts in 1, 4 and 16 parts, merges them, and compares the result with the file of one run.
pub(crate) fn parts(tool: &Path, model: &Path, folder: &Path) -> Result<String> {
    let output = folder.join("parted.safetensors");
    ensure!(command(tool, model, &output, &LEARNED).status()?.success(), "the tool fails");
    let whole = fs::read(&output)?;
    for count in [1, 4, 16] {
        let mut names = vec![];
        for number in 1..=count {
            let mut part = command(tool, model, &output, &LEARNED);
            ensure!(part.arg("--part").arg(format!("{number}/{count}")).status()?.success());
            let digits = format!("{count}").len();
            names
                .push(folder.join(format!("parted.part-{number:0digits$}-of-{count}.safetensors")));
        }
        let merged = folder.join("merged.safetensors");
        let mut merge = std::process::Command::new(tool);
        merge.args(["merge", "--force", "--quiet", "-o"]).arg(&merged).args(&names);
        command::run(&mut merge)?;
        ensure!(fs::read(&merged)? == whole, "{count} parts make another file");
        names.iter().try_for_each(fs::remove_file)?;
    }
    Ok("1, 4 and 16 parts: one hash".to_owned())
}

/// Writes the tensors of a model in reverse order.
pub(crate) fn reversed(model: &Path, folder: &Path) -> Result<PathBuf> {
    let checkpoint = Checkpoint::open(model)?;
    let mut header = Map::new();
    if !checkpoint.metadata().is_empty() {
        header.insert("__metadata__".to_owned(), json!(checkpoint.metadata()));
    }
    let mut data = vec![];
    for tensor in checkpoint.tensors().iter().rev() {
        let begin = data.len();
        data.extend(checkpoint.read(tensor)?);
        let entry = json!({
            "dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [begin, data.len()],
        });
        header.insert(tensor.name.clone(), entry);
    }
    let header = serde_json::to_vec(&header)?;
    let path = folder.join("reversed.safetensors");
    let file = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
    fs::write(&path, file).with_context(|| path.display().to_string())?;
    Ok(path)
}
