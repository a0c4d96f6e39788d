use std::collections::{BTreeMap, BTreeSet};

use roundwise_scheme::GridKind;
use roundwise_tensor_file::{Checkpoint, Dtype, TensorFileError, TensorHeader};

use crate::describe::describe;
use crate::layout::FULL_PRECISION_ELEMENTS;
use crate::markers::Markers;
use crate::mend::{breaks, is_dummy};
use crate::names::find_weight;
use crate::{Marker, Origin, Products, QUANTIZATION_METADATA, StoredLayer, layer_of_weight};

/// Something about a stored layer that a loader would trip over or read wrongly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Defect {
    /// Name without `.weight`; empty for the file as a whole.
    pub layer: String,
    /// What was found and what was expected, in one line.
    pub problem: String,
    /// Which programs it breaks, and how.
    pub breaks: &'static str,
}

impl Defect {
    pub(crate) fn new(layer: &str, problem: impl Into<String>, breaks: &'static str) -> Self {
        Self { layer: layer.to_owned(), problem: problem.into(), breaks }
    }
}

/// The quantized layers of a file.
#[derive(Clone, Debug, Default)]
pub struct StoredLayers {
    /// Layers that can be decoded, by name. None of them has a defect.
    pub layers: BTreeMap<String, StoredLayer>,
    /// Layers that cannot be read, and why, in name order.
    pub defects: Vec<Defect>,
    /// Scales and markers that mislead loaders, in name order: no quantized weight answers to them,
    /// or ComfyUI does not heed them. Nothing is lost without the former, and the latter are
    /// decoded all the same.
    pub orphans: Vec<Defect>,
    /// Tensors that only serve quantized layers (scales, markers), with the layer they belong to;
    /// the layer is empty for file-wide ones. A scale without any weight may be something else and
    /// is not among them.
    pub side_tensors: BTreeMap<String, String>,
    /// Layers that the header marks, or the headers of shards together.
    pub header_layers: BTreeSet<String>,
    /// Layers in codes whose marker, or the file's, asks for products in full precision.
    pub full_precision_layers: BTreeSet<String>,
}

/// What markers of a layer `x` are called: `x.comfy_quant`.
const MARKER_PART: &str = "comfy_quant";

/// Parts that scales and markers of a layer `x` are called: `x.part`.
pub(crate) const SIDE_PARTS: [&str; 14] = [
    "weight_scale",
    "weight_scale_2",
    "weight_scale_inv",
    "weight_global_scale",
    "weight_zero_point",
    "weight_s_rel",
    "weight_s_channel",
    "weight_codebook",
    "weight_scalar",
    "scale_weight",
    "scale_input",
    "input_scale",
    "input_global_scale",
    MARKER_PART,
];

/// What tensors are called that speak of all layers of a file.
const FILE_PARTS: [&str; 3] = ["scaled_fp8", "scaled_fp16", "scale_format"];

/// What nothing but the scale of a weight is called.
const SCALE_ENDINGS: [&str; 4] =
    [".weight_scale", ".weight_scale_2", ".weight_scale_inv", ".scale_weight"];

impl StoredLayers {
    /// Whether anything in the file says that it holds quantized layers.
    pub fn says_it_is_quantized(&self) -> bool {
        let is_marker = |name: &String| {
            name.ends_with(MARKER_PART) || FILE_PARTS.iter().any(|part| name.ends_with(part))
        };
        !self.layers.is_empty()
            || !self.defects.is_empty()
            || self.side_tensors.keys().any(is_marker)
    }

