use roundwise_scheme::{GridKind, Scheme, Tiling};
use roundwise_tensor_file::{Checkpoint, Dtype, TensorHeader};

use crate::names::{layer_of_weight, packed_weight_of};
use crate::packing::ZERO_POINT;
use crate::read::foreign::parts::integers;
use crate::read::spelling::Spelling;
use crate::read::stored_layer::{GLOBAL_SCALE, StoredLayer, matrix_shape};

/// Recognises an unmarked weight whose blocks have scales of 8 bits, as
/// compressed-tensors and ModelOpt write it; `None` for any other weight.
///
/// # Errors
/// One line that says why packed codes cannot be read.
pub(crate) fn recognise_servers(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
) -> Result<Option<StoredLayer>, String> {
    if weight.name == packed_weight_of(layer) {
        if let Some(packed) = recognise_packed_scheme(file, weight, layer) {
            return Ok(Some(packed));
        }
        return recognise_nvfp4(file, weight, layer, Spelling::WeightPacked, GLOBAL_SCALE)
            .map(Some);
    }
    let part = |name: &str| file.get(&format!("{layer}.{name}"));
    let is_packed = weight.dtype == Dtype::U8 && weight.shape.len() == 2;
    // Without a marker: with one, the same names are ComfyUI's NVFP4, whose nibbles and scales lie
    // otherwise.
    if is_packed && part("weight_scale_2").is_some() {
        let spelling = Spelling::WeightScale2;
        return recognise_nvfp4(file, weight, layer, spelling, "weight_scale_2").map(Some);
    }
    let scale = part("weight_scale");
    let is_power = |scale: &&TensorHeader| matches!(scale.dtype, Dtype::U8 | Dtype::F8E8M0);
    let Some(scale) = scale.filter(is_power).filter(|_| weight.dtype == Dtype::F8E4M3) else {
        return Ok(None);
    };
    let shape = matrix_shape(weight)?;
    let is_mx = weight.shape.len() == 2 && scale.shape == block_scale_shape(Scheme::MXFP8, shape);
    Ok(is_mx.then(|| stored(layer, Scheme::MXFP8, shape, Spelling::WeightScale)))
}

/// Whole numbers of 4 bits in a word of 32.
const NIBBLES_OF_WORD: usize = 8;

/// Returns the layer whose packed codes are those of a scheme, where a tensor holds such codes.
pub(crate) fn packed_by_servers<'a>(file: &Checkpoint, codes: &'a TensorHeader) -> Option<&'a str> {
    let layer =
        layer_of_weight(&codes.name).filter(|layer| codes.name == packed_weight_of(layer))?;
    recognise_packed_scheme(file, codes, layer).map(|_| layer)
}

fn recognise_packed_scheme(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
) -> Option<StoredLayer> {
    recognise_integers(file, weight, layer).or_else(|| recognise_mxfp4(file, weight, layer))
}

/// Recognises integers of 4 or 8 bits in words, with a scale for each row or group of a row, those of 4
/// bits in groups also with zero points; `None` for anything else that is packed.
fn recognise_integers(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
) -> Option<StoredLayer> {
    let part = |name: &str| file.get(&format!("{layer}.{name}"));
    let others = ["weight_g_idx", "weight_global_scale"];
    // An order of columns is for the reader of other programs' codes.
    if weight.dtype != Dtype::I32 || others.into_iter().any(|name| part(name).is_some()) {
        return None;
    }
    let scale = part("weight_scale")?;
    let told = integers(file, &format!("{layer}.weight_shape")).ok()?;
    let [rows, cols]: [usize; 2] = told
        .iter()
        .map(|size| usize::try_from(*size).ok())
        .collect::<Option<Vec<_>>>()?
        .try_into()
        .ok()?;
    let ([found_rows, words], [scale_rows, groups]) = (matrix_of(weight)?, matrix_of(scale)?);
    let grid = match cols {
        0 => return None,
        cols if words.checked_mul(8) == Some(cols) => GridKind::Int4,
        cols if words.checked_mul(4) == Some(cols) => GridKind::Int8,
        _ => return None,
    };
    let is_covered =
        groups > 0 && cols.is_multiple_of(groups) && [found_rows, scale_rows] == [rows; 2];
    let tiling = match groups {
        1 => Tiling::Row,
        groups => Tiling::group(cols.checked_div(groups)?),
    };
    let is_plain = matches!(scale.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16);
    let scheme = match part(ZERO_POINT) {
        None => Scheme::scaled(grid, tiling),
        // One weight by itself is no group.
        Some(zeros) if grid == GridKind::Int4 && cols > groups => {
            let words = [rows.div_ceil(NIBBLES_OF_WORD), groups];
            if zeros.dtype != Dtype::I32 || matrix_of(zeros) != Some(words) {
                return None;
            }
            Scheme::with_zero_points(cols.checked_div(groups)?)
        }
        Some(_) => return None,
    };
    (is_covered && is_plain).then(|| stored(layer, scheme, [rows, cols], Spelling::PackedIntegers))
}

