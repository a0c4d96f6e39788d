use roundwise_scheme::Scheme;
use roundwise_tensor_file::{Checkpoint, Dtype, TensorHeader};

use crate::names::packed_weight_of;
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
        return recognise_nvfp4(file, weight, layer, Spelling::WeightPacked, GLOBAL_SCALE)
            .map(Some);
    }
    let part = |name: &str| file.get(&format!("{layer}.{name}"));
    let is_packed = weight.dtype == Dtype::U8 && weight.shape.len() == 2;
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
    StoredLayer { layer: layer.to_owned(), scheme, shape, stored_shape: shape, spelling, scale }
}
