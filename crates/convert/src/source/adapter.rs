//! Adapters (LoRA and its relatives): changes of weights, biases and norms, added before anything is
//! rounded.

mod change;
mod config;
mod dialect;
mod dora;
mod file;
mod full;
mod glora;
mod keys;
mod loha;
mod lokr;
mod lora;
mod matrix;
mod model_part;
mod module;
mod note;
mod numbers;
mod oft;
mod peft_oft;
mod reading;
mod scale;
mod spelling;
mod target;
mod tensors;

use std::collections::BTreeMap;
use std::path::Path;

use roundwise_layout::StoredLayers;
use roundwise_tensor_file::{Checkpoint, SourceFile};

use crate::error::ConvertError;
use crate::recipe::{Recipe, Setting, Text};
use crate::source::adapter::change::Change;
use crate::source::adapter::file::AdapterFile;
pub(crate) use crate::source::adapter::keys::changed_layer;
pub(crate) use crate::source::adapter::note::AdapterNote;
use crate::source::adapter::reading::Reading;
use crate::source::adapter::scale::ScaleSource;
pub(crate) use crate::source::adapter::target::Targets;

/// Every adapter of a recipe, and the tensors that they change.
#[derive(Debug, Default)]
pub(crate) struct Adapters {
    files: Vec<AdapterFile>,
    by_tensor: BTreeMap<String, Vec<Change>>,
    /// Keys that have no place in the model.
    pub(crate) unmatched: Vec<String>,
}

impl Adapters {
    /// Opens the recipe's adapters and finds their tensors by name; reads all that is merged once, so
    /// that its defects are reported before the work.
    ///
    /// # Errors
    /// [`ConvertError::Misfit`] for adapters of another kind or model, for a NaN or an infinity, and
    /// for keys that have no place in the model unless the recipe allows them.
    pub(crate) fn open(
        recipe: &Recipe,
        checkpoint: &Checkpoint,
        stored: &StoredLayers,
    ) -> Result<Self, ConvertError> {
        if recipe.adapters().is_empty() {
            return Ok(Self::default());
        }
        let targets = Targets::of(checkpoint, stored);
        let mut adapters = Self::default();
        for (path, strength) in recipe.adapters() {
            adapters.add(path, *strength, &targets)?;
        }
        // Of all adapters together, so that one message names every key.
        if !adapters.unmatched.is_empty() && !recipe.allows_unmatched_lora() {
            let unmatched = format!(
                "has no weight for {} of the adapters' keys: {}\n  ",
                adapters.unmatched.len(),
                listed(&adapters.unmatched),
            );
            let allow = Setting::new("allow_unmatched_lora").quoted();
            let problem = Text::from(unmatched) + allow + " leaves them out";
            return Err(ConvertError::misfit(checkpoint.path(), problem));
        }
        Ok(adapters)
    }

    fn add(&mut self, path: &Path, strength: f32, targets: &Targets) -> Result<(), ConvertError> {
        let file = AdapterFile::open(path)?;
        let mut reading = Reading::new(&file, self.files.len(), strength, targets);
        reading.read()?;
        if file.source.checkpoint.tensors().is_empty() {
            return Err(file.misfit("holds no tensor, and so no adapter".to_owned()));
        }
        if reading.changes.is_empty() {
            let keys = listed(&reading.unmatched);
            return Err(file.misfit(format!(
                "changes no weight of {}; it is of another model, or no LoRA\n  its keys: {keys}",
                targets.path().display()
            )));
        }
        self.unmatched.append(&mut reading.unmatched);
        // Adapter by adapter, so that the changes of a tensor are in the order of the recipe: a
        // rotation and a sum do not commute.
        for change in reading.changes {
            self.by_tensor.entry(change.site.tensor.name.clone()).or_default().push(change);
        }
        self.files.push(file);
        Ok(())
    }

    /// Returns whether an adapter changes a tensor.
    pub(crate) fn change(&self, name: &str) -> bool {
        self.by_tensor.contains_key(name)
    }

    /// Tells the files' contents apart, as [`SourceFile::fingerprint`], and the configurations beside
    /// them.
    pub(crate) fn fingerprints(&self) -> impl Iterator<Item = String> {
        let configs = self.files.iter().filter_map(|file| file.config_text.as_ref());
        let configs = configs.map(|text| blake3::hash(text.as_bytes()).to_hex().to_string());
        let files = self.files.iter().flat_map(|file| file.source.checkpoint.files());
        files.map(SourceFile::fingerprint).chain(configs)
    }

    /// Returns where the factors of each adapter were taken from.
    pub(crate) fn notes(&self) -> Vec<AdapterNote> {
        let mut notes = BTreeMap::<(usize, ScaleSource), AdapterNote>::new();
        for change in self.by_tensor.values().flatten() {
            // Without the strength, which the recipe says: what a reader cannot see is where alpha
            // came from.
            let factor = change.scale.factor(1.0);
            let note = notes.entry((change.file, change.scale.source)).or_insert_with(|| {
                let path = self.files[change.file].path.clone();
                let source = change.scale.source;
                AdapterNote { path, changes: 0, source, factors: [factor; 2] }
            });
            note.changes += 1;
            note.factors = [note.factors[0].min(factor), note.factors[1].max(factor)];
        }
        notes.into_values().collect()
    }

    /// Adds the changes of a tensor to its numbers, `[rows, rest]`, in the order of the recipe.
    ///
    /// # Errors
    /// When an adapter cannot be read, or its change is too large for single precision.
    pub(crate) fn merge(&self, name: &str, values: &mut [f32]) -> Result<(), ConvertError> {
        let Some(changes) = self.by_tensor.get(name) else { return Ok(()) };
        let is_finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        // An adapter is not to blame for a weight that is not finite by itself.
        let was_finite = is_finite(values);
        for change in changes {
            let file = &self.files[change.file];
            change.apply(&file.source, values)?;
            if was_finite && !is_finite(values) {
                return Err(file.misfit(format!(
                    "module `{}` makes `{name}` a NaN or an infinity; its training has failed",
                    change.module
                )));
            }
        }
        Ok(())
    }
}

/// Lists the first few names.
fn listed(names: &[String]) -> String {
    // An adapter of another model may have thousands of keys without a place.
    const SHOWN: usize = 8;
    let more = if names.len() > SHOWN { ", …" } else { "" };
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    shown.join(", ") + more
}
