use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use roundwise_tensor_file::Overwrite;

use crate::Recipe;

/// One conversion.
#[derive(Clone, Debug)]
pub struct Job {
    /// A `.safetensors` file, an index of shards, or a folder that holds one.
    pub input: PathBuf,
    /// The file to write.
    pub output: PathBuf,
    /// What to do.
    pub recipe: Recipe,
    /// Tensors in flight at once. Does not change the output.
    pub threads: NonZeroUsize,
    /// Whether an existing output is replaced.
    pub overwrite: Overwrite,
    /// Whether to hash the input, which reads it once more.
    pub hash_input: bool,
}

/// The name an output gets when none is given: `{base}-{scheme}.safetensors` beside the input.
///
/// `{base}` is the file's name without its ending; for an index of shards the name without
/// `safetensors`, `index` and `json`, for a folder the folder's name.
pub fn default_output(input: &Path, recipe: &Recipe) -> PathBuf {
    let name = input.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|| "model".to_owned());
    let base = match name.strip_suffix(".json") {
        Some(index) => name_of_indexed(index),
        None => name.strip_suffix(".safetensors").unwrap_or(&name).to_owned(),
    };
    let layout = match recipe.layout() {
        roundwise_layout::Layout::Comfy => "",
        roundwise_layout::Layout::ComfyLegacy => "-legacy",
    };
    let output = format!("{base}-{}{layout}.safetensors", recipe.scheme());
    input.parent().map_or_else(|| PathBuf::from(&output), |folder| folder.join(&output))
}

/// `model.safetensors.index.fp16` → `model.fp16`
fn name_of_indexed(index: &str) -> String {
    let is_of_the_model = |part: &&str| !["safetensors", "index"].contains(part);
    let parts: Vec<&str> = index.split('.').filter(is_of_the_model).collect();
    match parts.concat().is_empty() {
        true => "model".to_owned(),
        false => parts.join("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RecipeFile;

    #[test]
    fn outputs_are_named_after_input_and_scheme() {
        let recipe = Recipe::check(RecipeFile::default()).unwrap();
        for (input, output) in [
            ("a/model.safetensors", "a/model-fp8.safetensors"),
            ("model.safetensors.index.json", "model-fp8.safetensors"),
            ("x.fp16.index.json", "x.fp16-fp8.safetensors"),
            ("model.safetensors.index.fp16.json", "model.fp16-fp8.safetensors"),
            ("index.json", "model-fp8.safetensors"),
            ("a/folder", "a/folder-fp8.safetensors"),
            ("v1.5.safetensors", "v1.5-fp8.safetensors"),
        ] {
            assert_eq!(default_output(Path::new(input), &recipe), Path::new(output));
        }
    }
}
