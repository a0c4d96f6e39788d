//! A file whose names are another program's, seen under its model's own names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use roundwise_layout::{QUANTIZATION_METADATA, StoredLayers, layer_of, layer_of_weight};
use roundwise_stats::LayerShape;
use roundwise_tensor_file::{Arranged, Checkpoint, Dtype, RowOrder, Rows};
use serde_json::Value;

use crate::error::ConvertError;
use crate::model::translation::{Scope, without_wrapper};
use crate::model::{
    Detected, Dialect, DialectTable, FileKind, Shapes, Translation, TranslationError,
};
use crate::source::subject::shapes;

/// How a file differs under its model's own names.
#[derive(Clone, Debug)]
pub(crate) struct Translated {
    /// Whose names the file has; those of the model itself where only a wrapper was taken off.
    pub(crate) from: Dialect,
    /// Prefix that training code had put before all names; mostly empty.
    pub(crate) wrapper: String,
    /// Number of tensors that have another name.
    pub(crate) renamed: usize,
    /// Number of tensors that were joined from several.
    pub(crate) joined: usize,
    /// Number of tensors whose rows have another order.
    pub(crate) reordered: usize,
    /// Tensors that the model computes by itself.
    pub(crate) dropped: Vec<String>,
    /// Names of layers in the file.
    pub(crate) other_names: Vec<OtherName>,
}

/// Another name of a layer, or of some rows of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OtherName {
    /// The layer, as everything here calls it.
    pub(crate) layer: String,
    /// The layer under the other name.
    pub(crate) other: LayerShape,
}

/// How a file's names are translated.
struct Renaming {
    table: Option<&'static DialectTable>,
    /// Prefix of the model's names.
    prefix: String,
    /// Prefix of the translated names.
    new_prefix: String,
}

/// Returns whether a file's names are not its model's own, and would be translated.
pub(crate) fn is_translatable(detected: &Detected, checkpoint: &Checkpoint) -> bool {
    Renaming::of(detected, checkpoint).is_some()
}

/// Returns why no table here translates the names of a file that has those of llama.cpp; `None` where one
/// does, and for files of other dialects.
pub(crate) fn why_no_table(detected: &Detected, checkpoint: &Checkpoint) -> Option<String> {
    if detected.dialect != Dialect::LlamaCpp || is_translatable(detected, checkpoint) {
        return None;
    }
    let architecture = checkpoint.gguf_metadata().get("general.architecture");
    let architecture = architecture.and_then(|value| value.as_text()).unwrap_or_default();
    let stacks_experts = checkpoint.tensors().iter().any(|tensor| tensor.name.contains("_exps."));
    Some(match architecture {
        _ if stacks_experts => STACKED_EXPERTS.to_owned(),
        gemma if gemma.starts_with("gemma") => {
            "llama.cpp's files of Gemma have 1 added to the norms, which renaming does not undo"
                .to_owned()
        }
        "" => "the file does not say its architecture (`general.architecture`)".to_owned(),
        other => format!("no table here is of the architecture `{other}`"),
    })
}

/// Returns in one line why names cannot be translated.
pub(crate) fn why_untranslated(problem: &TranslationError) -> String {
    match problem {
        TranslationError::Unknown { tensor, .. } if tensor.contains("_exps.") => {
            STACKED_EXPERTS.to_owned()
        }
        problem => problem.to_string().replace("\n  ", ": "),
    }
}

/// Why GGUF files of models with experts keep their names.
const STACKED_EXPERTS: &str =
    "llama.cpp stacks the experts of a layer into one tensor, which renaming does not undo";

/// Translates a file's names, where they are of a dialect that is known, or behind a wrapper.
///
/// # Errors
/// [`ConvertError::Names`] for a file whose names are not all of the model and dialect that it is
/// recognised as, or whose codes cannot go where their weights go: then nothing is translated.
pub(crate) fn translate(
    checkpoint: Checkpoint,
    stored: &StoredLayers,
    detected: &Detected,
) -> Result<(Checkpoint, Option<Translated>), ConvertError> {
    let Some(renaming) = Renaming::of(detected, &checkpoint) else { return Ok((checkpoint, None)) };
    let path = checkpoint.path().to_owned();
    let refused = |problem| names_error(&path, problem);
    if let Some(foreign) = stored.foreign.values().next() {
        let (layer, program) = (foreign.layer().to_owned(), foreign.program.name);
        let dtype = renaming.dtype_of_neighbours(&checkpoint, stored, detected);
        return Err(refused(TranslationError::ForeignCodes { layer, program, dtype }));
    }
    let shapes = shapes(&checkpoint, stored);
    let translation = renaming.translate(&shapes, detected, &checkpoint).and_then(|translation| {
        refuse_codes(&translation, stored)?;
        Ok(translation)
    });
    let translation = translation.map_err(|problem| match problem.is_about_codes() {
        true => {
            let dtype = renaming.dtype_of_neighbours(&checkpoint, stored, detected);
            refused(problem.with_dtype(dtype))
        }
        false => refused(problem),
    })?;
    let mut translated = Translated::of(&translation, renaming.table, &shapes);
    translated.wrapper.clone_from(&detected.wrapper);
    let metadata = metadata(&checkpoint, &translation);
    drop(shapes);
    Ok((checkpoint.arranged(translation.tensors, metadata)?, Some(translated)))
}

