//! Scales that a file has in entries of its header, where no program looks for them.

use std::collections::{BTreeMap, HashSet};

use roundwise_tensor_file::Checkpoint;

use crate::marker::QUANTIZATION_METADATA;

/// Entries that hold no scales, whatever they speak of: markers, how a file was made, and the workflow that ComfyUI
/// saves with a model, whose nodes name layers.
const OTHERS: [&str; 4] = [QUANTIZATION_METADATA, "roundwise", "prompt", "workflow"];

/// Most segments of a text that is looked at. Names have fewer; a header made up of dots would take long.
const MOST_SEGMENTS: usize = 16;

/// Finds the entries that may hold scales of layers: they speak of scales, and name the layer. Returns the key of the
/// first such entry by the layer.
///
/// Every text is looked through once, whatever the number of layers.
pub(crate) fn header_scales<'a>(
    file: &'a Checkpoint,
    layers: &HashSet<&str>,
) -> BTreeMap<&'a str, &'a str> {
    let speaks_of_scales = |text: &str| text.to_ascii_lowercase().contains("scale");
    let is_meant = |(key, value): &(&'a String, &'a String)| {
        !OTHERS.contains(&key.as_str()) && (speaks_of_scales(key) || speaks_of_scales(value))
    };
    let mut found = BTreeMap::new();
    if layers.is_empty() {
        return found;
    }
    for (key, value) in file.metadata().iter().filter(is_meant) {
        let texts = [key, value].into_iter().flat_map(|text| text.split(is_between));
        for name in texts.flat_map(runs).filter(|name| layers.contains(name)) {
            found.entry(name).or_insert(key.as_str());
        }
    }
    found
}

/// Returns whether a character stands between names.
fn is_between(char: char) -> bool {
    matches!(char, '"' | '\'') || char.is_whitespace()
}

/// Returns all parts of a text that begin and end where segments do: of `a.b`, `a`, `a.b` and `b`.
fn runs(text: &str) -> Vec<&str> {
    let dots: Vec<usize> = text.match_indices('.').map(|(at, _)| at).collect();
    if dots.len() >= MOST_SEGMENTS {
        return vec![];
    }
    let starts = std::iter::once(0).chain(dots.iter().map(|dot| dot + 1));
    let ends = || dots.iter().copied().chain([text.len()]);
    starts
        .flat_map(|start| ends().filter(move |end| *end > start).map(move |end| &text[start..end]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_all_that_lies_between_dots() {
        assert_eq!(runs("a.b.c"), ["a", "a.b", "a.b.c", "b", "b.c", "c"]);
        assert_eq!(runs("..a"), [".", "..a", ".a", "a"]);
        assert_eq!((runs(""), runs(&".".repeat(MOST_SEGMENTS))), (vec![], vec![]));
    }
}
