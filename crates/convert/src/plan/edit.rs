//! Decisions for a file of which only header entries and options of layers change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;
use roundwise_layout::{
    QUANTIZATION_METADATA, Spelling, StoredLayer, layer_of, with_header_entries,
};
use roundwise_scheme::{GridKind, Scheme, Tiling};
use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::plan::decision::{Decision, PlannedTensor};
use crate::plan::note::Note;
use crate::plan::quantize::of_layers;
use crate::plan::reason::Reason;
use crate::recipe::RecipeFile;
use crate::recipe::edit::{Edit, matches};
use crate::source::Source;

impl Edit {
    /// Decides what one tensor becomes.
    pub(crate) fn decide(&self, source: &Source, header: &TensorHeader) -> (Decision, Reason) {
        if let Some(foreign) = source.foreign_layer(header)
            && foreign.codes_tensor != header.name
        {
            let name = foreign.codes_tensor.clone();
            return (Decision::Rename { name }, Reason::NotEdited);
        }
        let owner = source.stored.side_tensors.get(&header.name);
        let layer = owner.map_or_else(|| layer_of(&header.name), String::as_str);
        let is_changed = |stored: &&StoredLayer| self.changes(&stored.layer);
        let stored = source.stored.layers.get(layer).filter(is_changed);
        let gets_input_scale = matches(&self.input_scale, layer);
        let keeps = header.name.ends_with(".input_scale") && !gets_input_scale;
        match (stored, owner) {
            (Some(_), Some(_)) if !keeps => (Decision::Remove, Reason::Superseded),
            (Some(stored), None) if header.name == stored.weight() => {
                let matmul_precision =
                    self.matmul_precision(layer).unwrap_or(source.stored.matmul_precision(layer));
                let scheme = stored.scheme;
                (Decision::Repack { scheme, matmul_precision, gets_input_scale }, Reason::Edited)
            }
            _ => (Decision::Copy, Reason::NotEdited),
        }
    }

    /// Complains about patterns that match nothing or contradict each other, and about layers that
    /// have no such option.
    ///
    /// # Errors
    /// [`ConvertError::Misfit`] with all complaints.
    pub(crate) fn check(&self, source: &Source, typed: &RecipeFile) -> Result<(), ConvertError> {
        let layers = &source.stored.layers;
        let mut complaints = vec![];
        let named = |key: &str, (index, pattern): (usize, &Regex)| {
            typed.typed_pattern(&format!("edit.{key}"), index, pattern)
        };
        let options = [
            ("full_precision", &self.full_precision),
            ("any_products", &self.any_products),
            ("input_scale", &self.input_scale),
        ];
        for (option, patterns) in options {
            let matches_none =
                |(_, pattern): &(usize, &Regex)| !layers.keys().any(|name| pattern.is_match(name));
            let unmatched = patterns.iter().enumerate().filter(matches_none);
            complaints.extend(
                unmatched.map(|it| format!("{} matches no layer in codes", named(option, it))),
            );
        }
        let keys = source.checkpoint.metadata();
        for unset in self.unset.iter().enumerate() {
            let pattern = named("unset", unset);
            if !keys.keys().any(|key| unset.1.is_match(key)) {
                complaints.push(format!("{pattern} matches no header entry"));
            }
            if unset.1.is_match(QUANTIZATION_METADATA) {
                complaints.push(format!(
                    "{pattern} matches `{QUANTIZATION_METADATA}`, which says what the codes are\n  \
                     `roundwise dequantize` makes a file that needs none"
                ));
            }
        }
        let mut misfits = BTreeMap::<String, BTreeSet<String>>::new();
        for stored in layers.values().filter(|stored| self.changes(&stored.layer)) {
            if let Some(problem) = self.misfit(stored, typed) {
                misfits.entry(problem).or_default().insert(stored.layer.clone());
            }
        }
        complaints.extend(misfits.iter().map(|(problem, layers)| of_layers(problem, layers)));
        let path: &Path = source.checkpoint.path();
        match complaints.is_empty() {
            true => Ok(()),
            false => {
                Err(ConvertError::Misfit { path: path.to_owned(), problem: complaints.join("\n") })
            }
        }
    }

    /// Why a layer cannot have the options that it is to get.
    fn misfit(&self, stored: &StoredLayer, typed: &RecipeFile) -> Option<String> {
        let layer = &stored.layer;
        if matches(&self.full_precision, layer) && matches(&self.any_products, layer) {
            let [full, any] =
                ["edit.full_precision", "edit.any_products"].map(|key| typed.typed_name(key));
            return Some(format!("{full} and {any} contradict each other"));
        }
        if stored.spelling != Spelling::Comfy {
            return Some(format!(
                "layers told by {} have no options\n  `roundwise migrate --to comfy` gives them markers, \
                 which do; this is about",
                stored.spelling
            ));
        }
        let is_fp8 = matches!(stored.scheme.grid(), GridKind::E4m3 | GridKind::E5m2)
            && stored.scheme == Scheme::scaled(stored.scheme.grid(), Tiling::Tensor);
        (matches(&self.input_scale, layer) && !is_fp8).then(|| {
            format!("activation scales are read of `fp8` layers alone, not of {}", stored.scheme)
        })
    }

    /// Which entries of the header change.
    pub(crate) fn header_note(&self, source: &Source) -> Option<Note> {
        let keys = source.checkpoint.metadata().keys();
        let is_unset = |key: &&String| matches(&self.unset, key) && !self.set.contains_key(*key);
        let unset: Vec<String> = keys.filter(is_unset).cloned().collect();
        let set: Vec<String> = self.set.keys().cloned().collect();
        (!set.is_empty() || !unset.is_empty()).then_some(Note::EditedHeader { set, unset })
    }

    /// The header's entries, edited.
    pub(crate) fn metadata(
        &self,
        source: &Source,
        tensors: &[PlannedTensor],
    ) -> BTreeMap<String, String> {
        let mut metadata = source.checkpoint.metadata().clone();
        metadata.retain(|key, _| !matches(&self.unset, key));
        metadata.extend(self.set.clone());
        let layers = tensors.iter().filter_map(|planned| {
            let (scheme, matmul_precision) = planned.codes()?;
            Some((planned.layer(), scheme, planned.matrix_shape(), matmul_precision))
        });
        if let Some(entry) = metadata.get_mut(QUANTIZATION_METADATA) {
            *entry = with_header_entries(entry, layers);
        }
        metadata
    }
}
