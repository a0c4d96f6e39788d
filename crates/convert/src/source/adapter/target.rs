//! The tensors of a model by the names that adapters call them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use roundwise_layout::{StoredLayers, layer_of_weight};
use roundwise_tensor_file::{Checkpoint, TensorHeader};

use crate::source::adapter::dialect::{Rows, UnetBlocks, other_names, whole_names};
use crate::source::adapter::model_part::{ModelPart, bare_names};
use crate::source::adapter::spelling::{joined, spellings};
use crate::source::numbers::{element_count, float_dtype, fp8_grid};

/// The tensors of a model by the names that adapters call them.
pub(crate) struct Targets {
    path: PathBuf,
    by_name: BTreeMap<String, Vec<Entry>>,
    /// Tensors that hold numbers, with the shapes of what they stand for.
    tensors: BTreeMap<String, (TensorHeader, Vec<u64>)>,
    has_first_encoder: bool,
}

/// A layer that answers to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Name of its tensors, without `.weight` and `.bias`.
    layer: String,
    part: ModelPart,
    relation: Relation,
}

/// How a name and a layer belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    /// It is the layer's own name.
    Own,
    /// The name means these rows of the layer.
    RowsOfLayer(Rows),
    /// The layer is these rows of what the name means.
    RowsOfName(Rows),
}

/// Which tensor of a layer is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A weight with rows and columns.
    Matrix,
    /// A weight of any shape, such as a norm's.
    Weight,
    Bias,
}

/// Where a change goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site {
    /// The changed tensor.
    pub(super) tensor: TensorHeader,
    /// Shape of its numbers.
    pub(super) shape: Vec<u64>,
    /// Its changed rows, in the order of the change.
    pub(super) rows: Vec<Range<usize>>,
    /// Where the tensor is only a part of what the adapter changes: which rows of the change it
    /// takes. All of them otherwise.
    pub(super) of_change: Option<Range<usize>>,
}

impl Site {
    /// Returns how many numbers a row has.
    pub(super) fn cols(&self) -> usize {
        element_count(&self.shape[1.min(self.shape.len())..]) as usize
    }

    /// Returns the number of changed rows.
    pub(super) fn row_count(&self) -> usize {
        self.rows.iter().map(Range::len).sum()
    }

    /// Returns the shape of the changed rows.
    pub(super) fn changed_shape(&self) -> Vec<u64> {
        let rest = self.shape.iter().skip(1).copied();
        std::iter::once(self.row_count() as u64).chain(rest).collect()
    }
}

/// Returns whether a tensor holds FP8 that is a number by itself, such as a bias: no codes with a scale, and no
/// scale of others.
fn is_fp8_number(stored: &StoredLayers, header: &TensorHeader) -> bool {
    fp8_grid(header.dtype).is_some()
        && !stored.side_tensors.contains_key(&header.name)
        && !stored.strays.contains(&header.name)
}

impl Targets {
    pub(crate) fn of(checkpoint: &Checkpoint, stored: &StoredLayers) -> Self {
        let mut tensors = BTreeMap::new();
        let mut layers = BTreeSet::new();
        // OpenCLIP's text projection is transposed, so that what adapters call so does not fit it.
        let fitting =
            checkpoint.tensors().iter().filter(|it| !it.name.ends_with("text_projection"));
        for header in fitting {
            let layer = layer_of_weight(&header.name);
            let in_codes = layer.and_then(|layer| stored.layers.get(layer));
            let foreign = layer.and_then(|layer| stored.foreign.get(layer));
            let shape = match (in_codes, foreign) {
                (Some(layer), _) => layer.shape.map(|size| size as u64).to_vec(),
                (None, Some(layer)) if layer.name == header.name => layer.shape.clone(),
                (None, _) if float_dtype(header.dtype).is_some() => header.shape.clone(),
                (None, None) if is_fp8_number(stored, header) => header.shape.clone(),
                (None, _) => continue,
            };
            let bias =
                || header.name.strip_suffix("bias").map(|it| it.trim_end_matches(['.', '_']));
            let in_proj = || header.name.strip_suffix("_weight");
            // FLUX calls the weight of a norm so.
            let norm = header.name.strip_suffix(".scale").filter(|_| shape.len() == 1);
            layers.extend(norm);
            layers.insert(layer.or_else(bias).or_else(in_proj).unwrap_or(&header.name));
            tensors.insert(header.name.clone(), (header.clone(), shape));
        }
        let blocks = UnetBlocks::of(layers.iter().copied());
        let mut targets = Self {
            path: checkpoint.path().to_owned(),
            by_name: BTreeMap::new(),
            tensors,
            has_first_encoder: false,
        };
        for layer in layers {
            targets.add(layer, blocks);
        }
        targets
    }

    fn add(&mut self, layer: &str, blocks: UnetBlocks) {
        let part = ModelPart::of(layer, |name| self.tensors.get(name).map(|it| &it.1[..]));
        self.has_first_encoder |= part == ModelPart::FirstClip;
        // One spelling for all: kohya writes underscores for dots, so that dots cannot be told
        // from them.
        let mut insert = |name: &str, relation: Relation| {
            let entry = Entry { layer: layer.to_owned(), part, relation };
            let entries = self.by_name.entry(joined(name)).or_default();
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        };
        let names = bare_names(layer);
        names.iter().for_each(|name| insert(name, Relation::Own));
        let bare = names.last().copied().unwrap_or(layer);
        for (name, rows) in other_names(bare, blocks) {
            insert(&name, Relation::RowsOfLayer(rows));
        }
        for (name, rows) in whole_names(bare) {
            insert(&name, Relation::RowsOfName(rows));
        }
    }

