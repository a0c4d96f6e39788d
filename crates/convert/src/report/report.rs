use std::path::PathBuf;

use roundwise_layout::Layout;
use serde::{Deserialize, Serialize};

use crate::model::FileKind;
use crate::plan::Tool;
use crate::recipe::{RecipeFile, Text};
use crate::report::named;
use crate::report::prediction::Prediction;
use crate::report::rounding::RoundingTotals;
use crate::report::tensor_report::TensorReport;
use crate::source::{FileHash, SchemeConsumer};

/// The report of a conversion. Serialised, it is the report that `roundwise convert` writes;
/// `docs/report.md` describes every field.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Version of this layout of fields.
    pub report_version: u32,
    /// Name and version of the tool.
    pub tool: Tool,
    /// The input, as it was named.
    #[serde(serialize_with = "named::lossy", deserialize_with = "named::read_path")]
    pub input: PathBuf,
    /// The output.
    #[serde(serialize_with = "named::lossy", deserialize_with = "named::read_path")]
    pub output: PathBuf,
    /// Size of the input, all shards together.
    pub input_bytes: u64,
    /// Size of the output.
    pub output_bytes: u64,
    /// BLAKE3 of every file of the input, if they were hashed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_hashes: Vec<FileHash>,
    /// The recipe as it was typed; what was left out has its default.
    #[serde(alias = "options")]
    pub recipe: RecipeFile,
    /// The model that was recognised.
    pub architecture: String,
    /// The kind of the input.
    pub kind: FileKind,
    /// Who opens the weights of each scheme of the output, if anybody does.
    pub consumers: Vec<SchemeConsumer>,
    /// The preset in force.
    pub preset: String,
    /// Layout of the output.
    #[serde(serialize_with = "named::name", deserialize_with = "named::read_layout")]
    pub layout: Layout,
    /// Decisions that someone might have expected otherwise.
    pub notes: Vec<Text>,
    /// Threads in use; learned rounding works on at most two tensors for each device at once.
    pub threads: usize,
    /// Number of tensors that an earlier run had finished before it ended early.
    #[serde(alias = "resumed")]
    pub recalled_tensors: usize,
    /// From opening the input to the renamed output.
    pub seconds: f64,
    /// The part of it that the final sync took.
    pub sync_seconds: f64,
    /// The part of it that reading the output again took, unless that was left out.
    pub verify_seconds: Option<f64>,
    /// Number of tensors that became codes.
    #[serde(alias = "converted")]
    pub converted_tensors: usize,
    /// Number of tensors in codes that became plain numbers or were laid out anew.
    #[serde(default)]
    pub rewritten_tensors: usize,
    /// Number of tensors that were kept.
    #[serde(alias = "kept")]
    pub kept_tensors: usize,
    /// Number of tensors that were removed.
    #[serde(alias = "removed")]
    pub removed_tensors: usize,
    /// `‖E‖ / ‖W‖` over all converted weights together, of the stored codes.
    pub weight_error: Option<f64>,
    /// Totals of learned rounding, where a method was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<RoundingTotals>,
    /// The loss that the file is predicted to have, where statistics hold gradients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Prediction>,
    /// Every tensor of the input, by name.
    #[serde(alias = "layers")]
    pub tensors: Vec<TensorReport>,
}

impl Report {
    /// Version of the fields that this program writes. Fields of earlier ones are known by their `alias`:
    /// 1 had `layers` in place of `tensors`, 2 `options` in place of `recipe`, and numbers without `_tensors`.
    pub const VERSION: u32 = 3;

    /// Reads a report that was serialised, of this version or an earlier one.
    ///
    /// # Errors
    /// When it is not JSON of this layout of fields.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Returns the converted layers with the largest error, worst first.
    pub fn worst_layers(&self, count: usize) -> Vec<&TensorReport> {
        let mut layers: Vec<_> =
            self.tensors.iter().filter(|layer| layer.weight_error.is_some()).collect();
        layers.sort_by(|a, b| {
            // No error is a NaN: weights are finite, and 0 over 0 counts as 0. So the order is
            // total.
            b.weight_error
                .partial_cmp(&a.weight_error)
                .unwrap_or(std::cmp::Ordering::Equal)
                // Ties by name, so that the list is the same on every run.
                .then_with(|| a.name.cmp(&b.name))
        });
        layers.truncate(count);
        layers
    }
}
