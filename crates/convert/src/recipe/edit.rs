use std::collections::BTreeMap;

use regex::Regex;
use roundwise_layout::MatmulPrecision;

/// Key of the header entry that says how a file was made, which this program writes itself.
pub(crate) const PROVENANCE_KEY: &str = "roundwise";

/// An edit that has been checked: every pattern compiles.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edit {
    pub(crate) set: BTreeMap<String, String>,
    pub(crate) unset: Vec<Regex>,
    pub(crate) full_precision: Vec<Regex>,
    pub(crate) any_precision: Vec<Regex>,
    pub(crate) input_scale: Vec<Regex>,
}

impl Edit {
    /// Returns how a layer is to be multiplied, where that changes.
    pub(crate) fn matmul_precision(&self, layer: &str) -> Option<MatmulPrecision> {
        match (matches(&self.full_precision, layer), matches(&self.any_precision, layer)) {
            (true, _) => Some(MatmulPrecision::Full),
            (false, true) => Some(MatmulPrecision::Any),
            (false, false) => None,
        }
    }

    pub(crate) fn changes(&self, layer: &str) -> bool {
        self.matmul_precision(layer).is_some() || matches(&self.input_scale, layer)
    }
}

pub(crate) fn matches(patterns: &[Regex], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.is_match(name))
}