/// Returns what layers of a file under its model's own names are called in other dialects.
pub(crate) fn names_elsewhere(
    checkpoint: &Checkpoint,
    stored: &StoredLayers,
    detected: &Detected,
) -> Vec<OtherName> {
    let shapes = shapes(checkpoint, stored);
    let prefix = &detected.main.prefix;
    let header = |key: &str| header_number(checkpoint, key);
    let scope = Scope { shapes: &shapes, prefix, new_prefix: "", wrapper: "", header: &header };
    let tables = DialectTable::of_original(detected.main.architecture);
    let tensors = tables.flat_map(|table| table.invert(&scope));
    tensors.filter_map(|tensor| other_name(&tensor, &tensor.parts.first()?.tensor)).collect()
}

/// Returns what layers of a file that keeps its names of another dialect are called by the model itself.
pub(crate) fn own_names(
    checkpoint: &Checkpoint,
    stored: &StoredLayers,
    detected: &Detected,
) -> Vec<OtherName> {
    let shapes = shapes(checkpoint, stored);
    let Some(renaming) = Renaming::of(detected, checkpoint) else { return vec![] };
    let translation = renaming.translate(&shapes, detected, checkpoint);
    let tensors = translation.map(|it| it.tensors).unwrap_or_default();
    let mut names = vec![];
    for tensor in &tensors {
        names.extend(tensor.parts.iter().filter_map(|part| other_name(tensor, &part.tensor)));
    }
    // A name that did not change is no other name.
    names.retain(|name| name.layer != name.other.module);
    names.dedup();
    names
}

/// Returns the other name of a layer, where the tensor is a layer's weight.
///
/// - `tensor`: under the other name
/// - `ours`: the file's name of what it is made of
fn other_name(tensor: &Arranged, ours: &str) -> Option<OtherName> {
    let layer = layer_of_weight(ours)?.to_owned();
    Some(OtherName { layer, other: LayerShape::of_weight(&tensor.name, &tensor.shape)? })
}

fn names_error(path: &Path, problem: TranslationError) -> ConvertError {
    ConvertError::Names { path: path.to_owned(), problem: Box::new(problem) }
}

impl Renaming {
    fn of(detected: &Detected, checkpoint: &Checkpoint) -> Option<Self> {
        let is_model = match detected.kind {
            FileKind::DiffusionModel
            | FileKind::TextEncoder
            | FileKind::LanguageModel
            | FileKind::Vae
            | FileKind::Checkpoint => !detected.main.is_unknown(),
            FileKind::ControlNet
            | FileKind::SideModel
            | FileKind::Adapter(_)
            | FileKind::TextualInversion
            | FileKind::Upscaler
            | FileKind::TrainingCheckpoint
            | FileKind::Statistics
            | FileKind::Unknown => false,
        };
        let architecture = || match checkpoint.gguf_metadata().get("general.architecture") {
            Some(value) => value.as_text(),
            None => None,
        };
        let table = DialectTable::of(detected.main.architecture, architecture());
        let prefix = detected.main.prefix.clone();
        let new_prefix = prefix.strip_prefix(&detected.wrapper).unwrap_or(&prefix).to_owned();
        // Without a table there may still be a wrapper to take off.
        (is_model && (table.is_some() || prefix != new_prefix)).then_some(Self {
            table,
            prefix,
            new_prefix,
        })
    }

    /// Returns the dtype that codes must be decoded to, where they are to be joined with plain numbers of
    /// another than the usual one.
    fn dtype_of_neighbours(
        &self,
        checkpoint: &Checkpoint,
        stored: &StoredLayers,
        detected: &Detected,
    ) -> Option<Dtype> {
        // As the file will be, once its codes are plain numbers.
        let all = shapes(checkpoint, stored);
        let is_number = |name: &&str| !stored.side_tensors.contains_key(*name);
        let numbers = all.names().filter(is_number);
        let numbers: Shapes<'_> =
            numbers.filter_map(|name| Some((name, all.shape(name)?))).collect();
        let translation = self.translate(&numbers, detected, checkpoint).ok()?;
        let is_in_codes = |part: &&Rows| {
            let layer = layer_of(&part.tensor);
            stored.layers.contains_key(layer) || stored.foreign.contains_key(layer)
        };
        let joined = translation.tensors.iter().filter(|tensor| is_joined(tensor));
        let joined = joined.filter(|tensor| tensor.parts.iter().any(|part| is_in_codes(&part)));
        let plain = joined.flat_map(|tensor| &tensor.parts).filter(|part| !is_in_codes(part));
        let dtypes = plain.filter_map(|part| Some(checkpoint.get(&part.tensor)?.dtype));
        let dtypes: BTreeSet<Dtype> = dtypes.collect();
        let has = |dtype| dtypes.contains(&dtype);
        match () {
            () if has(Dtype::F32) => Some(Dtype::F32),
            () if has(Dtype::F16) && !has(Dtype::BF16) => Some(Dtype::F16),
            () => None,
        }
    }

