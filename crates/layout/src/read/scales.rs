//! The scale of a layer: where it is, what it covers, and whether it is one that is understood.

use roundwise_scheme::{GridKind, Scheme, Tiling};
use roundwise_tensor_file::{Checkpoint, Dtype, TensorHeader};

use crate::names::{find_weight, parts_of};
use crate::read::finite::check_small_scale;
use crate::read::foreign::file::ForeignFile;
use crate::read::server_blocks::server_blocks;
use crate::read::side_tensors::SCALE_PART;
use crate::read::spelling::Spelling;
use crate::read::stored_layer::StoredLayer;

/// Finds out how the file says that the layer is quantized, and the tensor that scales it.
pub(crate) fn find_scale<'a>(
    file: &'a Checkpoint,
    layer: &str,
    marked_scale: Option<&str>,
) -> (Spelling, Option<&'a TensorHeader>) {
    let part = |name: &str| file.get(&format!("{layer}.{name}"));
    if let Some(name) = marked_scale {
        return (Spelling::Comfy, part(name));
    }
    // In the order of how much a name says: `scale` alone may be a parameter of the model.
    let unmarked = [
        (Spelling::ComfyLegacy, "scale_weight"),
        (Spelling::WeightScaleInv, "weight_scale_inv"),
        (Spelling::WeightScale, "weight_scale"),
        (Spelling::Scale, SCALE_PART),
    ];
    // A `scale` of any other dtype may be a parameter of the model.
    let is_known = |spelling: Spelling, scale: &TensorHeader| {
        spelling != Spelling::Scale || is_power_of_two(scale)
    };
    let found = unmarked.into_iter().find_map(|(spelling, name)| {
        let scale = part(name).filter(|scale| is_known(spelling, scale))?;
        Some((spelling, Some(scale)))
    });
    found.unwrap_or((Spelling::Plain, None))
}

/// Tells whether scales are bytes that stand for powers of two.
fn is_power_of_two(scale: &TensorHeader) -> bool {
    matches!(scale.dtype, Dtype::F8E8M0 | Dtype::U8)
}

/// Refuses a weight in codes whose neighbours look like scales of a kind that is not known: it must not
/// be taken for plain numbers, nor for those that its known scale gives.
pub(crate) fn refuse_unknown_scales(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
    scale: Option<&TensorHeader>,
) -> Result<(), String> {
    let weight_is_a_layer = file.get(&format!("{layer}.weight.weight")).is_some();
    let is_suspicious = |part: &str| {
        let is_a_scale = ["scale", "zero", "absmax", "quant", "amax"];
        // Beside a known scale, scales of inputs and outputs are not suspicious.
        let is_of_the_weight = part.starts_with("weight") || part.starts_with("pre_quant");
        let is_a_neighbour =
            !part.contains('.') || (!weight_is_a_layer && part.starts_with("weight."));
        is_a_neighbour
            && is_a_scale.iter().any(|word| part.contains(word))
            && (scale.is_none() || is_of_the_weight)
    };
    let is_understood = |part: &str| {
        let name = format!("{layer}.{part}");
        scale.is_some_and(|scale| scale.name == name)
            || file.get(&name).is_some_and(|tensor| is_idle_zero_point(file, tensor))
    };
    let suspicious = parts_of(file, layer).find(|part| is_suspicious(part) && !is_understood(part));
    match suspicious {
        Some(part) => Err(format!(
            "its weight is {} beside `{part}`, a kind of scale that is not known there",
            weight.dtype
        )),
        None => Ok(()),
    }
}

/// Looks for a NaN or an infinity among the scales of a layer, where they are few.
///
/// # Errors
/// As [`check_small_scale`].
pub(crate) fn check_small_scales(file: &Checkpoint, layer: &StoredLayer) -> Result<(), String> {
    let mut scales = layer.scale_names().into_iter();
    scales.try_for_each(|(name, numbers)| check_small_scale(file, &name, Some(numbers)))
}

/// Finds a tensor that may be the scale of a layer and is not called as any program calls it: beside the
/// layer, in a list of scales, or one for all layers of its module.
pub(crate) fn lost_scale(file: &Checkpoint, layer: &str) -> Option<String> {
    const ENDINGS: [&str; 7] = [
        "_scale",
        "_scales",
        "_scale_inv",
        "_weight_scale",
        "_weight_scale_inv",
        "_scale_weight",
        "_fp8_scale",
    ];
    const LISTS: [&str; 4] = ["scale", "scales", "weight_scale", "weight_scales"];
    const OF_MODULES: [&str; 3] = ["weight_scale", "weight_scale_inv", "scale_weight"];
    let is_number = |name: &String| {
        let dtypes = [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F8E8M0];
        file.get(name).is_some_and(|tensor| dtypes.contains(&tensor.dtype))
    };
    let module = layer.rsplit_once('.').map(|(module, _)| module);
    let module = module.filter(|module| find_weight(file, module).is_none());
    let beside = ENDINGS.iter().map(|ending| format!("{layer}{ending}"));
    let listed =
        LISTS.iter().flat_map(|list| [format!("{list}.{layer}"), format!("{list}.{layer}.weight")]);
    let of_module = module
        .into_iter()
        .flat_map(|module| OF_MODULES.iter().map(move |part| format!("{module}.{part}")));
    beside.chain(listed).chain(of_module).find(is_number)
}

