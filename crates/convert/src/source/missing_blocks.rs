//! What a model lacks of its blocks, as far as the others tell.

use std::collections::{BTreeMap, BTreeSet};

use roundwise_layout::layer_of_weight;

use crate::model::Shapes;

/// Lists of blocks of one kind, which programs count from 0 up to the first number that is not there.
const LISTS: [&str; 9] = [
    "blocks.",
    "double_blocks.",
    "double_layers.",
    "joint_blocks.",
    "layers.",
    "single_blocks.",
    "single_layers.",
    "single_transformer_blocks.",
    "transformer_blocks.",
];

/// Fewest blocks that tell what each of them has: kinds of blocks may take turns, in the same order again and again.
const FEWEST: usize = 8;

/// Returns a block, or a weight of one, that the file lacks and the others of its list have.
///
/// - `prefix`: of the model's names
pub(crate) fn missing_of_blocks(shapes: &Shapes<'_>, prefix: &str) -> Option<String> {
    LISTS.iter().find_map(|list| missing_of_list(shapes, &format!("{prefix}{list}")))
}

fn missing_of_list(shapes: &Shapes<'_>, list: &str) -> Option<String> {
    let mut weights = BTreeMap::<u64, BTreeSet<&str>>::new();
    for name in shapes.starting_with(list) {
        let Some((number, rest)) = name[list.len()..].split_once('.') else { continue };
        let Ok(number) = number.parse() else { continue };
        let of_block = weights.entry(number).or_default();
        of_block.extend(layer_of_weight(rest));
    }
    let count = weights.len() as u64;
    if let Some(gap) = (0..count).find(|number| !weights.contains_key(number)) {
        return Some(format!("{list}{gap}"));
    }
    if weights.len() < FEWEST {
        return None;
    }
    // The first and the last may be of another kind.
    let inner = 1..count - 1;
    inner.into_iter().find_map(|number| {
        let others = weights.iter().filter(|(other, _)| **other != number);
        let mut shared = others.map(|(_, names)| names.clone());
        let first = shared.next()?;
        let shared = shared.fold(first, |all, names| &all & &names);
        let lacking = shared.difference(&weights[&number]).next()?;
        Some(format!("{list}{number}.{lacking}.weight"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(names: &[String]) -> Option<String> {
        let shape: &[u64] = &[2, 2];
        let shapes = names.iter().map(|name| (name.as_str(), shape)).collect();
        missing_of_blocks(&shapes, "model.")
    }

    fn blocks(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
        let weights =
            |number| ["a", "b"].map(|part| format!("model.blocks.{number}.{part}.weight"));
        numbers.into_iter().flat_map(weights).collect()
    }

    #[test]
    fn a_block_that_is_not_there_is_told() {
        assert_eq!(missing(&blocks(0..3)), None);
        assert_eq!(missing(&blocks([0, 2])).as_deref(), Some("model.blocks.1"));
        assert_eq!(missing(&blocks([1, 2])).as_deref(), Some("model.blocks.0"));
        assert_eq!(missing(&blocks(0..30)), None);
    }

    #[test]
    fn a_weight_that_all_other_blocks_have_is_told_and_blocks_may_take_turns() {
        let mut names = blocks(0..9);
        names.retain(|name| name != "model.blocks.4.b.weight");
        assert_eq!(missing(&names).as_deref(), Some("model.blocks.4.b.weight"));
        let mut names = blocks(0..9);
        names.retain(|name| {
            !["model.blocks.2.b.weight", "model.blocks.5.b.weight"].contains(&name.as_str())
        });
        assert_eq!(missing(&names), None);
        let mut names = blocks(0..9);
        names.retain(|name| name != "model.blocks.8.b.weight");
        assert_eq!(missing(&names), None);
    }
}