    fn translate(
        &self,
        shapes: &Shapes<'_>,
        detected: &Detected,
        checkpoint: &Checkpoint,
    ) -> Result<Translation, TranslationError> {
        let header = |key: &str| header_number(checkpoint, key);
        let (prefix, new_prefix) = (self.prefix.as_str(), self.new_prefix.as_str());
        let wrapper = detected.wrapper.as_str();
        let scope = Scope { shapes, prefix, new_prefix, wrapper, header: &header };
        // By identity: components have no name of their own that could be compared.
        let is_main = |name: &str| std::ptr::eq(detected.component_of(name), &detected.main);
        match self.table {
            Some(table) => table.translate(&scope, &is_main),
            None => Ok(without_wrapper(&scope)),
        }
    }
}

/// Returns a whole number of the header, by its key without the name of the architecture.
fn header_number(checkpoint: &Checkpoint, key: &str) -> Option<u64> {
    let header = checkpoint.gguf_metadata();
    let architecture = header.get("general.architecture")?.as_text()?;
    let number = |key: &str| header.get(&format!("{architecture}.{key}"))?.as_u64();
    // Models whose queries, keys and values have as many heads need not say it twice.
    number(key).or_else(|| number(key.strip_suffix("_kv")?))
}

/// Refuses codes whose rows would have to be joined or to change places.
fn refuse_codes(translation: &Translation, stored: &StoredLayers) -> Result<(), TranslationError> {
    // Joined or moved codes would need their scales joined or moved as well, and where one scale
    // counts for the whole tensor there is no arrangement of tensors that does so.
    let moved =
        translation.tensors.iter().filter(|tensor| is_joined(tensor) || is_reordered(tensor));
    let mut parts = moved.flat_map(|tensor| &tensor.parts);
    match parts.find(|part| stored.layers.contains_key(layer_of(&part.tensor))) {
        Some(part) => Err(TranslationError::Codes { tensor: part.tensor.clone(), dtype: None }),
        None => Ok(()),
    }
}

/// Returns whether a tensor is made of several others.
fn is_joined(tensor: &Arranged) -> bool {
    tensor.parts.iter().any(|part| part.tensor != tensor.parts[0].tensor)
}

fn is_reordered(tensor: &Arranged) -> bool {
    let in_turn = |part: &Rows| part.order == RowOrder::AsStored && part.rows.start == 0;
    !is_joined(tensor) && (tensor.parts.len() > 1 || !tensor.parts.iter().all(in_turn))
}

impl Translated {
    fn of(translation: &Translation, table: Option<&DialectTable>, shapes: &Shapes<'_>) -> Self {
        let tensors = &translation.tensors;
        let count = |is_so: fn(&Arranged) -> bool| tensors.iter().filter(|it| is_so(it)).count();
        let mut other_names = vec![];
        for tensor in tensors {
            for part in &tensor.parts {
                let shape = shapes.shape(&part.tensor).unwrap_or_default();
                let layer = layer_of_weight(&tensor.name).map(str::to_owned);
                let other = LayerShape::of_weight(&part.tensor, shape);
                if let (Some(layer), Some(other)) = (layer, other) {
                    other_names.push(OtherName { layer, other });
                }
            }
        }
        other_names.retain(|name| name.layer != name.other.module);
        other_names.dedup();
        Self {
            from: table.map_or(Dialect::Original, |table| table.dialect),
            wrapper: String::new(),
            renamed: count(|it| it.parts.iter().all(|part| part.tensor != it.name)),
            joined: count(is_joined),
            reordered: count(is_reordered),
            dropped: translation.dropped.clone(),
            other_names,
        }
    }
}

/// Returns the file's header entries, with the new names where one is about layers.
fn metadata(checkpoint: &Checkpoint, translation: &Translation) -> BTreeMap<String, String> {
    let mut metadata = checkpoint.metadata().clone();
    // An entry that cannot be read stays as it is.
    if let Some(text) = metadata.get_mut(QUANTIZATION_METADATA)
        && let Ok(mut entry) = serde_json::from_str::<Value>(text)
        && let Some(layers) = entry.get_mut("layers").and_then(Value::as_object_mut)
    {
        let tensors = translation.tensors.iter();
        let named = tensors.filter_map(|tensor| {
            let part = &tensor.parts.first()?.tensor;
            Some((layer_of_weight(part)?, layer_of_weight(&tensor.name)?))
        });
        let named: BTreeMap<&str, &str> = named.collect();
        let renamed = std::mem::take(layers).into_iter().map(|(layer, value)| {
            let name = named.get(layer.as_str()).map_or(layer.clone(), |name| (*name).to_owned());
            (name, value)
        });
        *layers = renamed.collect();
        *text = entry.to_string();
    }
    metadata
}
