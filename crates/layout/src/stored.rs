use std::collections::BTreeMap;

use roundwise_scheme::{GridKind, Scheme, Tiling};
use roundwise_tensor_file::{Checkpoint, Dtype, TensorFileError, TensorHeader};

use crate::{MARKER_LIMIT_BYTES, Marker, Origin, QUANTIZATION_METADATA, StoredLayer};

/// Something about a stored layer that a loader would trip over or read wrongly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Defect {
    /// Name without `.weight`; empty for the file as a whole.
    pub layer: String,
    /// What was found and what was expected, in one line.
    pub problem: String,
}

/// The quantized layers of a file.
#[derive(Clone, Debug, Default)]
pub struct StoredLayers {
    /// Layers that can be decoded, by name.
    pub layers: BTreeMap<String, StoredLayer>,
    /// Layers that cannot be read, and why, in name order.
    pub defects: Vec<Defect>,
    /// Scales and markers that no quantized weight answers to. They mislead loaders, but nothing
    /// is lost without them.
    pub orphans: Vec<Defect>,
    /// Tensors that only serve quantized layers (scales, markers), with the layer they belong to;
    /// the layer is empty for file-wide ones.
    pub side_tensors: BTreeMap<String, String>,
    /// Layers whose marker asks for products in full precision.
    pub full_precision_layers: Vec<String>,
}

/// Parts that scales and markers of a layer `x` are called: `x.part`.
const SIDE_PARTS: [&str; 10] = [
    "weight_scale",
    "weight_scale_2",
    "weight_scale_inv",
    "weight_s_rel",
    "weight_s_channel",
    "weight_codebook",
    "scale_weight",
    "scale_input",
    "input_scale",
    "comfy_quant",
];

/// Edge of the blocks that `weight_scale_inv` covers.
const INVERSE_SCALE_BLOCK: usize = 128;

impl StoredLayers {
    /// Finds every quantized layer by its dtype, its scales and its marker.
    ///
    /// # Errors
    /// Only when the file cannot be read; whatever is wrong with a layer becomes a [`Defect`].
    pub fn find(file: &Checkpoint) -> Result<Self, TensorFileError> {
        let mut found = Self::default();
        found.collect_side_tensors(file);
        let markers = found.collect_markers(file)?;
        for header in file.tensors() {
            let Some(layer) = header.name.strip_suffix(".weight") else { continue };
            match describe(file, header, layer, markers.get(layer)) {
                Ok(Some(stored)) => drop(found.layers.insert(layer.to_owned(), stored)),
                Ok(None) => {}
                Err(problem) => found.complain(layer, problem),
            }
        }
        found.collect_orphans(file, &markers);
        found.defects.sort();
        Ok(found)
    }

    fn complain(&mut self, layer: &str, problem: String) {
        self.defects.push(Defect { layer: layer.to_owned(), problem });
    }

    fn collect_side_tensors(&mut self, file: &Checkpoint) {
        for header in file.tensors() {
            let name = &header.name;
            if name == "scaled_fp8" || name.ends_with(".scaled_fp8") {
                self.side_tensors.insert(name.clone(), String::new());
            } else if let Some((layer, part)) = name.rsplit_once('.')
                && SIDE_PARTS.contains(&part)
            {
                self.side_tensors.insert(name.clone(), layer.to_owned());
            }
        }
    }