    /// Finds every quantized layer by its dtype, its scales and its marker.
    ///
    /// A weight without elements holds no codes and is not found.
    ///
    /// # Errors
    /// Only when the file cannot be read; whatever is wrong with a layer becomes a [`Defect`].
    pub fn find(file: &Checkpoint) -> Result<Self, TensorFileError> {
        let Markers { by_layer: markers, in_header, defects, .. } = Markers::read(file)?;
        let badly_marked: BTreeSet<String> =
            defects.iter().map(|defect| defect.layer.clone()).collect();
        let mut found = Self {
            side_tensors: side_tensors(file),
            header_layers: in_header.into_keys().collect(),
            defects,
            ..Self::default()
        };
        for header in file.tensors() {
            let Some(layer) = layer_of_weight(&header.name) else { continue };
            if badly_marked.contains(layer) {
                continue;
            }
            let twin = find_weight(file, layer).filter(|first| first.name != header.name);
            let described = match twin {
                Some(first) => {
                    found.layers.remove(layer);
                    Err(format!("has both `{}` and `{}`", first.name, header.name))
                }
                None => describe(file, header, layer, markers.get(layer), "weight_scale"),
            };
            match described {
                Ok(Some(stored)) => drop(found.layers.insert(layer.to_owned(), stored)),
                Ok(None) => {}
                Err(problem) => {
                    found.defects.push(Defect::new(layer, problem, breaks::UNREADABLE));
                }
            }
        }
        found.defects.sort();
        found.orphans = found.unanswered(file, markers.keys());
        found.orphans.extend(found.unheeded(file, !markers.is_empty()));
        found.orphans.extend(found.strays(file).into_iter().map(|name| {
            let problem = format!("`{name}` scales no weight of the file");
            let (layer, _) = name.rsplit_once('.').unwrap_or_default();
            Defect::new(layer, problem, breaks::UNEXPECTED)
        }));
        found.orphans.sort();
        found.full_precision_layers = found.asking_for_full_precision(file, &markers);
        Ok(found)
    }

    /// How a layer may be multiplied; anything for a layer that is not in codes.
    pub fn products(&self, layer: &str) -> Products {
        match self.full_precision_layers.contains(layer) {
            true => Products::FullPrecision,
            false => Products::Any,
        }
    }

    pub(crate) fn asking_for_full_precision(
        &self,
        file: &Checkpoint,
        markers: &BTreeMap<String, Marker>,
    ) -> BTreeSet<String> {
        let asks = |layer: &&StoredLayer| match layer.origin {
            Origin::Comfy => markers
                .get(&layer.layer)
                .is_some_and(|marker| marker.products() == Products::FullPrecision),
            Origin::ComfyLegacy => legacy_marker(file, layer)
                .is_some_and(|marker| marker.element_count() == FULL_PRECISION_ELEMENTS),
            Origin::WeightScale
            | Origin::WeightScaleInv
            | Origin::WeightPacked
            | Origin::WeightScale2
            | Origin::Plain => false,
        };
        self.layers.values().filter(asks).map(|layer| layer.layer.clone()).collect()
    }

