use roundwise_tensor_file::{Checkpoint, Dtype, TensorFileError, TensorHeader};

use crate::describe::describe;
use crate::markers::Markers;
use crate::names::find_weight;
use crate::stored::{file_part, legacy_marker};
use crate::{Defect, Layout, Marker, StoredLayer, StoredLayers};

/// A defect whose remedy is certain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mend {
    /// What is wrong, where, and whom it breaks.
    pub defect: Defect,
    /// What makes it good.
    pub remedy: String,
}

/// The layers of a damaged file, as they were meant.
#[derive(Clone, Debug, Default)]
pub struct MendedLayers {
    /// Layers whose defects have a certain remedy are among those that can be decoded; defects
    /// that are left have no remedy, orphans are left out of whatever is written.
    pub stored: StoredLayers,
    /// What was found and is mended, in name order.
    pub mends: Vec<Mend>,
    /// How the file is meant to be laid out.
    pub layout: Layout,
}

impl MendedLayers {
    /// Finds the quantized layers of a file in spite of known defects: markers with NUL bytes
    /// or without `format`, markers of which one half is missing, scales of the wrong name, scales
    /// and markers that belong to nothing.
    ///
    /// Codes and scales are never guessed at: a layer is mended only where its tensors allow one
    /// reading.
    ///
    /// # Errors
    /// Only when the file cannot be read.
    pub fn find(file: &Checkpoint) -> Result<Self, TensorFileError> {
        let mut markers = Markers::read(file)?;
        let mut stored = StoredLayers::find(file)?;
        let mut mends = vec![];
        for defect in std::mem::take(&mut stored.defects) {
            match remedy(file, &markers, &defect) {
                Some((meant, remedy)) => {
                    if let Some((layer, marker)) = meant {
                        markers.by_layer.insert(layer.layer.clone(), marker);
                        stored.layers.insert(layer.layer.clone(), layer);
                    }
                    mends.push(Mend { defect, remedy });
                }
                None => stored.defects.push(defect),
            }
        }
        stored.full_precision_layers = stored.asking_for_full_precision(file, &markers.by_layer);
        for orphan in std::mem::take(&mut stored.orphans) {
            let remedy = match stored.layers.contains_key(&orphan.layer) {
                true => "its scale is stored where ComfyUI looks for it",
                false => "left out",
            };
            mends.push(Mend { defect: orphan, remedy: remedy.to_owned() });
        }
        for name in stored.strays(file) {
            let (layer, _) = name.rsplit_once('.').unwrap_or_default();
            stored.side_tensors.insert(name.clone(), layer.to_owned());
        }
        let one_sided = stored.one_sided_markers().into_iter().chain(stored.missing_half());
        mends.extend(one_sided.map(|defect| Mend {
            defect,
            remedy: "written into both, the header and a marker tensor".to_owned(),
        }));
        mends.sort();
        let layout = meant_layout(file, &stored);
        Ok(Self { stored, mends, layout })
    }
}

/// ComfyUI heeds markers before anything else, so that a file with both is one with markers.
fn meant_layout(file: &Checkpoint, stored: &StoredLayers) -> Layout {
    let has_markers = !stored.header_layers.is_empty()
        || stored.side_tensors.keys().any(|name| name.ends_with(".comfy_quant"));
    let is_legacy = stored.layers.values().any(|layer| legacy_marker(file, layer).is_some());
    match is_legacy && !has_markers {
        true => Layout::ComfyLegacy,
        false => Layout::Comfy,
    }
}

/// The layer behind a defect and its marker, if it is about one, and what makes it good.
fn remedy(
    file: &Checkpoint,
    markers: &Markers,
    defect: &Defect,
) -> Option<(Option<(StoredLayer, Marker)>, String)> {
    let layer = defect.layer.as_str();
    if layer.is_empty() {
        let is_told_elsewhere = !markers.by_layer.is_empty();
        return is_told_elsewhere
            .then(|| (None, "written anew from the marker tensors".to_owned()));
    }
    let weight = find_weight(file, layer)?;
    let (marker, how) = match (markers.damaged.get(layer), markers.by_layer.get(layer)) {
        (Some(bytes), known) => meant_marker(file, weight, layer, bytes, known)?,
        (None, known) => (known?.clone(), "the scale is taken that is called"),
    };
    let readable = |part: &str| describe(file, weight, layer, Some(&marker), part).ok()?;
    let named = readable("weight_scale").map(|stored| (stored, "weight_scale"));
    let (stored, part) = named.or_else(|| Some((readable("scale_weight")?, "scale_weight")))?;
    let remedy = match markers.damaged.contains_key(layer) {
        true => format!("{how}: {}", marker.to_json()),
        false => format!("{how} `{part}`"),
    };
    Some((Some((stored, marker)), remedy))
}