    /// The marker of every layer. The header wins over a tensor, as in the loader.
    fn collect_markers(
        &mut self,
        file: &Checkpoint,
    ) -> Result<BTreeMap<String, Marker>, TensorFileError> {
        let mut markers = BTreeMap::new();
        for (name, layer) in self.side_tensors.clone() {
            let Some(header) = file.get(&name).filter(|_| name.ends_with(".comfy_quant")) else {
                continue;
            };
            if header.byte_len() > MARKER_LIMIT_BYTES {
                self.complain(&layer, format!("marker has {} bytes", header.byte_len()));
                continue;
            }
            match Marker::from_json(&file.read(header)?) {
                Ok(marker) => drop(markers.insert(layer, marker)),
                Err(problem) => self.complain(&layer, format!("marker {problem}")),
            }
        }
        if let Some(text) = file.metadata().get(QUANTIZATION_METADATA) {
            self.merge_header_markers(text, &mut markers);
        }
        self.full_precision_layers = markers
            .iter()
            .filter(|(_, marker)| marker.full_precision_matrix_mult == Some(true))
            .map(|(layer, _)| layer.clone())
            .collect();
        Ok(markers)
    }

    fn merge_header_markers(&mut self, text: &str, markers: &mut BTreeMap<String, Marker>) {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(text);
        let layers = parsed.as_ref().ok().and_then(|value| value.get("layers")?.as_object());
        let Some(layers) = layers else {
            let problem = format!("`{QUANTIZATION_METADATA}` is not JSON with an object `layers`");
            return self.complain("", problem);
        };
        for (layer, value) in layers {
            match Marker::from_value(value) {
                Ok(marker) => {
                    if markers.get(layer).is_some_and(|tensor| tensor.format != marker.format) {
                        self.complain(layer, "header and marker tensor disagree".to_owned());
                    }
                    markers.insert(layer.clone(), marker);
                }
                Err(problem) => self.complain(layer, format!("header entry {problem}")),
            }
        }
    }

    fn collect_orphans(&mut self, file: &Checkpoint, markers: &BTreeMap<String, Marker>) {
        for layer in markers.keys() {
            if file.get(&format!("{layer}.weight")).is_none() {
                let problem = "is marked as quantized, but has no weight".to_owned();
                self.orphans.push(Defect { layer: layer.clone(), problem });
            }
        }
        for (name, layer) in &self.side_tensors {
            let is_served = layer.is_empty()
                || self.layers.contains_key(layer)
                || self.defects.iter().any(|defect| defect.layer == *layer);
            if !is_served {
                let problem = format!("`{name}` scales a weight that is not quantized");
                self.orphans.push(Defect { layer: layer.clone(), problem });
            }
        }
    }
}

/// The stored layer behind a weight, `None` for a weight that is plain numbers.
fn describe(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
    marker: Option<&Marker>,
) -> Result<Option<StoredLayer>, String> {
    let Some(grid) = code_grid(weight.dtype) else {
        return match marker {
            Some(marker) => Err(format!(
                "is marked `{}`, but its weight is {}",
                marker.format,
                weight.dtype.name()
            )),
            None => Ok(None),
        };
    };
    let part = |name: &str| file.get(&format!("{layer}.{name}"));
    let shape = matrix_shape(weight)?;

    let (origin, scale) = if marker.is_some() {
        (Origin::Comfy, part("weight_scale"))
    } else if let Some(scale) = part("scale_weight") {
        (Origin::ComfyLegacy, Some(scale))
    } else if let Some(scale) = part("weight_scale_inv") {
        (Origin::WeightScaleInv, Some(scale))
    } else if let Some(scale) = part("weight_scale") {
        (Origin::WeightScale, Some(scale))
    } else {
        refuse_unknown_scales(file, weight, layer)?;
        (Origin::Plain, None)
    };
    if grid == GridKind::Int8 && scale.is_none() {
        return match marker {
            Some(_) => Err("is marked INT8, but has no `weight_scale`".to_owned()),
            // Integer tables (ids, masks) are data; only a matrix could be a lost weight.
            None if weight.shape.len() == 2 => Err("holds INT8 codes without a scale".to_owned()),
            None => Ok(None),
        };
    }
    let scale_count = scale.map_or(1, TensorHeader::element_count);
    let scheme = match (origin, marker) {
        (Origin::Comfy, Some(marker)) => marker.scheme(scale_count)?,
        (Origin::WeightScaleInv, _) => Scheme {
            grid,
            tiling: Tiling::Block { rows: INVERSE_SCALE_BLOCK, cols: INVERSE_SCALE_BLOCK },
        },
        (_, _) if scale_count == 1 => Scheme { grid, tiling: Tiling::Tensor },
        (_, _) => Scheme { grid, tiling: Tiling::Row },
    };
    if scheme.grid != grid {
        return Err(format!(
            "is marked {}, but its weight is {}",
            scheme.grid.name(),
            weight.dtype.name()
        ));
    }
    if let Some(scale) = scale {
        check_scale(scale, scheme, shape, origin)?;
    }
    let scale = scale.map(|header| header.name.clone());
    Ok(Some(StoredLayer { layer: layer.to_owned(), scheme, shape, origin, scale }))
}