/// Tells whether a tensor is a zero point of zeros, which writers of symmetric schemes leave in some
/// files.
fn is_idle_zero_point(file: &Checkpoint, tensor: &TensorHeader) -> bool {
    tensor.name.ends_with(".weight_zero_point")
        && tensor.dtype == Dtype::I8
        && file.read(tensor).is_ok_and(|bytes| bytes.iter().all(|byte| *byte == 0))
}

/// Infers from the shape of a scale what it covers, where no marker says it.
pub(crate) fn infer_tiling(
    file: &ForeignFile<'_>,
    spelling: Spelling,
    scale: &TensorHeader,
    shape: [usize; 2],
) -> Tiling {
    const BLOCK: Tiling = Tiling::Block { rows: 128, cols: 128 };
    let is_single = scale.element_count() == 1;
    let is_column =
        scale.shape.len() == 2 && scale.shape[1] == 1 && scale.shape[0] == shape[0] as u64;
    match spelling {
        // The same number either way, as programs write it that store blocks.
        Spelling::WeightScale if scale.shape == [1, 1] && shape == [128, 128] => BLOCK,
        Spelling::WeightScale if is_single => Tiling::Tensor,
        Spelling::WeightScale if is_column => Tiling::Row,
        // A shape that fits nothing is checked against rows next, and refused with both in words.
        Spelling::WeightScale => server_blocks(file, scale, shape).unwrap_or(Tiling::Row),
        // Mistral's files have this name for the scale of a tensor, too.
        Spelling::WeightScaleInv if is_single && scale.shape.len() < 2 => Tiling::Tensor,
        Spelling::WeightScaleInv | Spelling::Scale => {
            server_blocks(file, scale, shape).unwrap_or(BLOCK)
        }
        Spelling::Comfy
        | Spelling::ComfyLegacy
        | Spelling::WeightPacked
        | Spelling::PackedIntegers
        | Spelling::PackedMicroscaled
        | Spelling::WeightScale2
        | Spelling::Plain => Tiling::Tensor,
    }
}

/// Checks that a scale has a dtype that is read, and the shape that the scheme needs.
pub(crate) fn check_scale(
    scale: &TensorHeader,
    scheme: Scheme,
    [rows, cols]: [usize; 2],
    spelling: Spelling,
) -> Result<(), String> {
    // 1. The dtype.
    let is_logarithm = scheme.log_range().is_some();
    // A byte that scales more than a block might as well be a logarithm.
    let is_of_blocks = matches!(scheme.tiling(), Tiling::Block { .. });
    let is_power = match (spelling, scale.dtype) {
        (Spelling::WeightScale | Spelling::WeightScaleInv | Spelling::Scale, Dtype::F8E8M0) => true,
        (Spelling::WeightScale | Spelling::WeightScaleInv | Spelling::Scale, Dtype::U8) => {
            is_of_blocks
        }
        _ => false,
    };
    let is_plain = matches!(scale.dtype, Dtype::F64 | Dtype::F32 | Dtype::BF16 | Dtype::F16);
    if !is_logarithm && !is_power && !is_plain {
        return Err(format!(
            "`{}` is {}, expected F32, BF16 or F16; packed scales are not read there",
            scale.name, scale.dtype
        ));
    }
    if spelling == Spelling::Comfy {
        // A marker names a block that the matrix must fill; scales of servers cover ragged edges as well.
        scheme.covers(rows, cols).map_err(|error| error.to_string())?;
    }
    // 2. The shape.
    let found = scale.shape.as_slice();
    let tiles @ [down, _] = scheme.tiling().tiles(rows, cols).map(|count| count as u64);
    // The loader takes [N] for FP8 and [N, 1] for INT8; other programs take either.
    let is_column = scheme.grid() == GridKind::Int8;
    let fits = match scheme.tiling() {
        Tiling::Tensor => scale.element_count() == 1 && found.len() <= 2,
        Tiling::Row if spelling != Spelling::Comfy => found == [down, 1] || found == [down],
        Tiling::Row if is_column => found == [down, 1],
        Tiling::Row => found == [down],
        Tiling::Block { rows: 1, cols: 2.. } if spelling == Spelling::Comfy => {
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