    /// Markers without a weight, and scales of weights that are plain numbers.
    fn unanswered<'a>(
        &self,
        file: &Checkpoint,
        marked: impl Iterator<Item = &'a String>,
    ) -> Vec<Defect> {
        let weight = |layer: &str| find_weight(file, layer);
        let mut orphans: Vec<Defect> = marked
            .filter(|layer| weight(layer).is_none())
            .map(|layer| {
                let problem = "is marked as quantized, but has no weight";
                Defect::new(layer, problem, breaks::UNEXPECTED)
            })
            .collect();

        let defective: BTreeSet<&str> =
            self.defects.iter().map(|defect| defect.layer.as_str()).collect();
        for (name, layer) in &self.side_tensors {
            let is_served = layer.is_empty()
                || self.layers.contains_key(layer)
                || defective.contains(layer.as_str());
            if let Some(weight) = weight(layer).filter(|_| !is_served) {
                let (dtype, shape) = (weight.dtype, &weight.shape);
                let problem =
                    format!("`{name}` serves a weight that holds no codes: {dtype} {shape:?}");
                let breaks = match is_dummy(file, layer, name) {
                    true => breaks::DUMMY,
                    false => breaks::UNEXPECTED,
                };
                orphans.push(Defect::new(layer, problem, breaks));
            }
        }
        orphans
    }

    /// Layers whose scales ComfyUI leaves aside, so that it takes the codes for the weights.
    fn unheeded(&self, file: &Checkpoint, has_markers: bool) -> Vec<Defect> {
        let has_entry = file.metadata().contains_key(QUANTIZATION_METADATA);
        let why = |layer: &StoredLayer| match layer.origin {
            Origin::ComfyLegacy if has_entry => Some("the header lists other layers"),
            // That no program heeds the scales of these is known to whoever made them.
            Origin::ComfyLegacy if layer.scheme.grid() == GridKind::F16 => None,
            Origin::ComfyLegacy if legacy_marker(file, layer).is_none() => {
                Some("the file has no `scaled_fp8` for it")
            }
            Origin::WeightScale
            | Origin::WeightScaleInv
            | Origin::WeightPacked
            | Origin::WeightScale2
                if has_markers =>
            {
                Some("the layer has no marker, other layers have")
            }
            Origin::WeightScale | Origin::WeightScaleInv
                if legacy_marker(file, layer).is_some() =>
            {
                Some("beside `scaled_fp8` it is looked for under `scale_weight`")
            }
            _ => None,
        };
        let unheeded = self.layers.values().filter_map(|layer| {
            let (scale, why) = (layer.scale.as_ref()?, why(layer)?);
            let problem = format!("ComfyUI does not heed `{scale}`: {why}");
            Some(Defect::new(&layer.layer, problem, breaks::UNSCALED))
        });
        unheeded.collect()
    }

    /// Scales without any weight, in a file that holds quantized layers.
    pub(crate) fn strays(&self, file: &Checkpoint) -> Vec<String> {
        if !self.says_it_is_quantized() {
            return vec![];
        }
        let is_stray = |name: &&String| {
            let layer = SCALE_ENDINGS.iter().find_map(|ending| name.strip_suffix(ending));
            layer.is_some_and(|layer| {
                !self.side_tensors.contains_key(*name) && find_weight(file, layer).is_none()
            })
        };
        file.tensors().iter().map(|header| &header.name).filter(is_stray).cloned().collect()
    }

    /// Layers with a marker tensor.
    pub(crate) fn marker_tensors(&self) -> BTreeSet<String> {
        let markers = self.side_tensors.iter().filter(|(name, _)| name.ends_with(MARKER_PART));
        markers.map(|(_, layer)| layer.clone()).collect()
    }
}

fn side_tensors(file: &Checkpoint) -> BTreeMap<String, String> {
    let owner = |name: &str| {
        let last = name.rsplit('.').next().unwrap_or(name);
        let is_of_the_file = match last {
            "scaled_fp8" => true,
            "scaled_fp16" => file.get(name).is_some_and(|header| header.dtype == Dtype::F16),
            "scale_format" => file.get(name).is_some_and(|header| header.dtype == Dtype::U8),
            _ => false,
        };
        if is_of_the_file {
            return Some(String::new());
        }
        let (layer, part) = name.rsplit_once('.').filter(|(_, part)| SIDE_PARTS.contains(part))?;
        let is_owned = part == MARKER_PART || find_weight(file, layer).is_some();
        is_owned.then(|| layer.to_owned())
    };
    let names = file.tensors().iter().map(|header| &header.name);
    names.filter_map(|name| Some((name.clone(), owner(name)?))).collect()
}

/// The tensor that makes readers look for `scale_weight`.
pub(crate) fn legacy_marker<'a>(
    file: &'a Checkpoint,
    layer: &StoredLayer,
) -> Option<&'a TensorHeader> {
    let part = if layer.scheme.grid() == GridKind::F16 { "scaled_fp16" } else { "scaled_fp8" };
    file_part(file, &layer.layer, part)
}

/// A tensor of the file, or of one of the layer's modules, that speaks of all their layers.
pub(crate) fn file_part<'a>(
    file: &'a Checkpoint,
    layer: &str,
    part: &str,
) -> Option<&'a TensorHeader> {
    let ends = layer.match_indices('.').map(|(dot, _)| dot + 1);
    std::iter::once(0).chain(ends).find_map(|end| file.get(&format!("{}{part}", &layer[..end])))
}