fn code_grid(dtype: Dtype) -> Option<GridKind> {
    match dtype {
        Dtype::F8E4M3 => Some(GridKind::E4m3),
        Dtype::F8E5M2 => Some(GridKind::E5m2),
        Dtype::I8 => Some(GridKind::Int8),
        _ => None,
    }
}

fn matrix_shape(weight: &TensorHeader) -> Result<[usize; 2], String> {
    let size = |count: u64| {
        usize::try_from(count).map_err(|_| format!("{count} is too large for this machine"))
    };
    match weight.shape[..] {
        [rows, cols] => Ok([size(rows)?, size(cols)?]),
        _ => Ok([1, size(weight.element_count())?]),
    }
}

fn check_scale(
    scale: &TensorHeader,
    scheme: Scheme,
    [rows, cols]: [usize; 2],
    origin: Origin,
) -> Result<(), String> {
    if !matches!(scale.dtype, Dtype::F32 | Dtype::BF16 | Dtype::F16) {
        return Err(format!(
            "`{}` is {}; logarithmic and packed scales are not read",
            scale.name,
            scale.dtype.name()
        ));
    }
    let found = scale.shape.as_slice();
    let tiles = scheme.tiling.tiles(rows, cols).map(|count| count as u64);
    let fits = match (origin, scheme.tiling) {
        (_, Tiling::Tensor) => scale.element_count() == 1 && found.len() <= 2,
        // The loader takes [N] for FP8 and [N, 1] for INT8; other programs take either.
        (Origin::Comfy, Tiling::Row) if scheme.grid == GridKind::Int8 => found == [tiles[0], 1],
        (Origin::Comfy, Tiling::Row) => found == [tiles[0]],
        (_, Tiling::Row) => found == [tiles[0], 1] || found == [tiles[0]],
        (_, Tiling::Block { .. }) => found == tiles,
    };
    if fits {
        return Ok(());
    }
    let expected = match scheme.tiling {
        Tiling::Tensor => "one element".to_owned(),
        Tiling::Row if scheme.grid == GridKind::Int8 => format!("[{}, 1]", tiles[0]),
        Tiling::Row => format!("[{}]", tiles[0]),
        Tiling::Block { .. } => format!("{tiles:?}"),
    };
    Err(format!("`{}` has shape {found:?}, `{scheme}` needs {expected}", scale.name))
}

/// A weight in codes whose neighbours look like scales of a kind that is not known must not be
/// taken for plain numbers.
fn refuse_unknown_scales(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
) -> Result<(), String> {
    let inside = format!("{layer}.");
    let first = file.tensors().partition_point(|tensor| tensor.name < inside);
    let suspicious = file.tensors()[first..]
        .iter()
        .take_while(|tensor| tensor.name.starts_with(&inside))
        .map(|tensor| &tensor.name[inside.len()..])
        .find(|part| {
            !part.contains('.')
                && ["scale", "zero", "absmax", "quant", "amax"].iter().any(|w| part.contains(w))
        });
    match suspicious {
        Some(part) => Err(format!(
            "its weight is {} beside `{part}`, a kind of scale that is not known",
            weight.dtype.name()
        )),
        None => Ok(()),
    }
}
