use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use roundwise_layout::{StoredLayers, layer_of_weight};
use roundwise_tensor_file::{Checkpoint, TensorHeader};

use crate::source::adapter::names::{joined, spellings};
use crate::source::source::weight_kind;

/// Prefixes of a model's names that adapters leave out.
const PREFIXES: [&str; 4] = ["model.diffusion_model.", "model.model.", "net.", "model."];

/// The weights of a model by the names that adapters call them.
pub(crate) struct Targets {
    path: PathBuf,
    by_name: BTreeMap<String, Vec<TensorHeader>>,
}

impl Targets {
    pub(crate) fn of(checkpoint: &Checkpoint, stored: &StoredLayers) -> Self {
        let mut by_name = BTreeMap::<String, Vec<TensorHeader>>::new();
        for header in checkpoint.tensors().iter().filter(|header| header.shape.len() >= 2) {
            let Some(layer) = layer_of_weight(&header.name) else { continue };
            let is_code = weight_kind(header.dtype).is_none();
            if is_code && !stored.layers.contains_key(layer) {
                continue;
            }
            let bare = PREFIXES.iter().find_map(|prefix| layer.strip_prefix(prefix));
            for name in [Some(layer), bare].into_iter().flatten() {
                by_name.entry(joined(name)).or_default().push(header.clone());
            }
        }
        Self { path: checkpoint.path().to_owned(), by_name }
    }

    /// The model's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The weight that a module of an adapter changes, if the model has it.
    ///
    /// # Errors
    /// One line, when more than one weight answers to the name.
    pub(crate) fn find(&self, module: &str) -> Result<Option<&TensorHeader>, String> {
        let found = spellings(module).into_iter().find_map(|name| self.by_name.get(&name));
        match found.map(Vec::as_slice) {
            None => Ok(None),
            Some([weight]) => Ok(Some(weight)),
            Some(weights) => {
                let names: Vec<String> =
                    weights.iter().map(|weight| format!("`{}`", weight.name)).collect();
                Err(format!("module `{module}` may be any of {}", names.join(", ")))
            }
        }
    }
}
