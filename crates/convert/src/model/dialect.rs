use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose names the tensors of a model have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// Those of the model's own code, which ComfyUI uses as well.
    Original,
    /// Those of Hugging Face's diffusers, where they differ.
    Diffusers,
    /// Those of Hugging Face's transformers.
    Transformers,
    /// Those of llama.cpp, mostly in GGUF files.
    LlamaCpp,
    /// Cannot be told.
    Unknown,
}

impl Dialect {
    /// Whose names they are, in the genitive.
    pub(crate) fn owner(self) -> &'static str {
        match self {
            Dialect::Original => "the model's own",
            Dialect::Diffusers => "diffusers'",
            Dialect::Transformers => "transformers'",
            Dialect::LlamaCpp => "llama.cpp's",
            Dialect::Unknown => "unknown ones",
        }
    }
}

/// The name for people.
impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Dialect::Original => "the model's own",
            Dialect::Diffusers => "diffusers",
            Dialect::Transformers => "transformers",
            Dialect::LlamaCpp => "llama.cpp",
            Dialect::Unknown => "unknown",
        })
    }
}
