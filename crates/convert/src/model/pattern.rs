//! Patterns of layer names in rules.

use std::fmt;
use std::sync::OnceLock;

use regex::Regex;
use roundwise_layout::layer_of;

use crate::model::wrapper::without_wrappers;

/// A regular expression over whole segments of a dotted tensor name.
///
/// `img_in` covers `img_in` and `net.img_in.0`, not `img_in_patch`. A leading `^` ties it to the
/// root of the model, behind any of `model.`, `diffusion_model.`, `transformer.`, `net.` and
/// wrappers of training code such as `_orig_mod.`: `^last` covers `last.linear` and not
/// `blocks.0.last`.
#[derive(Clone)]
pub struct LayerPattern {
    source: String,
    expression: String,
    /// Compiled when a layer is first asked about. Presets hold hundreds of patterns, of which a run
    /// needs a few, and a compiled one takes some ten kilobytes.
    regex: OnceLock<Regex>,
}

impl LayerPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// An error of the regular expression.
    pub fn new(source: &str) -> Result<Self, regex::Error> {
        let expression = match source.strip_prefix('^') {
            // The prefixes of loaders are in the expression, for there are four; wrappers come in
            // any depth and are taken off before.
            Some(rest) => format!(
                r"^(?:(?:model|diffusion_model|transformer|net)\.)*(?P<layer>{rest})(?:\.|$)"
            ),
            None => format!(r"(?:^|\.)(?P<layer>{source})(?:\.|$)"),
        };
        // The syntax alone: a broken pattern is refused at once, and compiled only when it is
        // needed.
        regex_syntax::parse(&expression)
            .map_err(|error| regex::Error::Syntax(error.to_string()))?;
        Ok(Self { source: source.to_owned(), expression, regex: OnceLock::new() })
    }

    /// Returns whether the pattern covers a layer.
    ///
    /// - `layer`: full tensor name, with or without its `.weight`
    pub fn matches(&self, layer: &str) -> bool {
        let layer = layer_of(layer);
        let is_rooted = self.source.starts_with('^');
        // Taken off here, not in the expressions, of which there are hundreds.
        let unwrapped =
            || without_wrappers(layer).is_some_and(|inner| self.regex().is_match(inner));
        self.regex().is_match(layer) || (is_rooted && unwrapped())
    }

    fn regex(&self) -> &Regex {
        let compiled = || Regex::new(&self.expression).expect("its syntax has been checked");
        self.regex.get_or_init(compiled)
    }

    /// Returns the pattern as its file writes it.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Returns where in `name` covered segments start.
    pub(super) fn starts(&self, name: &str) -> impl Iterator<Item = usize> {
        self.regex().captures_iter(name).filter_map(|found| Some(found.name("layer")?.start()))
    }
}

impl fmt::Debug for LayerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.source)
    }
}

impl fmt::Display for LayerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::LayerPattern;

    #[test]
    fn a_pattern_covers_whole_segments() {
        let pattern = LayerPattern::new("img_in").unwrap();
        for layer in ["img_in", "img_in.weight", "model.diffusion_model.img_in.0", "a.img_in"] {
            assert!(pattern.matches(layer), "{layer}");
        }
        for layer in ["img_in_patch", "my_img_in", "img.in", ""] {
            assert!(!pattern.matches(layer), "{layer}");
        }
    }

    #[test]
    fn a_rooted_pattern_starts_behind_the_wrappers_only() {
        let pattern = LayerPattern::new("^last").unwrap();
        for layer in [
            "last",
            "last.linear",
            "model.diffusion_model.last.linear",
            "net.last",
            "module._orig_mod.last",
        ] {
            assert!(pattern.matches(layer), "{layer}");
        }
        for layer in ["blocks.0.last", "lastly", "network.last"] {
            assert!(!pattern.matches(layer), "{layer}");
        }
    }
}
