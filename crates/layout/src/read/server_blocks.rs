//! The blocks that servers scale, which a file alone does not always tell.

use roundwise_scheme::Tiling;
use roundwise_tensor_file::{Dtype, TensorHeader};
use serde_json::Value;

use crate::read::foreign::file::ForeignFile;

/// Edges of the blocks where nothing says otherwise.
const SERVER_BLOCK: [usize; 2] = [128, 128];

/// Blocks that powers of two scale beside those, as microscaling and its relatives have them.
const POWER_BLOCKS: [[usize; 2]; 2] = [[1, 128], [1, 32]];

/// Returns the blocks that scales of this shape cover a matrix with: those that the configuration names, or
/// 128×128.
pub(crate) fn server_blocks(
    file: &ForeignFile<'_>,
    scale: &TensorHeader,
    [rows, cols]: [usize; 2],
) -> Option<Tiling> {
    let fits = |[down, across]: &[usize; 2]| {
        let tiling = Tiling::Block { rows: *down, cols: *across };
        scale.shape == tiling.tiles(rows, cols).map(|count| count as u64)
    };
    let is_power = matches!(scale.dtype, Dtype::F8E8M0 | Dtype::U8);
    let narrow = || POWER_BLOCKS.into_iter().filter(|_| is_power).find(fits);
    // Only where they fit the scales: a configuration may speak of other layers.
    let block = named_block(file.settings()).filter(fits);
    let block = block.or_else(|| Some(SERVER_BLOCK).filter(fits)).or_else(narrow)?;
    Some(Tiling::Block { rows: block[0], cols: block[1] })
}

/// Returns the block that a model's configuration names: `weight_block_size` of Hugging Face, or
/// `block_structure` of compressed-tensors.
fn named_block(quantization: &Value) -> Option<[usize; 2]> {
    let groups = quantization.get("config_groups").and_then(|groups| groups.as_object());
    let group_block = |group: &Value| group.get("weights")?.get("block_structure").cloned();
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
        let of =
            |inside: &str| named_block(&serde_json::from_str(&format!("{{{inside}}}")).unwrap());
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
        assert_eq!(named_block(&Value::Null), None);
    }
}
