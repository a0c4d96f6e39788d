use roundwise_scheme::{GridKind, LogRange, ScaleStorage, Scheme, Tiling};
use roundwise_tensor_file::{Checkpoint, Dtype, TensorHeader};

use crate::describe_packed::describe_packed;
use crate::describe_servers::{describe_servers, server_blocks};
use crate::stored::{SIDE_PARTS, file_part};
use crate::{Marker, Origin, StoredLayer};

/// The stored layer behind a weight, `None` for a weight that is plain numbers.
///
/// - `marker`: the layer's marker, `None` where it has none
/// - `marked_scale`: what the scale of a marked layer is called
///
/// # Errors
/// One line that says why the weight cannot be read: what was found and what was expected.
pub(crate) fn describe(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
    marker: Option<&Marker>,
    marked_scale: &str,
) -> Result<Option<StoredLayer>, String> {
    if weight.element_count() == 0 {
        return Ok(None);
    }
    let packed = marker.map(|marker| describe_packed(file, weight, layer, marker)).transpose()?;
    if let Some(Some(stored)) = packed {
        return Ok(Some(stored));
    }
    let of_servers = match marker {
        Some(_) => None,
        None => describe_servers(file, weight, layer)?,
    };
    if let Some(stored) = of_servers {
        return Ok(Some(stored));
    }
    let Some(grid) = code_grid(weight.dtype).or_else(|| scaled_f16(file, weight, layer)) else {
        refuse_other_codes(file, weight, layer, marker)?;
        return Ok(None);
    };
    let shape = matrix_shape(weight)?;
    let (origin, scale) = find_scale(file, layer, marker.map(|_| marked_scale));
    if origin != Origin::Comfy {
        refuse_unknown_scales(file, weight, layer, scale)?;
    }
    let scheme = match (marker, scale) {
        (Some(marker), Some(scale)) => marker.scheme(&scale.shape, shape[1])?,
        (Some(marker), None) => {
            marker.grid()?;
            return Err(format!("is marked `{}`, but has no `weight_scale`", marker.format));
        }
        (None, Some(scale)) if origin == Origin::ComfyLegacy && scale.dtype == Dtype::U8 => {
            logarithmic_scheme(file, layer, scale)?
        }
        (None, Some(scale)) => Scheme::scaled(grid, tiling_of(file, origin, scale, shape)),
        // Integer tables (ids, masks) are data; only a matrix could be a lost weight.
        (None, None) if grid == GridKind::Int8 && weight.shape.len() != 2 => return Ok(None),
        (None, None) if grid == GridKind::Int8 => {
            return Err("holds INT8 codes, but has no `weight_scale`".to_owned());
        }
        (None, None) => Scheme::scaled(grid, Tiling::Tensor),
    };
    if scheme.grid() != grid {
        let (marked, found) = (scheme.grid().name(), weight.dtype);
        return Err(format!("is marked {marked}, but its weight is {found}"));
    }
    if let Some(scale) = scale {
        check_scale(scale, scheme, shape, origin)?;
    }
    let scale = scale.map(|header| header.name.clone());
    let stored_shape = shape;
    Ok(Some(StoredLayer { layer: layer.to_owned(), scheme, shape, stored_shape, origin, scale }))
}

fn code_grid(dtype: Dtype) -> Option<GridKind> {
    match dtype {
        Dtype::F8E4M3 => Some(GridKind::E4m3),
        Dtype::F8E5M2 => Some(GridKind::E5m2),
        Dtype::I8 => Some(GridKind::Int8),
        _ => None,
    }
}

/// F16 numbers are weights, unless the file says that they have scales.
fn scaled_f16(file: &Checkpoint, weight: &TensorHeader, layer: &str) -> Option<GridKind> {
    let is_scaled = weight.dtype == Dtype::F16
        && file.get(&format!("{layer}.scale_weight")).is_some()
        && file_part(file, layer, "scaled_fp16").is_some();
    is_scaled.then_some(GridKind::F16)
}

