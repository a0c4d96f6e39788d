//! Adapters (LoRA): low-rank changes of weights, added before anything is rounded.

mod names;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use roundwise_layout::{StoredLayers, layer_of_weight};
use roundwise_tensor_file::{Checkpoint, SourceFile, TensorHeader};

use crate::error::ConvertError;
use crate::recipe::Recipe;
use crate::source::adapter::names::{AdapterKey, Role, adapter_key};
pub(crate) use crate::source::adapter::target::Targets;
use crate::source::source::{weight_kind, widened};

/// Every adapter of a recipe, and the weights that they change.
#[derive(Debug, Default)]
pub(crate) struct Adapters {
    files: Vec<Checkpoint>,
    by_weight: BTreeMap<String, Vec<Change>>,
    /// Keys that belong to no weight.
    pub(crate) unmatched: Vec<String>,
}

/// `strength · alpha / rank · up · down`, `[rows, rank] · [rank, rest]`.
#[derive(Debug)]
struct Change {
    file: usize,
    up: TensorHeader,
    down: TensorHeader,
    factor: f32,
}

/// The tensors of one module of an adapter.
#[derive(Debug, Default)]
struct Module {
    up: Option<TensorHeader>,
    down: Option<TensorHeader>,
    alpha: Option<TensorHeader>,
    keys: Vec<String>,
}

