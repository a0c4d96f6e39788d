use std::collections::{BTreeMap, BTreeSet};

use roundwise_tensor_file::TensorHeader;

use crate::legacy::FILE_PARTS;
use crate::marker::MARKER_PART;
use crate::matmul_precision::MatmulPrecision;
use crate::names::layer_of_weight;
use crate::read::defect::{Defect, breaks};
use crate::read::expert_blocks::ExpertBlocks;
use crate::read::foreign::layer::ForeignLayer;
use crate::read::stored_layer::StoredLayer;

/// The quantized layers of a file.
#[derive(Clone, Debug, Default)]
pub struct StoredLayers {
    /// Layers that can be decoded, by name. None of them has a defect.
    pub layers: BTreeMap<String, StoredLayer>,
    /// Layers in codes of other programs that can be decoded, by name without `.weight`. None of them has a
    /// defect.
    pub foreign: BTreeMap<String, ForeignLayer>,
    /// Those of `foreign` that are banks of experts in codes of a scheme here.
    pub expert_blocks: BTreeMap<String, ExpertBlocks>,
    /// Layers in codes of other programs that cannot be read, with the program; each has a defect.
    pub unread_programs: BTreeMap<String, &'static str>,
    /// Layers with scales that no program chooses, by what is odd about them.
    pub odd_scales: BTreeMap<String, &'static str>,
    /// Layers that cannot be read, with the reason, in name order.
    pub defects: Vec<Defect>,
    /// Scales and markers that mislead loaders, in name order: no quantized weight answers to them,
    /// or ComfyUI does not heed them. Nothing is lost without the former, and the latter are
    /// decoded all the same.
    pub orphans: Vec<Defect>,
    /// Layers of a folder that its configuration tells servers to read as something else, in name order. They are decoded
    /// all the same.
    pub contradictions: Vec<Defect>,
    /// Tensors that only serve quantized layers (scales, markers), with the layer they belong to;
    /// the layer is empty for file-wide ones. A scale without any weight may be something else and
    /// is not among them.
    pub side_tensors: BTreeMap<String, String>,
    /// Scales that no weight answers to, in a file that says it is quantized; each is among `orphans`.
    pub strays: BTreeSet<String>,
    /// Layers that the header marks, or the headers of shards together.
    pub header_layers: BTreeSet<String>,
    /// How layers in codes are to be multiplied, where their marker, or the file's, asks for anything.
    pub matmul_precisions: BTreeMap<String, MatmulPrecision>,
    /// Options of markers that no loader is known to read, with the number of layers that have them.
    pub unknown_options: BTreeMap<String, usize>,
}

impl StoredLayers {
    /// Tells whether anything in the file says that it holds quantized layers.
    pub fn says_it_is_quantized(&self) -> bool {
        let is_marker = |name: &String| {
            name.ends_with(MARKER_PART) || FILE_PARTS.iter().any(|part| name.ends_with(part))
        };
        !self.layers.is_empty()
            || !self.foreign.is_empty()
            || !self.defects.is_empty()
            || self.side_tensors.keys().any(is_marker)
    }

    /// Returns the layer whose codes a tensor holds, by its name.
    pub fn layer_of(&self, header: &TensorHeader) -> Option<&StoredLayer> {
        layer_of_weight(&header.name).and_then(|layer| self.layers.get(layer))
    }

    /// Returns how a layer may be multiplied; anything for a layer that is not in codes.
    pub fn matmul_precision(&self, layer: &str) -> MatmulPrecision {
        self.matmul_precisions.get(layer).copied().unwrap_or_default()
    }

    /// Returns the layers with a marker tensor.
    pub(crate) fn marker_tensors(&self) -> BTreeSet<String> {
        let markers = self.side_tensors.iter().filter(|(name, _)| name.ends_with(MARKER_PART));
        markers.map(|(_, layer)| layer.clone()).collect()
    }

    /// Finds markers that only one of header and tensors has, where the file has both kinds: some
    /// versions of ComfyUI read the one, some the other.
    pub fn one_sided_markers(&self) -> Vec<Defect> {
        let in_header = &self.header_layers;
        let in_tensors = self.marker_tensors();
        // A file with one kind only is another defect, which `missing_half` reports once for all
        // layers.
        if in_tensors.is_empty() || in_header.is_empty() {
            return vec![];
        }
        let only_tensor = in_tensors.difference(in_header).map(|layer| {
            let problem = "has a marker tensor, but no entry in `_quantization_metadata`";
            Defect::new(layer, problem, breaks::OLD_COMFYUI)
        });
        let only_header = in_header.difference(&in_tensors).map(|layer| {
            let problem = "has an entry in `_quantization_metadata`, but no marker tensor";
            Defect::new(layer, problem, breaks::LOST_HEADER)
        });
        only_tensor.chain(only_header).collect()
    }

    /// Finds the kind of markers that the whole file lacks.
    pub fn missing_half(&self) -> Option<Defect> {
        match (self.marker_tensors().len(), self.header_layers.len()) {
            (0, 0) => None,
            (0, layers) => {
                let problem = format!("marks {} in the header alone", in_words(layers));
                Some(Defect::new("", problem, breaks::LOST_HEADER))
            }
            (layers, 0) => {
                let problem = format!("marks {} in tensors alone", in_words(layers));
                Some(Defect::new("", problem, breaks::OLD_COMFYUI))
            }
            _ => None,
        }
    }
}

fn in_words(layers: usize) -> String {
    match layers {
        1 => "1 layer".to_owned(),
        layers => format!("{layers} layers"),
    }
}