/// What a damaged marker must have said, and how that is known.
///
/// - `known`: what the layer's other marker says
fn meant_marker(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
    bytes: &[u8],
    known: Option<&Marker>,
) -> Option<(Marker, &'static str)> {
    if let Some(known) = known {
        return Some((known.clone(), "its other marker says"));
    }
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    if let Ok(marker) = Marker::from_json(&text) {
        return Some((marker, "without the NUL bytes it says"));
    }
    let options = Marker::options(&text);
    let format = meant_format(file, weight, layer, options.is_some())?;
    let marker = Marker {
        format: format.format,
        group_size: format.group_size.or(options.as_ref().and_then(|it| it.group_size)),
        ..options.unwrap_or_default()
    };
    Some((marker, "codes and scales can only be"))
}

/// The one format whose codes and scales have these dtypes and shapes.
///
/// - `has_options`: whether the rest of the marker is there, which says of INT8 what no tensor does:
///   whether it is rotated
fn meant_format(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
    has_options: bool,
) -> Option<Marker> {
    let part = |name: &str| file.get(&format!("{layer}.{name}"));
    let scale = part("weight_scale").or_else(|| part("scale_weight"))?;
    let &[rows, cols] = weight.shape.as_slice() else { return None };
    let named = |format: &str| Marker { format: format.to_owned(), ..Marker::default() };
    let blocks = |format: &str| {
        let &[down, across] = scale.shape.as_slice() else { return None };
        let edge = rows.checked_div(down)?;
        let is_square = edge > 0 && rows == edge * down && Some(edge) == cols.checked_div(across);
        (is_square && cols == edge * across)
            .then(|| Marker { group_size: Some(edge), ..named(format) })
    };
    let is_single = scale.element_count() == 1;
    match (weight.dtype, scale.dtype) {
        (Dtype::F8E4M3, Dtype::U8) if part("weight_scalar").is_some() => {
            Some(named("hybrid_mxfp8"))
        }
        (Dtype::F8E4M3, Dtype::U8) => Some(named("mxfp8")),
        (Dtype::U8, Dtype::F8E4M3) => part("weight_scale_2").map(|_| named("nvfp4")),
        (Dtype::F8E5M2, _) if is_single => Some(named("float8_e5m2")),
        (Dtype::F8E4M3, _) if is_single => Some(named("float8_e4m3fn")),
        (Dtype::F8E4M3, _) if scale.shape == [rows] => Some(named("float8_e4m3fn_rowwise")),
        (Dtype::F8E4M3, _) => blocks("float8_e4m3fn_blockwise"),
        (Dtype::I8, _) if is_single || scale.shape == [rows, 1] => {
            has_options.then(|| named("int8_tensorwise"))
        }
        (Dtype::I8, _) if scale.shape == [rows] => has_options.then(|| named("convrot_w4a4")),
        (Dtype::I8, _) => blocks("int8_blockwise"),
        _ => None,
    }
}

impl StoredLayers {
    /// Markers that only one of header and tensors has, where the file has both kinds: some versions
    /// of ComfyUI read the one, some the other.
    pub fn one_sided_markers(&self) -> Vec<Defect> {
        let in_header = &self.header_layers;
        let in_tensors = self.marker_tensors();
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

    /// The kind of markers that the whole file lacks.
    fn missing_half(&self) -> Option<Defect> {
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

/// Which programs a defect breaks, and how.
pub(crate) mod breaks {
    pub(crate) const MARKER: &str = "ComfyUI from 0.3.77 on, which stops at the layer";
    pub(crate) const HEADER: &str = "ComfyUI from 0.3.68 on, which stops at the layer";
    pub(crate) const UNREADABLE: &str = "ComfyUI, which stops at the layer or reads other weights";
    pub(crate) const UNSCALED: &str = "ComfyUI, which takes the codes for the weights";
    pub(crate) const OLD_COMFYUI: &str =
        "ComfyUI 0.3.68 to 0.3.76, which takes the codes for the weights";
    pub(crate) const LOST_HEADER: &str = "programs that copy tensors without the header's entries";
    pub(crate) const DUMMY: &str =
        "ComfyUI from 0.3.77 on, which turns the weight into FP8 without a scale";
    pub(crate) const UNEXPECTED: &str = "programs that refuse unexpected keys; ComfyUI logs them";
}

/// Whether the scale of a weight that holds no codes makes ComfyUI round that weight.
pub(crate) fn is_dummy(file: &Checkpoint, layer: &str, name: &str) -> bool {
    name.ends_with(".scale_weight") && file_part(file, layer, "scaled_fp8").is_some()
}
