use std::ffi::OsStr;
use std::path::Path;

use roundwise_tensor_file::Sharding;

use crate::recipe::{Purpose, Recipe};
use crate::source::Source;
use crate::source::model_config::stays_folder;

/// Limits of files and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of tensors in a file. With it the output is a folder: shards, their index, and what
    /// lay beside the weights of the input, such as a tokenizer.
    pub shard_bytes: Option<u64>,
    /// Most bytes of memory.
    pub memory_bytes: Option<u64>,
}

/// Most bytes of a shard where nobody says: what Hugging Face's own programs write.
const SHARD_BYTES: u64 = 5_000_000_000;

impl Limits {
    /// Returns the limits with one for shards where an output has to be a folder.
    #[must_use]
    pub fn for_recipe(self, recipe: &Recipe) -> Self {
        let shard_bytes = self.shard_bytes.or(recipe.makes_folder().then_some(SHARD_BYTES));
        Self { shard_bytes, ..self }
    }

    /// Returns the limits with one for shards where the folder of a language model is decoded, repaired or edited:
    /// it stays a folder, with all that servers read, unless a single file is named for it.
    ///
    /// - `output`: where somebody named it
    #[must_use]
    pub fn for_rewriting(self, recipe: &Recipe, input: &Path, output: Option<&Path>) -> Self {
        let is_rewritten = match recipe.purpose() {
            Purpose::Decode(_) | Purpose::Repair | Purpose::Edit => true,
            Purpose::Quantize | Purpose::Migrate => false,
        };
        let stays = is_rewritten && stays_folder(input, output);
        Self { shard_bytes: self.shard_bytes.or(stays.then_some(SHARD_BYTES)), ..self }
    }

    /// Returns how the output is shared out over files, where it is a folder.
    pub(crate) fn sharding(self, source: &Source) -> Option<Sharding> {
        const DIFFUSERS: &str = "diffusion_pytorch_model";
        let limit_bytes = self.shard_bytes?;
        let names = source.checkpoint.files().iter().filter_map(|file| file.path().file_name());
        let is_diffusers = |name: &OsStr| name.to_string_lossy().starts_with(DIFFUSERS);
        // The stem of the input where all its files agree, so that programs find the output under
        // the name they expect.
        let stem = if names.clone().all(is_diffusers) { DIFFUSERS } else { "model" };
        Some(Sharding { stem: stem.to_owned(), limit_bytes })
    }
}
