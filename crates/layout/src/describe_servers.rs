use roundwise_scheme::{Scheme, Tiling};
use roundwise_tensor_file::{Checkpoint, Dtype, TensorHeader};

use crate::describe::matrix_shape;
use crate::names::packed_weight_of;
use crate::stored_layer::GLOBAL_SCALE;
use crate::{Origin, StoredLayer};

/// The stored layer behind an unmarked weight whose blocks have scales of 8 bits, as
/// compressed-tensors and ModelOpt write it; `None` for any other weight.
///
/// # Errors
/// One line that says why packed codes cannot be read.
pub(crate) fn describe_servers(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
) -> Result<Option<StoredLayer>, String> {
    if weight.name == packed_weight_of(layer) {
        return describe_nvfp4(file, weight, layer, Origin::WeightPacked, GLOBAL_SCALE).map(Some);
    }
    let part = |name: &str| file.get(&format!("{layer}.{name}"));
    let is_packed = weight.dtype == Dtype::U8 && weight.shape.len() == 2;
    if is_packed && part("weight_scale_2").is_some() {
        let origin = Origin::WeightScale2;
        return describe_nvfp4(file, weight, layer, origin, "weight_scale_2").map(Some);
    }
    let scale = part("weight_scale");
    let is_power = |scale: &&TensorHeader| matches!(scale.dtype, Dtype::U8 | Dtype::F8E8M0);
    let Some(scale) = scale.filter(is_power).filter(|_| weight.dtype == Dtype::F8E4M3) else {
        return Ok(None);
    };
    let shape = matrix_shape(weight)?;
    let is_mx = weight.shape.len() == 2 && scale.shape == scales_of_blocks(Scheme::MXFP8, shape);
    Ok(is_mx.then(|| stored(layer, Scheme::MXFP8, shape, Origin::WeightScale)))
}

/// Two E2M1 codes to a byte, the even column in the low half; one E4M3 scale per 16 columns, as they
/// follow each other; one number for all scales, called `global`.
fn describe_nvfp4(
    file: &Checkpoint,
    weight: &TensorHeader,
    layer: &str,
    origin: Origin,
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
    let blocks = scales_of_blocks(Scheme::NVFP4, shape);
    expect(scale, Dtype::F8E4M3, scale.shape == blocks, format!("{blocks:?}"))?;
    let is_single = global_scale.element_count() == 1;
    expect(global_scale, Dtype::F32, is_single, "of one element".to_owned())?;
    Ok(stored(layer, Scheme::NVFP4, shape, origin))
}

fn scales_of_blocks(scheme: Scheme, [rows, cols]: [usize; 2]) -> Vec<u64> {
    scheme.tiling().tiles(rows, cols).map(|count| count as u64).to_vec()
}

fn stored(layer: &str, scheme: Scheme, shape: [usize; 2], origin: Origin) -> StoredLayer {
    let scale = Some(format!("{layer}.weight_scale"));
    StoredLayer { layer: layer.to_owned(), scheme, shape, stored_shape: shape, origin, scale }
}

/// Edges of the blocks that servers scale where nothing says otherwise.
const SERVER_BLOCK: [usize; 2] = [128, 128];

/// The blocks that scales of this shape cover a matrix with: those that `config.json` names, or
/// 128×128.
pub(crate) fn server_blocks(
    file: &Checkpoint,
    scale: &TensorHeader,
    [rows, cols]: [usize; 2],
) -> Option<Tiling> {
    let fits = |[down, across]: &[usize; 2]| {
        let tiling = Tiling::Block { rows: *down, cols: *across };
        scale.shape == tiling.tiles(rows, cols).map(|count| count as u64)
    };
    let named = || file.text_beside("config.json").and_then(|text| named_block(&text));
    let block = Some(SERVER_BLOCK).filter(fits).or_else(|| named().filter(fits))?;
    Some(Tiling::Block { rows: block[0], cols: block[1] })
}

/// The block that a model's configuration names: `weight_block_size` of Hugging Face, or
/// `block_structure` of compressed-tensors.
fn named_block(config: &str) -> Option<[usize; 2]> {
    let config: serde_json::Value = serde_json::from_str(config).ok()?;
    let quantization = config.get("quantization_config")?;
    let groups = quantization.get("config_groups").and_then(|groups| groups.as_object());
    let of_group =
        |group: &serde_json::Value| group.get("weights")?.get("block_structure").cloned();
    let block = quantization
        .get("weight_block_size")
        .cloned()
        .or_else(|| groups?.values().find_map(of_group))?;
    let edges: [u64; 2] = match block.as_str() {
        Some(text) => {
            let (rows, cols) = text.split_once('x')?;
            [rows.parse().ok()?, cols.parse().ok()?]
        }
        None => serde_json::from_value(block).ok()?,
    };
    let edges = [usize::try_from(edges[0]).ok()?, usize::try_from(edges[1]).ok()?];
    (!edges.contains(&0)).then_some(edges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_names_blocks_in_three_ways() {
        let of = |inside: &str| named_block(&format!(r#"{{"quantization_config": {{{inside}}}}}"#));
        let group = |block: &str| {
            of(&format!(
                r#""config_groups": {{"g": {{"weights": {{"block_structure": {block}}}}}}}"#
            ))
        };
        assert_eq!(of(r#""weight_block_size": [64, 128]"#), Some([64, 128]));
        assert_eq!(group("[32, 16]"), Some([32, 16]));
        assert_eq!(group("\"32x16\""), Some([32, 16]));
        for wrong in ["[0, 128]", "[128]", "null", "\"x\"", "[-1, 2]", "[1.5, 2]"] {
            assert_eq!(
                (group(wrong), of(&format!(r#""weight_block_size": {wrong}"#))),
                (None, None)
            );
        }
        assert_eq!((named_block("{"), named_block("[]")), (None, None));
    }
}
