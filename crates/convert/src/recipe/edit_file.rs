use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Changes to a file whose weights stay as they are, as typed. Patterns are regular expressions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table such as `{ unset = ['author'] }`")]
pub struct EditFile {
    /// Entries of the header to add or replace.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Keys of entries to leave out; the list of layers stays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
    /// Layers that are to be multiplied in full precision.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub full_precision: Vec<String>,
    /// Layers that may be multiplied in codes.
    #[serde(alias = "any_products", skip_serializing_if = "Vec::is_empty")]
    pub any_precision: Vec<String>,
    /// FP8 layers that get an activation scale from statistics of their inputs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub input_scale: Vec<String>,
}