    /// Returns the model's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the places that a module changes; none when the model has no such layer.
    ///
    /// # Errors
    /// One line, when more than one layer answers to the name, or its rows are not as the name
    /// demands.
    pub(super) fn find(&self, module: &str, wanted: Wanted) -> Result<Vec<Site>, String> {
        // The longest spelling that some layer answers to counts.
        for (name, hint) in spellings(module) {
            let entries = self.by_name.get(&name).map_or(&[][..], Vec::as_slice);
            let mut found = vec![];
            for entry in entries {
                let is_meant = entry.part.answers_to(hint, self.has_first_encoder);
                if let (true, Some(tensor)) = (is_meant, self.tensor(&entry.layer, wanted)) {
                    found.push((entry, tensor));
                }
            }
            // A layer's own name goes before what others call another one.
            if found.iter().any(|(entry, _)| entry.relation == Relation::Own) {
                found.retain(|(entry, _)| entry.relation == Relation::Own);
            }
            let are_parts = |it: &(&Entry, _)| matches!(it.0.relation, Relation::RowsOfName(_));
            match found.as_slice() {
                [] => continue,
                [_] => {}
                // One layer of the adapter that the model has in parts: each takes its rows of the
                // change.
                many if many.iter().all(are_parts) => {}
                many => {
                    let names = many.iter().map(|(_, (tensor, _))| format!("`{}`", tensor.name));
                    let names = names.collect::<Vec<_>>().join(", ");
                    return Err(format!("module `{module}` may be any of {names}"));
                }
            }
            let sites = found.into_iter().map(|(entry, tensor)| self.site(entry, tensor));
            let sites: Result<Vec<Site>, String> = sites.collect();
            return sites.map_err(|problem| format!("module `{module}`: {problem}"));
        }
        Ok(vec![])
    }

    /// Returns the tensor that an adapter replaces.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(super) fn find_tensor(&self, name: &str) -> Result<Vec<Site>, String> {
        match (name.strip_suffix(".weight"), name.strip_suffix(".bias")) {
            (Some(layer), _) => self.find(layer, Wanted::Weight),
            (None, Some(layer)) => self.find(layer, Wanted::Bias),
            (None, None) => self.find(name, Wanted::Weight),
        }
    }

    fn tensor(&self, layer: &str, wanted: Wanted) -> Option<&(TensorHeader, Vec<u64>)> {
        // The empty ending is of parameters that are tensors by themselves.
        let endings: &[&str] = match wanted {
            Wanted::Matrix => &[".weight", ".weight_packed", "_weight", ""],
            Wanted::Weight => &[".weight", ".weight_packed", "_weight", "", ".scale"],
            Wanted::Bias => &[".bias", "_bias"],
        };
        let mut found = endings.iter().filter_map(|end| self.tensors.get(&format!("{layer}{end}")));
        found.find(|(_, shape)| wanted != Wanted::Matrix || shape.len() >= 2)
    }

    fn site(&self, entry: &Entry, tensor: &(TensorHeader, Vec<u64>)) -> Result<Site, String> {
        let (tensor, shape) = tensor.clone();
        let count = shape.first().copied().unwrap_or(1);
        // A bias has the rows of its weight, and no columns of its own.
        let weight = self.tensor(&entry.layer, Wanted::Matrix).map(|it| &it.1);
        let width = weight.and_then(|shape| shape.get(1)).copied().unwrap_or(count);
        let range = |rows: Range<u64>| rows.start as usize..rows.end as usize;
        let whole = std::iter::once(0..count as usize).collect();
        let uneven = || format!("`{}` has {count} rows, which are not so many parts", tensor.name);
        let (rows, of_change) = match entry.relation {
            Relation::Own | Relation::RowsOfLayer(Rows::All) | Relation::RowsOfName(Rows::All) => {
                (whole, None)
            }
            Relation::RowsOfLayer(Rows::SwappedIfPair)
            | Relation::RowsOfName(Rows::SwappedIfPair)
                if count != width.saturating_mul(2) =>
            {
                (whole, None)
            }
            Relation::RowsOfLayer(Rows::Swapped | Rows::SwappedIfPair)
            | Relation::RowsOfName(Rows::Swapped | Rows::SwappedIfPair) => {
                if !count.is_multiple_of(2) {
                    return Err(uneven());
                }
                (vec![range(count / 2..count), range(0..count / 2)], None)
            }
            Relation::RowsOfLayer(Rows::Fraction(at, parts)) => {
                if !count.is_multiple_of(parts) {
                    return Err(uneven());
                }
                let part = count / parts;
                (vec![range(at * part..(at + 1) * part)], None)
            }
            Relation::RowsOfLayer(Rows::Widths(start, widths)) => {
                let end = (start + widths).saturating_mul(width);
                if end > count {
                    return Err(uneven());
                }
                (vec![range(start * width..end)], None)
            }
            Relation::RowsOfName(Rows::Fraction(at, _)) => {
                (whole, Some(range(at.saturating_mul(count)..(at + 1).saturating_mul(count))))
            }
            Relation::RowsOfName(Rows::Widths(start, _)) => {
                let start = start.saturating_mul(width);
                (whole, Some(range(start..start.saturating_add(count))))
            }
        };
        Ok(Site { tensor, shape, rows, of_change })
    }
}