/// What a scale of one byte stands for, as the file's `scale_format` says: the bytes 8 and the
/// decimal exponents of the range.
fn logarithmic_scheme(
    file: &Checkpoint,
    layer: &str,
    scale: &TensorHeader,
) -> Result<Scheme, String> {
    let is_shared = !scale.shape.is_empty();
    let unknown = |found: String| {
        Err(format!(
            "`{}` is a logarithm in a range that the file does not tell: `scale_format` is {found}, \
             expected [8, 12, 6] or [8, 10, 2]",
            scale.name
        ))
    };
    let Some(format) = file_part(file, layer, "scale_format") else {
        return unknown("missing".to_owned());
    };
    if format.dtype != Dtype::U8 || format.byte_len() > LONGEST_FORMAT {
        return unknown(format!("{} {:?}", format.dtype, format.shape));
    }
    let bytes = file.read(format).map_err(|error| error.to_string())?;
    let range = LogRange::ALL.into_iter().find(|range| bytes == scale_format(*range));
    match range {
        Some(range) => Ok(Scheme::logarithmic(range, is_shared)),
        None => unknown(format!("{bytes:?}")),
    }
}

/// The three bytes of ours, or the one of the published files.
const LONGEST_FORMAT: u64 = 8;

/// What a file's `scale_format` holds.
pub(crate) fn scale_format(range: LogRange) -> [u8; 3] {
    let [low, high] = range.exponents();
    [8, low, high]
}

pub(crate) fn matrix_shape(weight: &TensorHeader) -> Result<[usize; 2], String> {
    let size = |count: u64| {
        usize::try_from(count).map_err(|_| format!("{count} is too large for this machine"))
    };
    match weight.shape[..] {
        [rows, cols] => Ok([size(rows)?, size(cols)?]),
        _ => Ok([1, size(weight.element_count())?]),
    }
}

/// Plain numbers must not be marked, and codes of another kind must not lose their scales.
fn refuse_other_codes(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
    marker: Option<&Marker>,
) -> Result<(), String> {
    let found = weight.dtype;
    if let Some(marker) = marker {
        marker.grid()?;
        return Err(format!("is marked `{}`, but its weight is {found}", marker.format));
    }
    if matches!(found, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        return Ok(());
    }
    match SIDE_PARTS.iter().find(|part| file.get(&format!("{layer}.{part}")).is_some()) {
        Some(part) => Err(format!(
            "its weight is {found} beside `{part}`; codes are read from F8_E4M3, F8_E5M2 and I8"
        )),
        None => Ok(()),
    }
}

/// How the file says that the layer is quantized, and the tensor that scales it.
fn find_scale<'a>(
    file: &'a Checkpoint,
    layer: &str,
    marked_scale: Option<&str>,
) -> (Origin, Option<&'a TensorHeader>) {
    let part = |name: &str| file.get(&format!("{layer}.{name}"));
    if let Some(name) = marked_scale {
        return (Origin::Comfy, part(name));
    }
    let unmarked = [
        (Origin::ComfyLegacy, "scale_weight"),
        (Origin::WeightScaleInv, "weight_scale_inv"),
        (Origin::WeightScale, "weight_scale"),
    ];
    let found = unmarked.into_iter().find_map(|(origin, name)| Some((origin, Some(part(name)?))));
    found.unwrap_or((Origin::Plain, None))
}

/// A weight in codes whose neighbours look like scales of a kind that is not known must not be
/// taken for plain numbers, nor for those that its known scale gives.
fn refuse_unknown_scales(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
    scale: Option<&TensorHeader>,
) -> Result<(), String> {
    let inside = format!("{layer}.");
    let first = file.tensors().partition_point(|tensor| tensor.name < inside);
    let weight_is_a_layer = file.get(&format!("{layer}.weight.weight")).is_some();
    let is_suspicious = |part: &str| {
        let is_a_scale = ["scale", "zero", "absmax", "quant", "amax"];
        // Beside a known scale, those of inputs and outputs are no riddle.
        let is_of_the_weight = part.starts_with("weight") || part.starts_with("pre_quant");
        let is_a_neighbour =
            !part.contains('.') || (!weight_is_a_layer && part.starts_with("weight."));
        is_a_neighbour
            && is_a_scale.iter().any(|word| part.contains(word))
            && (scale.is_none() || is_of_the_weight)
    };
    let suspicious = file.tensors()[first..]
        .iter()
        .take_while(|tensor| tensor.name.starts_with(&inside))
        .filter(|tensor| scale.is_none_or(|scale| scale.name != tensor.name))
        .filter(|tensor| !is_idle_zero_point(file, tensor))
        .map(|tensor| &tensor.name[inside.len()..])
        .find(|part| is_suspicious(part));
    match suspicious {
        Some(part) => Err(format!(
            "its weight is {} beside `{part}`, a kind of scale that is not known there",
            weight.dtype
        )),
        None => Ok(()),
    }
}

