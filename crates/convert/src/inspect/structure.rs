//! What is wrong with a converted file that shows without reading any weight.

use std::collections::BTreeSet;

use roundwise_layout::{
    MatmulPrecision, QUANTIZATION_METADATA, layer_of, layer_of_input_scale, weight_of,
};
use roundwise_scheme::GridKind;
use roundwise_tensor_file::TensorHeader;

use crate::inspect::comparison::{Comparison, finding};
use crate::inspect::verification::Finding;
use crate::recipe::edit::PROVENANCE_KEY;
use crate::source::consumer::comfyui::reads_dtype;

impl Comparison {
    /// Finds everything that is wrong without reading any weight.
    pub(super) fn structure(&self) -> Vec<Finding> {
        let stored = &self.converted.stored;
        // An orphan that the original has too is not the conversion's doing.
        let known = &self.original.stored.orphans;
        let orphans = stored.orphans.iter().filter(|orphan| !known.contains(orphan));
        let mut findings: Vec<Finding> = stored
            .defects
            .iter()
            .chain(orphans)
            .chain(&stored.contradictions)
            .map(Finding::from)
            .collect();
        findings.extend(stored.one_sided_markers().iter().map(Finding::from));
        findings.extend(self.unreadable_dtypes());
        findings.extend(self.unexpected_tensors());
        findings.extend(self.lost_metadata());
        findings.extend(self.invented_input_scales());
        findings.extend(self.lost_precision());
        // Loaders look at the same names and shapes: what is recognised as another model is loaded
        // as one.
        let [before, after] =
            [&self.original, &self.converted].map(|source| source.subject().detected.main.title);
        if before != after {
            findings
                .push(finding("", format!("is recognised as {after}, the original as {before}")));
        }
        findings
    }

    /// Finds tensors that got a dtype that ComfyUI's own header parser fails on.
    fn unreadable_dtypes(&self) -> impl Iterator<Item = Finding> {
        let tensors = self.converted.checkpoint.tensors().iter();
        let is_new = |header: &&TensorHeader| {
            let before = self.original.checkpoint.get(&header.name);
            before.is_none_or(|before| before.dtype != header.dtype)
        };
        let unread = tensors.filter(|header| !reads_dtype(header.dtype));
        unread.filter(is_new).map(|header| {
            finding(&header.name, format!("ComfyUI does not read dtype {}", header.dtype.name()))
        })
    }

    fn unexpected_tensors(&self) -> impl Iterator<Item = Finding> {
        let tensors = self.converted.checkpoint.tensors().iter();
        tensors
            .filter(|header| {
                !self.converted.stored.side_tensors.contains_key(&header.name)
                    && self.original.checkpoint.get(&header.name).is_none()
                    && !self.original.stored.layers.contains_key(layer_of(&header.name))
                    && !self.stands_for_a_weight(header)
            })
            .map(|header| finding(&header.name, "is not in the original"))
    }

    /// Returns whether a tensor holds the packed codes of a weight of the original.
    fn stands_for_a_weight(&self, header: &TensorHeader) -> bool {
        let layer = layer_of(&header.name);
        let stored = self.converted.stored.layers.get(layer);
        stored.is_some_and(|stored| stored.weight() == header.name)
            && self.original.checkpoint.get(&weight_of(layer)).is_some()
    }

    /// Finds scales of inputs that are not in the original: they come from measurements, which a
    /// conversion does not make.
    fn invented_input_scales(&self) -> impl Iterator<Item = Finding> {
        let names = self.converted.stored.side_tensors.iter();
        // What a folder for servers holds of inputs is from statistics, as its configuration says.
        let is_for_comfyui = |layer: &str| {
            let stored = self.converted.stored.layers.get(layer);
            stored.is_none_or(|stored| stored.spelling.is_comfyui())
        };
        names
            .filter(move |(_, layer)| is_for_comfyui(layer))
            .map(|(name, _)| name)
            .filter(|name| {
                layer_of_input_scale(name).is_some() && self.original.checkpoint.get(name).is_none()
            })
            .map(|name| finding(name, "is not in the original"))
    }

    /// Finds layers that were multiplied more precisely than they are now.
    fn lost_precision(&self) -> impl Iterator<Item = Finding> {
        let now = &self.converted.stored;
        let asked = self.original.stored.matmul_precisions.iter();
        let lost = asked.filter(|(layer, asked)| now.matmul_precision(layer) != **asked);
        lost.filter_map(|(layer, asked)| {
            // What is no longer in codes is multiplied in full precision anyway.
            let stored = now.layers.get(layer)?;
            let problem = match asked {
                MatmulPrecision::Full => "no longer asks for products in full precision",
                // Other codes have no inputs of 4 bits.
                MatmulPrecision::EightBits if stored.scheme.grid() == GridKind::Int4 => {
                    "no longer asks for products with inputs of 8 bits"
                }
                MatmulPrecision::EightBits | MatmulPrecision::Any => return None,
            };
            Some(finding(layer, problem))
        })
    }

    fn lost_metadata(&self) -> impl Iterator<Item = Finding> {
        let after = self.converted.checkpoint.metadata();
        let before = self.original.checkpoint.metadata().iter();
        let foreign = self.original.stored.foreign.values();
        // Entries that say how to read another program's codes go with the codes.
        let of_codes: BTreeSet<&String> = foreign.flat_map(|layer| &layer.metadata).collect();
        before
            .filter(|(key, _)| ![QUANTIZATION_METADATA, PROVENANCE_KEY].contains(&key.as_str()))
            .filter(move |(key, _)| !of_codes.contains(key))
            .filter(|(key, value)| after.get(*key) != Some(*value))
            .map(|(key, _)| finding("", format!("header entry `{key}` is missing or changed")))
    }
}
