//! The blocks that servers scale, which a file alone does not always tell.

use roundwise_scheme::Tiling;
use roundwise_tensor_file::{Checkpoint, Dtype, TensorHeader};

/// Edges of the blocks where nothing says otherwise.
const SERVER_BLOCK: [usize; 2] = [128, 128];

/// Blocks that powers of two scale beside those, as microscaling and its relatives have them.
const POWER_BLOCKS: [[usize; 2]; 2] = [[1, 128], [1, 32]];

/// Returns the blocks that scales of this shape cover a matrix with: 128×128, or those that
/// `config.json` names.
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
    let is_power = matches!(scale.dtype, Dtype::F8E8M0 | Dtype::U8);
    let narrow = || POWER_BLOCKS.into_iter().filter(|_| is_power).find(fits);
    // 128×128 before what the configuration says, and either only where it fits the scales: a
    // configuration may speak of other layers.
    let block = Some(SERVER_BLOCK).filter(fits);
    let block = block.or_else(|| named().filter(fits)).or_else(narrow)?;
    Some(Tiling::Block { rows: block[0], cols: block[1] })
}

/// Returns the block that a model's configuration names: `weight_block_size` of Hugging Face, or
/// `block_structure` of compressed-tensors.
fn named_block(config: &str) -> Option<[usize; 2]> {
    let config: serde_json::Value = serde_json::from_str(config).ok()?;
    let quantization = config.get("quantization_config")?;
    let groups = quantization.get("config_groups").and_then(|groups| groups.as_object());
    let group_block =
        |group: &serde_json::Value| group.get("weights")?.get("block_structure").cloned();
    let block = quantization
        .get("weight_block_size")
        .cloned()
        .or_else(|| groups?.values().find_map(group_block))?;
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
