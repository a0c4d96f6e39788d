use roundwise_tensor_file::{Checkpoint, Dtype, TensorFileError, TensorHeader};

use crate::layout::Layout;
use crate::marker::Marker;
use crate::names::find_weight;
use crate::read::defect::Defect;
use crate::read::foreign::file::ForeignFile;
use crate::read::markers::Markers;
use crate::read::orphans::strays;
use crate::read::recognise::recognise;
use crate::read::scales::check_small_scales;
use crate::read::side_tensors::legacy_marker;
use crate::read::stored_layer::StoredLayer;
use crate::read::stored_layers::StoredLayers;

/// A defect whose remedy is certain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repair {
    /// The defect: where it is, and which programs it breaks.
    pub defect: Defect,
    /// The change that repairs it.
    pub remedy: String,
}

/// The layers of a damaged file, as they were meant.
#[derive(Clone, Debug, Default)]
pub struct RepairedLayers {
    /// Layers whose defects have a certain remedy are among those that can be decoded; defects
    /// that are left have no remedy, orphans are left out of whatever is written.
    pub stored: StoredLayers,
    /// Defects that were found and are repaired, in name order.
    pub repairs: Vec<Repair>,
    /// The layout that the file is meant to have.
    pub layout: Layout,
}

impl RepairedLayers {
    /// Finds the quantized layers of a file in spite of known defects: markers with NUL bytes
    /// or without `format`, markers of which one half is missing, scales of the wrong name, scales
    /// and markers that belong to nothing.
    ///
    /// Codes and scales are never guessed at: a layer is repaired only where its tensors allow one
    /// reading.
    ///
    /// # Errors
    /// Only when the file cannot be read.
    pub fn find(file: &Checkpoint) -> Result<Self, TensorFileError> {
        let mut markers = Markers::read(file)?;
        let mut stored = StoredLayers::find(file)?;
        let mut repairs = vec![];
        // 1. Layers that do not read: only where their tensors allow one reading.
        for defect in std::mem::take(&mut stored.defects) {
            match remedy(file, &markers, &defect) {
                Some((meant, remedy)) => {
                    if let Some((layer, marker)) = meant {
                        markers.by_layer.insert(layer.layer.clone(), marker);
                        stored.layers.insert(layer.layer.clone(), layer);
                    }
                    repairs.push(Repair { defect, remedy });
                }
                None => stored.defects.push(defect),
            }
        }
        // A marker or a scale that is mended makes no layer of codes beside what is not known there.
        stored.refuse_unknown_companions(&ForeignFile::new(file));
        repairs.retain(|repair| stored.defects.iter().all(|it| it.layer != repair.defect.layer));
        stored.matmul_precisions = stored.asked_precisions(file, &markers.by_layer);
        // 2. Scales and markers that no layer answers to, once it is known which layers there are.
        for orphan in std::mem::take(&mut stored.orphans) {
            let remedy = match stored.layers.contains_key(&orphan.layer) {
                true => "its scale is stored where ComfyUI looks for it",
                false => "left out",
            };
            repairs.push(Repair { defect: orphan, remedy: remedy.to_owned() });
        }
        // Searched for again, since a stray scale may belong to a layer that is readable now.
        stored.strays = strays(file, &stored).into_iter().collect();
        for name in &stored.strays {
            let (layer, _) = name.rsplit_once('.').unwrap_or_default();
            stored.side_tensors.insert(name.clone(), layer.to_owned());
        }
        // 3. Markers that only the header or only a tensor has: versions of ComfyUI read one or the other.
        let one_sided = stored.one_sided_markers().into_iter().chain(stored.missing_half());
        repairs.extend(one_sided.map(|defect| {
            let where_missing = match defect.is_of_the_header() {
                true => "the header",
                false => "a marker tensor",
            };
            Repair { defect, remedy: format!("written into {where_missing}, too") }
        }));
        repairs.sort();
        let layout = meant_layout(file, &stored);
        Ok(Self { stored, repairs, layout })
    }
}

/// Infers the layout that a file is meant to have. ComfyUI heeds markers before anything else, so
/// that a file with both is one with markers.
fn meant_layout(file: &Checkpoint, stored: &StoredLayers) -> Layout {
    let has_markers = !stored.header_layers.is_empty() || !stored.marker_tensors().is_empty();
    let is_legacy = stored.layers.values().any(|layer| legacy_marker(file, layer).is_some());
    match is_legacy && !has_markers {
        true => Layout::ComfyLegacy,
        false => Layout::Comfy,
    }
}

/// Finds the remedy of a defect, with the layer behind it and its marker where it is about one.
fn remedy(
    file: &Checkpoint,
    markers: &Markers,
    defect: &Defect,
) -> Option<(Option<(StoredLayer, Marker)>, String)> {
    let layer = defect.layer.as_str();
    if layer.is_empty() {
        // Without marker tensors there is nothing to write the entry from.
        let is_told_elsewhere = !markers.by_layer.is_empty();
        return is_told_elsewhere
            .then(|| (None, "written anew from the marker tensors".to_owned()));
    }
    let weight = find_weight(file, layer)?;
    let (marker, how) = match (markers.damaged.get(layer), markers.by_layer.get(layer)) {
        (Some(bytes), known) => meant_marker(file, weight, layer, bytes, known)?,
        (None, known) => (known?.clone(), "the scale is taken that is called"),
    };
    let described = ForeignFile::new(file);
    let readable = |part: &str| {
        let stored = recognise(&described, weight, layer, Some(&marker), part).ok()??;
        check_small_scales(file, &stored).is_ok().then_some(stored)
    };
    // The name that loaders know first, so that a layer with both names keeps it.
    let named = readable("weight_scale").map(|stored| (stored, "weight_scale"));
    let (stored, part) = named.or_else(|| Some((readable("scale_weight")?, "scale_weight")))?;
    let remedy = match markers.damaged.contains_key(layer) {
        true => format!("{how}: {}", marker.to_json()),
        false => format!("{how} `{part}`"),
    };
    Some((Some((stored, marker)), remedy))
}

/// Restores a damaged marker, and says how its content is known.
///
/// - `known`: the layer's other marker
fn meant_marker(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
    bytes: &[u8],
    known: Option<&Marker>,
) -> Option<(Marker, &'static str)> {
    // The other marker before any inference from shapes: it is what the file's writer meant.
    if let Some(known) = known {
        return Some((known.clone(), "its other marker says"));
    }
    // NUL bytes carry no meaning: what is left is the marker, or is none.
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

/// Finds the one format whose codes and scales have these dtypes and shapes.
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
    // Scales under the old name count as well: the format follows from what they are, not from what
    // they are called.
    let &[rows, cols] = weight.shape.as_slice() else { return None };
    let named = |format: &str| Marker { format: format.to_owned(), ..Marker::default() };
    let blocks = |format: &str| {
        let &[down, across] = scale.shape.as_slice() else { return None };
        let edge = rows.checked_div(down)?;
        // Whole blocks only: with a rest several edges would fit.
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