/// Whether a tensor is a zero point that moves nothing: symmetric schemes write it as well.
fn is_idle_zero_point(file: &Checkpoint, tensor: &TensorHeader) -> bool {
    tensor.name.ends_with(".weight_zero_point")
        && tensor.dtype == Dtype::I8
        && file.read(tensor).is_ok_and(|bytes| bytes.iter().all(|byte| *byte == 0))
}

/// What a scale covers where no marker says it.
fn tiling_of(file: &Checkpoint, origin: Origin, scale: &TensorHeader, shape: [usize; 2]) -> Tiling {
    const BLOCK: Tiling = Tiling::Block { rows: 128, cols: 128 };
    let is_single = scale.element_count() == 1;
    let is_column =
        scale.shape.len() == 2 && scale.shape[1] == 1 && scale.shape[0] == shape[0] as u64;
    match origin {
        Origin::WeightScale if is_single => Tiling::Tensor,
        Origin::WeightScale if is_column => Tiling::Row,
        Origin::WeightScale => server_blocks(file, scale, shape).unwrap_or(Tiling::Row),
        // Mistral's files have this name for the scale of a tensor, too.
        Origin::WeightScaleInv if is_single && scale.shape.len() < 2 => Tiling::Tensor,
        Origin::WeightScaleInv => server_blocks(file, scale, shape).unwrap_or(BLOCK),
        Origin::Comfy
        | Origin::ComfyLegacy
        | Origin::WeightPacked
        | Origin::WeightScale2
        | Origin::Plain => Tiling::Tensor,
    }
}

fn check_scale(
    scale: &TensorHeader,
    scheme: Scheme,
    [rows, cols]: [usize; 2],
    origin: Origin,
) -> Result<(), String> {
    let is_byte = matches!(scheme.scale_storage(), ScaleStorage::Logarithmic { .. });
    if !is_byte && !matches!(scale.dtype, Dtype::F32 | Dtype::BF16 | Dtype::F16) {
        return Err(format!(
            "`{}` is {}, expected F32, BF16 or F16; packed scales are not read there",
            scale.name, scale.dtype
        ));
    }
    if origin == Origin::Comfy {
        scheme.covers(rows, cols).map_err(|error| error.to_string())?;
    }
    let found = scale.shape.as_slice();
    let tiles @ [down, _] = scheme.tiling().tiles(rows, cols).map(|count| count as u64);
    // The loader takes [N] for FP8 and [N, 1] for INT8; other programs take either.
    let is_column = scheme.grid() == GridKind::Int8;
    let fits = match scheme.tiling() {
        Tiling::Tensor => scale.element_count() == 1 && found.len() <= 2,
        Tiling::Row if origin != Origin::Comfy => found == [down, 1] || found == [down],
        Tiling::Row if is_column => found == [down, 1],
        Tiling::Row => found == [down],
        Tiling::Block { rows: 1, cols: 2.. } if origin == Origin::Comfy => {
            found == [tiles[0], tiles[1], 1]
        }
        Tiling::Block { .. } => found == tiles,
    };
    if fits {
        return Ok(());
    }
    let expected = match scheme.tiling() {
        Tiling::Tensor => "one element".to_owned(),
        Tiling::Row if is_column => format!("[{down}, 1]"),
        Tiling::Row => format!("[{down}]"),
        Tiling::Block { .. } => format!("{tiles:?}"),
    };
    Err(format!("`{}` has shape {found:?}, `{scheme}` needs {expected}", scale.name))
}