/// Recognises MXFP4: two E2M1 codes to a byte, the even column in the low half, and a power of two per 32
/// columns.
fn recognise_mxfp4(file: &Checkpoint, weight: &TensorHeader, layer: &str) -> Option<StoredLayer> {
    let scale = file.get(&format!("{layer}.weight_scale"))?;
    let is_power = matches!(scale.dtype, Dtype::U8 | Dtype::F8E8M0);
    let is_two_level = file.get(&format!("{layer}.{GLOBAL_SCALE}")).is_some();
    if weight.dtype != Dtype::U8 || !is_power || is_two_level {
        return None;
    }
    let [rows, bytes] = matrix_of(weight)?;
    let shape = [rows, bytes.checked_mul(2)?];
    let fits = scale.shape == block_scale_shape(Scheme::MXFP4, shape);
    fits.then(|| stored(layer, Scheme::MXFP4, shape, Spelling::PackedMicroscaled))
}

fn matrix_of(header: &TensorHeader) -> Option<[usize; 2]> {
    match header.shape[..] {
        [rows, cols] => Some([usize::try_from(rows).ok()?, usize::try_from(cols).ok()?]),
        _ => None,
    }
}

/// Recognises NVFP4: two E2M1 codes to a byte, the even column in the low half; one E4M3 scale per 16 columns, as they
/// follow each other; one number for all scales, called `global`.
fn recognise_nvfp4(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
    spelling: Spelling,
    global: &str,
) -> Result<StoredLayer, String> {
    let scale = file.get(&format!("{layer}.weight_scale"));
    let global_scale = file.get(&format!("{layer}.{global}"));
    let (Some(scale), Some(global_scale)) = (scale, global_scale) else {
        return Err(format!(
            "its weight is packed in {}; of packed codes NVFP4 is read, whose scales are \
             `weight_scale` and `{global}`",
            weight.dtype
        ));
    };
    let [rows, bytes] = matrix_shape(weight)?;
    let shape = [rows, bytes.saturating_mul(2)];
    let expect =
        |header: &TensorHeader, dtype: Dtype, is_shape: bool, expected: String| match header.dtype
            == dtype
            && is_shape
        {
            true => Ok(()),
            false => Err(format!(
                "`{}` is {} {:?}, NVFP4 needs {dtype} {expected}",
                header.name, header.dtype, header.shape
            )),
        };
    expect(weight, Dtype::U8, weight.shape.len() == 2, "[N, K / 2]".to_owned())?;
    let blocks = block_scale_shape(Scheme::NVFP4, shape);
    expect(scale, Dtype::F8E4M3, scale.shape == blocks, format!("{blocks:?}"))?;
    let is_single = global_scale.element_count() == 1;
    expect(global_scale, Dtype::F32, is_single, "of one element".to_owned())?;
    Ok(stored(layer, Scheme::NVFP4, shape, spelling))
}

/// Returns the shape of the scales of blocks that are stored row-major.
fn block_scale_shape(scheme: Scheme, [rows, cols]: [usize; 2]) -> Vec<u64> {
    scheme.tiling().tiles(rows, cols).map(|count| count as u64).to_vec()
}

fn stored(layer: &str, scheme: Scheme, shape: [usize; 2], spelling: Spelling) -> StoredLayer {
    let scale = Some(format!("{layer}.weight_scale"));
    let (layer, stored_shape) = (layer.to_owned(), shape);
    StoredLayer { layer, scheme, shape, stored_shape, spelling, scale, experts: None }
}
