//! Decisions for a file of which only header entries and options of layers change.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use roundwise_layout::{
    Layout, QUANTIZATION_METADATA, Spelling, StoredLayer, layer_of, layer_of_input_scale,
    with_header_entries,
};
use roundwise_scheme::{GridKind, Scheme, Tiling};
use roundwise_tensor_file::TensorHeader;

use crate::error::ConvertError;
use crate::plan::decision::{Decision, PlannedTensor};
use crate::plan::note::Note;
use crate::plan::quantize::of_layers;
use crate::plan::reason::Reason;
use crate::recipe::edit::{Edit, matches};
use crate::recipe::{Command, Complaint, Setting, Text};
use crate::source::Source;

const UNSET: &str = "edit.unset";
const FULL_PRECISION: &str = "edit.full_precision";
const ANY_PRECISION: &str = "edit.any_precision";
const INPUT_SCALE: &str = "edit.input_scale";

impl Edit {
    /// Decides what one tensor becomes.
    pub(crate) fn decide(&self, source: &Source, header: &TensorHeader) -> (Decision, Reason) {
        // A view of the input gives such a layer the name of its weight; the file keeps the one
        // that its program knows.
        if let Some(foreign) = source.foreign_layer(header)
            && foreign.codes_tensor != header.name
        {
            let name = foreign.codes_tensor.clone();
            return (Decision::Rename { name }, Reason::NotEdited);
        }
        let owner = source.stored.side_tensors.get(&header.name);
        let layer = owner.map_or_else(|| layer_of(&header.name), String::as_str);
        let is_changed = |stored: &&StoredLayer| self.changes(&stored.layer);
        // A scale or marker is decided about by its layer: what is written anew with it is left
        // out.
        let stored = source.stored.layers.get(layer).filter(is_changed);
        let gets_input_scale = matches(&self.input_scale, layer);
        // A scale that is to be written anew is left out here; any other goes on as it is.
        let keeps = layer_of_input_scale(&header.name).is_some() && !gets_input_scale;
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
    pub(crate) fn check(&self, source: &Source) -> Result<(), ConvertError> {
        if source.checkpoint.is_gguf() {
            // Its weights would not stay as they are, and most entries would go.
            let problem = "is GGUF: only entries and options of safetensors are edited\n  ";
            let way_out = Text::from(problem) + Command::Dequantize + " makes a file that can be";
            return Err(ConvertError::misfit(source.checkpoint.path(), way_out));
        }
        let layers = &source.stored.layers;
        let mut complaints = vec![];
        let mut complain = |key: &str, at: usize, pattern: &Regex, problem: Text| {
            let problem = Text::pattern(key, at, pattern) + " " + problem;
            complaints.push(Complaint::about(Setting::new(key).at(at), problem));
        };
        let options = [
            (FULL_PRECISION, &self.full_precision),
            (ANY_PRECISION, &self.any_precision),
            (INPUT_SCALE, &self.input_scale),
        ];
        // 1. Patterns that match no layer.
        for (key, patterns) in options {
            for (at, pattern) in patterns.iter().enumerate() {
                if !layers.keys().any(|name| pattern.is_match(name)) {
                    complain(key, at, pattern, "matches no layer in codes".into());
                }
            }
        }
        let keys = source.checkpoint.metadata();
        // 2. Patterns of header entries.
        for (at, pattern) in self.unset.iter().enumerate() {
            if !keys.keys().any(|key| pattern.is_match(key)) {
                complain(UNSET, at, pattern, "matches no header entry".into());
            }
            // Without this entry some versions of ComfyUI would take the codes for weights.
            if pattern.is_match(QUANTIZATION_METADATA) {
                let says =
                    format!("matches `{QUANTIZATION_METADATA}`, which says what the codes are\n  ");
                let help = Text::from(Command::Dequantize) + " makes a file that needs none";
                complain(UNSET, at, pattern, Text::from(says) + help);
            }
        }
        // 3. Options that a layer cannot have, layers with one problem together.
        let mut misfits = BTreeMap::<Complaint, BTreeSet<String>>::new();
        for stored in layers.values().filter(|stored| self.changes(&stored.layer)) {
            if let Some(problem) = self.misfit(stored) {
                misfits.entry(problem).or_default().insert(stored.layer.clone());
            }
        }
        complaints.extend(misfits.into_iter().map(|(problem, layers)| of_layers(problem, &layers)));
        match complaints.is_empty() {
            true => Ok(()),
            false => {
                let path = source.checkpoint.path().to_owned();
                Err(ConvertError::Misfit { path, complaints })
            }
        }
    }

    /// Returns why a layer cannot have the options that it is to get.
    fn misfit(&self, stored: &StoredLayer) -> Option<Complaint> {
        let layer = &stored.layer;
        if matches(&self.full_precision, layer) && matches(&self.any_precision, layer) {
            let [full, any] = [FULL_PRECISION, ANY_PRECISION].map(Setting::new);
            let both = Text::from(full.clone()) + " and " + any + " contradict each other";
            return Some(Complaint::about(full, both));
        }
        if stored.experts.is_some() {
            let problem = "options of expert banks are not edited here";
            return Some(Complaint::of_all(problem));
        }
        if stored.spelling != Spelling::Comfy {
            let without = format!("layers told by {} have no options\n  ", stored.spelling);
            let help = Text::from(Command::Migrate(Layout::Comfy))
                + " gives them markers, which do; this is about";
            return Some(Complaint::of_all(Text::from(without) + help));
        }
        let is_fp8 = matches!(stored.scheme.grid(), GridKind::E4m3 | GridKind::E5m2)
            && stored.scheme == Scheme::scaled(stored.scheme.grid(), Tiling::Tensor);
        let problem =
            format!("activation scales are read of `fp8` layers alone, not of {}", stored.scheme);
        let is_misfit = matches(&self.input_scale, layer) && !is_fp8;
        is_misfit.then(|| Complaint::about(Setting::new(INPUT_SCALE), problem))
    }

    /// Returns a note of the entries of the header that change, if any do.
    pub(crate) fn header_note(&self, source: &Source) -> Option<Note> {
        let keys = source.checkpoint.metadata().keys();
        let is_unset = |key: &&String| matches(&self.unset, key) && !self.set.contains_key(*key);
        let unset: Vec<String> = keys.filter(is_unset).cloned().collect();
        let set: Vec<String> = self.set.keys().cloned().collect();
        (!set.is_empty() || !unset.is_empty()).then_some(Note::EditedHeader { set, unset })
    }

    /// Returns the header's entries, edited.
    pub(crate) fn metadata(
        &self,
        source: &Source,
        tensors: &[PlannedTensor],
    ) -> BTreeMap<String, String> {
        let mut metadata = source.checkpoint.metadata().clone();
        metadata.retain(|key, _| !matches(&self.unset, key));
        // After the removal: a key that is in both lists gets its new value.
        metadata.extend(self.set.clone());
        let layers = tensors.iter().filter_map(|planned| {
            let (scheme, matmul_precision) = planned.codes()?;
            Some((planned.layer(), scheme, planned.layer_shape(), matmul_precision))
        });
        if let Some(entry) = metadata.get_mut(QUANTIZATION_METADATA) {
            *entry = with_header_entries(entry, layers);
        }
        metadata
    }
}