impl Adapters {
    /// Opens the recipe's adapters and finds their weights by name; reads headers and alphas only.
    ///
    /// # Errors
    /// [`ConvertError::Misfit`] for adapters of another kind or model, and for keys that match no
    /// weight unless the recipe allows them.
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
            adapters.add(path, *strength, &targets, stored)?;
        }
        if !adapters.unmatched.is_empty() && !recipe.allows_unmatched_lora() {
            return Err(ConvertError::Misfit {
                path: checkpoint.path().to_owned(),
                problem: format!(
                    "has no weight for {} of the adapters' keys: {}\n  \
                     `--allow-unmatched-lora` leaves them out",
                    adapters.unmatched.len(),
                    listed(&adapters.unmatched),
                ),
            });
        }
        Ok(adapters)
    }

    fn add(
        &mut self,
        path: &Path,
        strength: f32,
        targets: &Targets,
        stored: &StoredLayers,
    ) -> Result<(), ConvertError> {
        let file = Checkpoint::open(path)?;
        let misfit = |problem: String| ConvertError::Misfit { path: path.to_owned(), problem };
        let mut modules = BTreeMap::<String, Module>::new();
        let unmatched_before = self.unmatched.len();
        for header in file.tensors() {
            match adapter_key(&header.name) {
                AdapterKey::Part { module, role } => {
                    modules.entry(module.to_owned()).or_default().set(role, header);
                }
                AdapterKey::Refused(reason) => {
                    return Err(misfit(format!("`{}`: {reason}", header.name)));
                }
                AdapterKey::Unknown => self.unmatched.push(header.name.clone()),
            }
        }
        let mut matched = BTreeSet::new();
        for (name, module) in modules {
            let Some(weight) = targets.find(&name).map_err(misfit)? else {
                self.unmatched.extend(module.keys);
                continue;
            };
            if !matched.insert(weight.name.clone()) {
                let problem = format!("two of its modules change `{}`", weight.name);
                return Err(misfit(problem));
            }
            let shape = match layer_of_weight(&weight.name).and_then(|it| stored.layers.get(it)) {
                Some(layer) => layer.shape.map(|size| size as u64).to_vec(),
                None => weight.shape.clone(),
            };
            let target = (weight.name.as_str(), &shape[..]);
            let change = change_of(&file, self.files.len(), &name, module, strength, target);
            let change = change?.map_err(misfit)?;
            self.by_weight.entry(weight.name.clone()).or_default().push(change);
        }
        if matched.is_empty() {
            let keys = listed(&self.unmatched[unmatched_before..]);
            return Err(misfit(format!(
                "changes no weight of {}; it is of another model, or no LoRA\n  its keys: {keys}",
                targets.path().display()
            )));
        }
        self.files.push(file);
        Ok(())
    }

    /// Whether an adapter changes a tensor.
    pub(crate) fn change(&self, name: &str) -> bool {
        self.by_weight.contains_key(name)
    }

    /// Tells the files' contents apart, as [`SourceFile::fingerprint`].
    pub(crate) fn fingerprints(&self) -> impl Iterator<Item = String> {
        self.files.iter().flat_map(Checkpoint::files).map(SourceFile::fingerprint)
    }

    /// Adds the changes of a weight to its numbers, `[rows, rest]`, in the order of the recipe.
    ///
    /// # Errors
    /// When an adapter cannot be read.
    pub(crate) fn merge(&self, name: &str, values: &mut [f32]) -> Result<(), ConvertError> {
        for change in self.by_weight.get(name).into_iter().flatten() {
            let file = &self.files[change.file];
            let up = numbers(file, &change.up)?;
            let down = numbers(file, &change.down)?;
            let rank = change.down.shape[0] as usize;
            let rest = down.len() / rank.max(1);
            for (row, values) in values.chunks_mut(rest.max(1)).enumerate() {
                for (factor, down) in up[row * rank..][..rank].iter().zip(down.chunks(rest.max(1)))
                {
                    let factor = factor * change.factor;
                    for (value, down) in values.iter_mut().zip(down) {
                        *value += factor * down;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Module {
    fn set(&mut self, role: Role, header: &TensorHeader) {
        let place = match role {
            Role::Up => &mut self.up,
            Role::Down => &mut self.down,
            Role::Alpha => &mut self.alpha,
        };
        *place = Some(header.clone());
        self.keys.push(header.name.clone());
    }
}

/// A module of an adapter as a change of its weight, or what is wrong with it.
///
/// - `weight`, `shape`: name and shape of the weight
fn change_of(
    file: &Checkpoint,
    index: usize,
    name: &str,
    module: Module,
    strength: f32,
    (weight, shape): (&str, &[u64]),
) -> Result<Result<Change, String>, ConvertError> {
    let (Some(up), Some(down)) = (module.up, module.down) else {
        return Ok(Err(format!("module `{name}` has no pair of up and down")));
    };
    for part in [&up, &down] {
        if weight_kind(part.dtype).is_none() {
            return Ok(Err(format!("`{}` is {}, expected numbers", part.name, part.dtype)));
        }
    }
    let rest = |shape: &[u64]| shape.iter().skip(1).product::<u64>();
    let [rows, cols] = [shape[0], rest(shape)];
    let rank = down.shape.first().copied().unwrap_or(0);
    let fits = rank > 0
        && up.shape.first() == Some(&rows)
        && rest(&up.shape) == rank
        && rest(&down.shape) == cols;
    if !fits {
        return Ok(Err(format!(
            "module `{name}` is {:?} · {:?}, `{}` needs [{rows}, rank] · [rank, {cols}]; it is of \
             another model",
            up.shape, down.shape, weight
        )));
    }
    let alpha = match &module.alpha {
        Some(alpha) if alpha.element_count() == 1 && weight_kind(alpha.dtype).is_some() => {
            numbers(file, alpha)?[0]
        }
        Some(alpha) => return Ok(Err(format!("`{}` is no single number", alpha.name))),
        None => rank as f32,
    };
    let factor = strength * alpha / rank as f32;
    if !factor.is_finite() {
        return Ok(Err(format!("module `{name}` has an alpha of {alpha}")));
    }
    Ok(Ok(Change { file: index, up, down, factor }))
}

fn numbers(file: &Checkpoint, header: &TensorHeader) -> Result<Vec<f32>, ConvertError> {
    let kind = weight_kind(header.dtype).expect("checked when the file was opened");
    Ok(widened(kind, &file.read(header)?))
}

/// The first of many names.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let more = if names.len() > SHOWN { ", …" } else { "" };
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    shown.join(", ") + more
}
